//! Every request of a known caller leaves a receipt, however early it failed; and every answer says by which id to ask for it.

use http::StatusCode;
use portcullis_tests::{Answer, Client, Setup, demo, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";

/// The receipt of a request that was refused.
async fn refusal(client: &Client, answer: &Answer) -> Value {
    let receipt = client.receipt(&answer.id()).await;
    assert_eq!(receipt["outcome"]["status"], answer.status.as_u16(), "{receipt}");
    assert_eq!(receipt["outcome"]["code"], "failed", "{receipt}");
    assert_eq!(receipt["attempts"], json!([]), "{receipt}");
    assert!(receipt["cost"].is_null() && receipt["usage"].is_null(), "{receipt}");
    receipt
}

#[tokio::test]
async fn what_cannot_be_read_has_a_receipt() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).with("[limits]\nrequest_bytes = 2000\n").start().await;
    let client = gateway.client().await;
    let long = "x".repeat(3_000);
    for (path, dialect) in [(CHAT, "openai"), (MESSAGES, "anthropic")] {
        for (body, status, model) in [
            ("{\"model\":", StatusCode::BAD_REQUEST, ""),
            ("{\"model\": 7}", StatusCode::BAD_REQUEST, ""),
            ("{\"model\": \"a\", \"model\": \"b\"}", StatusCode::BAD_REQUEST, ""),
            ("{\"messages\": []}", StatusCode::BAD_REQUEST, ""),
            (
                "{\"model\": \"nobody/nothing\", \"max_tokens\": 9, \"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}",
                StatusCode::NOT_FOUND,
                "nobody/nothing",
            ),
            (&long, StatusCode::PAYLOAD_TOO_LARGE, ""),
        ] {
            let answer = client.post(path, body.to_owned()).await;
            assert_eq!(answer.status, status, "{body}: {:?}", answer.body);
            let receipt = refusal(&client, &answer).await;
            assert_eq!(receipt["requested_model"], model, "{receipt}");
            assert_eq!((&receipt["dialect"], &receipt["operation"]), (&dialect.into(), &"chat".into()));
            let kind = if status == StatusCode::NOT_FOUND { "not-found" } else { "invalid-request" };
            assert_eq!(receipt["outcome"]["failure"], kind, "{receipt}");
        }
    }
    assert_eq!(demo.stats().requests, 0);
    // And it counts as a request of that key.
    let usage = gateway.run(&["usage", "--by", "key", "--json"]).await;
    let usage: Value = serde_json::from_slice(&usage.stdout).unwrap();
    assert_eq!((&usage[0]["requests"], &usage[0]["failed"]), (&12.into(), &12.into()), "{usage}");
}

/// Whoever is not known has no receipt, and is in the log.
#[tokio::test]
async fn a_stranger_leaves_a_line_in_the_log_and_no_receipt() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let stranger = Client { key: "pc_prod_nobody".to_owned(), ..client.clone() };
    let answer = stranger.chat("demo/demo", "hello").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    gateway.logged(&["a request was not authenticated", &answer.id()]).await;
    assert_eq!(client.get(&format!("/v1/receipts/{}", answer.id())).await.status, StatusCode::NOT_FOUND);
    // A path that nobody serves is no request of anybody's either.
    let lost = client.post("/v1/nothing", "{}").await;
    assert_eq!(lost.status, StatusCode::NOT_FOUND);
    gateway.logged(&["a request was refused", &lost.id(), "unknown_route"]).await;
    assert_eq!(client.get(&format!("/v1/receipts/{}", lost.id())).await.status, StatusCode::NOT_FOUND);
    assert_eq!(gateway.ledger().await.requests().await, Vec::<String>::new());
}

/// `request-id` is what Anthropic's clients look for, `x-request-id` what OpenAI's do; ours is on every answer by our own name.
#[tokio::test]
async fn every_answer_has_its_ids() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let stranger = Client { key: String::new(), ..client.clone() };
    let stream = client.messages_stream("demo/demo", "hello").await;
    assert_eq!(stream.headers["request-id"], stream.id().as_str());
    for answer in [
        client.messages("demo/demo", "hello").await.ok(),
        client.chat("demo/demo", "hello").await.ok(),
        client.messages("demo/demo-error-500", "hello").await,
        client.post(MESSAGES, "{").await,
        client.post("/v1/nothing", "{}").await,
        client.get("/v1/models").await.ok(),
        stranger.messages("demo/demo", "hello").await,
    ] {
        assert_eq!(answer.headers["request-id"], answer.id().as_str(), "{answer:?}");
        assert_eq!(answer.headers["x-request-id"], answer.id().as_str(), "{answer:?}");
    }
    // Where the provider's own answer passes through, its id does too.
    let passed = client.messages("demo-anthropic/demo", "hello").await.ok();
    assert_eq!(passed.headers.get_all("request-id").iter().count(), 1);
    assert_ne!(passed.headers["request-id"], passed.id().as_str());
    // A client's own id comes back to it, and does not hide ours.
    let body = r#"{"model":"demo/demo","max_tokens":9,"messages":[{"role":"user","content":"x"}]}"#;
    let mut socket = client.socket().await;
    let request =
        client.request(MESSAGES, body).replacen("host:", "connection: close\r\nx-request-id: mine-7\r\nhost:", 1);
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("\r\nx-request-id: mine-7\r\n"), "{text}");
    assert!(text.contains("\r\nrequest-id: req_") && text.contains("\r\nx-portcullis-request-id: req_"), "{text}");
}

/// Each of several answers may be as long as the limit: all of them are reserved for, whether or not the request is decoded.
#[tokio::test]
async fn several_answers_are_reserved_for() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    // The gateway's own top-level `system` has to be decoded.
    for system in ["", ",\"system\":\"be brief\""] {
        let mut reserved = Vec::new();
        for n in [1, 4] {
            let body = format!(
                r#"{{"model":"demo/demo","n":{n},"max_tokens":100,"messages":[{{"role":"user","content":"hello"}}]{system}}}"#
            );
            let id = client.post(CHAT, body).await.ok().id();
            let receipt = client.receipt(&id).await;
            assert_eq!(receipt["passthrough"], system.is_empty(), "{receipt}");
            reserved.push(receipt["attempts"][0]["reserved"].as_u64().unwrap());
        }
        // 2,000 nano-USD a token, the bodies being equally long.
        assert_eq!(reserved[1] - reserved[0], 3 * 100 * 2_000, "{system}: {reserved:?}");
    }
    eventually("it is settled", || async { gateway.ledger().await.entries().await.len() == 4 }).await;
}
