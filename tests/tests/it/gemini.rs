//! What Gemini's own clients ask for beside an answer: a stream that is no event stream, and what the gateway knows of a model.

use portcullis_tests::{Act, Gateway, Received, Setup, Upstream, json_answer, stream_head};
use serde_json::{Value, json};

fn line(request: &Received) -> &str {
    request.head.lines().next().and_then(|line| line.strip_suffix(" HTTP/1.1")).unwrap_or_default()
}

/// AI Studio, whose streams are event streams where they are asked for.
async fn google() -> Upstream {
    Upstream::start(|request| {
        let answer = json!({"candidates": [{"content": {"role": "model", "parts": [{"text": "Hello."}]}, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 5, "totalTokenCount": 8},
            "modelVersion": "gemini-3.8-flash", "responseId": "r-1"});
        if line(request).ends_with("?alt=sse") {
            return vec![stream_head(), Act::chunk(format!("data: {answer}\r\n\r\n")), Act::end()];
        }
        json_answer(200, "", &answer.to_string())
    })
    .await
}

/// With the plugin's own catalogue.
async fn gateway(google: &Upstream) -> Gateway {
    let section = format!(
        "[providers.google]\nplugin = \"gemini\"\nbase_url = \"http://{}/v1beta\"\nauth = \"header:x-goog-api-key\"\napi_key = \"${{TEST_SECRET}}\"\n",
        google.address
    );
    let setup = Setup::new().plugins(&["gemini", "openai", "pii"]).with(&section);
    setup.environment("TEST_SECRET", "s3cret").start().await
}

#[tokio::test]
async fn a_stream_that_is_no_event_stream_is_an_array() {
    let google = google().await;
    let gateway = gateway(&google).await;
    let client = gateway.client().await;
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}).to_string();
    let path = "/v1beta/models/google/gemini-3.8-flash:streamGenerateContent";
    let array = client.post(path, body.clone()).await.ok().json();
    let chunks = array.as_array().expect("an array");
    assert_eq!(chunks.len(), 1, "{array}");
    assert_eq!(chunks[0]["candidates"][0]["content"]["parts"][0]["text"], "Hello.");
    assert_eq!(chunks[0]["usageMetadata"]["totalTokenCount"], 8);

    let mut stream = client.stream(&format!("{path}?key=x&alt=sse"), body).await;
    let (streamed, _) = stream.rest().await;
    assert!(streamed.starts_with("data: {") && streamed.contains("Hello."), "{streamed}");
    let requests = google.requests();
    let asked: Vec<_> = requests.iter().map(line).collect();
    let model = "POST /v1beta/models/gemini-3.8-flash";
    assert_eq!(asked, [format!("{model}:generateContent"), format!("{model}:streamGenerateContent?alt=sse")]);
}

#[tokio::test]
async fn models_are_listed_and_one_is_told() {
    let google = google().await;
    let gateway = gateway(&google).await;
    let client = gateway.client().await;
    let listed = client.get("/v1beta/models").await.ok().json();
    let named = |name: &str| -> Value {
        let models = listed["models"].as_array().expect("models");
        models.iter().find(|model| model["name"] == name).unwrap_or_else(|| panic!("{name}")).clone()
    };
    let flash = named("models/google/gemini-3.8-flash");
    assert_eq!(flash["baseModelId"], "gemini-3.8-flash");
    assert_eq!(flash["supportedGenerationMethods"], json!(["generateContent", "countTokens"]));
    assert!(flash["inputTokenLimit"].as_u64().is_some_and(|tokens| tokens >= 1_000_000), "{flash}");
    assert!(flash["outputTokenLimit"].is_u64() && flash["displayName"].is_string());
    let embedding = named("models/google/gemini-embedding-001");
    assert_eq!((&embedding["baseModelId"], &embedding["version"]), (&json!("gemini-embedding"), &json!("001")));
    assert_eq!(embedding["supportedGenerationMethods"], json!(["embedContent", "batchEmbedContents", "countTokens"]));

    for name in ["google/gemini-3.8-flash", "gemini-3.8-flash"] {
        assert_eq!(client.get(&format!("/v1beta/models/{name}")).await.ok().json(), flash, "{name}");
    }
    let unknown = client.get("/v1beta/models/google/no-such-model").await;
    assert_eq!((unknown.status.as_u16(), &unknown.json()["error"]["status"]), (404, &json!("NOT_FOUND")));
    // A key that may not use a model is not told of it.
    let limited = gateway.client_with(&["--model", "google/gemini-embedding-001"]).await;
    assert_eq!(limited.get("/v1beta/models/gemini-3.8-flash").await.status.as_u16(), 404);
    assert!(google.requests().is_empty());
}
