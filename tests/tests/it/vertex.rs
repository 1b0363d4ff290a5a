//! Claude on Google Cloud: Anthropic Messages with the model in the path and the version in the body, streams by a method of their own,
//! a token of the metadata server, and errors of two kinds.

use portcullis_tests::{Act, Gateway, Received, Setup, Upstream, json_answer, stream_head};
use serde_json::{Value, json};

const TOKEN: &str = "t0ken-of-google";
const BASE: &str = "/v1/projects/p/locations/us-east5/publishers/anthropic";
const PNG: &str = "image bytes";

fn line(request: &Received) -> &str {
    request.head.lines().next().and_then(|line| line.strip_suffix(" HTTP/1.1")).unwrap_or_default()
}

fn header<'a>(request: &'a Received, name: &str) -> Option<&'a str> {
    let mut lines = request.head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn body(request: &Received) -> Value {
    serde_json::from_slice(&request.body).expect("JSON")
}

/// The metadata server, a server of pictures, and Claude.
async fn google() -> Upstream {
    Upstream::start(|request| {
        let line = line(request);
        if line.starts_with("GET /computeMetadata") {
            let granted = json!({"access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer"});
            return json_answer(200, "", &granted.to_string());
        }
        if line == "GET /picture" {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: {}\r\n\r\n", PNG.len());
            return vec![Act::send(head + PNG)];
        }
        if line.ends_with("count-tokens:rawPredict") {
            return json_answer(200, "", r#"{"input_tokens":14}"#);
        }
        let full = json!({"error": {"code": 429, "message": "Quota exceeded for project secret-project", "status": "RESOURCE_EXHAUSTED",
            "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}]}});
        if line.contains("claude-opus-4-8") {
            return json_answer(429, "", &full.to_string());
        }
        let usage = json!({"input_tokens": 1000, "output_tokens": 100, "cache_read_input_tokens": 10});
        let mut message = json!({"id": "msg_vrtx_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929",
            "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage});
        if line.ends_with(":rawPredict") {
            message["content"] = json!([{"type": "text", "text": "Hello."}]);
            message["stop_reason"] = json!("end_turn");
            return json_answer(200, "request-id: req_vrtx_1\r\n", &message.to_string());
        }
        let events = [
            json!({"type": "message_start", "message": message}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello."}}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": 100}}),
            json!({"type": "message_stop"}),
        ];
        let mut acts = vec![stream_head()];
        acts.extend(events.iter().map(|event| {
            Act::chunk(format!("event: {}\ndata: {event}\n\n", event["type"].as_str().expect("a type")))
        }));
        acts.push(Act::end());
        acts
    })
    .await
}

/// Its catalogue and its prices are the plugin's own.
async fn gateway(google: &Upstream) -> Gateway {
    let address = google.address;
    Setup::new()
        .plugins(&["anthropic", "anthropic-vertex", "openai"])
        .with(&format!(
            "[providers.claude]\nplugin = \"anthropic-vertex\"\nbase_url = \"http://{address}{BASE}\"\nauth = \"google-service-account\"\n\
             [media]\nfetch = true\nallow_http = true\nallow_private = true\n"
        ))
        .environment("GCE_METADATA_HOST", &address.to_string())
        .environment("HOME", "/nonexistent")
        .start()
        .await
}

fn asked(google: &Upstream) -> Vec<Received> {
    google.requests().into_iter().filter(|request| line(request).starts_with("POST ")).collect()
}

#[tokio::test]
async fn both_protocols_reach_claude_whole_and_streamed() {
    let google = google().await;
    let gateway = gateway(&google).await;
    let client = gateway.client().await;
    // Anthropic's own protocol: its header for betas goes on, and what only it knows does too.
    let own = r#""max_tokens":64 , "messages":[{"role":"user","content":"Hello"}],"context_management":{"edits": [ ]},"new":1.0}"#;
    let request = format!(r#"{{"model":"claude/claude-sonnet-4-5",{own}"#);
    let beta = [("anthropic-beta", "context-management-2025-06-27"), ("anthropic-version", "2023-06-01")];
    let answer = client.post_with("/v1/messages", &beta, request).await.ok();
    let told = answer.json();
    assert_eq!(
        (&told["content"][0]["text"], &told["usage"]["cache_read_input_tokens"]),
        (&json!("Hello."), &json!(10))
    );
    let receipt = client.receipt(&answer.id()).await;
    // Claude Sonnet 4.5 by Google's list, in nano-USD: 1,000 tokens in, 100 out, 10 read.
    assert_eq!(receipt["cost"]["total_nano"], 1000 * 3_000 + 100 * 15_000 + 10 * 300, "{receipt}");
    assert_eq!(receipt["attempts"][0]["ended"], "settled");

    let mut stream = client.messages_stream("claude/claude-sonnet-4-5@20250929", "Hello").await;
    let (streamed, _) = stream.rest().await;
    assert!(streamed.contains("\"text\":\"Hello.\"") && streamed.contains("event: message_stop"), "{streamed}");
    let chat = client.chat("claude-sonnet-4-5-20250929", "Hello").await.ok().json();
    assert_eq!(chat["choices"][0]["message"]["content"], "Hello.");
    let mut stream = client.chat_stream("claude-sonnet-4-5", "Hello").await;
    let (streamed, _) = stream.rest().await;
    assert!(streamed.contains("\"content\":\"Hello.\"") && streamed.ends_with("data: [DONE]\n\n"), "{streamed}");

    let asked = asked(&google);
    let lines: Vec<_> = asked.iter().map(line).collect();
    let expected = |method: &str| format!("POST {BASE}/models/claude-sonnet-4-5%4020250929:{method}");
    let (whole, stream) = (expected("rawPredict"), expected("streamRawPredict"));
    assert_eq!(lines, [&*whole, &*stream, &*whole, &*stream]);
    for request in &asked {
        let sent = body(request);
        assert_eq!((&sent["anthropic_version"], sent.get("model")), (&json!("vertex-2023-10-16"), None), "{sent}");
        assert_eq!(header(request, "authorization"), Some(&*format!("Bearer {TOKEN}")));
        assert_eq!(header(request, "anthropic-version"), None);
    }
    assert_eq!(header(&asked[0], "anthropic-beta"), Some(beta[0].1));
    // The client's bytes but for the model, which is in the path, and the version.
    let sent = String::from_utf8_lossy(&asked[0].body);
    assert_eq!(sent, format!(r#"{{{},"anthropic_version":"vertex-2023-10-16"}}"#, &own[..own.len() - 1]));
    assert_eq!(receipt["passthrough"], true, "{receipt}");
    assert_eq!(header(&asked[2], "anthropic-beta"), None);
}

#[tokio::test]
async fn tokens_are_counted_at_an_address_of_its_own() {
    let google = google().await;
    let gateway = gateway(&google).await;
    let client = gateway.client().await;
    let request = json!({"model": "claude/claude-opus-5", "messages": [{"role": "user", "content": "Hello"}]});
    let beta = [("anthropic-beta", "web-search-2025-03-05"), ("anthropic-version", "2023-06-01")];
    let counted = client.post_with("/v1/messages/count_tokens", &beta, request.to_string()).await.ok();
    assert_eq!(counted.text(), r#"{"input_tokens":14}"#);
    let asked = asked(&google);
    assert_eq!(line(&asked[0]), format!("POST {BASE}/models/count-tokens:rawPredict"));
    assert_eq!(body(&asked[0])["model"], "claude-opus-5");
    // It refuses names of betas that it does not know.
    assert_eq!(header(&asked[0], "anthropic-beta"), None);
}

#[tokio::test]
async fn googles_errors_are_read_and_nothing_is_paid() {
    let google = google().await;
    let gateway = gateway(&google).await;
    let client = gateway.client().await;
    let refused = client.messages("claude/claude-opus-4-8", "Hello").await;
    assert_eq!(refused.status.as_u16(), 429);
    assert_eq!(refused.headers.get("retry-after").map(|value| value.as_bytes()), Some(&b"7"[..]));
    let told = refused.json();
    assert_eq!((&told["type"], &told["error"]["type"]), (&json!("error"), &json!("rate_limit_error")), "{told}");
    assert!(!told.to_string().contains("secret-project"), "{told}");
    let receipt = client.receipt(&refused.id()).await;
    assert_eq!(receipt["attempts"][0]["ended"], "refunded", "{receipt}");
}

/// "URL sources are not supported": the gateway brings them.
#[tokio::test]
async fn pictures_by_url_go_inline() {
    let google = google().await;
    let gateway = gateway(&google).await;
    let client = gateway.client().await;
    let url = format!("http://{}/picture", google.address);
    let request = json!({"model": "claude/claude-sonnet-4-5", "max_tokens": 64, "messages": [{"role": "user", "content": [
        {"type": "image", "source": {"type": "url", "url": url}}, {"type": "text", "text": "What is it?"}]}]});
    client.post("/v1/messages", request.to_string()).await.ok();
    let source = &body(&asked(&google)[0])["messages"][0]["content"][0]["source"];
    assert_eq!(*source, json!({"type": "base64", "media_type": "image/png", "data": "aW1hZ2UgYnl0ZXM="}));
}

/// Though requests of its own format pass through, what Google Cloud has not is left out by name.
#[tokio::test]
async fn what_google_has_not_is_left_out_and_noted() {
    let google = google().await;
    let gateway = gateway(&google).await;
    let client = gateway.client().await;
    for (member, value) in [
        ("mcp_servers", json!([{"type": "url", "url": "https://example.org", "name": "x"}])),
        ("tools", json!([{"type": "code_execution_20250825", "name": "code_execution"}])),
    ] {
        let message = json!([{"role": "user", "content": "Hello"}]);
        let mut request = json!({"model": "claude/claude-sonnet-4-5", "max_tokens": 64, "messages": message});
        request[member] = value;
        let answer = client.post("/v1/messages", request.to_string()).await.ok();
        let receipt = client.receipt(&answer.id()).await;
        assert_eq!(receipt["passthrough"], false, "{receipt}");
        assert!(receipt["notes"].as_array().is_some_and(|notes| !notes.is_empty()), "{receipt}");
        let sent = body(asked(&google).last().expect("asked"));
        assert_eq!(sent.get(member), None, "{sent}");
    }
}
