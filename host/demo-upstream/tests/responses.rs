//! OpenAI Responses over real sockets.

mod common;

use common::{responses, server};
use serde_json::{Value, json};

#[tokio::test]
async fn whole_and_streamed_agree() {
    let server = server().await;
    let body = json!({"model": "demo", "input": "count to 3", "temperature": 0.5});
    let whole = responses(&server, &body).await.json();
    assert_eq!(whole["output"][0]["content"][0]["text"], "1, 2, 3");
    assert_eq!((&whole["status"], &whole["temperature"]), (&json!("completed"), &json!(0.5)));
    let mut streaming = body;
    streaming["stream"] = json!(true);
    let answer = responses(&server, &streaming).await;
    let events = answer.events();
    let pieces: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(pieces, "1, 2, 3");
    assert!(events.iter().enumerate().all(|(index, event)| event["sequence_number"] == index));
    let last = events.last().unwrap();
    assert_eq!((&last["type"], &last["response"]["usage"]), (&json!("response.completed"), &whole["usage"]));
    let cut = json!({"model": "demo", "input": "count to 3", "max_output_tokens": 3});
    let cut = responses(&server, &cut).await.json();
    assert_eq!((&cut["status"], &cut["output"][0]["content"][0]["text"]), (&json!("incomplete"), &json!("1, 2")));
}

#[tokio::test]
async fn calls_reasoning_and_results() {
    let server = server().await;
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let tools = json!([{"type": "function", "name": "weather", "parameters": parameters}]);
    let question = json!({"role": "user", "content": [{"type": "input_text", "text": "call the tool"}]});
    let mut body = json!({
        "model": "demo", "input": [question], "tools": tools, "reasoning": {"effort": "low", "summary": "auto"},
    });
    let first = responses(&server, &body).await.json();
    let output = first["output"].as_array().unwrap();
    assert_eq!((&output[0]["type"], &output[1]["arguments"]), (&json!("reasoning"), &json!(r#"{"city":"demo city"}"#)));

    let history = body["input"].as_array_mut().unwrap();
    history.extend(output.iter().cloned());
    history.push(json!({"type": "function_call_output", "call_id": output[1]["call_id"], "output": "rain"}));
    let second = responses(&server, &body).await.json();
    let text = |answer: &Value| answer["output"].as_array().unwrap().last().unwrap()["content"][0]["text"].clone();
    assert_eq!(text(&second), "The tool answered: rain");

    let mut edited = body.clone();
    edited["input"][1]["summary"][0]["text"] = json!("something else");
    assert_eq!(responses(&server, &edited).await.json()["error"]["code"], "invalid_encrypted_content");
    body["input"].as_array_mut().unwrap().pop();
    assert!(responses(&server, &body).await.text.contains("No tool output found"));
    let format = json!({"type": "json_schema", "name": "gate", "schema": {"type": "object", "properties": {"open": {"type": "boolean"}}}});
    let body = json!({"model": "demo", "input": "open?", "text": {"format": format}});
    assert_eq!(text(&responses(&server, &body).await.json()), r#"{"open":true}"#);
}
