//! Providers that fail: what the client is told, what is billed, and who is asked next.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use portcullis_tests::{Act, Client, Gateway, Setup, Upstream, answer, demo, json_answer, sse, stream_head};
use serde_json::Value;

/// The error of either protocol's answer.
fn error(body: &Value) -> &Value {
    assert!(body["error"]["message"].is_string(), "{body}");
    &body["error"]
}

async fn ends(gateway: &Gateway, client: &Client, id: &str) -> Vec<(String, String)> {
    // The receipt is written with the ends.
    client.receipt(id).await;
    let entries = gateway.ledger().await.entries_of(id).await;
    entries.into_iter().map(|entry| (entry.kind, entry.reason)).collect()
}

const SHORT: &str = "[limits]\nfirst_byte_timeout_ms = 400\nupstream_idle_ms = 400\nconnect_timeout_ms = 400\n";

/// A stream that breaks off ends with an error in the client's protocol, and what came of it is billed as estimated.
#[tokio::test]
async fn a_stream_that_is_cut() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    for provider in ["demo", "demo-anthropic"] {
        let model = format!("{provider}/demo-cut");
        let prompt = "tell me about gates";
        for mut stream in [client.chat_stream(&model, prompt).await, client.messages_stream(&model, prompt).await] {
            assert_eq!(stream.status, StatusCode::OK);
            let (text, _) = stream.rest().await;
            let events = sse::events(&text);
            assert!(!sse::text(&events).is_empty(), "{text}");
            assert!(sse::error(&events).is_some(), "{text}");
            assert!(!events.iter().any(|event| event.name == "message_stop"), "{text}");
            let receipt = client.receipt(&stream.id()).await;
            assert_eq!(receipt["outcome"]["code"], "cut", "{receipt}");
            assert_eq!(receipt["attempts"][0]["ended"], "settled", "{receipt}");
            assert_eq!(receipt["usage"]["estimated"], true, "{receipt}");
            assert!(receipt["usage"]["output"].as_u64() > Some(0), "{receipt}");
            assert!(receipt["cost"]["total_nano"].as_u64() > Some(0), "{receipt}");
        }
    }
}

#[tokio::test]
async fn errors_within_a_stream_are_told_in_the_clients_protocol() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    for provider in ["demo", "demo-anthropic"] {
        let model = format!("{provider}/demo-error-stream");
        let mut chat = client.chat_stream(&model, "hello").await;
        let (text, _) = chat.rest().await;
        let told = sse::error(&sse::events(&text)).unwrap_or_else(|| panic!("{text}"));
        assert!(told["message"].is_string() && !text.contains("was told to fail"), "{text}");
        let mut messages = client.messages_stream(&model, "hello").await;
        let (text, _) = messages.rest().await;
        let events = sse::events(&text);
        let last = events.last().unwrap();
        assert_eq!((last.name.as_str(), last.json()["type"].as_str()), ("error", Some("error")), "{text}");
        for id in [chat.id(), messages.id()] {
            assert_eq!(client.receipt(&id).await["outcome"]["code"], "failed");
        }
    }
}

#[tokio::test]
async fn a_silent_provider_is_given_up() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).with(SHORT).start().await;
    let client = gateway.client().await;
    for provider in ["demo", "demo-anthropic"] {
        // Not even a head: nobody knows what the provider did.
        let began = Instant::now();
        let answer = client.chat(&format!("{provider}/demo-stall-headers"), "hello").await;
        assert!(began.elapsed() < Duration::from_secs(5));
        assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT, "{:?}", answer.body);
        error(&answer.json());
        let ends = ends(&gateway, &client, &answer.id()).await;
        assert_eq!(ends, [("quarantined".to_owned(), "no-answer".to_owned())]);
        // Half a whole answer.
        let answer = client.messages(&format!("{provider}/demo-stall-middle"), "hello").await;
        assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT, "{:?}", answer.body);
        assert_eq!(answer.json()["type"], "error");
        // Half a stream.
        let mut stream = client.messages_stream(&format!("{provider}/demo-stall-middle"), "hello").await;
        let (text, _) = stream.rest().await;
        let events = sse::events(&text);
        assert_eq!(events.last().unwrap().name, "error", "{text}");
        let receipt = client.receipt(&stream.id()).await;
        assert_eq!(receipt["outcome"]["failure"], "timeout", "{receipt}");
        assert_eq!(receipt["attempts"][0]["ended"], "settled", "{receipt}");
        // A stream without a first event.
        let mut stream = client.chat_stream(&format!("{provider}/demo-stall"), "hello").await;
        let (text, _) = stream.rest().await;
        assert!(sse::error(&sse::events(&text)).is_some(), "{text}");
    }
    // Nobody is left waiting at the provider.
    portcullis_tests::eventually("upstream calls are dropped", || async { demo.stats().active == 0 }).await;
}

#[tokio::test]
async fn errors_before_the_answer_have_the_clients_shape_and_cost_nothing() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).with("[routing]\nbreaker_failures = 1000\n").start().await;
    let client = gateway.client().await;
    for provider in ["demo", "demo-anthropic"] {
        for (told, seen) in [(400, 400), (401, 0), (403, 0), (404, 404), (429, 429), (500, 0), (529, 0)] {
            let model = format!("{provider}/demo-error-{told}");
            for answer in [client.chat(&model, "hello").await, client.messages(&model, "hello").await] {
                let status = answer.status.as_u16();
                assert!(status == seen || seen == 0 && status >= 500, "{model}: {status} {:?}", answer.body);
                let body = answer.json();
                error(&body);
                assert!(!answer.text().contains("Incorrect API key"), "the operator's trouble is not the client's");
                if told == 429 {
                    assert_eq!(answer.headers["retry-after"], "1");
                }
                let receipt = client.receipt(&answer.id()).await;
                assert_eq!(receipt["attempts"][0]["ended"], "refunded", "{receipt}");
                assert!(receipt.get("cost").is_none(), "{receipt}");
            }
        }
    }
}

/// The shared name is offered by both; `bad` is asked first.
fn two(bad: &Upstream, good: &Upstream) -> Setup {
    Setup::new()
        .openai("bad", bad.address)
        .openai("good", good.address)
        .without("router-heuristic")
        .with("[routing]\nauto = [\"bad/demo\", \"good/demo\"]\nbreaker_failures = 1000\n")
}

#[tokio::test]
async fn the_next_target_is_asked_before_the_first_byte() {
    let bad = Upstream::start(|_| json_answer(500, "", r#"{"error":{"message":"x","type":"server_error"}}"#)).await;
    let good = Upstream::start(|_| answer("from the second")).await;
    let gateway = two(&bad, &good).start().await;
    let client = gateway.client().await;
    let answer = client.chat("auto", "hello").await.ok();
    assert_eq!(answer.headers["x-portcullis-provider"], "good");
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "from the second");
    assert_eq!((bad.requests().len(), good.requests().len()), (1, 1));
    let receipt = client.receipt(&answer.id()).await;
    let ends: Vec<_> = receipt["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["ended"]).collect();
    assert_eq!(ends, ["refunded", "settled"]);
    let entries = gateway.ledger().await.entries_of(&answer.id()).await;
    assert_eq!(entries.len(), 2, "{entries:?}");
}

#[tokio::test]
async fn a_target_that_is_not_there_is_passed_over() {
    let gone = Upstream::start(|_| Vec::new()).await.address;
    let dead = Upstream::start(|_| vec![Act::Close]).await;
    let good = Upstream::start(|_| answer("here")).await;
    let setup = Setup::new().openai("gone", gone).openai("dead", dead.address).openai("good", good.address);
    let setup = setup.without("router-heuristic").with(SHORT);
    let gateway = setup.with("[routing]\nauto = [\"gone/demo\", \"dead/demo\", \"good/demo\"]\n").start().await;
    let client = gateway.client().await;
    let answer = client.chat("auto", "hello").await.ok();
    assert_eq!(answer.headers["x-portcullis-provider"], "good");
    let receipt = client.receipt(&answer.id()).await;
    let ends: Vec<_> = receipt["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["ended"]).collect();
    // To the second something was sent, and nobody knows what came of it.
    assert_eq!(ends, ["refunded", "quarantined", "settled"]);
}

#[tokio::test]
async fn nobody_else_is_asked_after_the_first_byte() {
    let chunk = r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"demo","choices":[{"index":0,"delta":{"role":"assistant","content":"It has begun. "},"finish_reason":null}]}"#;
    let bad = Upstream::start(move |_| {
        vec![stream_head(), Act::chunk(format!("data: {chunk}\n\n")), Act::pause(50), Act::Close]
    })
    .await;
    let good = Upstream::start(|_| answer("never")).await;
    let gateway = two(&bad, &good).start().await;
    let client = gateway.client().await;
    let mut stream = client.chat_stream("auto", "hello").await;
    let (text, _) = stream.rest().await;
    let events = sse::events(&text);
    assert_eq!(sse::text(&events), "It has begun. ");
    assert!(sse::error(&events).is_some(), "{text}");
    assert!(good.requests().is_empty());
    assert_eq!(client.receipt(&stream.id()).await["attempts"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_request_that_is_wrong_is_wrong_everywhere() {
    let bad = Upstream::start(|_| {
        json_answer(400, "", r#"{"error":{"message":"no such field","type":"invalid_request_error","param":"x"}}"#)
    })
    .await;
    let good = Upstream::start(|_| answer("never")).await;
    let gateway = two(&bad, &good).with("").start().await;
    let client = gateway.client().await;
    for _ in 0..3 {
        let answer = client.chat("auto", "hello").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.text().contains("no such field"), "{:?}", answer.body);
    }
    assert!(good.requests().is_empty());
}

/// While one credential is told to wait the other is asked; then it is asked again.
#[tokio::test]
async fn retry_after_is_honoured_per_credential() {
    let first = Arc::new(AtomicUsize::new(0));
    let bad = Upstream::start(move |_| match first.fetch_add(1, Ordering::SeqCst) {
        0 => json_answer(429, "retry-after: 2\r\n", r#"{"error":{"message":"slow down","type":"requests"}}"#),
        _ => answer("first again"),
    })
    .await;
    let good = Upstream::start(|_| answer("second")).await;
    let gateway = two(&bad, &good).start().await;
    let client = gateway.client().await;
    for _ in 0..4 {
        assert_eq!(client.chat("auto", "hello").await.ok().headers["x-portcullis-provider"], "good");
    }
    assert_eq!(bad.requests().len(), 1, "it was told to wait");
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_eq!(client.chat("auto", "hello").await.ok().headers["x-portcullis-provider"], "bad");
}

#[tokio::test]
async fn a_breaker_opens_and_tries_again() {
    let calls = Arc::new(AtomicUsize::new(0));
    let bad = Upstream::start(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        0..3 => json_answer(500, "", r#"{"error":{"message":"x","type":"server_error"}}"#),
        _ => answer("well again"),
    })
    .await;
    let good = Upstream::start(|_| answer("second")).await;
    let setup = Setup::new().openai("bad", bad.address).openai("good", good.address).without("router-heuristic");
    let routing = "[routing]\nauto = [\"bad/demo\", \"good/demo\"]\nbreaker_failures = 3\nbreaker_cooldown_ms = 1000\n";
    let gateway = setup.with(routing).start().await;
    let client = gateway.client().await;
    for _ in 0..6 {
        client.chat("auto", "hello").await.ok();
    }
    assert_eq!(bad.requests().len(), 3, "the breaker is open");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(client.chat("auto", "hello").await.ok().headers["x-portcullis-provider"], "bad");
}
