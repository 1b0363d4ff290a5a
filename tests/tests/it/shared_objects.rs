//! What a provider keeps for its whole account: named by one key's request it could be another's, so that it is passed on only
//! where the operator opened the account.

use http::StatusCode;
use portcullis_tests::{Client, Gateway, Received, Setup, Upstream, json_answer, messages};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const COUNT: &str = "/v1/responses/input_tokens";

/// A provider that has whatever it is asked for.
async fn provider() -> Upstream {
    Upstream::start(|request: &Received| {
        let usage = json!({"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8});
        let body = if request.head.starts_with("POST /v1/chat") {
            json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "demo", "usage": usage,
                "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "secret"}}]})
        } else if request.head.starts_with("POST /v1/responses/input_tokens") {
            json!({"object": "response.input_tokens", "input_tokens": 11})
        } else {
            json!({"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "demo", "output": [],
                "usage": {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}})
        };
        json_answer(200, "", &body.to_string())
    })
    .await
}

async fn start(upstream: &Upstream, more: &str) -> Gateway {
    let base = format!("http://{}/v1", upstream.address);
    Setup::new().provider("one", "openai", &base, more).start().await
}

async fn refused(client: &Client, path: &str, body: String, param: &str) {
    let answer = client.post(path, body.clone()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body} {:?}", answer.body);
    let error = answer.json()["error"].clone();
    assert_eq!((&error["code"], &error["param"]), (&json!("unsupported_feature"), &json!(param)), "{body}");
    assert_eq!(error["type"], "invalid_request_error");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains(param), "{message}");
}

/// A request of the Responses API with these members.
fn responses(members: Value) -> Value {
    let mut body = json!({"model": "one/demo", "input": [{"role": "user", "content": "what is in it?"}]});
    body.as_object_mut().expect("an object").extend(members.as_object().expect("an object").clone());
    body
}

fn chat(message: Value) -> Value {
    json!({"model": "one/demo", "messages": [message, {"role": "user", "content": "what is in it?"}]})
}

/// Requests that name something, and where.
fn naming() -> Vec<(&'static str, Value, &'static str)> {
    let item = |item: Value| responses(json!({"input": [item, {"role": "user", "content": "what is in it?"}]}));
    let tool = |tool: Value| responses(json!({"tools": [{"type": "function", "name": "f", "parameters": {}}, tool]}));
    let content = |part: Value| item(json!({"role": "user", "content": [{"type": "input_text", "text": "a"}, part]}));
    vec![
        (RESPONSES, responses(json!({"conversation": "conv_1"})), "conversation"),
        (RESPONSES, responses(json!({"conversation": {"id": "conv_1"}})), "conversation"),
        (RESPONSES, responses(json!({"prompt": {"id": "pmpt_1", "variables": {"a": "b"}}})), "prompt"),
        (RESPONSES, item(json!({"type": "item_reference", "id": "msg_1"})), "input[].type"),
        (RESPONSES, item(json!({"id": "msg_1"})), "input[]"),
        (RESPONSES, content(json!({"type": "input_file", "file_id": "file-1"})), "input[].content[].file_id"),
        (RESPONSES, content(json!({"type": "input_image", "file_id": "file-1"})), "input[].content[].file_id"),
        (
            RESPONSES,
            item(
                json!({"type": "function_call_output", "call_id": "c", "output": [{"type": "input_file", "file_id": "f"}]}),
            ),
            "input[].output[].file_id",
        ),
        (
            RESPONSES,
            item(
                json!({"type": "computer_call_output", "call_id": "c", "output": {"type": "computer_screenshot", "file_id": "f"}}),
            ),
            "input[].output.file_id",
        ),
        (
            RESPONSES,
            item(
                json!({"type": "code_interpreter_call", "id": "ci_1", "code": "1", "container_id": "cntr_1", "outputs": null}),
            ),
            "input[].container_id",
        ),
        (RESPONSES, tool(json!({"type": "file_search", "vector_store_ids": ["vs_1"]})), "tools[].vector_store_ids[]"),
        (RESPONSES, tool(json!({"type": "code_interpreter", "container": "cntr_1"})), "tools[].container"),
        (
            RESPONSES,
            tool(json!({"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-1"]}})),
            "tools[].container.file_ids[]",
        ),
        (
            RESPONSES,
            tool(json!({"type": "shell", "environment": {"type": "container_reference", "container_id": "cntr_1"}})),
            "tools[].environment.container_id",
        ),
        (
            RESPONSES,
            tool(json!({"type": "image_generation", "input_image_mask": {"file_id": "file-1"}})),
            "tools[].input_image_mask.file_id",
        ),
        (
            RESPONSES,
            item(
                json!({"type": "tool_search_output", "tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}),
            ),
            "input[].tools[].vector_store_ids[]",
        ),
        (COUNT, responses(json!({"conversation": "conv_1"})), "conversation"),
        (COUNT, responses(json!({"previous_response_id": "resp_1"})), "previous_response_id"),
        (
            CHAT,
            chat(json!({"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]})),
            "messages[].content[].file.file_id",
        ),
        (CHAT, chat(json!({"role": "assistant", "audio": {"id": "audio_1"}})), "messages[].audio"),
    ]
}

#[tokio::test]
async fn what_an_account_keeps_is_named_in_vain() {
    let upstream = provider().await;
    let gateway = start(&upstream, "").await;
    let client = gateway.client().await;
    for (path, body, param) in naming() {
        refused(&client, path, body.to_string(), param).await;
        if path != COUNT {
            let mut streamed = body;
            streamed["stream"] = json!(true);
            refused(&client, path, streamed.to_string(), param).await;
        }
    }
    // However it is spelled.
    let spelled =
        responses(json!({"conversation": "conv_1"})).to_string().replace("conversation", r"\u0063onversation");
    refused(&client, RESPONSES, spelled, "conversation").await;
    let spelled = responses(json!({"input": [{"type": "item_reference", "id": "msg_1"}]})).to_string();
    refused(&client, RESPONSES, spelled.replace("item_reference", r"item\u005Freference"), "input[].type").await;
    assert!(upstream.requests().is_empty(), "it reached the provider");
    let answer = client.post(RESPONSES, responses(json!({"conversation": "conv_1"})).to_string()).await;
    let receipt = client.receipt(&answer.id()).await;
    assert_eq!((&receipt["outcome"]["reason"], &receipt["attempts"]), (&json!("unsupported_feature"), &json!([])));
}

#[tokio::test]
async fn an_account_that_is_open_is_open() {
    let upstream = provider().await;
    let gateway = start(&upstream, "shared_objects = true\n").await;
    let client = gateway.client().await;
    for (path, body, _) in naming() {
        client.post(path, body.to_string()).await.ok();
        let sent: Value = serde_json::from_slice(&upstream.requests().pop().expect("a request").body).expect("JSON");
        let mut expected = body;
        expected["model"] = json!("demo");
        if path == RESPONSES {
            expected["store"] = json!(false);
        }
        assert_eq!(sent, expected, "{path}");
    }
}

/// The other protocols have such names too. Their connections are asked in their own protocol.
#[tokio::test]
async fn other_protocols_name_what_an_account_keeps() {
    let upstream = Upstream::start(|request: &Received| {
        let body = if request.head.starts_with("POST /v1/messages") {
            json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "demo", "stop_reason": "end_turn",
                "stop_sequence": null, "content": [{"type": "text", "text": "secret"}],
                "usage": {"input_tokens": 3, "output_tokens": 5}})
        } else {
            json!({"candidates": [{"content": {"role": "model", "parts": [{"text": "secret"}]}, "finishReason": "STOP"}],
                "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 5, "totalTokenCount": 8}})
        };
        json_answer(200, "", &body.to_string())
    })
    .await;
    let block =
        |block: Value| json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, block]}]});
    let result = |block: Value| json!({"type": "tool_result", "tool_use_id": "t", "content": [block]});
    let by_id = json!({"type": "file", "file_id": "file_1"});
    let tool = |tool: Value| json!({"tools": [tool]});
    let named = [
        ("claude", json!({"container": "container_1"}), "container"),
        ("claude", json!({"container": {"id": "container_1"}}), "container"),
        (
            "claude",
            json!({"container": {"skills": [{"type": "custom", "skill_id": "skill_1"}]}}),
            "container.skills[].type",
        ),
        (
            "claude",
            json!({"thread": {"type": "continue", "previous_message_id": "msg_1"}}),
            "thread.previous_message_id",
        ),
        ("claude", json!({"thread": {"type": "create"}}), "thread.type"),
        ("claude", block(json!({"type": "container_upload", "file_id": "file_1"})), "messages[].content[].file_id"),
        ("claude", block(json!({"type": "document", "source": by_id})), "messages[].content[].source.file_id"),
        (
            "claude",
            block(result(json!({"type": "image", "source": by_id}))),
            "messages[].content[].content[].source.file_id",
        ),
        ("gemini", json!({"cachedContent": "cachedContents/1"}), "cachedContent"),
        ("gemini", json!({"cached_content": "cachedContents/1"}), "cached_content"),
        (
            "gemini",
            tool(json!({"file_search": {"fileSearchStoreNames": ["fileSearchStores/1"]}})),
            "tools[].file_search.fileSearchStoreNames[]",
        ),
        (
            "gemini",
            json!({"contents": [{"role": "user", "parts": [{"file_data": {"fileUri": "gs://bucket/a.pdf", "mimeType": "application/pdf"}}]}]}),
            "contents[].parts[].file_data.fileUri",
        ),
        (
            "gemini",
            tool(json!({"retrieval": {"vertexRagStore": {"ragResources": [{"ragCorpus": "c"}]}}})),
            "tools[].retrieval.vertexRagStore.ragResources[].ragCorpus",
        ),
    ];
    for open in [false, true] {
        let more = if open { "shared_objects = true\n" } else { "" };
        let gateway = Setup::new()
            .provider("claude", "anthropic", &format!("http://{}", upstream.address), more)
            .provider("gemini", "gemini", &format!("http://{}/v1beta", upstream.address), more)
            .start()
            .await;
        let client = gateway.client().await;
        for (provider, members, place) in &named {
            let (path, mut body) = match *provider {
                "claude" => ("/v1/messages".to_owned(), messages("claude/demo", "hello", false)),
                _ => (
                    "/v1beta/models/gemini/demo:generateContent".to_owned(),
                    json!({"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}),
                ),
            };
            body.as_object_mut().expect("an object").extend(members.as_object().expect("an object").clone());
            let answer = client.post(&path, body.to_string()).await;
            if open {
                assert_eq!(answer.ok().text().matches("secret").count(), 1, "{body}");
                continue;
            }
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body} {:?}", answer.body);
            let error = answer.json()["error"].clone();
            assert!(error["message"].as_str().is_some_and(|text| text.starts_with(&format!("`{place}` "))), "{error}");
        }
        assert_eq!(upstream.requests().len(), if open { named.len() } else { 0 });
    }
}

/// Of two connections the one that is open is asked.
#[tokio::test]
async fn the_request_goes_where_it_may() {
    let (closed, open) = (provider().await, provider().await);
    let base = |upstream: &Upstream| format!("http://{}/v1", upstream.address);
    let gateway = Setup::new()
        .provider("closed", "openai", &base(&closed), "")
        .provider("open", "openai", &base(&open), "shared_objects = true\n")
        .with("[routing]\nauto = [\"closed/demo\", \"open/demo\"]\n")
        .start()
        .await;
    let client = gateway.client().await;
    let mut body = responses(json!({"conversation": "conv_1"}));
    body["model"] = json!("auto");
    client.post(RESPONSES, body.to_string()).await.ok();
    assert_eq!((closed.requests().len(), open.requests().len()), (0, 1));
}

#[tokio::test]
async fn what_names_nothing_passes() {
    let upstream = provider().await;
    let gateway = start(&upstream, "").await;
    let client = gateway.client().await;
    for (path, body) in [
        (RESPONSES, responses(json!({"conversation": null, "prompt": null, "background": false}))),
        (RESPONSES, responses(json!({"input": "read \"file_id\" and conversation and item_reference"}))),
        (
            RESPONSES,
            responses(json!({"input": [
                {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                    "content": [{"type": "output_text", "text": "file_id", "annotations": []}]},
                {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
                {"role": "user", "content": [{"type": "input_file", "file_url": "https://example.org/a.pdf"}]},
            ]})),
        ),
        (RESPONSES, responses(json!({"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}))),
        (CHAT, chat(json!({"role": "user", "content": "the \"file_id\" of audio"}))),
        (
            CHAT,
            chat(
                json!({"role": "user", "content": [{"type": "file", "file": {"filename": "a", "file_data": "data:,a"}}]}),
            ),
        ),
    ] {
        client.post(path, body.to_string()).await.ok();
        assert_eq!(upstream.requests().len(), 1, "{body}");
        upstream.forget();
    }
}

#[tokio::test]
async fn nothing_is_answered_in_the_background() {
    let upstream = provider().await;
    for more in ["", "shared_objects = true\n"] {
        let gateway = start(&upstream, more).await;
        let client = gateway.client().await;
        refused(&client, RESPONSES, responses(json!({"background": true})).to_string(), "background").await;
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn tokens_are_counted_and_cost_nothing() {
    let upstream = provider().await;
    let gateway = start(&upstream, "").await;
    let client = gateway.client().await;
    let answer = client.post(COUNT, responses(json!({})).to_string()).await.ok();
    assert_eq!(answer.json(), json!({"object": "response.input_tokens", "input_tokens": 11}));
    assert!(upstream.requests()[0].head.starts_with("POST /v1/responses/input_tokens "));
    let receipt = client.receipt(&answer.id()).await;
    assert_eq!((&receipt["operation"], &receipt["cost"]), (&json!("count-tokens"), &Value::Null));
    assert_eq!(receipt["attempts"][0]["settled"], json!(0), "{receipt}");
}

/// A provider's own storage is read by the operator's rights, whatever protocol names it.
#[tokio::test]
async fn what_only_the_provider_can_fetch_is_fetched_for_nobody() {
    let upstream = Upstream::start(|_: &Received| {
        let body = json!({"candidates": [{"content": {"role": "model", "parts": [{"text": "secret"}]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 5, "totalTokenCount": 8}});
        json_answer(200, "", &body.to_string())
    })
    .await;
    let with = |url: &str| {
        let image = json!({"type": "image_url", "image_url": {"url": url}});
        json!({"model": "gemini/demo", "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, image]}]})
    };
    for open in [false, true] {
        let more = if open { "shared_objects = true\n" } else { "" };
        let base = format!("http://{}/v1beta", upstream.address);
        let gateway = Setup::new().provider("gemini", "gemini", &base, more).start().await;
        let client = gateway.client().await;
        for url in ["gs://bucket/a.png", "S3://bucket/a.png"] {
            let answer = client.post(CHAT, with(url).to_string()).await;
            let asked = upstream.requests().len();
            if open {
                assert_eq!(answer.ok().text().matches("secret").count(), 1, "{url}");
            } else {
                assert_eq!((answer.status, asked), (StatusCode::BAD_REQUEST, 0), "{url} {:?}", answer.body);
                let error = answer.json()["error"].clone();
                assert_eq!((&error["code"], &error["param"]), (&json!("unsupported_feature"), &Value::Null));
                assert!(error["message"].as_str().is_some_and(|text| text.contains("`shared_objects`")), "{error}");
            }
        }
        // A file in the account has a URL as any other: it is left out, and said to be.
        let file = "https://generativelanguage.googleapis.com/v1beta/files/a";
        let answer = client.post(CHAT, with(file).to_string()).await.ok();
        let sent = upstream.requests().pop().expect("it was passed on").body;
        assert!(!String::from_utf8_lossy(&sent).contains("/files/a"), "{sent:?}");
        let notes = client.receipt(&answer.id()).await["notes"].to_string();
        assert!(notes.contains("dropped"), "{notes}");
        assert_eq!(client.post(CHAT, with("https://example.org/a.png").to_string()).await.status, StatusCode::OK);
    }
}
