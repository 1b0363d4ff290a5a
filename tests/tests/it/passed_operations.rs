//! Every operation that is passed through, before a provider that answers as OpenAI's reference says: authenticated, routed by
//! model, metered, with a receipt, and refused in OpenAI's shape.

use portcullis_tests::{Act, Answer, Client, Gateway, Received, Setup, Upstream, json_answer, sse, stream_head};
use serde_json::{Value, json};

const EMAIL: &str = "ada@example.org";
const FORM: &str = "multipart/form-data; boundary=edge";
const MODEL_OF_FORM: &str = "Content-Disposition: form-data; name=\"model\"\r\n\r\n";
/// Neither UTF-8 nor free of what looks like a form's edge.
const BYTES: &[u8] = b"\x89PNG\r\n\x1a\n\x00\xff--edg";

/// One operation: how it is asked, and what it costs.
struct Operation {
    path: &'static str,
    /// The contract's word for its kind.
    kind: &'static str,
    form: bool,
    usage: Value,
}

fn operations() -> Vec<Operation> {
    let operation = |path, kind, form, usage| Operation { path, kind, form, usage };
    vec![
        operation("/v1/images/generations", "images", false, json!({"input": 50, "output": 4160})),
        operation("/v1/images/edits", "images", true, json!({"input": 50, "output": 4160})),
        operation("/v1/images/variations", "images", true, json!({"images": 1})),
        operation("/v1/completions", "completions", false, json!({"input": 3, "output": 5})),
        operation("/v1/moderations", "moderations", false, json!({"estimated": true})),
        operation("/v1/embeddings", "embeddings", false, json!({"input": 8, "output": 0})),
        operation("/v1/audio/speech", "audio", false, json!({"estimated": true})),
        operation("/v1/audio/transcriptions", "audio", true, json!({"input": 14, "audio_input": 10, "output": 5})),
        operation("/v1/audio/translations", "audio", true, json!({"input": 25, "audio_input": 25})),
        operation("/v1/rerank", "rerank", false, json!({"input": 815})),
    ]
}

impl Operation {
    fn body(&self, model: &str) -> Vec<u8> {
        let documents = json!(["one", "two"]);
        if !self.form {
            return json!({"model": model, "input": "hello", "prompt": "hello", "query": "hello", "documents": documents,
                "voice": "alloy"})
            .to_string()
            .into_bytes();
        }
        let mut form =
            format!("--edge\r\n{MODEL_OF_FORM}{model}\r\n--edge\r\nContent-Disposition: form-data; name=\"image\"; ");
        form.push_str("filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n");
        let mut form = form.into_bytes();
        form.extend_from_slice(BYTES);
        form.extend_from_slice(
            b"\r\n--edge\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\nhello\r\n--edge--\r\n",
        );
        form
    }

    async fn ask(&self, client: &Client, model: &str) -> Answer {
        self.send(client, self.body(model)).await
    }

    async fn send(&self, client: &Client, body: Vec<u8>) -> Answer {
        client.ask("POST", self.path, Some(if self.form { FORM } else { "application/json" }), body).await
    }
}

/// What OpenAI's reference shows as the answer of an operation.
fn document(path: &str) -> Option<Value> {
    let image_usage = json!({"total_tokens": 4210, "input_tokens": 50, "output_tokens": 4160,
        "input_tokens_details": {"text_tokens": 10, "image_tokens": 40}});
    Some(match path {
        "/v1/images/generations" | "/v1/images/edits" => {
            json!({"created": 1, "data": [{"b64_json": "iVBORw0KGgo="}], "usage": image_usage})
        }
        "/v1/images/variations" => json!({"created": 1, "data": [{"url": "https://example.org/a.png"}]}),
        "/v1/completions" => json!({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m",
            "choices": [{"text": "hi", "index": 0, "logprobs": null, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}}),
        "/v1/moderations" => json!({"id": "modr-1", "model": "m", "results": [{"flagged": false, "categories": {},
            "category_scores": {}, "category_applied_input_types": {}}]}),
        "/v1/embeddings" => json!({"object": "list", "model": "m", "usage": {"prompt_tokens": 8, "total_tokens": 8},
            "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}]}),
        "/v1/audio/transcriptions" => {
            json!({"text": "hi", "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 5,
            "input_token_details": {"text_tokens": 4, "audio_tokens": 10}, "total_tokens": 19}})
        }
        "/v1/audio/translations" => json!({"task": "translate", "language": "en", "duration": 2.5, "text": "hi"}),
        "/v1/rerank" => {
            json!({"model": "m", "results": [{"index": 1, "relevance_score": 0.5}], "usage": {"total_tokens": 815}})
        }
        _ => return None,
    })
}

fn path_of(request: &Received) -> &str {
    request.head.split(' ').nth(1).unwrap_or_default()
}

/// A provider of all of them. The model's name tells it to fail.
async fn provider() -> Upstream {
    Upstream::start(|request| {
        let asked = String::from_utf8_lossy(&request.body);
        if let Some(status) = asked.split("fails-").nth(1).and_then(|rest| rest.get(..3)?.parse().ok()) {
            let body = r#"{"error":{"message":"No secret sk-123 for you.","type":"t","param":"prompt","code":"c"}}"#;
            return json_answer(status, "retry-after: 7\r\n", body);
        }
        match document(path_of(request)) {
            Some(document) => json_answer(200, "openai-processing-ms: 5\r\n", &document.to_string()),
            None => {
                let head =
                    format!("HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: {}\r\n\r\n", BYTES.len());
                vec![Act::send(head), Act::send(BYTES)]
            }
        }
    })
    .await
}

async fn start(upstream: &Upstream) -> Gateway {
    let limits = "[limits]\nrequest_bytes = 20000\n";
    Setup::new().openai("one", upstream.address).anthropic("two", upstream.address).with(limits).start().await
}

/// OpenAI's shape, each member of it.
fn error_of(answer: &Answer) -> Value {
    let error = answer.json()["error"].clone();
    assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{:?}", answer.body);
    assert!(error["type"].is_string() && error.get("param").is_some() && error.get("code").is_some(), "{error}");
    error
}

#[tokio::test]
async fn each_is_routed_metered_and_has_a_receipt() {
    let upstream = provider().await;
    let gateway = start(&upstream).await;
    let client = gateway.client().await;
    for operation in operations() {
        let path = operation.path;
        let answer = operation.ask(&client, "one/m").await.ok();
        match document(path) {
            Some(document) => assert_eq!(answer.text(), document.to_string(), "{path}: byte for byte"),
            None => {
                assert_eq!((&answer.body[..], &answer.headers["content-type"]), (BYTES, &"audio/mpeg".parse().unwrap()))
            }
        }
        assert_eq!(
            (&answer.headers["x-portcullis-provider"], &answer.headers["x-portcullis-model"]),
            (&"one".parse().unwrap(), &"m".parse().unwrap())
        );
        let told: Value = serde_json::from_slice(answer.headers["x-llm-gateway"].as_bytes()).expect("JSON");
        assert_eq!(
            (&told["request_id"], &told["routing_decision"]),
            (&json!(answer.id()), &json!("explicit")),
            "{path}"
        );

        let sent = upstream.requests().pop().expect("a request");
        assert_eq!(path_of(&sent), path);
        assert!(!sent.head.contains(&client.key), "{path}: the gateway's key is nobody else's");
        assert_eq!(sent.body, operation.body("m"), "{path}: the model and nothing else");

        let receipt = client.receipt(&answer.id()).await;
        assert_eq!((&receipt["operation"], &receipt["passthrough"]), (&json!(operation.kind), &json!(true)), "{path}");
        assert_eq!(
            (&receipt["outcome"]["code"], &receipt["requested_model"]),
            (&json!("ok"), &json!("one/m")),
            "{path}"
        );
        for (name, value) in operation.usage.as_object().expect("an object") {
            assert_eq!(receipt["usage"][name], *value, "{path} {name}: {receipt}");
        }
        let attempt = &receipt["attempts"][0];
        assert_eq!((&attempt["provider"], &attempt["status"]), (&json!("one"), &json!(200)), "{path}");
        // Neither an image nor a token of sound has a price in this configuration, and an unknown price is never nothing.
        let is_unpriced = ["images", "audio_input"].iter().any(|name| operation.usage.get(*name).is_some());
        let ended = if is_unpriced { "quarantined" } else { "settled" };
        assert_eq!(attempt["ended"], ended, "{path}: {receipt}");
        if ended == "settled" {
            assert!(receipt["cost"]["total_nano"].as_u64().is_some_and(|cost| cost > 0), "{path}: {receipt}");
        }
    }
}

#[tokio::test]
async fn a_key_s_lists_hold() {
    let upstream = provider().await;
    let gateway = start(&upstream).await;
    let model = gateway.client_with(&["--model", "one/m"]).await;
    let elsewhere = gateway.client_with(&["--provider", "two"]).await;
    for operation in operations() {
        operation.ask(&model, "one/m").await.ok();
        for (client, name, code) in
            [(&model, "one/other", "model_not_allowed"), (&elsewhere, "one/m", "provider_not_allowed")]
        {
            let answer = operation.ask(client, name).await;
            assert_eq!(answer.status, 403, "{} {:?}", operation.path, answer.body);
            assert_eq!(error_of(&answer)["code"], code);
            assert_eq!(client.receipt(&answer.id()).await["outcome"]["code"], "denied");
        }
    }
    assert_eq!(upstream.requests().len(), operations().len());
}

#[tokio::test]
async fn what_is_too_long_is_refused() {
    let upstream = provider().await;
    let gateway = start(&upstream).await;
    let client = gateway.client().await;
    for operation in operations() {
        let mut body = operation.body("one/m");
        let long = "x".repeat(20_000);
        body = String::from_utf8_lossy(&body).replace("hello", &long).into_bytes();
        let answer = operation.send(&client, body).await;
        assert_eq!(answer.status, 413, "{}", operation.path);
        error_of(&answer);
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let upstream = provider().await;
    let gateway = start(&upstream).await;
    let client = gateway.client().await;
    for operation in operations() {
        let path = operation.path;
        let whole = operation.body("one/m");
        let cut = whole[..whole.len() - 6].to_vec();
        let twice = String::from_utf8_lossy(&whole).replacen(
            "--edge\r\n",
            &format!("--edge\r\n{MODEL_OF_FORM}x\r\n--edge\r\n"),
            1,
        );
        let twice = twice.replacen("{\"", "{\"model\":\"x\",\"", 1).into_bytes();
        for body in [cut, twice, Vec::new()] {
            let answer = operation.send(&client, body).await;
            assert_eq!(answer.status, 400, "{path} {:?}", answer.body);
            error_of(&answer);
        }
        let other = if operation.form { "application/json" } else { FORM };
        let answer = client.ask("POST", path, Some(other), whole).await;
        assert_eq!(answer.status, 400, "{path} {:?}", answer.body);
        error_of(&answer);
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn errors_of_the_provider_are_told_as_they_may_be() {
    let upstream = provider().await;
    let gateway = start(&upstream).await;
    let client = gateway.client().await;
    for operation in operations() {
        let path = operation.path;
        for (failing, status, told) in [(400, 400, true), (401, 502, false), (429, 429, false), (500, 502, false)] {
            let answer = operation.ask(&client, &format!("one/fails-{failing}")).await;
            assert_eq!(answer.status, status, "{path} {failing} {:?}", answer.body);
            let error = error_of(&answer);
            assert_eq!(answer.text().contains("sk-123"), told, "{path} {failing} {error}");
            assert_eq!(answer.headers["retry-after"], "7", "{path} {failing}");
            let receipt = client.receipt(&answer.id()).await;
            assert_eq!(
                (&receipt["outcome"]["code"], &receipt["attempts"][0]["status"]),
                (&json!("failed"), &json!(failing))
            );
            assert_eq!(receipt["attempts"][0]["ended"], "refunded", "{path} {failing}");
        }
    }
}

#[tokio::test]
async fn a_provider_without_the_operation_is_named() {
    let upstream = provider().await;
    let gateway = start(&upstream).await;
    let client = gateway.client().await;
    for operation in operations() {
        let answer = operation.ask(&client, "two/m").await;
        let error = error_of(&answer);
        assert_eq!(
            (answer.status.as_u16(), &error["code"]),
            (400, &json!("unsupported_operation")),
            "{}",
            operation.path
        );
        assert!(error["message"].as_str().is_some_and(|text| text.contains("`two`")), "{error}");
    }
    // Of a model that the catalogue knows for something else.
    let url = format!("http://{}", upstream.address);
    let config =
        format!("[providers.claude]\nplugin = \"anthropic\"\nbase_url = \"{url}\"\nauth = \"header:x-api-key\"\n");
    let gateway = Setup::new().with(&config).start().await;
    let client = gateway.client().await;
    for model in ["claude/claude-haiku-4-5", "claude-haiku-4-5"] {
        let answer = client.post("/v1/embeddings", json!({"model": model, "input": "x"}).to_string()).await;
        let error = error_of(&answer);
        assert_eq!((answer.status.as_u16(), &error["code"]), (400, &json!("unsupported_operation")), "{error}");
        assert!(
            error["message"].as_str().is_some_and(|text| text.contains("embeddings") && text.contains(model)),
            "{error}"
        );
    }
    assert!(upstream.requests().is_empty());
}

/// A provider that streams completions and pictures.
async fn streaming() -> Upstream {
    Upstream::start(|request| {
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let frame = |value: &Value| Act::chunk(format!("data: {value}\n\n"));
        let mut acts = vec![stream_head()];
        if path_of(request) == "/v1/images/generations" {
            let usage = json!({"total_tokens": 60, "input_tokens": 10, "output_tokens": 50});
            acts.push(frame(&json!({"type": "image_generation.partial_image", "partial_image_index": 0, "b64_json": "AAA="})));
            acts.push(frame(&json!({"type": "image_generation.completed", "b64_json": "AAAA", "usage": usage})));
            acts.push(Act::end());
            return acts;
        }
        let chunk = |choices: Value| json!({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": choices});
        let text = |text: &str, finish: Value| chunk(json!([{"text": text, "index": 0, "logprobs": null, "finish_reason": finish}]));
        for piece in ["write to ada@exa", "mple.org", " now"] {
            acts.push(frame(&text(piece, Value::Null)));
        }
        if body["prompt"] == "cut" {
            acts.push(Act::Close);
            return acts;
        }
        acts.push(frame(&text("", json!("stop"))));
        if body["stream_options"]["include_usage"] == json!(true) {
            let mut last = chunk(json!([]));
            last["usage"] = json!({"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8});
            acts.push(frame(&last));
        }
        acts.extend([Act::chunk("data: [DONE]\n\n"), Act::end()]);
        acts
    })
    .await
}

#[tokio::test]
async fn completions_stream() {
    let upstream = streaming().await;
    let gateway = Setup::new().openai("one", upstream.address).start().await;
    let client = gateway.client().await;
    for asks in [false, true] {
        let mut body = json!({"model": "one/m", "prompt": format!("hello {EMAIL}"), "stream": true, "max_tokens": 64});
        if asks {
            body["stream_options"] = json!({"include_usage": true});
        }
        let answer = client.post("/v1/completions", body.to_string()).await.ok();
        let events = answer.events();
        let (done, chunks) = events.split_last().expect("events");
        assert_eq!(done.data, "[DONE]");
        let chunks: Vec<Value> = chunks.iter().map(sse::Event::json).collect();
        let text: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
        assert_eq!(text, "write to [EMAIL] now");
        // Usage only for who asked for it, and for the ledger in any case.
        let usage: Vec<_> = chunks.iter().filter(|chunk| chunk.get("usage").is_some_and(Value::is_object)).collect();
        assert_eq!(usage.len(), usize::from(asks), "{}", answer.text());
        let sent: Value = serde_json::from_slice(&upstream.requests().pop().expect("a request").body).expect("JSON");
        assert_eq!((&sent["model"], &sent["prompt"]), (&json!("m"), &json!("hello [EMAIL]")));
        let receipt = client.receipt(&answer.id()).await;
        assert_eq!((&receipt["usage"]["input"], &receipt["usage"]["output"]), (&json!(3), &json!(5)), "{receipt}");
        assert_eq!((&receipt["operation"], &receipt["stream"]), (&json!("completions"), &json!(true)));
        assert_eq!(receipt["outcome"]["finish_reasons"], json!(["stop"]));
    }
    // Cut: an error in OpenAI's shape, and what came is billed.
    let body = json!({"model": "one/m", "prompt": "cut", "stream": true});
    let answer = client.post("/v1/completions", body.to_string()).await.ok();
    let last = answer.events().last().expect("events").json();
    assert!(last["error"]["message"].is_string(), "{last}");
    let receipt = client.receipt(&answer.id()).await;
    assert_eq!(
        (&receipt["outcome"]["code"], &receipt["usage"]["estimated"]),
        (&json!("cut"), &json!(true)),
        "{receipt}"
    );
}

#[tokio::test]
async fn pictures_stream() {
    let upstream = streaming().await;
    let gateway = Setup::new().openai("one", upstream.address).start().await;
    let client = gateway.client().await;
    let body = json!({"model": "one/m", "prompt": "a fox", "stream": true, "partial_images": 1});
    let answer = client.post("/v1/images/generations", body.to_string()).await.ok();
    let kinds: Vec<_> = answer.events().iter().map(|event| event.json()["type"].clone()).collect();
    assert_eq!(kinds, ["image_generation.partial_image", "image_generation.completed"]);
    let receipt = client.receipt(&answer.id()).await;
    assert_eq!((&receipt["usage"]["input"], &receipt["usage"]["output"]), (&json!(10), &json!(50)), "{receipt}");
}

#[tokio::test]
async fn a_model_is_chosen_where_none_is_named() {
    let upstream = provider().await;
    let url = format!("http://{}/v1", upstream.address);
    let config = format!("[providers.one]\nplugin = \"openai\"\nbase_url = \"{url}\"\n");
    let gateway = Setup::new().with(&config).start().await;
    let client = gateway.client().await;
    let answer = client.post("/v1/moderations", json!({"input": "x"}).to_string()).await.ok();
    let sent: Value = serde_json::from_slice(&upstream.requests().pop().expect("a request").body).expect("JSON");
    let model = sent["model"].as_str().expect("a model");
    assert!(model.contains("moderation"), "{sent}");
    let receipt = client.receipt(&answer.id()).await;
    assert_eq!((&receipt["requested_model"], &receipt["attempts"][0]["model"]), (&json!("auto"), &json!(model)));
}

#[tokio::test]
async fn batches_are_open_only_where_the_operator_says_so() {
    let upstream = Upstream::start(|request| {
        let batch = json!({"id": "batch_1", "object": "batch", "endpoint": "/v1/chat/completions", "status": "validating",
            "input_file_id": "file-1", "completion_window": "24h", "created_at": 1,
            "usage": {"input_tokens": 9, "output_tokens": 9, "total_tokens": 18}});
        let list = request.head.starts_with("GET /v1/batches?");
        let body = if list { json!({"object": "list", "data": [batch], "has_more": false}) } else { batch };
        json_answer(200, "", &body.to_string())
    })
    .await;
    let base = format!("http://{}/v1", upstream.address);
    let asked =
        json!({"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"}).to_string();
    let all = [
        ("POST", "/v1/batches", asked.as_str()),
        ("GET", "/v1/batches?limit=1", ""),
        ("GET", "/v1/batches/batch_1", ""),
        ("POST", "/v1/batches/batch_1/cancel", ""),
    ];
    let closed = Setup::new().provider("one", "openai", &base, "").start().await;
    let client = closed.client().await;
    for (method, path, body) in all {
        let answer = client.ask(method, path, Some("application/json"), body.to_owned()).await;
        assert_eq!(answer.status, 404, "{method} {path}");
        assert!(error_of(&answer)["message"].as_str().is_some_and(|text| text.contains("shared_objects")));
    }
    assert!(upstream.requests().is_empty());

    // Making a batch costs what nobody knows yet, which the operator has to permit.
    let alarm = "[pricing]\nunknown = \"alarm\"\n";
    let open = Setup::new().provider("one", "openai", &base, "shared_objects = true\n").with(alarm).start().await;
    let client = open.client().await;
    let elsewhere = open.client_with(&["--provider", "two"]).await;
    for (method, path, body) in all {
        let answer = client.ask(method, path, Some("application/json"), body.to_owned()).await.ok();
        let sent = upstream.requests().pop().expect("a request");
        assert!(sent.head.starts_with(&format!("{method} {path} ")), "{}", sent.head);
        assert_eq!(sent.body, body);
        let receipt = client.receipt(&answer.id()).await;
        assert_eq!((&receipt["operation"], &receipt["outcome"]["code"]), (&json!("batches"), &json!("ok")), "{path}");
        let refused = elsewhere.ask(method, path, Some("application/json"), body.to_owned()).await;
        assert_eq!(refused.status, 403, "{method} {path} {:?}", refused.body);
    }
}
