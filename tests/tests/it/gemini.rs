//! What Gemini's own clients ask for beside an answer: a stream that is no event stream, and what the gateway knows of a model.

use portcullis_tests::{Act, Gateway, Received, Setup, Upstream, json_answer, stream_head};
use serde_json::{Value, json};

fn line(request: &Received) -> &str {
    request.head.lines().next().and_then(|line| line.strip_suffix(" HTTP/1.1")).unwrap_or_default()
}

/// AI Studio, whose streams are event streams where they are asked for, and else an array.
async fn google() -> Upstream {
    Upstream::start(|request| {
        let answer = json!({"candidates": [{"content": {"role": "model", "parts": [{"text": "Hello."}]}, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 5, "totalTokenCount": 8},
            "modelVersion": "gemini-3.8-flash", "responseId": "r-1"});
        if line(request).ends_with("?alt=sse") {
            return vec![stream_head(), Act::chunk(format!("data: {answer}\r\n\r\n")), Act::end()];
        }
        if line(request).ends_with(":streamGenerateContent") {
            // As it writes them: an item a line, brackets and commas between.
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=UTF-8\r\ntransfer-encoding: chunked\r\n\r\n";
            let chunk = |text: &str| json!({"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}],
                "modelVersion": "gemini-3.8-flash", "responseId": "r-1"});
            return vec![
                Act::send(head),
                Act::chunk(format!("[{}\n,\r\n{{\"candi", chunk("Well, ada@"))),
                Act::pause(300),
                Act::chunk(format!("{}\n,\r\n{answer}\n]", &chunk("example.org. ").to_string()["{\"candi".len()..])),
                Act::end(),
            ];
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

fn text_of(chunks: &str) -> String {
    let chunks: Vec<Value> = serde_json::from_str(chunks).unwrap_or_else(|error| panic!("{error}: {chunks}"));
    chunks.iter().filter_map(|chunk| chunk["candidates"][0]["content"]["parts"][0]["text"].as_str()).collect()
}

#[tokio::test]
async fn a_stream_that_is_no_event_stream_is_an_array() {
    let google = google().await;
    let gateway = gateway(&google).await;
    let client = gateway.client().await;
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}).to_string();
    let path = "/v1beta/models/google/gemini-3.8-flash:streamGenerateContent";
    let mut stream = client.stream(path, body.clone()).await;
    let id = stream.id();
    let (array, whole) = stream.rest().await;
    // The guard saw the address whole, though it came in two items.
    assert!(whole && !array.contains("ada@"), "{array}");
    let text = text_of(&array);
    assert!(text.starts_with("Well, [") && text.ends_with("Hello."), "{text}");
    let receipt = client.receipt(&id).await;
    assert_eq!((&receipt["passthrough"], &receipt["usage"]["output"]), (&json!(true), &json!(5)), "{receipt}");

    let mut stream = client.stream(&format!("{path}?key=x&alt=sse"), body).await;
    let (streamed, _) = stream.rest().await;
    assert!(streamed.starts_with("data: {") && streamed.contains("Hello."), "{streamed}");
    let requests = google.requests();
    let asked: Vec<_> = requests.iter().map(line).collect();
    let model = "POST /v1beta/models/gemini-3.8-flash";
    assert_eq!(asked, [format!("{model}:streamGenerateContent"), format!("{model}:streamGenerateContent?alt=sse")]);
}

/// Of another provider too, an item as soon as there is something to say; and one that breaks off is an array all the same.
#[tokio::test]
async fn an_array_of_another_providers_stream() {
    let openai = Upstream::start(|request| {
        let chunk = |delta: Value, finish: Value| {
            let choices = json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
            let chunk =
                json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices});
            Act::chunk(format!("data: {chunk}\n\n"))
        };
        let breaks = String::from_utf8_lossy(&request.body).contains("break");
        let mut acts = vec![stream_head(), chunk(json!({"role": "assistant", "content": "One "}), Value::Null)];
        acts.push(Act::pause(400));
        if breaks {
            acts.push(Act::chunk(
                "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\",\"code\":503}}\n\n",
            ));
        } else {
            acts.push(chunk(json!({"content": "two."}), Value::Null));
            acts.push(chunk(json!({}), json!("stop")));
            acts.push(Act::chunk("data: [DONE]\n\n"));
        }
        acts.push(Act::end());
        acts
    })
    .await;
    for guards in [&["gemini", "openai", "pii"][..], &["gemini", "openai"]] {
        let gateway = Setup::new().plugins(guards).openai("gpt", openai.address).start().await;
        let client = gateway.client().await;
        let ask = |text: &str| json!({"contents": [{"role": "user", "parts": [{"text": text}]}]}).to_string();
        let path = "/v1beta/models/gpt/m:streamGenerateContent";
        let mut stream = client.stream(path, ask("count")).await;
        let first = stream.read(1).await;
        assert!(first.starts_with("[{") && !first.contains("two."), "{first}");
        let (rest, _) = stream.rest().await;
        assert_eq!(text_of(&(first + &rest)), "One two.");
        let mut stream = client.stream(path, ask("break")).await;
        let (broken, _) = stream.rest().await;
        let chunks: Vec<Value> = serde_json::from_str(&broken).unwrap_or_else(|error| panic!("{error}: {broken}"));
        assert_eq!(chunks.last().expect("a chunk")["error"]["status"], "UNAVAILABLE", "{broken}");
    }
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
