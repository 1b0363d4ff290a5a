//! Real traffic, where it is: every recorded answer of Converse must be read whole, and what a model said must return to it as it came.
//!
//! `PORTCULLIS_RECORDINGS` names the folder; without it the tests skip, since the recordings are not part of the project.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use portcullis_plugin::prelude::*;
use portcullis_plugin_bedrock::{Bedrock, FORMAT};
use portcullis_wire::framing::Framing as Wire;
use serde_json::{Value, json};

struct Recording {
    id: String,
    model: String,
    operation: String,
    status: u64,
    response: Vec<u8>,
}

/// The recordings of Converse and ConverseStream, or nothing where there are none.
fn recordings() -> Vec<Recording> {
    let Some(folder) = std::env::var_os("PORTCULLIS_RECORDINGS") else {
        eprintln!("skipped: PORTCULLIS_RECORDINGS is not set");
        return Vec::new();
    };
    let path = PathBuf::from(folder).join("bedrock.jsonl");
    let lines = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let found: Vec<_> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a recording"))
        .filter(|value| value["operation"].as_str().is_some_and(|operation| operation.starts_with("converse")))
        .map(|value| {
            let response = &value["response"];
            let path = value["path"].as_str().unwrap_or_default();
            Recording {
                id: value["id"].to_string(),
                model: path.split('/').nth(2).unwrap_or_default().replace("%3A", ":"),
                operation: value["operation"].as_str().unwrap_or_default().to_owned(),
                status: value["status"].as_u64().unwrap_or_default(),
                response: match response["base64"].as_str() {
                    Some(base64) => STANDARD.decode(base64).expect("base64"),
                    None => response["text"].as_str().unwrap_or_default().into(),
                },
            }
        })
        .collect();
    assert!(found.len() > 80, "{} holds too little", path.display());
    found
}

fn of(operation: &str, status: u64) -> impl Iterator<Item = Recording> {
    recordings().into_iter().filter(move |recording| recording.operation == operation && recording.status == status)
}

fn context() -> Context {
    Context { now: 1_700_000_000_000, seed: 7, request_id: "req-test".to_owned(), development: true, extra: Vec::new() }
}

fn head(status: u64) -> AnswerHead {
    AnswerHead { endpoint: "converse".to_owned(), status: status as u16, headers: Vec::new() }
}

/// The host's frames, of a stream that came in chunks of so many bytes.
fn frames(stream: &[u8], chunk: usize) -> Vec<Frame> {
    let (mut splitter, mut out) = (Wire::AwsEventStream.splitter(), Vec::new());
    for piece in stream.chunks(chunk) {
        splitter.push(&Bytes::copy_from_slice(piece), &mut out).expect("frames");
    }
    splitter.finish(&mut out).expect("an end");
    out.iter().map(|frame| Frame::named(frame.event(), frame.data())).collect()
}

/// Everything in one batch, or a batch a frame with the state stored in between.
fn decode(frames: Vec<Frame>, one_by_one: bool) -> Vec<Event> {
    let mut state = Default::default();
    if !one_by_one {
        return Bedrock.decode_frames(&context(), "converse-stream", &mut state, frames, true).expect("events");
    }
    let count = frames.len();
    let mut events = Vec::new();
    for (at, frame) in frames.into_iter().enumerate() {
        let last = at + 1 == count;
        let decoded = Bedrock.decode_frames(&context(), "converse-stream", &mut state, vec![frame], last);
        events.extend(decoded.expect("events"));
        let bytes = postcard::to_stdvec(&state).expect("a state");
        assert!(bytes.len() <= 64 * 1024, "{} bytes of state", bytes.len());
        state = postcard::from_bytes(&bytes).expect("the same state");
    }
    events
}

/// A stream's frames put together as AWS's SDKs do: the content of the message, and what ended it.
fn accumulate(frames: &[Frame]) -> (Vec<Value>, String, Value) {
    let (mut content, mut reason, mut usage) = (Vec::<Value>::new(), String::new(), Value::Null);
    let append = |member: &mut Value, piece: &Value| {
        *member = json!(member.as_str().unwrap_or_default().to_owned() + piece.as_str().expect("text"));
    };
    for frame in frames {
        let data: Value = serde_json::from_str(&frame.data).expect("JSON");
        let index = data["contentBlockIndex"].as_u64().unwrap_or_default() as usize;
        match &*frame.event {
            "contentBlockStart" => {
                content.resize(content.len().max(index + 1), json!({}));
                content[index] = data["start"].clone();
            }
            "contentBlockDelta" => {
                content.resize(content.len().max(index + 1), json!({}));
                let (block, delta) = (&mut content[index], &data["delta"]);
                if delta["text"].is_string() {
                    append(&mut block["text"], &delta["text"]);
                }
                if delta["toolUse"]["input"].is_string() {
                    append(&mut block["toolUse"]["input"], &delta["toolUse"]["input"]);
                }
                if let Some(list) = delta["toolResult"].as_array() {
                    let mut all = block["toolResult"]["content"].as_array().cloned().unwrap_or_default();
                    all.extend(list.iter().cloned());
                    block["toolResult"]["content"] = all.into();
                }
                let thought = &delta["reasoningContent"];
                if thought["text"].is_string() {
                    append(&mut block["reasoningContent"]["reasoningText"]["text"], &thought["text"]);
                }
                if thought["signature"].is_string() {
                    append(&mut block["reasoningContent"]["reasoningText"]["signature"], &thought["signature"]);
                }
                if thought["redactedContent"].is_string() {
                    block["reasoningContent"]["redactedContent"] = thought["redactedContent"].clone();
                }
            }
            "messageStop" => reason = data["stopReason"].as_str().expect("a reason").to_owned(),
            "metadata" => usage = data["usage"].clone(),
            "messageStart" | "contentBlockStop" => {}
            other => panic!("unexpected {other}"),
        }
    }
    for block in &mut content {
        if let Some(input) = block["toolUse"].get("input").and_then(Value::as_str).map(str::to_owned) {
            block["toolUse"]["input"] =
                if input.is_empty() { json!({}) } else { serde_json::from_str(&input).expect("whole arguments") };
        }
        // Indexing wrote nulls.
        let members = block.as_object_mut().expect("a block");
        members.retain(|_, value| !value.is_null());
    }
    (content, reason, usage)
}

/// The parts that a stream's events make.
fn parts(events: &[Event]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for event in events {
        match event {
            Event::PartStart(start) => {
                assert_eq!(start.at.part as usize, parts.len());
                let content = match start.kind {
                    PartKind::ToolCall => Content::ToolCall(ToolCall {
                        id: start.id.clone(),
                        name: start.name.clone(),
                        arguments: String::new(),
                        custom: false,
                    }),
                    PartKind::Reasoning => Content::Reasoning(Reasoning {
                        text: String::new(),
                        summary: false,
                        signature: None,
                        redacted: None,
                        format: FORMAT.to_owned(),
                    }),
                    _ => Content::Text(String::new()),
                };
                parts.push(Part::new(content));
            }
            Event::WholePart(whole) => {
                assert_eq!(whole.at.part as usize, parts.len());
                parts.push(whole.part.clone());
            }
            Event::Text(delta) => match &mut parts[delta.at.part as usize].content {
                Content::Text(text) | Content::Reasoning(Reasoning { text, .. }) => text.push_str(&delta.text),
                other => panic!("text for {other:?}"),
            },
            Event::Signature(delta) => match &mut parts[delta.at.part as usize].content {
                Content::Reasoning(reasoning) => {
                    reasoning.signature.get_or_insert_default().push_str(&delta.text);
                }
                other => panic!("a signature for {other:?}"),
            },
            Event::ToolArguments(delta) => match &mut parts[delta.at.part as usize].content {
                Content::ToolCall(call) => call.arguments.push_str(&delta.text),
                other => panic!("arguments for {other:?}"),
            },
            _ => {}
        }
    }
    parts
}

fn usage_of(wire: &Value, usage: &Usage, id: &str) {
    let count = |name: &str| wire[name].as_u64().unwrap_or(0);
    assert_eq!((usage.input, usage.output), (count("inputTokens"), count("outputTokens")), "{id}");
    assert_eq!(usage.cache_read, count("cacheReadInputTokens"), "{id}");
    assert_eq!(usage.cache_write_short + usage.cache_write_long, count("cacheWriteInputTokens"), "{id}");
    assert_eq!(usage.total_input() + usage.output, count("totalTokens"), "{id}: every token once");
}

/// Sends what a model said back to it, as the next turn does, and returns its content on the wire.
fn returned(model: &str, parts: Vec<Part>) -> (Vec<Value>, Vec<Note>) {
    let mut request = Request::new("openai-chat", model);
    request.messages = vec![
        Message::new(Role::User, vec![Part::text("a question")]),
        Message::new(Role::Assistant, parts),
        Message::new(Role::User, vec![Part::text("another")]),
    ];
    let target = Target {
        model: model.to_owned(),
        max_output_tokens: None,
        stream: false,
        capabilities: Vec::new(),
        max_output: 0,
    };
    let encoded = Bedrock.encode_request(&context(), &target, request).expect("a request");
    let body: Value = serde_json::from_slice(&encoded.body).expect("JSON");
    let turns = body["messages"].as_array().expect("messages");
    let said = turns.iter().find(|turn| turn["role"] == "assistant").map(|turn| turn["content"].clone());
    (said.and_then(|content| content.as_array().cloned()).unwrap_or_default(), encoded.notes)
}

/// The blocks that are to return: not empty text, and not reasoning that nobody signed.
fn returning(content: Vec<Value>) -> Vec<Value> {
    let mut content: Vec<_> = content
        .into_iter()
        .filter(|block| !block["text"].as_str().is_some_and(|text| text.trim().is_empty()) && *block != json!({}))
        .filter(|block| {
            let thought = &block["reasoningContent"];
            thought.is_null()
                || !thought["redactedContent"].is_null()
                || !thought["reasoningText"]["signature"].is_null()
        })
        .collect();
    for block in &mut content {
        if let Some(call) = block.get_mut("toolUse").and_then(Value::as_object_mut)
            && call.get("type") == Some(&json!("tool_use"))
        {
            call.remove("type");
        }
    }
    content
}

#[test]
fn whole_answers_are_read_and_return_as_they_came() {
    for recording in of("converse", 200) {
        let wire: Value = serde_json::from_slice(&recording.response).expect("JSON");
        let text = String::from_utf8(recording.response).expect("text");
        let response = Bedrock.decode_response(&context(), &head(200), &text).expect("an answer").response;
        usage_of(&wire["usage"], &response.usage.expect("usage"), &recording.id);
        let choice = response.choices.into_iter().next().expect("a choice");
        assert_eq!(choice.finish.expect("an end").raw, wire["stopReason"], "{}", recording.id);
        assert!(response.extra.iter().any(|field| field.name == "metrics"), "{}", recording.id);
        let before = wire["output"]["message"]["content"].as_array().expect("content").clone();
        let thoughts = before.iter().filter(|block| block.get("reasoningContent").is_some()).count();
        let read = choice.parts.iter().filter(|part| matches!(part.content, Content::Reasoning(_))).count();
        assert_eq!(read, thoughts, "{}", recording.id);
        let (after, _) = returned(&recording.model, choice.parts);
        assert_eq!(after, returning(before), "{} {}", recording.id, recording.model);
    }
}

#[test]
fn streams_are_read_however_they_arrive_and_return_as_they_came() {
    for recording in of("converse-stream", 200) {
        let wire = frames(&recording.response, usize::MAX);
        for chunk in [1, 2, 3, 7, 64, 1000] {
            assert_eq!(frames(&recording.response, chunk), wire, "{} in chunks of {chunk}", recording.id);
        }
        let (content, reason, usage) = accumulate(&wire);
        let events = decode(wire.clone(), false);
        assert_eq!(events, decode(wire, true), "{}", recording.id);
        assert!(matches!(&events[0], Event::Start(start) if start.format == FORMAT), "{}", recording.id);
        assert!(!events.iter().any(|event| matches!(event, Event::Error(_))), "{}: {events:?}", recording.id);
        let finish = events.iter().find_map(|event| match event {
            Event::Finish(finish) => Some(finish.finish.clone()),
            _ => None,
        });
        assert_eq!(finish.expect("an end").raw, reason, "{}", recording.id);
        let counted = events.iter().find_map(|event| match event {
            Event::Usage(usage) => Some(usage.clone()),
            _ => None,
        });
        usage_of(&usage, &counted.expect("usage"), &recording.id);
        let starts = events.iter().filter(|event| matches!(event, Event::PartStart(_))).count();
        let ends = events.iter().filter(|event| matches!(event, Event::PartEnd(_))).count();
        assert_eq!(starts, ends, "{}", recording.id);
        let (after, _) = returned(&recording.model, parts(&events));
        assert_eq!(after, returning(content), "{} {}", recording.id, recording.model);
    }
}

/// Every boundary between two bytes, for the shortest stream there is: the framing does not care what is in it.
#[test]
fn a_stream_may_be_cut_at_every_byte() {
    let Some(recording) = of("converse-stream", 200).min_by_key(|recording| recording.response.len()) else { return };
    let wire = frames(&recording.response, usize::MAX);
    for cut in 0..recording.response.len() {
        let (mut splitter, mut out) = (Wire::AwsEventStream.splitter(), Vec::new());
        let (one, two) = recording.response.split_at(cut);
        for piece in [one, two] {
            splitter.push(&Bytes::copy_from_slice(piece), &mut out).expect("frames");
        }
        let cut: Vec<_> = out.iter().map(|frame| Frame::named(frame.event(), frame.data())).collect();
        assert_eq!(cut, wire);
    }
}

#[test]
fn a_meter_reads_what_decoding_reads() {
    for recording in recordings().into_iter().filter(|recording| recording.status == 200) {
        let mut metered = Metered::default();
        let (usage, finish);
        if recording.operation == "converse" {
            let text = String::from_utf8(recording.response).expect("text");
            let frame = Frame::data(text.clone());
            Bedrock.meter(&context(), "converse", &mut metered, &[frame], true).expect("a reading");
            let response = Bedrock.decode_response(&context(), &head(200), &text).expect("an answer").response;
            usage = response.usage;
            finish = response.choices[0].finish.clone();
        } else {
            let wire = frames(&recording.response, usize::MAX);
            Bedrock.meter(&context(), "converse-stream", &mut metered, &wire, true).expect("a reading");
            let events = decode(wire, false);
            usage = events
                .iter()
                .find_map(|event| if let Event::Usage(usage) = event { Some(usage.clone()) } else { None });
            finish = events
                .iter()
                .find_map(|event| if let Event::Finish(finish) = event { Some(finish.finish.clone()) } else { None });
        }
        assert_eq!((metered.usage, metered.finishes), (usage, finish.into_iter().collect()), "{}", recording.id);
        assert_eq!(metered.failure, None, "{}", recording.id);
    }
}

#[test]
fn recorded_errors_have_their_kind() {
    for recording in recordings().into_iter().filter(|recording| recording.status >= 400) {
        let text = String::from_utf8(recording.response).expect("text");
        let failure = Bedrock.decode_error(&context(), &head(recording.status), &text);
        let expected = match () {
            () if text.contains("model identifier is invalid") => FailureKind::NotFound,
            () if text.contains("doesn't support") => FailureKind::UnsupportedFeature,
            () => FailureKind::InvalidRequest,
        };
        assert_eq!(failure.kind, expected, "{}: {text}", recording.id);
        assert!(text.contains(&failure.message), "{}", recording.id);
    }
}
