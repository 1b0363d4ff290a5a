//! Real traffic, where it is: every recorded answer must be read whole, and what a model said must return to it as it came.
//!
//! `PORTCULLIS_RECORDINGS` names the folder; without it the tests skip, since the recordings are not part of the project.

use std::path::PathBuf;

use bytes::Bytes;
use portcullis_plugin::prelude::*;
use portcullis_plugin_cohere::{Cohere, FORMAT};
use portcullis_wire::framing::Framing as Wire;
use serde_json::{Value, json};

struct Recording {
    id: String,
    operation: String,
    path: String,
    stream: bool,
    status: u64,
    response: String,
}

fn recordings() -> Vec<Recording> {
    let Some(folder) = std::env::var_os("PORTCULLIS_RECORDINGS") else {
        eprintln!("skipped: PORTCULLIS_RECORDINGS is not set");
        return Vec::new();
    };
    let path = PathBuf::from(folder).join("cohere.jsonl");
    let lines = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let found: Vec<_> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a recording"))
        .map(|value| Recording {
            id: text(&value["id"]),
            operation: text(&value["operation"]),
            path: text(&value["path"]),
            stream: value["stream"] == true,
            status: value["status"].as_u64().unwrap_or_default(),
            response: text(&value["response"]["text"]),
        })
        .collect();
    assert!(found.len() > 40, "{} holds too little", path.display());
    found
}

fn chats(stream: bool) -> impl Iterator<Item = Recording> {
    recordings().into_iter().filter(move |recording| {
        recording.operation == "v2/chat" && recording.status == 200 && recording.stream == stream
    })
}

fn context() -> Context {
    Context { now: 1_700_000_000_000, seed: 7, request_id: "req-test".to_owned(), development: true, extra: Vec::new() }
}

fn head(endpoint: &str, status: u64) -> AnswerHead {
    AnswerHead { endpoint: endpoint.to_owned(), status: status as u16, headers: Vec::new() }
}

/// The host's frames, of a stream that came in chunks of so many bytes.
fn frames(stream: &str, chunk: usize) -> Vec<Frame> {
    let (mut splitter, mut out) = (Wire::Sse.splitter(), Vec::new());
    for piece in stream.as_bytes().chunks(chunk) {
        splitter.push(&Bytes::copy_from_slice(piece), &mut out).expect("frames");
    }
    splitter.finish(&mut out).expect("an end");
    out.iter().map(|frame| Frame::named(frame.event(), frame.data())).collect()
}

/// Everything in one batch, or a batch a frame with the state stored in between.
fn decode(frames: Vec<Frame>, one_by_one: bool) -> Vec<Event> {
    let mut state = Default::default();
    if !one_by_one {
        return Cohere.decode_frames(&context(), "chat", &mut state, frames, true).expect("events");
    }
    let count = frames.len();
    let mut events = Vec::new();
    for (at, frame) in frames.into_iter().enumerate() {
        let decoded = Cohere.decode_frames(&context(), "chat", &mut state, vec![frame], at + 1 == count);
        events.extend(decoded.expect("events"));
        let bytes = postcard::to_stdvec(&state).expect("a state");
        state = postcard::from_bytes(&bytes).expect("the same state");
    }
    events
}

fn meter(endpoint: &str, frames: &[Frame]) -> Metered {
    let mut metered = Metered::default();
    Cohere.meter(&context(), endpoint, &mut metered, frames, true).expect("a reading");
    metered
}

/// A stream's events put together as the SDK's user does: the message, and what ended it.
fn accumulate(frames: &[Frame]) -> (Value, Value) {
    let (mut message, mut end) =
        (json!({"content": [], "tool_calls": [], "citations": [], "tool_plan": ""}), Value::Null);
    let append = |member: &mut Value, piece: &Value| {
        *member = json!(member.as_str().unwrap_or_default().to_owned() + piece.as_str().expect("text"));
    };
    for frame in frames.iter().filter(|frame| frame.data != "[DONE]") {
        let data: Value = serde_json::from_str(&frame.data).expect("JSON");
        let (index, delta) = (data["index"].as_u64().unwrap_or_default() as usize, &data["delta"]["message"]);
        match data["type"].as_str().expect("a type") {
            "content-start" => message["content"].as_array_mut().unwrap().push(delta["content"].clone()),
            "content-delta" => {
                for name in ["text", "thinking"] {
                    if delta["content"][name].is_string() {
                        append(&mut message["content"][index][name], &delta["content"][name]);
                    }
                }
            }
            "tool-plan-delta" => append(&mut message["tool_plan"], &delta["tool_plan"]),
            "tool-call-start" => message["tool_calls"].as_array_mut().unwrap().push(delta["tool_calls"].clone()),
            "tool-call-delta" => {
                let arguments = &delta["tool_calls"]["function"]["arguments"];
                append(&mut message["tool_calls"][index]["function"]["arguments"], arguments);
            }
            "citation-start" => message["citations"].as_array_mut().unwrap().push(delta["citations"].clone()),
            "message-end" => end = data["delta"].clone(),
            "message-start" | "content-end" | "tool-call-end" | "citation-end" => {}
            other => panic!("unexpected {other}"),
        }
    }
    (message, end)
}

/// The parts that a stream's events make.
fn parts(events: &[Event]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for event in events {
        match event {
            Event::PartStart(start) => {
                assert_eq!(start.at.part as usize, parts.len());
                let (id, name) = (start.id.clone(), start.name.clone());
                let content = match start.kind {
                    PartKind::ToolCall => {
                        Content::ToolCall(ToolCall { id, name, arguments: String::new(), custom: false })
                    }
                    PartKind::Reasoning => Content::Reasoning(Reasoning {
                        text: String::new(),
                        summary: false,
                        signature: None,
                        redacted: None,
                        format: FORMAT.to_owned(),
                    }),
                    _ => Content::Text(String::new()),
                };
                parts.push(Part { carry: start.carry.clone(), ..Part::new(content) });
            }
            Event::Text(delta) => match &mut parts[delta.at.part as usize].content {
                Content::Text(text) | Content::Reasoning(Reasoning { text, .. }) => text.push_str(&delta.text),
                other => panic!("text for {other:?}"),
            },
            Event::ToolArguments(delta) => match &mut parts[delta.at.part as usize].content {
                Content::ToolCall(call) => call.arguments.push_str(&delta.text),
                other => panic!("arguments for {other:?}"),
            },
            Event::Carry(carried) => parts[carried.at.part as usize].carry.extend(carried.fields.iter().cloned()),
            _ => {}
        }
    }
    parts
}

fn usage_of(wire: &Value, usage: &Usage, id: &str) {
    let billed = |name: &str| wire["billed_units"][name].as_u64().expect("a count");
    assert_eq!((usage.total_input(), usage.output), (billed("input_tokens"), billed("output_tokens")), "{id}");
}

/// Sends what a model said back to it, as the next turn does.
fn returned(parts: Vec<Part>) -> Value {
    let mut request = Request::new("openai-chat", "m");
    request.messages =
        vec![Message::new(Role::User, vec![Part::text("a question")]), Message::new(Role::Assistant, parts)];
    let target = Target {
        model: "m".to_owned(),
        max_output_tokens: None,
        stream: false,
        capabilities: Vec::new(),
        max_output: 0,
    };
    let encoded = Cohere.encode_request(&context(), &target, request).expect("a request");
    assert!(encoded.notes.is_empty(), "{:?}", encoded.notes);
    let body: Value = serde_json::from_slice(&encoded.body).expect("JSON");
    body["messages"][1].clone()
}

/// A message as it is to return: without what is empty, one text as a string.
fn returning(mut message: Value) -> Value {
    let members = message.as_object_mut().expect("a message");
    members.insert("role".to_owned(), json!("assistant"));
    members.retain(|_, value| !value.is_null() && *value != json!([]) && *value != json!(""));
    let text = match message["content"].as_array().map(Vec::as_slice) {
        Some([block]) if block["type"] == "text" => block["text"].clone(),
        _ => return message,
    };
    message["content"] = text;
    message
}

#[test]
fn whole_answers_are_read_and_return_as_they_came() {
    for recording in chats(false) {
        let wire: Value = serde_json::from_str(&recording.response).expect("JSON");
        let decoded = Cohere.decode_response(&context(), &head("chat", 200), &recording.response).expect("an answer");
        assert!(decoded.notes.is_empty(), "{}", recording.id);
        let response = decoded.response;
        assert_eq!(response.id, wire["id"], "{}", recording.id);
        assert!(response.extra.is_empty(), "{}: {:?}", recording.id, response.extra);
        usage_of(&wire["usage"], response.usage.as_ref().expect("usage"), &recording.id);
        let choice = response.choices.into_iter().next().expect("a choice");
        let finish = choice.finish.expect("an end");
        assert_eq!(finish.raw, wire["finish_reason"], "{}", recording.id);
        assert_eq!(returned(choice.parts), returning(wire["message"].clone()), "{}", recording.id);
        let metered = meter("chat", &[Frame::data(recording.response)]);
        assert_eq!((metered.usage, metered.finishes, metered.failure), (response.usage, vec![finish], None));
        assert_eq!(metered.id, Some(response.id));
    }
}

#[test]
fn streams_are_read_however_they_arrive_and_return_as_they_came() {
    for recording in chats(true) {
        let wire = frames(&recording.response, usize::MAX);
        for chunk in [1, 2, 3, 7, 64, 1000] {
            assert_eq!(frames(&recording.response, chunk), wire, "{} in chunks of {chunk}", recording.id);
        }
        let (message, end) = accumulate(&wire);
        let events = decode(wire.clone(), false);
        assert_eq!(events, decode(wire.clone(), true), "{}", recording.id);
        let Event::Start(start) = &events[0] else { panic!("{}: no start", recording.id) };
        assert!(!events.iter().any(|event| matches!(event, Event::Error(_))), "{}: {events:?}", recording.id);
        let Some(Event::Finish(finish)) = events.last() else { panic!("{}: no finish", recording.id) };
        assert_eq!(finish.finish.raw, end["finish_reason"], "{}", recording.id);
        let usage = events.iter().find_map(|event| match event {
            Event::Usage(usage) => Some(usage.clone()),
            _ => None,
        });
        usage_of(&end["usage"], usage.as_ref().expect("usage"), &recording.id);
        let starts = events.iter().filter(|event| matches!(event, Event::PartStart(_))).count();
        let ends = events.iter().filter(|event| matches!(event, Event::PartEnd(_))).count();
        assert_eq!(starts, ends, "{}", recording.id);
        assert_eq!(returned(parts(&events)), returning(message), "{}", recording.id);
        let metered = meter("chat", &wire);
        assert_eq!((metered.usage, metered.finishes, metered.failure), (usage, vec![finish.finish.clone()], None));
        assert_eq!(metered.id.as_deref(), Some(&*start.id));
    }
}

/// Of every stream that ends early, whichever event comes last, each part ends at most once and an error comes last.
#[test]
fn a_stream_may_break_off_anywhere() {
    for recording in chats(true) {
        let wire = frames(&recording.response, usize::MAX);
        let end = wire.iter().position(|frame| frame.data.contains("message-end")).expect("an end");
        for cut in 0..=end {
            let events = decode(wire[..cut].to_vec(), false);
            assert!(matches!(events.last(), Some(Event::Error(_))), "{} cut at {cut}", recording.id);
        }
    }
}

#[test]
fn rerank_and_embeddings_are_metered() {
    let mut count = 0;
    for recording in recordings() {
        let endpoint = match &*recording.path {
            "/v2/rerank" | "/v1/rerank" => "rerank",
            "/v2/embed" | "/v1/embed" => "embed",
            _ => continue,
        };
        if recording.status != 200 {
            let failure = Cohere.decode_error(&context(), &head(endpoint, recording.status), &recording.response);
            assert_eq!(failure.kind, FailureKind::NotFound, "{}", recording.id);
            continue;
        }
        count += 1;
        let wire: Value = serde_json::from_str(&recording.response).expect("JSON");
        let billed = &wire["meta"]["billed_units"];
        let metered = meter(endpoint, &[Frame::data(recording.response)]);
        let usage = metered.usage.unwrap_or_else(|| panic!("{}: no usage", recording.id));
        assert_eq!(json!(metered.id), wire["id"], "{}", recording.id);
        assert_eq!(usage.searches, billed["search_units"].as_u64().unwrap_or(0), "{}", recording.id);
        assert_eq!(usage.input, billed["input_tokens"].as_u64().unwrap_or(0), "{}", recording.id);
        assert!(usage.searches + usage.input > 0 && metered.failure.is_none(), "{}", recording.id);
    }
    assert!(count >= 9 || std::env::var_os("PORTCULLIS_RECORDINGS").is_none(), "{count}");
}
