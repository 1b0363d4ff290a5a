//! Operations besides chat: passed through, and authenticated, routed, guarded, metered and receipted like chat.

use portcullis_tests::{Setup, demo, sse};
use serde_json::{Value, json};

const EMAIL: &str = "ada@example.org";

fn parsed(body: &[u8]) -> Value {
    serde_json::from_slice(body).expect("JSON")
}

#[tokio::test]
async fn embeddings_are_metered_and_have_a_receipt() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let asked =
        json!({"model": "demo/text-embedding-3-small", "input": ["one two", EMAIL], "encoding_format": "base64"});
    let answer = client.post("/v1/embeddings", asked.to_string()).await.ok();
    let told = answer.json();
    assert_eq!((told["data"].as_array().map(Vec::len), &told["object"]), (Some(2), &json!("list")));
    let received = parsed(&demo.received().pop().expect("it was passed on").body);
    assert_eq!((&received["model"], &received["input"][1]), (&json!("text-embedding-3-small"), &json!("[EMAIL]")));
    let receipt = client.receipt(&answer.id()).await;
    assert_eq!((&receipt["operation"], &receipt["outcome"]["status"]), (&json!("embeddings"), &json!(200)));
    assert_eq!(receipt["usage"]["input"], told["usage"]["prompt_tokens"]);
    // At 1 USD for a million tokens a token is 1,000 nano-USD.
    assert_eq!(receipt["cost"]["total_nano"], json!(told["usage"]["prompt_tokens"].as_u64().expect("a count") * 1000));
    assert_eq!(receipt["usage"]["estimated"], json!(false));
}

#[tokio::test]
async fn no_key_no_operation() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).with("[access]\nlockout_failures = 100\n").start().await;
    let client = gateway.client().await;
    let stranger = portcullis_tests::Client { key: "pc_prod_nobody".to_owned(), ..client.clone() };
    for (method, path) in [
        ("POST", "/v1/embeddings"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/moderations"),
        ("POST", "/v1/images/generations"),
        ("POST", "/v1/images/edits"),
        ("POST", "/v1/audio/speech"),
        ("POST", "/v1/audio/transcriptions"),
        ("GET", "/v1/files"),
        ("DELETE", "/v1/files/file-1"),
        ("GET", "/v1/files/file-1/content"),
        ("POST", "/v1/batches"),
        ("POST", "/v1/batches/batch_1/cancel"),
        ("POST", "/v1/rerank"),
    ] {
        let answer = stranger.ask(method, path, Some("application/json"), r#"{"model":"demo/m","input":"x"}"#).await;
        assert_eq!(answer.status, 401, "{method} {path}");
    }
    assert!(demo.received().is_empty());
}

#[tokio::test]
async fn a_form_is_guarded_and_its_model_renamed() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let sound = b"\x00\xffRIFF\r\n--edg\xfe";
    let prompt = format!("Ada, {EMAIL}");
    let fields = [("model", "demo/whisper-1"), ("prompt", prompt.as_str())];
    let answer = client.form("/v1/audio/transcriptions", &fields, sound).await.ok();
    let text = format!("A recording of {} bytes. The prompt was: Ada, [EMAIL]", sound.len());
    assert_eq!(answer.json()["text"], json!(text));
    let received = demo.received().pop().expect("it was passed on").body;
    let shown = String::from_utf8_lossy(&received);
    assert!(shown.contains("\r\n\r\nwhisper-1\r\n") && !shown.contains("demo/") && !shown.contains(EMAIL), "{shown}");
    assert!(received.windows(sound.len()).any(|window| window == sound), "the recording is as it was");
    let receipt = client.receipt(&answer.id()).await;
    assert_eq!((&receipt["operation"], &receipt["usage"]["audio_input"]), (&json!("audio"), &json!(10)));
    assert!(receipt["plugins"].as_array().expect("a list").iter().any(|line| line["name"] == "pii"), "{receipt}");

    let nobody = client.form("/v1/audio/transcriptions", &[("prompt", "x")], sound).await;
    assert_eq!((nobody.status.as_u16(), &nobody.json()["error"]["param"]), (400, &json!("model")));
}

#[tokio::test]
async fn a_transcription_streams() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let prompt = format!("write to {EMAIL}");
    let fields = [("model", "demo/gpt-4o-transcribe"), ("stream", "true"), ("prompt", prompt.as_str())];
    let answer = client.form("/v1/audio/transcriptions", &fields, b"abc").await.ok();
    let events: Vec<Value> = sse::events(answer.text()).iter().map(|event| parsed(event.data.as_bytes())).collect();
    let pieces: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    let done = events.last().expect("an end");
    assert_eq!((&done["type"], done["text"].as_str()), (&json!("transcript.text.done"), Some(pieces.as_str())));
    assert!(pieces.ends_with("write to [EMAIL]"), "{pieces}");
    let receipt = client.receipt(&answer.id()).await;
    assert_eq!(receipt["usage"]["output"], done["usage"]["output_tokens"]);
}

#[tokio::test]
async fn speech_is_bytes_that_nobody_reads() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let asked = json!({"model": "demo/tts-1", "voice": "alloy", "input": "hello"});
    let answer = client.post("/v1/audio/speech", asked.to_string()).await.ok();
    assert_eq!(answer.headers["content-type"], "audio/wav");
    assert_eq!((&answer.body[..4], answer.body.len()), (&b"RIFF"[..], 44 + 5 * 400));
    let receipt = client.receipt(&answer.id()).await;
    assert_eq!((&receipt["operation"], &receipt["usage"]["estimated"]), (&json!("audio"), &json!(true)));
    assert!(receipt["cost"]["total_nano"].as_u64().is_some_and(|cost| cost > 0), "{receipt}");
}

#[tokio::test]
async fn moderations_and_rerank() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let asked = json!({"model": "demo/omni-moderation-latest", "input": "violence!"});
    let told = client.post("/v1/moderations", asked.to_string()).await.ok().json();
    assert_eq!(told["results"][0]["flagged"], json!(true));
    let asked =
        json!({"model": "demo/reranker", "query": "red fox", "documents": ["blue sky", "the red fox"], "top_n": 1});
    let answer = client.post("/v1/rerank", asked.to_string()).await;
    let receipt = client.receipt(&answer.id()).await;
    assert_eq!(answer.ok().json()["results"][0]["index"], json!(1));
    assert_eq!(receipt["usage"]["searches"], json!(1));
    // A search has no price in this configuration, and an unknown price is never nothing.
    assert_eq!(receipt["attempts"][0]["ended"], json!("quarantined"), "{receipt}");
}

#[tokio::test]
async fn files_are_open_only_where_the_operator_says_so() {
    let demo = demo().await;
    let closed = Setup::demo(&demo).start().await;
    let client = closed.client().await;
    let answer = client.form("/v1/files", &[("purpose", "batch")], b"{}").await;
    assert_eq!(answer.status, 404);
    assert!(answer.text().contains("shared_objects"), "{}", answer.text());
    assert!(demo.received().is_empty());

    let base = format!("http://{}/v1", demo.address());
    let open = Setup::new().provider("demo", "openai", &base, "shared_objects = true\n").start().await;
    let client = open.client().await;
    let content = b"\xff\x00 anything";
    let uploaded = client.form("/v1/files", &[("purpose", "batch")], content).await.ok();
    let id = uploaded.json()["id"].as_str().expect("an id").to_owned();
    let receipt = client.receipt(&uploaded.id()).await;
    assert_eq!((&receipt["operation"], &receipt["cost"]["total_nano"]), (&json!("files"), &Value::Null));
    let listed = client.get("/v1/files?purpose=batch&unknown=1").await.ok().json();
    assert_eq!(listed["data"][0]["id"], json!(id));
    let path = &demo.received().pop().expect("it was passed on").path;
    assert_eq!(path, "/v1/files?purpose=batch", "what the endpoint knows of a query, and no more");
    assert_eq!(&client.get(&format!("/v1/files/{id}/content")).await.ok().body[..], content);
    let gone = client.ask("DELETE", &format!("/v1/files/{id}"), None, "").await.ok().json();
    assert_eq!(gone["deleted"], json!(true));
    assert_eq!(client.get(&format!("/v1/files/{id}")).await.status, 404);
}
