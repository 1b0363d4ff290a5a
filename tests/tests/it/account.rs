//! What an answer says of its way through the gateway: in the body of those that the gateway encodes, and of others where the
//! client asks for it; never otherwise.

use portcullis_tests::{Answer, Client, Setup, Upstream, answer, chat, demo, json_answer, messages, sse};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const ASK: (&str, &str) = ("x-portcullis-metadata", "body");

/// A path and a body for a provider, in OpenAI's protocol or in Anthropic's.
fn ask(path: &'static str, provider: &str, stream: bool) -> (&'static str, String) {
    let model = format!("{provider}/demo");
    let body = if path == CHAT { chat(&model, "hello", stream) } else { messages(&model, "hello", stream) };
    (path, body.to_string())
}

/// Exactly, as the text says: a float would not tell.
fn usd(nano: u64) -> String {
    let digits = format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000);
    digits.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The attempts: a list, or in OpenAI's protocol, whose metadata are texts, a list in a text.
fn routing(metadata: &Value) -> Value {
    match &metadata["routing"] {
        Value::String(text) => serde_json::from_str(text).expect("JSON"),
        list => list.clone(),
    }
}

/// The account of a document, against the request's receipt.
async fn agrees(client: &Client, id: &str, document: &Value, text: &str, provider: &str) {
    let receipt = client.receipt(id).await;
    let metadata = &document["metadata"];
    assert_eq!((&metadata["used_provider"], &metadata["used_model"]), (&json!(provider), &json!("demo")), "{text}");
    assert_eq!((&metadata["requested_provider"], &metadata["requested_model"]), (&json!(provider), &json!("demo")));
    assert_eq!(metadata["underlying_used_model"], "demo");
    let expected = json!([{"provider": provider, "model": "demo", "status_code": 200, "error_type": null}]);
    assert_eq!(routing(metadata), expected);
    let gateway = &document["x-llm-gateway"];
    assert_eq!((&gateway["request_id"], &gateway["fallback_used"]), (&json!(id), &json!(false)));
    assert_eq!(gateway["routing_decision"], "explicit");
    assert!(gateway["latency_ms"].is_u64(), "{gateway}");
    let cost = &receipt["cost"];
    let nano = |name: &str| cost[name].as_u64().unwrap_or_else(|| panic!("{name}: {receipt}"));
    assert!(nano("total_nano") > 0);
    assert_eq!(nano("input_nano") + nano("output_nano"), nano("total_nano"));
    for (name, value) in [
        ("cost_usd_total", nano("total_nano")),
        ("cost_usd_input", nano("input_nano")),
        ("cost_usd_output", nano("output_nano")),
        ("cost_usd", nano("total_nano")),
    ] {
        let member = format!("\"{name}\":{}", usd(value));
        let ends = text.split(&member).nth(1).and_then(|rest| rest.chars().next());
        assert!(matches!(ends, Some(',' | '}')), "{member} in {text}");
    }
}

#[tokio::test]
async fn encoded_answers_tell_their_way_and_cost() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    for (provider, path) in [("demo-anthropic", CHAT), ("demo", MESSAGES)] {
        let (path, body) = ask(path, provider, false);
        let answer = client.post(path, body).await.ok();
        agrees(&client, &answer.id(), &answer.json(), answer.text(), provider).await;
    }
}

#[tokio::test]
async fn encoded_streams_tell_it_at_their_end_and_are_otherwise_as_ever() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;

    // OpenAI's client that did not ask for usage: the chunk with the finish reason, and no chunk without choices.
    let answer = client.post(CHAT, chat("demo-anthropic/demo", "hello", true).to_string()).await.ok();
    let events = answer.events();
    let (done, chunks) = events.split_last().expect("events");
    assert_eq!(done.data, "[DONE]");
    let chunks: Vec<Value> = chunks.iter().map(sse::Event::json).collect();
    let (last, before) = chunks.split_last().expect("chunks");
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(last["metadata"]["used_provider"], "demo-anthropic");
    assert_eq!(last["x-llm-gateway"]["request_id"], answer.id());
    for chunk in before {
        assert!(chunk["choices"][0]["finish_reason"].is_null() && chunk["choices"][0]["delta"].is_object(), "{chunk}");
        assert!(chunk.get("metadata").is_none() && chunk.get("x-llm-gateway").is_none(), "{chunk}");
    }
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));

    // One that did: the usage chunk, once.
    let mut body = chat("demo-anthropic/demo", "hello", true);
    body["stream_options"] = json!({"include_usage": true});
    let answer = client.post(CHAT, body.to_string()).await.ok();
    let events = answer.events();
    let telling: Vec<_> = events.iter().filter(|event| event.json().get("metadata").is_some()).collect();
    let [usage] = telling[..] else { panic!("{}", answer.text()) };
    assert_eq!(usage.json()["choices"], json!([]));
    agrees(&client, &answer.id(), &usage.json(), &usage.data, "demo-anthropic").await;

    // Anthropic's: `message_delta`.
    let answer = client.post(MESSAGES, messages("demo/demo", "hello", true).to_string()).await.ok();
    let events = answer.events();
    for event in &events {
        assert_eq!(event.json().get("metadata").is_some(), event.name == "message_delta", "{event:?}");
    }
    let delta = events.iter().find(|event| event.name == "message_delta").expect("message_delta");
    agrees(&client, &answer.id(), &delta.json(), &delta.data, "demo").await;
}

/// The answer's text, in either protocol.
fn content(answer: &Answer) -> Value {
    let document = answer.json();
    document.pointer("/choices/0/message/content").or(document.pointer("/content/0/text")).cloned().expect("a text")
}

#[tokio::test]
async fn passed_answers_are_encoded_only_where_the_client_asks() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    for (provider, path) in [("demo", CHAT), ("demo-anthropic", MESSAGES)] {
        let (path, body) = ask(path, provider, false);
        let plain = client.post(path, body.clone()).await.ok();
        assert!(!plain.text().contains("x-llm-gateway") && !plain.text().contains("cost_usd"), "{}", plain.text());
        let header: Value = serde_json::from_slice(plain.headers["x-llm-gateway"].as_bytes()).unwrap();
        assert_eq!(header["request_id"], plain.id());
        // Any other value of the header asks for nothing.
        let other = client.post_with(path, &[("x-portcullis-metadata", "headers")], body.clone()).await.ok();
        assert!(!other.text().contains("x-llm-gateway"), "{}", other.text());

        let told = client.post_with(path, &[ASK], body).await.ok();
        agrees(&client, &told.id(), &told.json(), told.text(), provider).await;
        assert_eq!(content(&told), content(&plain));

        let (path, body) = ask(path, provider, true);
        let told = client.post_with(path, &[ASK], body).await.ok();
        let events = told.events();
        assert!(sse::ended(&events), "{}", told.text());
        let telling: Vec<_> = events.iter().filter(|event| event.json().get("x-llm-gateway").is_some()).collect();
        let [one] = telling[..] else { panic!("{}", told.text()) };
        assert_eq!(one.json()["x-llm-gateway"]["request_id"], told.id());
        assert_eq!(sse::text(&events), content(&plain).as_str().unwrap());
        if path == CHAT {
            // The gateway asked for usage; the client did not.
            assert!(events.iter().all(|event| event.json().get("usage").is_none()), "{}", told.text());
        } else {
            agrees(&client, &told.id(), &one.json(), &one.data, provider).await;
        }
    }
}

#[tokio::test]
async fn a_key_asks_for_it_in_the_body() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client_with(&["--metadata", "body"]).await;
    for (provider, path) in [("demo", CHAT), ("demo-anthropic", MESSAGES)] {
        let (path, body) = ask(path, provider, false);
        let told = client.post(path, body.clone()).await.ok();
        agrees(&client, &told.id(), &told.json(), told.text(), provider).await;
        // Unless the request says otherwise.
        let plain = client.post_with(path, &[("x-portcullis-metadata", "headers")], body).await.ok();
        assert!(!plain.text().contains("x-llm-gateway"), "{}", plain.text());
    }
}

#[tokio::test]
async fn every_attempt_is_told() {
    let bad = Upstream::start(|_| json_answer(529, "", "{\"error\":{\"message\":\"busy\"}}")).await;
    let good = Upstream::start(|_| answer("hello")).await;
    let gateway = Setup::new()
        .openai("bad", bad.address)
        .openai("good", good.address)
        .with("[routing]\nauto = [\"bad/demo\", \"good/demo\"]\nbreaker_failures = 1000\n")
        .without("router-heuristic")
        .start()
        .await;
    let client = gateway.client().await;
    let told = client.messages("auto", "hello").await.ok().json();
    let metadata = &told["metadata"];
    assert_eq!((&metadata["requested_model"], &metadata["requested_provider"]), (&json!("auto"), &Value::Null));
    assert_eq!(metadata["used_provider"], "good");
    let expected = json!([
        {"provider": "bad", "model": "demo", "status_code": 529, "error_type": "overloaded"},
        {"provider": "good", "model": "demo", "status_code": 200, "error_type": null},
    ]);
    assert_eq!(metadata["routing"], expected);
    assert_eq!(told["x-llm-gateway"]["fallback_used"], true);
}

#[tokio::test]
async fn lists_of_models_say_what_they_can_and_cost() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    // The client sends Anthropic's version with every request, so this is that protocol's list; the flat one has a path of its own.
    let anthropic = client.get("/v1/models").await.ok().json();
    let flat = client.get("/api/v1/llm/models").await.ok().json();
    for (list, capabilities) in [(&anthropic["data"], "capability_names"), (&flat["models"], "capabilities")] {
        let entry = list.as_array().expect("a list").iter().find(|model| model["id"] == "demo/demo");
        let entry = entry.unwrap_or_else(|| panic!("demo/demo in {list}"));
        assert_eq!(entry["pricing"], json!({"input": "0.000001", "output": "0.000002"}), "{entry}");
        assert_eq!(entry["operations"], json!(["chat"]));
        assert!(entry[capabilities].is_array() && entry.get("context_length").is_some(), "{entry}");
        assert!(entry.get("max_output_tokens").is_some(), "{entry}");
    }
}
