//! Gemini over real sockets.

mod common;

use common::{Answer, gemini, server};
use http::StatusCode;
use serde_json::{Value, json};

fn asked(text: &str, more: Value) -> Value {
    let mut body = json!({"contents": [{"role": "user", "parts": [{"text": text}]}]});
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    body
}

/// The parts of the first candidate, of all chunks where it was streamed.
fn parts(chunks: &[Value]) -> Vec<Value> {
    chunks.iter().flat_map(|chunk| chunk["candidates"][0]["content"]["parts"].as_array().unwrap().clone()).collect()
}

fn text(parts: &[Value], thought: bool) -> String {
    parts.iter().filter(|part| (part["thought"] == true) == thought).filter_map(|part| part["text"].as_str()).collect()
}

/// Each chunk's data; the API ends lines with CR and LF.
fn chunks(answer: &Answer) -> Vec<Value> {
    answer
        .text
        .split("\r\n\r\n")
        .filter_map(|frame| frame.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

#[tokio::test]
async fn whole_and_streamed_agree() {
    let server = server().await;
    let body = asked("count to 3", json!({"generationConfig": {"maxOutputTokens": 99}}));
    let whole = gemini(&server, "demo:generateContent", &body).await.json();
    assert_eq!(text(&parts(std::slice::from_ref(&whole)), false), "1, 2, 3");
    assert_eq!((&whole["candidates"][0]["finishReason"], &whole["modelVersion"]), (&json!("STOP"), &json!("demo")));
    let streamed = gemini(&server, "demo:streamGenerateContent?alt=sse", &body).await;
    let chunks = chunks(&streamed);
    assert_eq!(text(&parts(&chunks), false), "1, 2, 3");
    let last = chunks.last().unwrap();
    assert_eq!(last["usageMetadata"], whole["usageMetadata"]);
    assert_eq!(whole["usageMetadata"]["candidatesTokenCount"], 5);
    assert!(chunks[..chunks.len() - 1].iter().all(|chunk| chunk["candidates"][0].get("finishReason").is_none()));
    assert_eq!(last["candidates"][0]["finishReason"], "STOP");
}

#[tokio::test]
async fn calls_signed_and_answered() {
    let server = server().await;
    let declared = json!([{"functionDeclarations": [
        {"name": "weather", "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]}},
        {"name": "time", "parametersJsonSchema": {"type": "object", "properties": {"zone": {"type": "string"}}}},
    ]}]);
    let mut body = asked("call both tools", json!({"tools": declared}));
    let first = gemini(&server, "demo-think:generateContent", &body).await.json();
    assert!(text(&parts(std::slice::from_ref(&first)), true).contains("I am a demo"));
    body["toolConfig"] = json!({"functionCallingConfig": {"mode": "ANY"}});
    let called = gemini(&server, "demo-think:generateContent", &body).await.json();
    let content = &called["candidates"][0]["content"];
    let calls: Vec<_> =
        content["parts"].as_array().unwrap().iter().filter(|part| part["functionCall"].is_object()).collect();
    assert_eq!(calls[0]["functionCall"]["args"], json!({"city": "demo city"}));
    assert_eq!((calls.len(), calls[1].get("thoughtSignature")), (2, None));

    let result = |name: &str| json!({"functionResponse": {"name": name, "response": {"output": "fine"}}});
    body["toolConfig"] = Value::Null;
    let history = body["contents"].as_array_mut().unwrap();
    history.push(content.clone());
    history.push(json!({"role": "user", "parts": [result("weather"), result("time")]}));
    let answered = gemini(&server, "demo-think:generateContent", &body).await.json();
    let said = text(&parts(std::slice::from_ref(&answered)), false);
    assert_eq!(said, "The tool answered: fine\nThe tool answered: fine");

    let mut altered = body.clone();
    altered["contents"][1]["parts"][1]["thoughtSignature"] = json!("AAAA");
    let refused = gemini(&server, "demo:generateContent", &altered).await;
    assert_eq!(refused.json()["error"]["status"], "INVALID_ARGUMENT");
    assert!(refused.text.contains("signature"), "{}", refused.text);
    body["contents"][2]["parts"].as_array_mut().unwrap().pop();
    assert!(gemini(&server, "demo:generateContent", &body).await.text.contains("number of function response parts"));
}

#[tokio::test]
async fn a_schema_an_unknown_member_and_an_error() {
    let server = server().await;
    let schema = json!({"type": "OBJECT", "properties": {"open": {"type": "BOOLEAN"}, "days": {"type": "INTEGER", "minimum": 3}}});
    let config = json!({"responseMimeType": "application/json", "responseSchema": schema});
    let body = asked("open?", json!({"generationConfig": config}));
    let answer = gemini(&server, "demo:generateContent", &body).await.json();
    let said: Value = serde_json::from_str(&text(&parts(&[answer]), false)).unwrap();
    assert_eq!(said, json!({"open": true, "days": 3}));
    let unknown = gemini(&server, "demo:generateContent", &asked("x", json!({"messages": []}))).await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
    assert!(unknown.text.contains(r#"Unknown name \"messages\""#), "{}", unknown.text);
    let limited = gemini(&server, "demo-error-429:generateContent", &asked("x", json!({}))).await;
    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(limited.json()["error"]["details"][0]["retryDelay"], "1s");
}
