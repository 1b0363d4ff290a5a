//! Nothing that the guard masks passes it: in no string of a request, in no answer however it is cut.

use http::StatusCode;
use portcullis_tests::{Act, Client, Setup, Upstream, answer, demo, json_answer, leaves, recordings, sse, stream_head};
use serde_json::{Value, json};

const CANARY: &str = "ZQX-7319-CANARY";
const MASKS_THE_CANARY: &str = r#"
[[plugin.pii.config.custom]]
name = "canary"
pattern = 'ZQX-\d{4}-CANARY'
mask = "(none)"
max-length = 32
"#;

/// Words of the protocols that decide how a document is read: a mark in them makes another document, which is refused.
fn is_structure(path: &str, _: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    matches!(name, "model" | "role" | "type")
}

fn openai_requests() -> Vec<Value> {
    vec![
        json!({"model": "m", "messages": [
            {"role": "system", "content": "You are terse"},
            {"role": "developer", "content": [{"type": "text", "text": "really"}]},
            {"role": "user", "name": "ada", "content": [
                {"type": "text", "text": "What is in this picture?"},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}}]},
            {"role": "assistant", "content": "Let me look", "refusal": "no", "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{\"at\": \"the gate\", \"deep\": [{\"x\": \"y\"}]}"}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "{\"seen\": \"a portcullis\"}"},
            {"role": "user", "content": ""}]}),
        json!({"model": "m", "stop": ["END", "\u{1f3f0}"], "user": "u-1", "metadata": {"team": "walls", "k": "v"},
            "tools": [{"type": "function", "function": {"name": "look", "description": "Looks",
                "parameters": {"type": "object", "properties": {"at": {"type": "string", "enum": ["a", "b"], "description": "where"}}}}}],
            "tool_choice": {"type": "function", "function": {"name": "look"}},
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "description": "d", "schema": {"title": "t"}}},
            "prediction": {"type": "content", "content": "as before"}, "future_field": {"deeply": [["nested"], {"odd key ~/": "value"}]},
            "messages": [{"role": "user", "content": "hello", "vendor": {"hint": "x"}}]}),
    ]
}

fn anthropic_requests() -> Vec<Value> {
    vec![
        json!({"model": "m", "max_tokens": 64, "system": [{"type": "text", "text": "Be brief", "cache_control": {"type": "ephemeral", "ttl": "5m"}}],
            "stop_sequences": ["END"], "metadata": {"user_id": "u-1"},
            "messages": [
                {"role": "user", "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                    {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
                    {"type": "document", "title": "t", "context": "c", "source": {"type": "text", "media_type": "text/plain", "data": "words"}}]},
                {"role": "assistant", "content": [
                    {"type": "text", "text": "Let me look", "citations": [{"type": "char_location", "cited_text": "w", "document_title": "t", "document_index": 0, "start_char_index": 0, "end_char_index": 1}]},
                    {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "the gate", "more": [{"x": "y"}]}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "a portcullis"}]}]}]}),
        json!({"model": "m", "max_tokens": 64, "system": "Be brief", "service_tier": "auto", "container": "c", "future_field": ["x", {"y": "z"}],
            "tools": [{"name": "look", "description": "Looks", "input_schema": {"type": "object", "properties": {"at": {"type": "string", "title": "t"}}}}],
            "tool_choice": {"type": "tool", "name": "look"},
            "messages": [{"role": "user", "content": "hello"}]}),
    ]
}

/// A provider of either protocol that answers with next to nothing.
async fn listener() -> Upstream {
    Upstream::start(|request| {
        if request.head.starts_with("POST /v1/messages") {
            let body = json!({"id": "m", "type": "message", "role": "assistant", "model": "demo", "stop_reason": "end_turn", "stop_sequence": null,
                "content": [{"type": "text", "text": "yes"}], "usage": {"input_tokens": 1, "output_tokens": 1}});
            json_answer(200, "", &body.to_string())
        } else {
            answer("yes")
        }
    })
    .await
}

/// What a provider got must not have it, however it is written.
fn assert_clean(upstream: &Upstream, what: &str) {
    for request in upstream.requests() {
        let body: Value = serde_json::from_slice(&request.body).expect("a provider gets JSON");
        for text in [body.to_string(), request.head.clone(), String::from_utf8_lossy(&request.body).into_owned()] {
            assert!(!text.contains("ZQX-") && !text.contains("-CANARY"), "{what}: {text}");
        }
    }
}

/// Asks in one protocol of both providers. Answers how many requests were passed on.
async fn ask(client: &Client, path: &str, request: &Value) -> usize {
    let mut passed = 0;
    for provider in ["same", "other"] {
        let mut request = request.clone();
        request["model"] = format!("{provider}/demo").into();
        request["stream"] = false.into();
        let answer = client.post(path, request.to_string()).await;
        passed += usize::from(answer.status == StatusCode::OK);
        let told = answer.text();
        assert!(answer.status.as_u16() < 500, "{told} for {request}");
        assert!(!told.contains(CANARY), "{told}");
    }
    passed
}

async fn guarded(upstream: &Upstream) -> Setup {
    Setup::new().openai("same", upstream.address).anthropic("other", upstream.address).with(MASKS_THE_CANARY)
}

#[tokio::test]
async fn a_canary_in_every_leaf_at_once_reaches_nobody() {
    let upstream = listener().await;
    let gateway = guarded(&upstream).await.start().await;
    let client = gateway.client().await;
    let mut passed = 0;
    for (path, requests) in [("/v1/chat/completions", openai_requests()), ("/v1/messages", anthropic_requests())] {
        for mut request in requests {
            assert!(leaves::mark(&mut request, CANARY, &is_structure) > 5);
            passed += ask(&client, path, &request).await;
        }
    }
    assert!(passed >= 4, "the guard masks and does not refuse: {passed} passed");
    assert_clean(&upstream, "every leaf at once");
}

/// One leaf at a time, written as plain text and in escapes; words of the protocol too, which may be refused.
#[tokio::test]
async fn a_canary_in_any_one_leaf_reaches_nobody() {
    let upstream = listener().await;
    let gateway = guarded(&upstream).await.start().await;
    let client = gateway.client().await;
    let escaped: String = CANARY.chars().map(|letter| format!("\\u{:04x}", u32::from(letter))).collect();
    let mut passed = 0;
    for (path, requests) in [("/v1/chat/completions", openai_requests()), ("/v1/messages", anthropic_requests())] {
        for request in requests {
            let count = leaves::mark(&mut request.clone(), "", &|_, _| false);
            for chosen in 0..count {
                let mut request = request.clone();
                let at = std::cell::Cell::new(0);
                leaves::mark(&mut request, CANARY, &|path, _| {
                    let this = at.replace(at.get() + 1);
                    this != chosen || path == "/model"
                });
                request["model"] = "same/demo".into();
                passed += ask(&client, path, &request).await;
                let written = request.to_string().replace(CANARY, &escaped);
                client.post(path, written).await;
            }
        }
    }
    assert!(passed > 100, "{passed} passed");
    assert_clean(&upstream, "one leaf");
}

#[tokio::test]
async fn a_canary_in_the_models_name_reaches_nobody() {
    let upstream = listener().await;
    let gateway = guarded(&upstream).await.start().await;
    let client = gateway.client().await;
    for provider in ["same", "other"] {
        for model in [format!("{provider}/{CANARY}"), format!("{provider}/demo {CANARY}")] {
            client.chat(&model, "hello").await;
            client.messages(&model, "hello").await;
        }
    }
    client.chat(CANARY, "hello").await;
    assert_clean(&upstream, "the model");
}

/// Real requests have fields that nobody here thought of.
#[tokio::test]
async fn recorded_requests_with_a_canary_in_every_leaf() {
    for (provider, path) in [("openai", "/v1/chat/completions"), ("anthropic", "/v1/messages")] {
        let Some(recordings) = recordings::of(provider, path.trim_start_matches("/v1")) else { return };
        let upstream = listener().await;
        let gateway = guarded(&upstream).await.start().await;
        let client = gateway.client().await;
        let mut passed = 0;
        let count = recordings.len();
        for mut recording in recordings {
            leaves::mark(&mut recording.request, CANARY, &is_structure);
            passed += ask(&client, path, &recording.request).await;
        }
        assert!(passed > count / 2, "{provider}: {passed} of {count} passed");
        assert_clean(&upstream, provider);
    }
}

/// Texts that hold one each, and what must not be seen.
const SECRETS: [(&str, &str); 4] = [
    ("Write to ada.lovelace@example.org today, please. ", "ada.lovelace@example.org"),
    ("Her card is 4111 1111 1111 1111, as ever. ", "4111 1111 1111 1111"),
    ("Use sk-proj-Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9v as the key. ", "sk-proj-Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9v"),
    ("It says ZQX-7319-CANARY on the gate. ", "ZQX-7319-CANARY"),
];

fn openai_delta(text: &str) -> String {
    let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "demo",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]});
    format!("data: {chunk}\n\n")
}

fn openai_end() -> String {
    let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "demo",
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    format!("data: {chunk}\n\ndata: [DONE]\n\n")
}

fn anthropic_event(event: &Value) -> String {
    format!("event: {}\ndata: {event}\n\n", event["type"].as_str().expect("a type"))
}

fn anthropic_begin() -> String {
    let message = json!({"id": "m", "type": "message", "role": "assistant", "model": "demo", "content": [], "stop_reason": null,
        "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1}});
    let start = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
    anthropic_event(&json!({"type": "message_start", "message": message})) + &anthropic_event(&start)
}

fn anthropic_delta(text: &str) -> String {
    anthropic_event(&json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}))
}

fn anthropic_end() -> String {
    let delta = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": 9}});
    anthropic_event(&json!({"type": "content_block_stop", "index": 0}))
        + &anthropic_event(&delta)
        + &anthropic_event(&json!({"type": "message_stop"}))
}

/// The frames of an answer whose text comes in these pieces.
fn frames(anthropic: bool, pieces: &[&str]) -> Vec<String> {
    let mut frames = Vec::new();
    if anthropic {
        frames.push(anthropic_begin());
    }
    frames.extend(pieces.iter().map(|piece| if anthropic { anthropic_delta(piece) } else { openai_delta(piece) }));
    frames.push(if anthropic { anthropic_end() } else { openai_end() });
    frames
}

/// A provider that streams what the last prompt says: `SECRET CUT`, a cut of 0 being every letter by itself, `bytes` the
/// whole answer in single bytes.
async fn splitter() -> Upstream {
    Upstream::start(|request| {
        let anthropic = request.head.starts_with("POST /v1/messages");
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let content = &body["messages"][0]["content"];
        let prompt = content.as_str().or(content[0]["text"].as_str()).expect("a prompt");
        let (secret, cut) = prompt.split_once(' ').expect("two words");
        let text = SECRETS[secret.parse::<usize>().expect("a number")].0;
        let letters: Vec<String> = text.chars().map(String::from).collect();
        let pieces: Vec<&str> = match cut.parse::<usize>() {
            Ok(0) => letters.iter().map(String::as_str).collect(),
            Ok(cut) => vec![&text[..cut], &text[cut..]],
            Err(_) => vec![text],
        };
        let frames = frames(anthropic, &pieces);
        let mut acts = vec![stream_head()];
        if cut == "bytes" {
            let all = frames.concat();
            // Pauses now and then, so that reads end anywhere.
            for (at, byte) in all.bytes().enumerate() {
                acts.push(Act::chunk([byte]));
                if at % 7 == 0 {
                    acts.push(Act::Pause(std::time::Duration::from_micros(50)));
                }
            }
        } else {
            for frame in frames {
                acts.extend([Act::chunk(frame), Act::pause(1)]);
            }
        }
        acts.push(Act::end());
        acts
    })
    .await
}

#[tokio::test]
async fn answers_are_masked_wherever_they_are_cut() {
    let upstream = splitter().await;
    let gateway = guarded(&upstream).await.start().await;
    let client = gateway.client().await;
    let mut tasks = tokio::task::JoinSet::new();
    for (number, (text, secret)) in SECRETS.into_iter().enumerate() {
        let cuts = (0..text.len()).map(|cut| cut.to_string()).chain(["bytes".to_owned()]);
        let cuts: Vec<String> = cuts.collect();
        for pair in 0..4 {
            let (client, cuts) = (client.clone(), cuts.clone());
            tasks.spawn(async move {
                for cut in cuts {
                    check_cut(&client, pair, &format!("{number} {cut}"), text, secret).await;
                }
            });
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no secret is seen");
    }
}

async fn check_cut(client: &Client, pair: usize, prompt: &str, text: &str, secret: &str) {
    let model = if pair.is_multiple_of(2) { "same/demo" } else { "other/demo" };
    let mut stream = match pair {
        0 | 1 => client.chat_stream(model, prompt).await,
        _ => client.messages_stream(model, prompt).await,
    };
    let (raw, complete) = stream.rest().await;
    let events = sse::events(&raw);
    let seen = sse::text(&events);
    assert!(complete && sse::ended(&events), "{pair} {prompt}: {raw}");
    assert!(!seen.contains(secret) && !raw.contains(secret), "{pair} {prompt}: {seen}");
    // What is around it is all there, once.
    let (before, after) = text.split_once(secret).expect("the secret is in it");
    assert!(seen.starts_with(before) && seen.ends_with(after), "{pair} {prompt}: {seen:?}");
    let mask = &seen[before.len()..seen.len() - after.len()];
    assert!(!mask.is_empty() && mask.len() < 20 && !secret.contains(mask), "{pair} {prompt}: {seen:?}");
}

/// A provider that falls silent within it does not get it released: held text is redacted when its time is up.
#[tokio::test]
async fn what_is_held_too_long_is_redacted() {
    let upstream = Upstream::start(|request| {
        let anthropic = request.head.starts_with("POST /v1/messages");
        let frames = frames(anthropic, &["Write to ada.lovelace@exam", "ple.org today. "]);
        let mut acts = vec![stream_head()];
        for frame in frames {
            acts.extend([Act::chunk(frame), Act::pause(2_600)]);
        }
        acts.truncate(acts.len() - 1);
        acts.push(Act::end());
        acts
    })
    .await;
    let gateway = guarded(&upstream).await.start().await;
    let client = gateway.client().await;
    let (mut same, mut across) =
        tokio::join!(client.chat_stream("same/demo", "hello"), client.chat_stream("other/demo", "hello"));
    let ((same, _), (across, _)) = tokio::join!(same.rest(), across.rest());
    for raw in [same, across] {
        let events = sse::events(&raw);
        let seen = sse::text(&events);
        assert!(seen.starts_with("Write to ") && sse::ended(&events), "{raw}");
        assert!(!seen.contains("ada.lovelace") && !raw.contains("ada.lovelace@exam"), "{raw}");
    }
}

/// Whole answers, and the arguments of tools, which are JSON within JSON.
#[tokio::test]
async fn whole_answers_and_arguments_of_tools_are_masked() {
    let upstream = Upstream::start(|_| {
        let arguments = json!({"to": "ada@example.org", "card": "4111111111111111", "n": [1, {"q": "say \"hi\""}]});
        let body = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "demo",
            "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": "Mail ada@example.org",
                "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "send", "arguments": arguments.to_string()}}]}}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}});
        json_answer(200, "", &body.to_string())
    })
    .await;
    let gateway = guarded(&upstream).await.start().await;
    let client = gateway.client().await;
    let chat = client.chat("same/demo", "hello").await.ok();
    let messages = client.messages("same/demo", "hello").await.ok();
    for answer in [&chat, &messages] {
        assert!(!answer.text().contains("ada@") && !answer.text().contains("4111"), "{}", answer.text());
    }
    let arguments =
        chat.json()["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"].as_str().unwrap().to_owned();
    let arguments: Value = serde_json::from_str(&arguments).expect("arguments are still JSON");
    assert_eq!(arguments["n"], json!([1, {"q": "say \"hi\""}]));
    assert_eq!(messages.json()["content"][1]["input"]["n"], json!([1, {"q": "say \"hi\""}]));
}

/// A guard that cannot be had refuses; it is not left out.
#[tokio::test]
async fn a_guard_that_fails_fails_closed() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).with("[plugin.pii]\nmemory_mb = 4\n").start().await;
    let client = gateway.client().await;
    // More text than a guard of four megabytes can hold.
    let answer = client.chat("demo/demo-echo", &"long ".repeat(1_200_000)).await;
    assert!(answer.status.is_server_error(), "{} {:?}", answer.status, answer.body);
    assert_eq!(client.receipt(&answer.id()).await["outcome"]["reason"], "plugin_failed");
    assert_eq!(demo.stats().requests, 0);
    let open = Setup::demo(&demo).with("[plugin.pii]\nmemory_mb = 4\nfailure = \"open\"\n").start().await;
    let client = open.client().await;
    client.chat("demo/demo", &"long ".repeat(1_200_000)).await.ok();
}

/// What a guard held goes out at its text's end in a frame that the provider did not send: a client that counts frames must not
/// see a number twice.
#[tokio::test]
async fn frames_that_a_guard_adds_are_numbered() {
    let upstream = Upstream::start(|_| {
        let frame = |event: Value| {
            Act::chunk(format!("event: {}\ndata: {event}\n\n", event["type"].as_str().expect("a type")))
        };
        let text = "say ZQX-73";
        let document = json!({"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m",
            "output": [{"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
                "content": [{"type": "output_text", "text": text, "annotations": []}]}],
            "usage": {"input_tokens": 3, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 5,
                "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 8}});
        let mut begun = document.clone();
        (begun["output"], begun["status"], begun["usage"]) = (json!([]), json!("in_progress"), json!(null));
        let of = |number: u64, kind: &str, member: &str, text: &str| {
            json!({"type": kind, "sequence_number": number, "item_id": "msg_1", "output_index": 0, "content_index": 0,
                member: text, "logprobs": []})
        };
        vec![
            stream_head(),
            frame(json!({"type": "response.created", "sequence_number": 0, "response": begun})),
            frame(of(1, "response.output_text.delta", "delta", "say ")),
            // This may become what is masked, and never does.
            frame(of(2, "response.output_text.delta", "delta", "ZQX-73")),
            // What one read brings is judged together, and nothing need be held.
            Act::pause(300),
            frame(of(3, "response.output_text.done", "text", text)),
            frame(json!({"type": "response.completed", "sequence_number": 4, "response": document})),
            Act::end(),
        ]
    })
    .await;
    let gateway = guarded(&upstream).await.start().await;
    let body = json!({"model": "same/m", "input": "hello", "stream": true});
    let answer = gateway.client().await.post("/v1/responses", body.to_string()).await.ok();
    let events: Vec<Value> = answer.events().iter().map(sse::Event::json).collect();
    let numbers: Vec<_> = events.iter().map(|event| event["sequence_number"].as_u64()).collect();
    assert!(events.len() == 6, "the held text has a frame of its own: {}", answer.text());
    assert_eq!(numbers, (0..6).map(Some).collect::<Vec<_>>(), "{}", answer.text());
    let said: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(said, "say ZQX-73");
}
