//! What an answer says of its way through the gateway: in the body of those that the gateway encodes, and of others where the
//! client asks for it; never otherwise.

use portcullis_tests::{Answer, Client, Setup, Upstream, answer, chat, demo, json_answer, messages, sse};
use serde_json::{Value, json};

/// Client protocols: how each is asked, and where a stream tells.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Protocol {
    Chat,
    Responses,
    Messages,
    Gemini,
    Flat,
}

use Protocol::{Chat, Flat, Gemini, Messages, Responses};

impl Protocol {
    const ALL: [Protocol; 5] = [Chat, Responses, Messages, Gemini, Flat];

    fn path(self, model: &str, stream: bool) -> String {
        match self {
            Chat => CHAT.to_owned(),
            Responses => "/v1/responses".to_owned(),
            Messages => MESSAGES.to_owned(),
            Gemini if stream => format!("/v1beta/models/{model}:streamGenerateContent?alt=sse"),
            Gemini => format!("/v1beta/models/{model}:generateContent"),
            Flat => "/api/v1/llm/chat".to_owned(),
        }
    }

    fn body(self, model: &str, stream: bool) -> Value {
        match self {
            Chat => {
                let mut body = chat(model, "hello", stream);
                if stream {
                    body["stream_options"] = json!({"include_usage": true});
                }
                body
            }
            Responses => json!({"model": model, "input": "hello", "stream": stream}),
            Messages => messages(model, "hello", stream),
            Gemini => json!({"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}),
            Flat => json!({"model": model, "messages": [{"role": "user", "content": "hello"}], "stream": stream}),
        }
    }

    async fn ask(self, client: &Client, model: &str, stream: bool, headers: &[(&str, &str)]) -> Answer {
        client.post_with(&self.path(model, stream), headers, self.body(model, stream).to_string()).await.ok()
    }

    /// Connections that this protocol's requests are encoded for, not passed through.
    fn encoded_for(self) -> impl Iterator<Item = &'static str> {
        ["demo", "demo-anthropic", "demo-gemini"].into_iter().filter(move |provider| match self {
            // The one plugin speaks both of OpenAI's protocols, so that either passes.
            Chat | Responses => *provider != "demo",
            Messages => *provider != "demo-anthropic",
            Gemini => *provider != "demo-gemini",
            Flat => true,
        })
    }

    fn passed_to(self) -> Option<&'static str> {
        match self {
            Chat | Responses => Some("demo"),
            Messages => Some("demo-anthropic"),
            Gemini => Some("demo-gemini"),
            Flat => None,
        }
    }

    /// The document that tells, of an event's.
    fn document(self, event: &Value) -> Value {
        if self == Responses { event["response"].clone() } else { event.clone() }
    }

    /// Whether an event is the one in which a stream of this protocol tells.
    fn tells(self, event: &Value) -> bool {
        match self {
            Chat => event["choices"] == json!([]) && event["usage"].is_object(),
            Responses => event["type"] == "response.completed",
            Messages => event["type"] == "message_delta",
            Gemini => event["candidates"][0]["finishReason"].is_string(),
            Flat => event.get("content").is_none(),
        }
    }
}

/// The demo provider by all three of its protocols.
fn three(demo: &portcullis_demo_upstream::Handle) -> Setup {
    let more = "auth = \"header:x-goog-api-key\"\n";
    Setup::demo(demo).provider("demo-gemini", "gemini", &format!("http://{}/v1beta", demo.address()), more)
}

fn is_account(document: &Value) -> bool {
    document.get("x-llm-gateway").is_some() || document["metadata"].get("used_provider").is_some()
}

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
    let members: Vec<&str> = gateway.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(members, ["cost_usd", "fallback_used", "latency_ms", "request_id", "routing_decision"]);
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
    let gateway = three(&demo).start().await;
    let client = gateway.client().await;
    for protocol in Protocol::ALL {
        for provider in protocol.encoded_for() {
            let model = format!("{provider}/demo");
            let answer = protocol.ask(&client, &model, false, &[]).await;
            agrees(&client, &answer.id(), &answer.json(), answer.text(), provider).await;

            let answer = protocol.ask(&client, &model, true, &[]).await;
            let events = answer.events();
            let events = events.iter().filter(|event| event.data != "[DONE]");
            let telling: Vec<_> = events.filter(|event| is_account(&protocol.document(&event.json()))).collect();
            let [event] = telling[..] else { panic!("{protocol:?} {provider}: {}", answer.text()) };
            assert!(protocol.tells(&event.json()), "{protocol:?} {provider}: {event:?}");
            agrees(&client, &answer.id(), &protocol.document(&event.json()), &event.data, provider).await;
        }
    }
}

#[tokio::test]
async fn passed_answers_tell_it_in_their_head_and_in_the_body_where_they_are_asked_to() {
    let demo = demo().await;
    let gateway = three(&demo).start().await;
    let client = gateway.client().await;
    for (protocol, provider) in Protocol::ALL.into_iter().filter_map(|protocol| Some((protocol, protocol.passed_to()?)))
    {
        let model = format!("{provider}/demo");
        for stream in [false, true] {
            let plain = protocol.ask(&client, &model, stream, &[]).await;
            for member in ["x-llm-gateway", "used_provider", "cost_usd"] {
                assert!(!plain.text().contains(member), "{protocol:?}: {}", plain.text());
            }
            let header =
                |name: &str| -> Value { serde_json::from_slice(plain.headers[name].as_bytes()).expect("JSON") };
            let (gateway, metadata) = (header("x-llm-gateway"), header("x-llm-gateway-metadata"));
            assert_eq!(
                (&gateway["request_id"], &gateway["routing_decision"]),
                (&json!(plain.id()), &json!("explicit"))
            );
            assert_eq!(gateway["fallback_used"], false);
            let receipt = client.receipt(&plain.id()).await;
            for (name, member) in
                [("cost_usd", "total_nano"), ("cost_usd_input", "input_nano"), ("cost_usd_output", "output_nano")]
            {
                let told = plain.headers["x-llm-gateway"]
                    .to_str()
                    .expect("text")
                    .contains(&format!("\"{name}\":{}", usd(receipt["cost"][member].as_u64().expect("a cost"))));
                // What a stream costs nobody knows at its beginning.
                assert_eq!((told, gateway.get(name).is_some()), (!stream, !stream), "{protocol:?} {name} {gateway}");
            }
            let tried = json!([{"provider": provider, "model": "demo", "status_code": 200, "error_type": null}]);
            let expected = json!({"requested_model": "demo", "requested_provider": provider, "used_model": "demo",
                "used_provider": provider, "underlying_used_model": "demo", "routing": tried});
            assert_eq!(metadata, expected, "{protocol:?}");

            let told = protocol.ask(&client, &model, stream, &[ASK]).await;
            assert!(!told.headers.contains_key("x-llm-gateway-metadata"), "{protocol:?}");
            let documents: Vec<(Value, String)> = if stream {
                let events = told.events();
                let events = events.iter().filter(|event| event.data != "[DONE]");
                events.map(|event| (protocol.document(&event.json()), event.data.clone())).collect()
            } else {
                vec![(told.json(), told.text().to_owned())]
            };
            let telling: Vec<_> = documents.iter().filter(|(document, _)| is_account(document)).collect();
            let [(document, text)] = telling[..] else { panic!("{protocol:?}: {}", told.text()) };
            agrees(&client, &told.id(), document, text, provider).await;
        }
    }
}

/// A target that fails is told of in every protocol, whole and streamed, and so is one that was passed through.
#[tokio::test]
async fn every_protocol_tells_of_a_failed_attempt() {
    let demo = demo().await;
    let bad = Upstream::start(|_| json_answer(529, "", "{\"error\":{\"message\":\"busy\"}}")).await;
    let auto = "[routing]\nauto = [\"bad/demo\", \"demo-gemini/demo\"]\nbreaker_failures = 1000\n";
    let gateway = three(&demo).openai("bad", bad.address).with(auto).without("router-heuristic").start().await;
    let client = gateway.client().await;
    let expected = json!([
        {"provider": "bad", "model": "demo", "status_code": 529, "error_type": "overloaded"},
        {"provider": "demo-gemini", "model": "demo", "status_code": 200, "error_type": null},
    ]);
    for protocol in Protocol::ALL {
        for stream in [false, true] {
            let answer = protocol.ask(&client, "auto", stream, &[]).await;
            let document = match (protocol, stream) {
                (Gemini, _) => {
                    let header =
                        |name: &str| -> Value { serde_json::from_slice(answer.headers[name].as_bytes()).unwrap() };
                    json!({"metadata": header("x-llm-gateway-metadata"), "x-llm-gateway": header("x-llm-gateway")})
                }
                (_, false) => answer.json(),
                (_, true) => {
                    let events = answer.events();
                    let events = events.iter().filter(|event| event.data != "[DONE]").map(sse::Event::json);
                    let documents: Vec<Value> = events.map(|event| protocol.document(&event)).collect();
                    documents.into_iter().find(is_account).expect("an account")
                }
            };
            let metadata = &document["metadata"];
            assert_eq!(routing(metadata), expected, "{protocol:?} {stream}");
            assert_eq!(
                (&metadata["requested_model"], metadata.get("requested_provider").is_none_or(Value::is_null)),
                (&json!("auto"), true)
            );
            assert_eq!(metadata["used_provider"], "demo-gemini");
            let gateway = &document["x-llm-gateway"];
            assert_eq!(
                (&gateway["fallback_used"], &gateway["routing_decision"]),
                (&json!(true), &json!("order")),
                "{protocol:?}"
            );
        }
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
