//! Everything that goes wrong on request: errors, silence, cuts; and who is told apart by a key.

mod common;

use std::time::{Duration, Instant};

use common::{anthropic, ask, openai, read, send, server, server_with};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use portcullis_demo_upstream::{Options, Stats};
use serde_json::{Value, json};
use tokio::time::timeout;

const SOON: Duration = Duration::from_millis(200);

#[tokio::test]
async fn errors_by_name() {
    let server = server().await;
    let table = [
        (400, "invalid_request_error", "invalid_request_error"),
        (401, "invalid_request_error", "authentication_error"),
        (404, "invalid_request_error", "not_found_error"),
        (429, "requests", "rate_limit_error"),
        (500, "server_error", "api_error"),
        (529, "server_error", "overloaded_error"),
    ];
    for (status, openai_kind, anthropic_kind) in table {
        for stream in [false, true] {
            let body = ask(&format!("demo-error-{status}"), "hi", json!({"stream": stream}));
            let answer = openai(&server, &body).await;
            assert_eq!((answer.status.as_u16(), &answer.json()["error"]["type"]), (status, &json!(openai_kind)));
            assert_eq!(answer.headers.contains_key("retry-after"), status == 429);
            let answer = anthropic(&server, &body).await;
            assert_eq!((answer.status.as_u16(), &answer.json()["error"]["type"]), (status, &json!(anthropic_kind)));
            assert_eq!(answer.json()["request_id"], answer.headers["request-id"].to_str().unwrap());
        }
    }
    let by_prompt = openai(&server, &ask("gpt-4o", "please demo-error-429", json!({}))).await;
    assert_eq!(by_prompt.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(by_prompt.headers["retry-after"], "1");
}

#[tokio::test]
async fn errors_within_a_stream() {
    let server = server().await;
    let body = ask("demo-error-stream", "hi", json!({"stream": true}));
    let answer = openai(&server, &body).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.events().last().unwrap()["error"]["type"], "server_error");
    assert!(!answer.text.contains("[DONE]"));
    let answer = anthropic(&server, &body).await;
    assert_eq!(answer.events().last().unwrap()["error"]["type"], "overloaded_error");
    assert!(answer.text.contains("event: error\n"));
}

#[tokio::test]
async fn cuts() {
    let server = server().await;
    for stream in [false, true] {
        let body = ask("demo-cut", "count to 20", json!({"stream": stream}));
        for answer in [openai(&server, &body).await, anthropic(&server, &body).await] {
            assert_eq!(answer.status, StatusCode::OK);
            assert!(!answer.complete && !answer.text.is_empty(), "stream {stream}: {}", answer.text);
            assert!(serde_json::from_str::<Value>(&answer.text).is_err());
            assert!(!answer.text.contains("[DONE]") && !answer.text.contains("message_stop"));
        }
    }
}

#[tokio::test]
async fn stalls_until_the_client_leaves() {
    let server = server().await;
    let body = |model| ask(model, "count to 20", json!({"stream": true}));
    let path = "/v1/chat/completions";
    let mut response = send(&server, Method::POST, path, &[], &body("demo-stall")).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(timeout(SOON, response.body_mut().frame()).await.is_err());
    drop(response);

    let mut response = send(&server, Method::POST, path, &[], &body("demo-stall-middle")).await;
    let first = timeout(SOON, response.body_mut().frame()).await.unwrap().unwrap().unwrap();
    assert!(!first.data_ref().unwrap().is_empty());
    while timeout(SOON, response.body_mut().frame()).await.is_ok() {}
    drop(response);

    let never = body("demo-stall-headers");
    assert!(timeout(SOON, send(&server, Method::POST, path, &[], &never)).await.is_err());

    let ended = Stats { requests: 3, active: 0, cancelled: 3 };
    timeout(Duration::from_secs(5), async {
        while server.stats() != ended {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{:?}", server.stats()));
}

#[tokio::test]
async fn paces_its_tokens() {
    let slow = Duration::from_millis(40);
    let server =
        server_with(Options { token_delay: Duration::ZERO, slow_token_delay: slow, ..Options::default() }).await;
    let started = Instant::now();
    let answer = openai(&server, &ask("demo-slow", "count to 3", json!({"stream": true}))).await;
    assert!(answer.complete && started.elapsed() >= slow * 5);

    let burst = openai(&server, &ask("demo-burst-3000", "go", json!({"stream": true}))).await;
    let deltas = burst.events().iter().filter(|event| event["choices"][0]["delta"]["content"] == " token").count();
    assert_eq!(deltas, 3000);
    let long = openai(&server, &ask("demo-long-321", "go", json!({}))).await.json();
    assert_eq!(long["usage"]["completion_tokens"], 321);
}

#[tokio::test]
async fn echoes_to_the_byte() {
    let server = server().await;
    let text = "mail me: jane@example.com \u{1F984}\n\tor ring +44 20 7946 0000 \"now\"";
    let whole = openai(&server, &ask("demo-echo", text, json!({}))).await.json();
    assert_eq!(whole["choices"][0]["message"]["content"], text);
    let streamed = anthropic(&server, &ask("demo-echo", text, json!({"stream": true}))).await;
    let joined: String = streamed.events().iter().filter_map(|event| event["delta"]["text"].as_str()).collect();
    assert_eq!(joined, text);
}

#[tokio::test]
async fn precomputed_answers_are_ordinary_ones() {
    let server = server().await;
    let body = openai(&server, &ask("demo-bench", "hi", json!({}))).await.json();
    assert_eq!((&body["object"], &body["model"]), (&json!("chat.completion"), &json!("demo-bench")));
    assert_eq!(body["usage"]["prompt_tokens"], 256);
    let body = anthropic(&server, &ask("demo-bench", "hi", json!({}))).await.json();
    assert_eq!((&body["type"], &body["usage"]["input_tokens"]), (&json!("message"), &json!(256)));
    let more = json!({"stream": true, "stream_options": {"include_usage": true}});
    let streamed = openai(&server, &ask("demo-bench-stream-50", "hi", more)).await;
    assert_eq!(streamed.events().len(), 53);
    assert_eq!(streamed.events().last().unwrap()["usage"]["completion_tokens"], 50);
    let streamed = anthropic(&server, &ask("demo-bench-stream-50", "hi", json!({"stream": true}))).await;
    assert_eq!(streamed.events().iter().filter(|event| event["delta"]["type"] == "text_delta").count(), 50);
}

#[tokio::test]
async fn keys_and_kept_requests() {
    let options = Options { api_key: Some("right".into()), keep_requests: 2, ..Options::default() };
    let server = server_with(options).await;
    let body = ask("demo", "hi", json!({}));
    let cases: [(&[(&str, &str)], StatusCode); 4] = [
        (&[], StatusCode::UNAUTHORIZED),
        (&[("authorization", "Bearer wrong")], StatusCode::UNAUTHORIZED),
        (&[("authorization", "Bearer right")], StatusCode::OK),
        (&[("x-api-key", "right")], StatusCode::OK),
    ];
    for (headers, status) in cases {
        let answer = read(send(&server, Method::POST, "/v1/chat/completions", headers, &body).await).await;
        assert_eq!(answer.status, status);
    }
    let received = server.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[1].headers["x-api-key"], "right");
    assert_eq!(serde_json::from_slice::<Value>(&received[1].body).unwrap(), body);
}
