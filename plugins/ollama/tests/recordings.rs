//! Real traffic, where it is: every recorded answer must be read whole, and what a model said must return to it as it came.
//!
//! `PORTCULLIS_RECORDINGS` names the folder; without it the tests skip, since the recordings are not part of the project.

use std::path::PathBuf;

use bytes::Bytes;
use portcullis_plugin::prelude::*;
use portcullis_plugin_ollama::Ollama;
use portcullis_wire::framing::Framing as Wire;
use serde_json::{Value, json};

struct Recording {
    id: String,
    operation: String,
    stream: bool,
    response: String,
}

/// What was answered with status 200.
fn recordings(operation: &str, stream: bool) -> Vec<Recording> {
    let Some(folder) = std::env::var_os("PORTCULLIS_RECORDINGS") else {
        eprintln!("skipped: PORTCULLIS_RECORDINGS is not set");
        return Vec::new();
    };
    let path = PathBuf::from(folder).join("ollama.jsonl");
    let lines = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let found: Vec<_> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a recording"))
        .filter(|value| value["status"] == 200)
        .map(|value| Recording {
            id: text(&value["id"]),
            operation: text(&value["operation"]),
            stream: value["stream"] == true,
            response: text(&value["response"]["text"]),
        })
        .filter(|recording| recording.operation == operation && recording.stream == stream)
        .collect();
    assert!(!found.is_empty(), "{} holds no {operation}", path.display());
    found
}

fn plugin() -> Ollama {
    Ollama::configure(serde_json::from_str("{}").expect("nothing")).expect("a plugin")
}

fn context() -> Context {
    Context { now: 1_700_000_000_000, seed: 7, request_id: "req-test".to_owned(), development: true, extra: Vec::new() }
}

/// The host's frames, of a stream that came in chunks of so many bytes.
fn frames(stream: &str, chunk: usize) -> Vec<Frame> {
    let (mut splitter, mut out) = (Wire::Ndjson.splitter(), Vec::new());
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
        return plugin().decode_frames(&context(), "chat", &mut state, frames, true).expect("events");
    }
    let count = frames.len();
    let mut events = Vec::new();
    for (at, frame) in frames.into_iter().enumerate() {
        let decoded = plugin().decode_frames(&context(), "chat", &mut state, vec![frame], at + 1 == count);
        events.extend(decoded.expect("events"));
        let bytes = postcard::to_stdvec(&state).expect("a state");
        state = postcard::from_bytes(&bytes).expect("the same state");
    }
    events
}

fn meter(endpoint: &str, frames: &[Frame]) -> Metered {
    let mut metered = Metered::default();
    plugin().meter(&context(), endpoint, &mut metered, frames, true).expect("a reading");
    metered
}

fn usage_of(wire: &Value, usage: Option<Usage>, id: &str) {
    let usage = usage.unwrap_or_else(|| panic!("{id}: no usage"));
    let count = |name: &str| wire[name].as_u64().unwrap_or(0);
    assert_eq!((usage.input, usage.output), (count("prompt_eval_count"), count("eval_count")), "{id}");
    assert!(usage.output > 0, "{id}");
}

/// What the assistant's message is when it goes back.
fn returned(parts: Vec<Part>) -> Value {
    let mut request = Request::new("openai-chat", "m");
    request.messages = vec![Message::new(Role::Assistant, parts)];
    let target = Target {
        model: "m".to_owned(),
        max_output_tokens: None,
        stream: false,
        capabilities: Vec::new(),
        max_output: 0,
    };
    let encoded = plugin().encode_request(&context(), &target, request).expect("a request");
    assert!(encoded.notes.is_empty(), "{:?}", encoded.notes);
    let body: Value = serde_json::from_slice(&encoded.body).expect("JSON");
    body["messages"][0].clone()
}

#[test]
fn whole_answers_are_read_and_return_as_they_came() {
    for recording in recordings("api/chat", false) {
        let wire: Value = serde_json::from_str(&recording.response).expect("JSON");
        let head = AnswerHead { endpoint: "chat".to_owned(), status: 200, headers: Vec::new() };
        let response = plugin().decode_response(&context(), &head, &recording.response).expect("an answer").response;
        assert_eq!(response.model, wire["model"], "{}", recording.id);
        assert!(response.created.is_some_and(|seconds| seconds > 1_700_000_000), "{}", recording.id);
        usage_of(&wire, response.usage.clone(), &recording.id);
        let choice = response.choices.into_iter().next().expect("a choice");
        let finish = choice.finish.expect("an end");
        assert_eq!(finish.raw, wire["done_reason"], "{}", recording.id);
        assert_eq!(returned(choice.parts), wire["message"], "{}", recording.id);
        let metered = meter("chat", &[Frame::data(recording.response)]);
        assert_eq!((metered.usage, metered.finishes, metered.failure), (response.usage, vec![finish], None));
        assert_eq!(metered.model, Some(response.model));
    }
}

#[test]
fn streams_are_read_however_they_arrive_and_return_as_they_came() {
    for recording in recordings("api/chat", true) {
        let wire = frames(&recording.response, usize::MAX);
        for chunk in [1, 2, 3, 7, 64, 1000] {
            assert_eq!(frames(&recording.response, chunk), wire, "{} in chunks of {chunk}", recording.id);
        }
        let lines: Vec<Value> = wire.iter().map(|frame| serde_json::from_str(&frame.data).expect("JSON")).collect();
        let said: String = lines.iter().filter_map(|line| line["message"]["content"].as_str()).collect();
        let end = lines.last().expect("a last line");
        let events = decode(wire.clone(), false);
        assert_eq!(events, decode(wire.clone(), true), "{}", recording.id);
        let Event::Start(start) = &events[0] else { panic!("{}: no start", recording.id) };
        assert_eq!(start.model, lines[0]["model"], "{}", recording.id);
        let Some(Event::Finish(finish)) = events.last() else { panic!("{}: no finish", recording.id) };
        let text: String = events
            .iter()
            .filter_map(|event| match event {
                Event::Text(delta) => Some(delta.text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(returned(vec![Part::text(text)]), json!({"role": "assistant", "content": said}), "{}", recording.id);
        let usage = events.iter().find_map(|event| match event {
            Event::Usage(usage) => Some(usage.clone()),
            _ => None,
        });
        usage_of(end, usage.clone(), &recording.id);
        for cut in 0..wire.len() {
            let events = decode(wire[..cut].to_vec(), false);
            assert!(matches!(events.last(), Some(Event::Error(_))), "{} cut at {cut}", recording.id);
        }
        let metered = meter("chat", &[wire[0].clone(), wire[wire.len() - 1].clone()]);
        assert_eq!((metered.usage, metered.finishes, metered.failure), (usage, vec![finish.finish.clone()], None));
        assert_eq!(metered.model.as_deref(), Some(&*start.model));
    }
}
