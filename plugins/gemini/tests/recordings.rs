//! Real traffic, where it is: every recorded request and answer must survive the way through the IR.
//!
//! `PORTCULLIS_RECORDINGS` names the folder; without it the tests skip, since the recordings are not part of the project.

use std::path::PathBuf;

use portcullis_plugin::prelude::*;
use portcullis_plugin_gemini::{FORMAT, Gemini};
use serde_json::{Map, Value, json};

struct Recording {
    id: String,
    stream: bool,
    status: u64,
    path: String,
    request: String,
    response: String,
}

/// The recordings of `generateContent` and `streamGenerateContent`, or nothing where there are none.
fn recordings() -> Vec<Recording> {
    let Some(folder) = std::env::var_os("PORTCULLIS_RECORDINGS") else {
        eprintln!("skipped: PORTCULLIS_RECORDINGS is not set");
        return Vec::new();
    };
    let text = |value: &Value| value["text"].as_str().unwrap_or_default().to_owned();
    let mut found = Vec::new();
    for file in ["gemini.jsonl", "vertex.jsonl"] {
        let path = PathBuf::from(&folder).join(file);
        let lines = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let values = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("a recording"));
        let chats =
            values.filter(|value| value["operation"].as_str().is_some_and(|name| name.ends_with("enerateContent")));
        found.extend(chats.map(|value| Recording {
            id: value["id"].to_string(),
            stream: value["operation"] == "streamGenerateContent",
            status: value["status"].as_u64().unwrap_or_default(),
            path: value["path"].as_str().unwrap_or_default().to_owned(),
            request: text(&value["request"]),
            response: text(&value["response"]),
        }));
    }
    assert!(found.len() > 100, "{} recordings are too few", found.len());
    found
}

fn good(stream: bool) -> impl Iterator<Item = Recording> {
    recordings().into_iter().filter(move |recording| recording.status == 200 && recording.stream == stream)
}

fn context() -> Context {
    Context { now: 1_700_000_000_000, seed: 7, request_id: "req-test".to_owned(), development: true, extra: Vec::new() }
}

fn answer_head(status: u16) -> AnswerHead {
    AnswerHead { endpoint: "generate".to_owned(), status, headers: Vec::new() }
}

fn reply() -> Reply {
    Reply {
        route: "chat".to_owned(),
        requested_model: "m".to_owned(),
        stream_usage: true,
        provider: "google".to_owned(),
        strategy: "explicit".to_owned(),
        cost: None,
        account: None,
        echo: Vec::new(),
    }
}

/// A stream's chunks: of its frames, or the items of the list that is streamed without `alt=sse`.
fn frames(body: &str) -> Vec<Frame> {
    if body.trim_start().starts_with('[') {
        let items: Vec<Value> = serde_json::from_str(body).expect("a list");
        return items.iter().map(|item| Frame::data(item.to_string())).collect();
    }
    let body = body.replace("\r\n", "\n");
    body.split("\n\n")
        .filter_map(|frame| frame.lines().find_map(|line| line.strip_prefix("data:")))
        .map(|data| Frame::data(data.trim()))
        .collect()
}

/// The state as it is between two calls.
fn carried<S: serde::Serialize + serde::de::DeserializeOwned>(state: S) -> S {
    let bytes = postcard::to_stdvec(&state).expect("a state");
    assert!(bytes.len() <= 64 * 1024, "{} bytes of state", bytes.len());
    postcard::from_bytes(&bytes).expect("the same state")
}

/// Everything in one batch, or a batch a frame with the state stored in between.
fn decode(frames: Vec<Frame>, one_by_one: bool) -> Vec<Event> {
    let mut state = Default::default();
    if !one_by_one {
        return Gemini.decode_frames(&context(), "stream", &mut state, frames, true).expect("events");
    }
    let count = frames.len();
    let mut events = Vec::new();
    for (at, frame) in frames.into_iter().enumerate() {
        let last = at + 1 == count;
        events.extend(Gemini.decode_frames(&context(), "stream", &mut state, vec![frame], last).expect("events"));
        state = carried(state);
    }
    events
}

fn encode(events: Vec<Event>, one_by_one: bool) -> Vec<Frame> {
    let mut state = Default::default();
    if !one_by_one {
        return Gemini.encode_events(&context(), &reply(), &mut state, events, true).expect("frames");
    }
    let count = events.len();
    let mut frames = Vec::new();
    for (at, event) in events.into_iter().enumerate() {
        let last = at + 1 == count;
        frames.extend(Gemini.encode_events(&context(), &reply(), &mut state, vec![event], last).expect("frames"));
        state = carried(state);
    }
    frames
}

/// Chunks put together: texts of one kind joined, what is said once kept.
fn accumulate(frames: &[Frame]) -> Value {
    let mut whole = Map::new();
    for frame in frames {
        let chunk: Value = serde_json::from_str(&frame.data).expect("JSON");
        for (name, value) in chunk.as_object().expect("an object") {
            if name == "candidates" {
                let all = whole.entry("candidates").or_insert(json!([]));
                for candidate in value.as_array().expect("candidates") {
                    add(all.as_array_mut().expect("candidates"), candidate);
                }
            } else {
                whole.insert(name.clone(), value.clone());
            }
        }
    }
    Value::Object(whole)
}

fn add(all: &mut Vec<Value>, candidate: &Value) {
    let index = candidate["index"].as_u64().unwrap_or(0) as usize;
    while all.len() <= index {
        all.push(json!({"index": all.len(), "content": {"role": "model", "parts": []}}));
    }
    for (name, value) in candidate.as_object().expect("a candidate") {
        if name == "content" {
            let parts = all[index]["content"]["parts"].as_array_mut().expect("parts");
            parts.extend(value["parts"].as_array().cloned().unwrap_or_default());
        } else {
            all[index][name] = value.clone();
        }
    }
}

/// An answer as a client reads it, of the members both sides must agree on.
fn essence(answer: Value) -> Value {
    let mut answer = plain(answer);
    for candidate in answer["candidates"].as_array_mut().into_iter().flatten() {
        let parts = candidate["content"]["parts"].as_array().cloned().unwrap_or_default();
        let content = json!({"role": "model", "parts": joined(parts)});
        let candidate = candidate.as_object_mut().expect("a candidate");
        candidate.insert("content".to_owned(), content);
        candidate.entry("index").or_insert(json!(0));
        // By number, as some clients ask for it.
        match candidate.get("finishReason").and_then(Value::as_u64) {
            Some(1) => candidate.insert("finishReason".to_owned(), json!("STOP")),
            Some(2) => candidate.insert("finishReason".to_owned(), json!("MAX_TOKENS")),
            _ => None,
        };
    }
    if let Value::Object(members) = &mut answer
        && let Some(Value::Object(usage)) = members.get_mut("usageMetadata")
    {
        usage.retain(|_, value| *value != json!(0));
    }
    answer
}

/// Texts of one kind are one, as long as no signature comes in between; empty ones say nothing.
fn joined(parts: Vec<Value>) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    for part in parts {
        let members = part.as_object().expect("a part");
        let text = members.contains_key("text")
            && members.keys().all(|name| ["text", "thought", "thoughtSignature"].contains(&name.as_str()));
        let open = all.last_mut().filter(|last| {
            text && last.get("text").is_some()
                && last.get("thoughtSignature").is_none()
                && last.get("thought") == part.get("thought")
        });
        match open {
            Some(last) => {
                let more =
                    last["text"].as_str().unwrap_or_default().to_owned() + part["text"].as_str().unwrap_or_default();
                last["text"] = json!(more);
                if let Some(signature) = part.get("thoughtSignature") {
                    last["thoughtSignature"] = signature.clone();
                }
            }
            None if text && part["text"] == "" && part.get("thoughtSignature").is_none() => {}
            None => all.push(part),
        }
    }
    all
}

/// Without what says nothing, with numbers in one spelling.
fn plain(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name, plain(value))).collect())
        }
        Value::Array(items) => items.into_iter().map(plain).collect(),
        Value::Number(number) => json!(
            number
                .as_f64()
                .filter(|float| float.fract() != 0.0)
                .map_or_else(|| json!(number.as_f64().unwrap_or_default() as i64), |float| json!(float))
        ),
        other => other,
    }
}

#[test]
fn whole_answers_come_back_the_same() {
    for recording in good(false) {
        let decoded = Gemini
            .decode_response(&context(), &answer_head(200), &recording.response)
            .unwrap_or_else(|failure| panic!("{}: {failure:?}", recording.id));
        let encoded = Gemini.encode_response(&context(), &reply(), decoded.response).expect("an answer");
        let (before, after) =
            (serde_json::from_str(&recording.response).expect("JSON"), serde_json::from_str(&encoded).expect("JSON"));
        assert_eq!(essence(after), essence(before), "{}", recording.id);
    }
}

#[test]
fn streams_come_back_the_same_however_they_arrive() {
    for recording in good(true) {
        let wire = frames(&recording.response);
        let before = essence(accumulate(&wire));
        let events = decode(wire.clone(), false);
        assert_eq!(without_totals(&events), without_totals(&decode(wire, true)), "{}", recording.id);
        assert!(!events.iter().any(|event| matches!(event, Event::Error(_))), "{}: {events:?}", recording.id);
        let encoded = encode(events.clone(), false);
        assert_eq!(encoded, encode(events, true), "{}", recording.id);
        assert_eq!(essence(accumulate(&encoded)), before, "{}", recording.id);
    }
}

/// Running totals come once a batch or once a frame; the last one counts.
fn without_totals(events: &[Event]) -> (Vec<&Event>, Option<&Event>) {
    let (totals, others): (Vec<_>, Vec<_>) = events.iter().partition(|event| matches!(event, Event::Usage(_)));
    (others, totals.last().copied())
}

#[test]
fn a_meter_reads_what_decoding_reads() {
    let needles = Gemini::manifest().endpoints.remove(0).meter_frames;
    for recording in recordings().into_iter().filter(|recording| recording.status == 200) {
        let mut metered = Metered::default();
        let (id, usage, finish);
        if recording.stream {
            let wire = frames(&recording.response);
            let (first, last) = (wire[0].clone(), wire[wire.len() - 1].clone());
            let chosen = |frame: &&Frame| {
                **frame == first || **frame == last || needles.iter().any(|needle| frame.data.contains(needle))
            };
            let chosen: Vec<_> = wire.iter().filter(chosen).cloned().collect();
            Gemini.meter(&context(), "stream", &mut metered, &chosen, true).expect("a reading");
            let events = decode(wire, false);
            id = events.iter().find_map(|event| match event {
                Event::Start(start) => Some(start.id.clone()),
                _ => None,
            });
            usage = events.iter().rev().find_map(|event| match event {
                Event::Usage(usage) => Some(usage.clone()),
                _ => None,
            });
            finish = events.iter().find_map(|event| match event {
                Event::Finish(finish) => Some(finish.finish.clone()),
                _ => None,
            });
        } else {
            Gemini
                .meter(&context(), "generate", &mut metered, &[Frame::data(&*recording.response)], true)
                .expect("a reading");
            let response =
                Gemini.decode_response(&context(), &answer_head(200), &recording.response).expect("an answer").response;
            id = Some(response.id);
            usage = response.usage;
            finish = response.choices[0].finish.clone();
        }
        let expected = (id, usage, finish.into_iter().collect());
        assert_eq!((metered.id, metered.usage, metered.finishes), expected, "{}", recording.id);
        assert_eq!(metered.failure, None, "{}", recording.id);
    }
}

#[test]
fn usage_is_what_the_api_adds_up_to() {
    for recording in good(false) {
        let answer: Value = serde_json::from_str(&recording.response).expect("JSON");
        let Some(total) = answer["usageMetadata"]["totalTokenCount"].as_u64() else { continue };
        let response =
            Gemini.decode_response(&context(), &answer_head(200), &recording.response).expect("an answer").response;
        let usage = response.usage.expect("usage");
        assert_eq!(usage.total_input() + usage.output, total, "{}", recording.id);
    }
}

#[test]
fn requests_come_back_the_same() {
    for recording in recordings() {
        let (before, method) = recording.path.rsplit_once(':').expect("a method");
        let model = before.rsplit('/').next().expect("a model");
        let route = if method == "streamGenerateContent" { "chat-stream" } else { "chat" };
        let head = Head {
            route: route.to_owned(),
            path: vec![Pair::new("model", model)],
            query: Vec::new(),
            headers: Vec::new(),
        };
        let decoded = Gemini.decode_request(&context(), &head, &recording.request);
        if recording.request.contains("invalid_role") {
            assert_eq!(decoded.expect_err("a wrong role").kind, FailureKind::InvalidRequest);
            continue;
        }
        let request = decoded.unwrap_or_else(|failure| panic!("{}: {failure:?}", recording.id));
        assert_eq!(
            (&*request.format, &*request.model, request.stream),
            (FORMAT, model, recording.stream),
            "{}",
            recording.id
        );
        let target = Target {
            model: request.model.clone(),
            max_output_tokens: request.max_output_tokens,
            stream: request.stream,
            capabilities: Vec::new(),
            max_output: 0,
        };
        let encoded = Gemini.encode_request(&context(), &target, request).expect("a request");
        assert_eq!(encoded.notes, [], "{}", recording.id);
        assert_eq!(encoded.path, [Pair::new("model", model)]);
        let after: Value = serde_json::from_slice(&encoded.body).expect("JSON");
        let before: Value = serde_json::from_str(&recording.request).expect("JSON");
        assert_eq!(normal(after), normal(before), "{}", recording.id);
    }
}

/// A request in one of the many spellings that mean the same.
fn normal(mut request: Value) -> Value {
    request = plain(camel(request, false));
    let members = request.as_object_mut().expect("an object");
    // The system prompt has no role that counts, and no content need be a list.
    if let Some(Value::Object(system)) = members.get_mut("systemInstruction") {
        system.remove("role");
    }
    for name in ["generationConfig", "toolConfig"] {
        if members.get(name) == Some(&json!({})) {
            members.remove(name);
        }
    }
    // All functions are one tool.
    if let Some(Value::Array(tools)) = members.remove("tools") {
        let mut functions = Vec::new();
        let mut others = Vec::new();
        for tool in tools {
            for (name, value) in tool.as_object().expect("a tool") {
                match value {
                    Value::Array(list) if name == "functionDeclarations" => functions.extend(list.clone()),
                    value => others.push(json!({ name: value })),
                }
            }
        }
        if !functions.is_empty() {
            others.insert(0, json!({ "functionDeclarations": functions }));
        }
        if !others.is_empty() {
            members.insert("tools".to_owned(), others.into());
        }
    }
    for content in members["contents"].as_array_mut().expect("contents") {
        for part in content["parts"].as_array_mut().into_iter().flatten() {
            if let Some(data) = part.pointer_mut("/inlineData/data") {
                standard(data);
            }
            for media in part.pointer_mut("/functionResponse/parts").and_then(Value::as_array_mut).into_iter().flatten()
            {
                if let Some(data) = media.pointer_mut("/inlineData/data") {
                    standard(data);
                }
            }
        }
    }
    request
}

/// Base64 of one alphabet.
fn standard(data: &mut Value) {
    let text = data.as_str().expect("base64").replace('-', "+").replace('_', "/");
    *data = json!(text);
}

/// Names in camel case, but those that are the client's own.
fn camel(value: Value, own: bool) -> Value {
    const OWN: &[&str] = &[
        "args",
        "response",
        "parametersJsonSchema",
        "responseJsonSchema",
        "parameters",
        "responseSchema",
        "executableCode",
        "codeExecutionResult",
        "toolCall",
        "toolResponse",
        "modelArmorConfig",
        "fileSearch",
    ];
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .map(|(name, value)| {
                    let mut pieces = name.split('_');
                    let first = pieces.next().unwrap_or_default().to_owned();
                    let name = if own {
                        name
                    } else {
                        pieces.fold(first, |name, piece| name + &piece[..1].to_uppercase() + &piece[1..])
                    };
                    let own = own || OWN.contains(&name.as_str());
                    (name, camel(value, own))
                })
                .collect(),
        ),
        Value::Array(items) => items.into_iter().map(|item| camel(item, own)).collect(),
        other => other,
    }
}

#[test]
fn recorded_errors_have_their_kind() {
    for recording in recordings().into_iter().filter(|recording| recording.status >= 400) {
        let failure = Gemini.decode_error(&context(), &answer_head(recording.status as u16), &recording.response);
        let expected = if recording.status == 404 { FailureKind::NotFound } else { FailureKind::InvalidRequest };
        assert_eq!(failure.kind, expected, "{}", recording.id);
        let body: Value = serde_json::from_str(&recording.response).expect("JSON");
        assert_eq!(body["error"]["message"], *failure.message, "{}", recording.id);
    }
}
