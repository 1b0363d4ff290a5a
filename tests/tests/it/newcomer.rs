//! A provider that the host has never heard of: its own JSON, its own streams, its own header for the key. A file in the folder
//! and a section of the configuration are all it takes, in a gateway that serves meanwhile (invariant 6).

use std::net::SocketAddr;

use http::StatusCode;
use portcullis_tests::{
    Act, Client, Component, Gateway, Received, Setup, Traffic, Upstream, demo, eventually, hash_of, json_answer, sse,
};
use serde_json::{Value, json};

const SECRET: &str = "brass-and-clockwork-51c7";
const CHAT: &str = "/v1/chat/completions";

/// The provider itself: answers in the protocol that `host/runtime/tests/guests/examples/provider.rs` describes.
fn speak(request: &Received) -> Vec<Act> {
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    let heard = body["turns"].as_array().expect("turns").last().expect("a turn")["words"].clone();
    let meter = json!({"heard": 11, "spoken": 5});
    if heard == "clouds" {
        let trouble = json!({"trouble": "too many at once", "detail": "The sky is full.", "again_in": 7});
        return json_answer(418, "", &trouble.to_string());
    }
    if body["trickle"] == false {
        let answer = json!({"ref": "o-1", "engine": "armillary-2", "words": "I heard größe.", "why": "finished", "meter": meter});
        return json_answer(200, "", &answer.to_string());
    }
    let mut lines = vec![json!({"ref": "o-2", "engine": "armillary-2"}), json!({"words": "I heard "})];
    if heard == "halfway" {
        lines.push(json!({"trouble": "clouds", "detail": "They came."}));
    } else {
        lines.push(json!({"words": "größe."}));
        lines.push(json!({"why": "no room", "meter": meter}));
    }
    let mut acts =
        vec![Act::send("HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n")];
    // Lines do not arrive as lines: every chunk ends within one, and within a letter of two bytes.
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    for piece in text.as_bytes().chunks(7) {
        acts.extend([Act::chunk(piece), Act::pause(1)]);
    }
    acts.push(Act::end());
    acts
}

fn sections(demo: SocketAddr, orrery: SocketAddr) -> String {
    format!(
        "[providers.demo]\nplugin = \"openai\"\nbase_url = \"http://{demo}/v1\"\nmodels = [\"*\"]\nonly = [\"none\"]\n\
         [providers.demo-anthropic]\nplugin = \"anthropic\"\nbase_url = \"http://{demo}\"\nmodels = [\"*\"]\nonly = [\"none\"]\n\
         [[pricing.price]]\nmodel = \"demo/*\"\ninput = \"1\"\noutput = \"2\"\n\
         [[pricing.price]]\nmodel = \"demo-anthropic/*\"\ninput = \"1\"\noutput = \"2\"\n\
         [providers.sky]\nplugin = \"orrery\"\nbase_url = \"http://{orrery}/house\"\napi_key = \"${{ORRERY_KEY}}\"\n\
         auth = \"header:x-orrery-token\"\n"
    )
}

/// A gateway that served others and then learned of it.
async fn newcomer() -> (Gateway, Client, Upstream, Component) {
    let demo = demo().await;
    let upstream = Upstream::start(speak).await;
    let gateway = Setup::demo(&demo).environment("ORRERY_KEY", SECRET).start().await;
    let client = gateway.client().await;
    let traffic = Traffic::start(&client, 2);
    let lost = client.chat("sky/armillary", "hello").await;
    assert_eq!(lost.status, StatusCode::NOT_FOUND, "{:?}", lost.body);
    let component = Component::guest("provider");
    gateway.plugins.put("orrery", &component);
    gateway.logged(&["plugin", "orrery"]).await;
    gateway.configure(&sections(demo.address(), upstream.address));
    eventually("the newcomer answers", || async {
        client.chat("sky/armillary", "hello").await.status == StatusCode::OK
    })
    .await;
    traffic.stop().await.all_went_well();
    (gateway, client, upstream, component)
}

#[tokio::test]
async fn a_provider_nobody_has_heard_of_joins_a_running_gateway() {
    let (gateway, client, upstream, component) = newcomer().await;

    // Whole, to OpenAI's client. By its bare name too: its catalogue came with it.
    let body = json!({"model": "armillary", "max_tokens": 99, "messages": [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]});
    let answer = client.post(CHAT, body.to_string()).await.ok();
    let receipt = client.receipt(&answer.id()).await;
    let told = answer.json();
    assert_eq!(told["choices"][0]["message"]["content"], "I heard größe.");
    assert_eq!((&told["id"], &told["model"]), (&json!("o-1"), &json!("armillary-2")));
    assert_eq!((&told["usage"]["prompt_tokens"], &told["usage"]["completion_tokens"]), (&json!(11), &json!(5)));
    // 11 tokens at 3 and 5 at 7 USD per million.
    assert_eq!(receipt["cost"]["total_nano"], 68_000);
    assert_eq!(told["usage"]["cost_usd_total"], json!(0.000068));
    assert_eq!(told["metadata"]["used_provider"], "sky");
    assert_eq!(hash_of(&receipt, "orrery"), Some(component.hash().as_str()));
    let received = upstream.requests().pop().unwrap();
    let head = received.head.to_ascii_lowercase();
    assert!(received.head.starts_with("POST /house/speak/armillary?edition=3 HTTP/1.1\r\n"), "{head}");
    assert!(
        head.contains(&format!("x-orrery-token: {SECRET}\r\n")) && head.contains("x-orrery-turns: 1\r\n"),
        "{head}"
    );
    assert!(!head.contains("authorization") && !head.contains(&client.key), "{head}");
    let sent: Value = serde_json::from_slice(&received.body).unwrap();
    let expected =
        json!({"turns": [{"who": "human", "words": "hello"}], "rules": "Be brief.", "room": 99, "trickle": false});
    assert_eq!(sent, expected);

    // Streamed, to OpenAI's client and to Anthropic's.
    for (stream, usage) in [
        (client.chat_stream("sky/armillary", "hello").await, None),
        (client.messages_stream("sky/armillary", "hello").await, Some("/usage/output_tokens")),
    ] {
        let mut stream = stream;
        assert_eq!(stream.status, StatusCode::OK);
        let id = stream.id();
        let (text, complete) = stream.rest().await;
        let events = sse::events(&text);
        assert!(complete && sse::ended(&events), "{text}");
        assert_eq!(sse::text(&events), "I heard größe.");
        let found = |at: &str| {
            events.iter().rev().find_map(|event| event.json().pointer(at).filter(|value| !value.is_null()).cloned())
        };
        let finish = found("/choices/0/finish_reason").or(found("/delta/stop_reason")).expect("a finish");
        assert!(finish == "length" || finish == "max_tokens", "{finish}");
        if let Some(at) = usage {
            assert_eq!(found(at), Some(json!(5)), "{text}");
        }
        assert_eq!(client.receipt(&id).await["usage"]["output"], 5);
    }
    assert!(!gateway.log().contains(SECRET));

    let models = client.get("/v1/models").await.ok().json();
    let entry = models["data"].as_array().unwrap().iter().find(|model| model["id"] == "sky/armillary");
    assert_eq!(entry.expect("it is listed")["pricing"], json!({"input": "0.000003", "output": "0.000007"}));
}

#[tokio::test]
async fn its_errors_are_understood() {
    let (_gateway, client, _upstream, _) = newcomer().await;
    let refused = client.chat("sky/armillary", "clouds").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{:?}", refused.body);
    assert_eq!(refused.headers.get("retry-after").and_then(|value| value.to_str().ok()), Some("7"));
    let mut stream = client.chat_stream("sky/armillary", "halfway").await;
    let (text, _) = stream.rest().await;
    let events = sse::events(&text);
    assert_eq!(sse::text(&events), "I heard ");
    assert!(sse::error(&events).is_some(), "{text}");
}
