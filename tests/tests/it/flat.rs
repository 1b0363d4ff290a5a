//! The flat protocol, before providers of both others.

use http::StatusCode;
use portcullis_tests::{Answer, Client, Setup, demo};
use serde_json::{Value, json};

const FLAT: &str = "/api/v1/llm/chat";
const SHARED: &str = "/v1/chat/completions";
const BY_HEADER: (&str, &str) = ("x-portcullis-format", "flat");

async fn ask(client: &Client, body: &Value) -> Answer {
    client.post(FLAT, body.to_string()).await
}

fn hello(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hello"}]})
}

/// Against the receipt: names of both families, and what it cost.
async fn counted(client: &Client, id: &str, told: &Value) {
    let receipt = client.receipt(id).await;
    let usage = &told["usage"];
    assert_eq!(
        (&usage["input_tokens"], &usage["output_tokens"]),
        (&receipt["usage"]["input"], &receipt["usage"]["output"])
    );
    assert_eq!((&usage["tokens_in"], &usage["tokens_out"]), (&usage["input_tokens"], &usage["output_tokens"]));
    assert!(usage["output_tokens"].as_u64() > Some(0), "{told}");
    let nano = receipt["cost"]["total_nano"].as_u64().expect("a cost");
    assert_eq!((usage["cost_usd"].as_f64().expect("a cost") * 1e9).round() as u64, nano, "{told}");
}

#[tokio::test]
async fn a_text_who_wrote_it_and_what_it_cost() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    for provider in ["demo", "demo-anthropic"] {
        let mut body = hello(&format!("{provider}/demo"));
        body["system"] = "Be brief.".into();
        body["temperature"] = 0.5.into();
        let answer = ask(&client, &body).await.ok();
        let told = answer.json();
        assert!(told["content"].as_str().is_some_and(|text| text.starts_with("Hello!")), "{told}");
        assert_eq!((&told["model"], &told["provider"]), (&json!("demo"), &json!(provider)));
        assert_eq!((&told["route_method"], &told["finish_reason"]), (&json!("explicit"), &json!("stop")));
        assert_eq!(told["metadata"]["used_provider"], provider);
        assert_eq!(told["x-llm-gateway"]["request_id"], answer.id());
        counted(&client, &answer.id(), &told).await;
        let receipt = client.receipt(&answer.id()).await;
        assert_eq!((&receipt["dialect"], &receipt["operation"]), (&json!("flat"), &json!("chat")));

        body["stream"] = true.into();
        let answer = ask(&client, &body).await.ok();
        let events = answer.events();
        let (last, pieces) = events.split_last().expect("frames");
        let text: String =
            pieces.iter().map(|piece| piece.json()["content"].as_str().expect("a piece").to_owned()).collect();
        assert_eq!(text, told["content"]);
        assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.json().as_object().unwrap().len() == 1));
        let last = last.json();
        assert!(last.get("content").is_none(), "{last}");
        assert_eq!((&last["model"], &last["provider"]), (&json!("demo"), &json!(provider)));
        counted(&client, &answer.id(), &last).await;
    }
}

#[tokio::test]
async fn the_gateway_chooses_where_it_is_asked_to_and_only_there() {
    let demo = demo().await;
    let routing = "[routing]\nauto = [\"demo/demo\", \"demo-anthropic/demo\"]\n";
    let gateway = Setup::demo(&demo).with(routing).start().await;
    let client = gateway.client().await;
    for mut body in [hello("nobody/nothing"), json!({"messages": [{"role": "user", "content": "Hello"}]})] {
        body["auto_route"] = true.into();
        let answer = ask(&client, &body).await.ok();
        let told = answer.json();
        assert!(["demo", "demo-anthropic"].contains(&told["provider"].as_str().unwrap()), "{told}");
        assert_ne!(told["route_method"], "explicit");
        let receipt = client.receipt(&answer.id()).await;
        assert_eq!(receipt["requested_model"], "auto");
        assert_eq!(receipt["routing"]["candidates"].as_array().map(Vec::len), Some(2));
    }
    // Nor does a guard's replacement make a model of what is none.
    let body = json!({"auto_route": true, "messages": [{"role": "user", "content": "Mail jane.roe@example.com"}]});
    let answer = ask(&client, &body).await.ok();
    let receipt = client.receipt(&answer.id()).await;
    assert_eq!(receipt["requested_model"], "auto");
    assert!(demo.received().iter().all(|request| !String::from_utf8_lossy(&request.body).contains("jane.roe")));
    for (flag, status) in [(json!(false), StatusCode::BAD_REQUEST), (json!("true"), StatusCode::BAD_REQUEST)] {
        let body = json!({"auto_route": flag, "messages": [{"role": "user", "content": "Hello"}]});
        let refused = ask(&client, &body).await;
        assert_eq!(refused.status, status);
        assert_eq!(refused.json()["error"]["code"], "invalid_request", "{:?}", refused.body);
    }
    // Where the client named it, that is who answers.
    let told = ask(&client, &hello("demo-anthropic/demo")).await.ok().json();
    assert_eq!((&told["provider"], &told["route_method"]), (&json!("demo-anthropic"), &json!("explicit")));
    // Other protocols know no such flag.
    let other = json!({"auto_route": true, "messages": [{"role": "user", "content": "Hello"}]}).to_string();
    assert_eq!(client.post(SHARED, other).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_header_asks_for_it_on_the_shared_path() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let body = hello("demo/demo").to_string();
    for value in ["flat", "FLAT"] {
        let told = client.post_with(SHARED, &[(BY_HEADER.0, value)], body.clone()).await.ok().json();
        assert!(told["content"].is_string() && told.get("choices").is_none(), "{told}");
    }
    for headers in [&[][..], &[(BY_HEADER.0, "openai")]] {
        let told = client.post_with(SHARED, headers, body.clone()).await.ok().json();
        assert!(told["choices"].is_array() && told.get("content").is_none(), "{told}");
    }
    let refused = client.post_with(SHARED, &[BY_HEADER], "{\"model\":\"demo/demo\"}").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let error = refused.json();
    assert_eq!((&error["error"]["code"], &error["error"]["param"]), (&json!("invalid_request"), &json!("messages")));
}

#[tokio::test]
async fn a_key_asks_for_it_where_a_request_does_not_say() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client_with(&["--format", "flat"]).await;
    let other = gateway.client().await;
    // A body that is either protocol's.
    let body = hello("demo/demo").to_string();
    let is_flat = |told: &Value| (told["content"].is_string(), told["choices"].is_array());
    let told = client.post(SHARED, body.clone()).await.ok();
    assert_eq!(is_flat(&told.json()), (true, false), "{}", told.text());
    let receipt = client.receipt(&told.id()).await;
    assert_eq!((&receipt["dialect"], &receipt["route"]), (&json!("flat"), &json!("chat-by-header")));
    let streamed = json!({"model": "demo/demo", "stream": true, "messages": [{"role": "user", "content": "Hello"}]});
    let events = client.post(SHARED, streamed.to_string()).await.ok().events();
    assert!(events.len() > 1 && events[0].json()["content"].is_string(), "{events:?}");
    // What a request says itself goes before, in either direction; another key's are as ever.
    let told = client.post_with(SHARED, &[(BY_HEADER.0, "openai")], body.clone()).await.ok().json();
    assert_eq!(is_flat(&told), (false, true), "{told}");
    assert_eq!(is_flat(&other.post(SHARED, body.clone()).await.ok().json()), (false, true));
    assert_eq!(is_flat(&other.post_with(SHARED, &[BY_HEADER], body).await.ok().json()), (true, false));
    // Where no other protocol is spoken there is nothing to ask for.
    let messages = client.messages("demo-anthropic/demo", "Hello").await.ok().json();
    assert_eq!(messages["type"], "message");
    // Errors too, of the request and of its path.
    let refused = client.post(SHARED, "{\"model\":\"demo/demo\"}").await;
    assert_eq!(refused.json()["error"]["code"], "invalid_request", "{}", refused.text());
    let nowhere = client.post("/v1/nowhere", "{}").await;
    let error = nowhere.json()["error"].clone();
    assert_eq!(
        (nowhere.status, error.as_object().map(serde_json::Map::len)),
        (StatusCode::NOT_FOUND, Some(2)),
        "{error}"
    );

    let listed: Value = serde_json::from_slice(&gateway.run(&["key", "list", "--json"]).await.stdout).unwrap();
    let formats: Vec<_> = listed.as_array().unwrap().iter().map(|key| (&key["format"], &key["metadata"])).collect();
    assert_eq!(formats, [(&json!("flat"), &Value::Null), (&Value::Null, &Value::Null)]);
    let table = gateway.run(&["key", "list"]).await.stdout;
    assert!(String::from_utf8_lossy(&table).contains(" flat "), "{table:?}");
    let refused = gateway.run(&["key", "create", "--name", "x", "--format", "a b"]).await;
    assert!(!refused.status.success(), "{refused:?}");
}

#[tokio::test]
async fn its_errors_have_its_shape() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let mut tools = hello("demo/demo");
    tools["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
    let stranger = Client { key: "pc_prod_nobody".to_owned(), ..client.clone() };
    for (answer, status, code) in [
        (ask(&client, &hello("nobody/nothing")).await, StatusCode::NOT_FOUND, "model_not_found"),
        (ask(&client, &tools).await, StatusCode::BAD_REQUEST, "unsupported_feature"),
        (ask(&client, &hello("demo/demo-error-429")).await, StatusCode::TOO_MANY_REQUESTS, ""),
        (ask(&stranger, &hello("demo/demo")).await, StatusCode::UNAUTHORIZED, ""),
    ] {
        assert_eq!(answer.status, status, "{:?}", answer.body);
        let error = &answer.json()["error"];
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{error}");
        assert!(error["code"].as_str().is_some_and(|told| code.is_empty() || told == code), "{error}");
    }
}

/// A guard redacts pieces of this protocol's streams as of any other's.
#[tokio::test]
async fn its_streams_are_guarded() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let secret = "jane.roe@example.com";
    for stream in [false, true] {
        let body = json!({"model": "demo/demo-echo", "stream": stream,
            "messages": [{"role": "user", "content": format!("write to {secret} now")}]});
        let answer = ask(&client, &body).await.ok();
        let text: String = if stream {
            let events = answer.events();
            assert!(events.last().unwrap().json()["usage"].is_object(), "{}", answer.text());
            events.iter().filter_map(|event| event.json()["content"].as_str().map(str::to_owned)).collect()
        } else {
            answer.json()["content"].as_str().unwrap().to_owned()
        };
        assert!(!answer.text().contains(secret) && text.contains("write to "), "{}", answer.text());
    }
}
