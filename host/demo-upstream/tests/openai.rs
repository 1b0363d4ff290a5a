//! Chat Completions over real sockets.

mod common;

use common::{Answer, ask, openai, read, send, server};
use http::{Method, StatusCode};
use serde_json::{Value, json};

fn text(answer: &Answer) -> String {
    answer.events().iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect()
}

#[tokio::test]
async fn whole_and_streamed_agree() {
    let server = server().await;
    let whole = openai(&server, &ask("demo", "count to 3", json!({}))).await;
    assert_eq!(whole.status, StatusCode::OK);
    assert!(whole.headers.contains_key("x-request-id"));
    let body = whole.json();
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["choices"][0]["message"]["content"], "1, 2, 3");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    assert_eq!(body["usage"]["completion_tokens"], 5);
    assert_eq!(body["usage"]["total_tokens"], 5 + body["usage"]["prompt_tokens"].as_u64().unwrap());

    let more = json!({"stream": true, "stream_options": {"include_usage": true}});
    let streamed = openai(&server, &ask("demo", "count to 3", more)).await;
    assert_eq!(streamed.headers["content-type"], "text/event-stream; charset=utf-8");
    assert!(streamed.complete && streamed.text.ends_with("data: [DONE]\n\n"));
    assert_eq!(text(&streamed), "1, 2, 3");
    let events = streamed.events();
    let (last, others) = events.split_last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &body["usage"]));
    assert!(others.iter().all(|event| event.get("usage") == Some(&Value::Null)));
    assert_eq!(others[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(others.last().unwrap()["choices"][0]["finish_reason"], "stop");
    assert!(events.iter().all(|event| event["id"] == events[0]["id"]));

    let plain = openai(&server, &ask("demo", "count to 3", json!({"stream": true}))).await;
    assert!(plain.events().iter().all(|event| event.get("usage").is_none()));
}

#[tokio::test]
async fn chat_names_what_was_asked() {
    let server = server().await;
    let content = json!([
        {"type": "text", "text": "what is on these?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
    ]);
    let body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": content}]});
    let first = openai(&server, &body).await.json();
    let said = first["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!(said.contains("what is on these?") && said.contains("I received 2 images."), "{said}");
    let second = openai(&server, &body).await.json();
    assert_eq!(second["choices"], first["choices"]);
    assert_eq!(second["usage"], first["usage"]);
    assert_ne!(second["id"], first["id"]);
}

#[tokio::test]
async fn tools_called_and_answered() {
    let server = server().await;
    let tool = |name: &str, member: &str| {
        let parameters = json!({"type": "object", "properties": {member: {"type": "string"}}, "required": [member]});
        json!({"type": "function", "function": {"name": name, "parameters": parameters}})
    };
    let more = json!({"tools": [tool("weather", "city"), tool("time", "zone")]});
    let one = openai(&server, &ask("demo", "call the tool", more.clone())).await.json();
    let message = &one["choices"][0]["message"];
    assert_eq!(one["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!((message["content"].clone(), message["tool_calls"].as_array().unwrap().len()), (Value::Null, 1));
    assert_eq!(message["tool_calls"][0]["function"]["name"], "weather");
    assert_eq!(message["tool_calls"][0]["function"]["arguments"], r#"{"city":"demo city"}"#);

    let mut streaming = more.clone();
    streaming["stream"] = json!(true);
    let streamed = openai(&server, &ask("demo-tool", "use both", streaming)).await;
    let mut arguments = [String::new(), String::new()];
    let mut names = Vec::new();
    for event in streamed.events() {
        for call in event["choices"][0]["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let index = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
            names.extend(call["function"]["name"].as_str().map(str::to_owned));
            arguments[index].push_str(call["function"]["arguments"].as_str().unwrap());
        }
    }
    assert_eq!(names, ["weather", "time"]);
    assert_eq!(arguments, [r#"{"city":"demo city"}"#, r#"{"zone":"demo zone"}"#]);

    let mut conversation = ask("demo-tool", "call the tool", more);
    let id = message["tool_calls"][0]["id"].clone();
    let messages = conversation["messages"].as_array_mut().unwrap();
    messages.push(message.clone());
    messages.push(json!({"role": "tool", "tool_call_id": id, "content": "sunny"}));
    let done = openai(&server, &conversation).await.json();
    assert_eq!(done["choices"][0]["message"]["content"], "The tool answered: sunny");
}

#[tokio::test]
async fn structured_output() {
    let server = server().await;
    let schema =
        json!({"type": "object", "properties": {"age": {"type": "integer", "minimum": 18}}, "required": ["age"]});
    let format = json!({"type": "json_schema", "json_schema": {"name": "person", "schema": schema}});
    let body = openai(&server, &ask("demo", "hi", json!({"response_format": format}))).await.json();
    let content = body["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(content).unwrap(), json!({"age": 18}));
    let body = openai(&server, &ask("demo", "hi", json!({"response_format": {"type": "json_object"}}))).await.json();
    let content = body["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(content).unwrap()["answer"].is_string());
}

#[tokio::test]
async fn length_stop_choices_logprobs_and_reasoning() {
    let server = server().await;
    let body = openai(&server, &ask("demo", "count to 9", json!({"max_tokens": 3}))).await.json();
    assert_eq!(body["choices"][0]["finish_reason"], "length");
    assert_eq!(body["usage"]["completion_tokens"], 3);
    let body = openai(&server, &ask("demo", "count to 9", json!({"stop": ", 4"}))).await.json();
    assert_eq!(body["choices"][0]["message"]["content"], "1, 2, 3");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    let body = openai(&server, &ask("demo-echo", "ab cd", json!({"n": 2, "logprobs": true}))).await.json();
    assert_eq!(body["choices"][1]["index"], 1);
    let logprobs = body["choices"][0]["logprobs"]["content"].as_array().unwrap();
    let joined: String = logprobs.iter().map(|entry| entry["token"].as_str().unwrap()).collect();
    assert_eq!(joined, "ab cd");
    let body = openai(&server, &ask("demo-think", "why?", json!({}))).await.json();
    assert!(body["choices"][0]["message"]["reasoning_content"].as_str().unwrap().contains("why?"));
    assert!(body["usage"]["completion_tokens_details"]["reasoning_tokens"].as_u64().unwrap() > 5);
    let body = openai(&server, &ask("demo", "why?", json!({"reasoning_effort": "high"}))).await.json();
    assert_eq!(body["usage"]["completion_tokens_details"]["reasoning_tokens"], 64);
    assert!(body["choices"][0]["message"].get("reasoning_content").is_none());
}

#[tokio::test]
async fn refuses_what_the_service_refuses() {
    let server = server().await;
    let user = json!({"role": "user", "content": "hi"});
    let call = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
    let table = [
        (json!({"model": "demo"}), "messages"),
        (json!({"messages": [user]}), "model"),
        (json!({"model": "demo", "messages": []}), "empty array"),
        (json!({"model": "demo", "messages": [{"role": "robot", "content": "hi"}]}), "robot"),
        (json!({"model": "demo", "messages": [user, call, user]}), "call_1"),
        (
            json!({"model": "demo", "messages": [user, {"role": "tool", "tool_call_id": "x", "content": ""}]}),
            "role 'tool'",
        ),
        (json!({"model": "demo", "messages": [user], "stream_options": {"include_usage": true}}), "stream_options"),
        (
            json!({"model": "demo", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}),
            "image URL",
        ),
        (json!({"model": "demo", "messages": [user], "response_format": {"type": "xml"}}), "xml"),
    ];
    for (body, part) in table {
        let answer = openai(&server, &body).await;
        let error = &answer.json()["error"];
        assert_eq!(
            (answer.status, &error["type"]),
            (StatusCode::BAD_REQUEST, &json!("invalid_request_error")),
            "{body}"
        );
        assert!(error["message"].as_str().unwrap().contains(part), "{error}");
    }
}

#[tokio::test]
async fn models_and_unknown_paths() {
    let server = server().await;
    let list = read(send(&server, Method::GET, "/v1/models", &[], &Value::Null).await).await.json();
    assert_eq!(list["object"], "list");
    assert!(
        list["data"].as_array().unwrap().iter().any(|model| model["id"] == "demo-echo" && model["object"] == "model")
    );
    let headers = [("anthropic-version", "2023-06-01")];
    let list = read(send(&server, Method::GET, "/v1/models", &headers, &Value::Null).await).await.json();
    assert_eq!((&list["first_id"], &list["has_more"]), (&json!("demo"), &json!(false)));
    let answer = read(send(&server, Method::GET, "/v2", &[], &Value::Null).await).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}
