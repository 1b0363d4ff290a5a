//! Messages over real sockets.

mod common;

use common::{anthropic, ask, read, send, server};
use http::{Method, StatusCode};
use serde_json::{Value, json};

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn whole_and_streamed_agree() {
    let server = server().await;
    let whole = anthropic(&server, &ask("demo", "count to 2", json!({}))).await;
    assert!(whole.headers.contains_key("request-id"));
    let body = whole.json();
    assert_eq!(body["content"], json!([{"type": "text", "text": "1, 2"}]));
    assert_eq!((&body["stop_reason"], &body["usage"]["output_tokens"]), (&json!("end_turn"), &json!(3)));

    let streamed = anthropic(&server, &ask("demo", "count to 2", json!({"stream": true}))).await;
    assert!(streamed.complete && streamed.text.starts_with("event: message_start\ndata: "));
    let events = streamed.events();
    assert_eq!(
        kinds(&events),
        [
            "message_start",
            "content_block_start",
            "ping",
            "content_block_delta",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    assert_eq!(events[0]["message"]["usage"]["input_tokens"], body["usage"]["input_tokens"]);
    assert_eq!(events[7]["usage"], body["usage"]);
    let text: String = events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect();
    assert_eq!(text, "1, 2");
}

#[tokio::test]
async fn tools_called_and_answered_with_an_image() {
    let server = server().await;
    let tool = |name: &str| json!({"name": name, "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}});
    let tools = json!([tool("weather"), tool("map")]);
    let more = json!({"tools": tools, "stream": true});
    let events = anthropic(&server, &ask("demo", "call the tools", more)).await.events();
    let starts: Vec<_> = events.iter().filter(|event| event["type"] == "content_block_start").collect();
    assert_eq!(starts.len(), 2);
    assert_eq!((&starts[1]["index"], &starts[1]["content_block"]["name"]), (&json!(1), &json!("map")));
    let input: String = events
        .iter()
        .filter(|event| event["index"] == 1)
        .filter_map(|event| event["delta"]["partial_json"].as_str())
        .collect();
    assert_eq!(input, r#"{"city":"demo city"}"#);

    let body = anthropic(&server, &ask("demo-tool", "go", json!({"tools": tools}))).await.json();
    assert_eq!(
        (&body["stop_reason"], &body["content"][0]["input"]),
        (&json!("tool_use"), &json!({"city": "demo city"}))
    );
    let image =
        json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}});
    let result = json!({"type": "tool_result", "tool_use_id": body["content"][0]["id"], "content": [
        {"type": "text", "text": "rain"}, image]});
    let mut conversation = ask("demo-tool", "go", json!({"tools": tools}));
    let messages = conversation["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": body["content"]}));
    messages.push(json!({"role": "user", "content": [result]}));
    let done = anthropic(&server, &conversation).await.json();
    assert_eq!(done["content"][0]["text"], "The tool answered: rain\nIt sent one image.");
}

#[tokio::test]
async fn reasoning_is_signed_and_the_signature_checked() {
    let server = server().await;
    let more = json!({"thinking": {"type": "enabled", "budget_tokens": 1024}});
    let body = anthropic(&server, &ask("demo", "why?", more.clone())).await.json();
    assert_eq!(body["content"][0]["type"], "thinking");
    assert_eq!(body["content"][1]["type"], "text");
    assert!(body["usage"]["output_tokens_details"]["thinking_tokens"].as_u64().unwrap() > 5);

    let mut streaming = more.clone();
    streaming["stream"] = json!(true);
    let events = anthropic(&server, &ask("demo", "why?", streaming)).await.events();
    let signature: Vec<_> = events.iter().filter_map(|event| event["delta"]["signature"].as_str()).collect();
    assert_eq!(signature, [body["content"][0]["signature"].as_str().unwrap()]);

    let mut conversation = ask("demo", "why?", more);
    let messages = conversation["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": body["content"]}));
    messages.push(json!({"role": "user", "content": "and then?"}));
    assert_eq!(anthropic(&server, &conversation).await.status, StatusCode::OK);
    conversation["messages"][1]["content"][0]["thinking"] = json!("something else");
    let refused = anthropic(&server, &conversation).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("Invalid `signature`"));
}

#[tokio::test]
async fn cache_tokens_are_counted_once() {
    let server = server().await;
    let system = json!([{"type": "text", "text": "be brief and kind", "cache_control": {"type": "ephemeral"}}]);
    let first = anthropic(&server, &ask("demo", "count to 2", json!({"system": system}))).await.json();
    assert_eq!(first["usage"]["cache_creation_input_tokens"], 4);
    assert_eq!(first["usage"]["cache_creation"]["ephemeral_5m_input_tokens"], 4);
    let mut body = ask("demo", "count to 2", json!({"system": system}));
    body["messages"]
        .as_array_mut()
        .unwrap()
        .extend([json!({"role": "assistant", "content": "1, 2"}), json!({"role": "user", "content": "again"})]);
    let second = anthropic(&server, &body).await.json();
    assert_eq!(second["usage"]["cache_read_input_tokens"], 4);
    assert_eq!(second["usage"]["cache_creation_input_tokens"], 0);
    // Three messages of four tokens, and 3, 3 and 1 tokens of text.
    assert_eq!(second["usage"]["input_tokens"], 19);
}

#[tokio::test]
async fn stops_and_structure() {
    let server = server().await;
    let body = anthropic(&server, &ask("demo", "count to 9", json!({"max_tokens": 2}))).await.json();
    assert_eq!((&body["stop_reason"], &body["usage"]["output_tokens"]), (&json!("max_tokens"), &json!(2)));
    let body = anthropic(&server, &ask("demo", "count to 9", json!({"stop_sequences": ["3"]}))).await.json();
    assert_eq!((&body["stop_reason"], &body["stop_sequence"]), (&json!("stop_sequence"), &json!("3")));
    let schema = json!({"type": "object", "properties": {"ok": {"type": "boolean"}}});
    let more = json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}});
    let body = anthropic(&server, &ask("demo", "hi", more)).await.json();
    assert_eq!(body["content"][0]["text"], r#"{"ok":true}"#);
}

#[tokio::test]
async fn refuses_what_the_service_refuses() {
    let server = server().await;
    let user = json!({"role": "user", "content": "hi"});
    let call =
        json!({"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}]});
    let stray = json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_9", "content": ""}]});
    let table = [
        (json!({"model": "demo", "messages": [user]}), "max_tokens: Field required"),
        (json!({"model": "demo", "max_tokens": 9}), "messages: Field required"),
        (json!({"model": "demo", "max_tokens": 9, "messages": []}), "at least one message"),
        (
            json!({"model": "demo", "max_tokens": 9, "messages": [{"role": "system", "content": "x"}]}),
            "Unexpected role",
        ),
        (json!({"model": "demo", "max_tokens": 9, "messages": [user, call, user]}), "toolu_1"),
        (json!({"model": "demo", "max_tokens": 9, "messages": [user, stray]}), "toolu_9"),
        (json!({"model": "demo", "max_tokens": 9, "messages": [user], "tools": [{"name": "f"}]}), "input_schema"),
        (
            json!({"model": "demo", "max_tokens": 9, "messages": [user], "thinking": {"type": "enabled", "budget_tokens": 9}}),
            "1024",
        ),
    ];
    for (body, part) in table {
        let answer = anthropic(&server, &body).await;
        let error = answer.json();
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!((&error["type"], &error["error"]["type"]), (&json!("error"), &json!("invalid_request_error")));
        assert!(error["error"]["message"].as_str().unwrap().contains(part), "{error}");
    }
    let answer = read(send(&server, Method::POST, "/v1/messages", &[], &ask("demo", "hi", json!({}))).await).await;
    assert_eq!(answer.json()["error"]["message"], "anthropic-version: header is required");
}
