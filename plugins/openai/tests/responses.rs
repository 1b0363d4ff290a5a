//! Real traffic of the Responses API: every answer decodes, whole and frame by frame, to the same text, calls, reasoning, usage and
//! finish; what the dialect writes of it reads back as the same; every request survives the way there and back. Runs where
//! `PORTCULLIS_RECORDINGS` names the folder of recordings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use portcullis_plugin::ir::{Content, Context, Event, Finish, Frame, PartKind, Response, Usage};
use portcullis_plugin::prelude::{Reply, Target};
use portcullis_plugin::provider::Metered;
use portcullis_plugin_openai::responses::wire::proof;
use portcullis_plugin_openai::responses::{dialect, provider};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Recording {
    id: String,
    operation: String,
    stream: bool,
    status: u16,
    request: Body,
    response: Body,
}

#[derive(Deserialize)]
struct Body {
    text: Option<String>,
}

const PROVIDERS: &[&str] = &["openai", "azure", "bedrock", "deepseek", "openrouter"];

fn recordings() -> Option<Vec<Recording>> {
    let Some(folder) = std::env::var_os("PORTCULLIS_RECORDINGS") else {
        eprintln!("skipped: PORTCULLIS_RECORDINGS is not set");
        return None;
    };
    let mut all = Vec::new();
    for provider in PROVIDERS {
        let path = PathBuf::from(&folder).join(format!("{provider}.jsonl"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for line in text.lines() {
            let recording: Recording = serde_json::from_str(line).expect("a recording");
            // Compactions are another operation at the same path.
            let compacts =
                recording.response.text.as_ref().is_some_and(|text| text.contains("\"response.compaction\""));
            if recording.operation.ends_with("responses") && recording.status == 200 && !compacts {
                all.push(recording);
            }
        }
    }
    assert!(!all.is_empty());
    Some(all)
}

fn context() -> Context {
    Context { now: 1_700_000_000_000, seed: 7, request_id: "req".into(), development: false, extra: Vec::new() }
}

fn reply() -> Reply {
    Reply {
        route: "responses".into(),
        requested_model: "m".into(),
        stream_usage: true,
        provider: "p".into(),
        strategy: "explicit".into(),
        cost: None,
        account: None,
        echo: Vec::new(),
    }
}

/// What must not change.
#[derive(Debug, Default, PartialEq)]
struct Told {
    text: String,
    refusal: String,
    reasoning: String,
    encrypted: Vec<String>,
    calls: Vec<(String, String, String)>,
    others: Vec<Value>,
    finish: Option<Finish>,
    usage: Option<Usage>,
    failed: bool,
}

fn add(told: &mut Told, content: &Content) {
    match content {
        Content::Text(text) => told.text += text,
        Content::Refusal(text) => told.refusal += text,
        Content::Reasoning(thought) => {
            told.reasoning += &thought.text;
            add_proof(told, thought.signature.as_deref().or(thought.redacted.as_deref()).unwrap_or_default());
        }
        Content::ToolCall(call) => told.calls.push((call.id.clone(), call.name.clone(), call.arguments.clone())),
        Content::Other(item) => told.others.push(serde_json::from_str(&item.value).expect("an item")),
        other => panic!("{other:?}"),
    }
}

fn add_proof(told: &mut Told, proof: &str) {
    told.encrypted.extend(proof::open(proof).encrypted.map(str::to_owned));
}

fn told_by(response: &Response) -> Told {
    let mut told = Told { usage: response.usage.clone(), ..Told::default() };
    assert_eq!(response.choices.len(), 1);
    response.choices[0].parts.iter().for_each(|part| add(&mut told, &part.content));
    told.finish.clone_from(&response.choices[0].finish);
    told
}

/// Joins events, and holds them to the contract's order on the way.
fn told_by_events(events: &[Event]) -> Told {
    let mut told = Told::default();
    let mut open: BTreeMap<u32, (PartKind, usize, String)> = BTreeMap::new();
    assert!(matches!(events.first(), Some(Event::Start(_) | Event::Error(_))), "{:?}", events.first());
    for event in events {
        assert!(!told.failed, "an event after an error");
        match event {
            Event::PartStart(start) => {
                let call = start.kind == PartKind::ToolCall;
                assert!(open.values().all(|(kind, ..)| call && *kind == PartKind::ToolCall), "parts interleave");
                if call {
                    told.calls.push((start.id.clone(), start.name.clone(), String::new()));
                }
                open.insert(start.at.part, (start.kind, told.calls.len().saturating_sub(1), String::new()));
            }
            Event::Text(delta) => match open[&delta.at.part].0 {
                PartKind::Text => told.text += &delta.text,
                PartKind::Reasoning => told.reasoning += &delta.text,
                PartKind::Refusal => told.refusal += &delta.text,
                PartKind::ToolCall => panic!("text in a tool call"),
            },
            Event::Signature(delta) => open.get_mut(&delta.at.part).expect("an open part").2 += &delta.text,
            Event::ToolArguments(delta) => told.calls[open[&delta.at.part].1].2 += &delta.text,
            Event::PartEnd(at) => {
                let (_, _, proof) = open.remove(&at.part).expect("an end without a start");
                add_proof(&mut told, &proof);
            }
            Event::WholePart(whole) => {
                assert!(open.is_empty(), "a part within a part");
                add(&mut told, &whole.part.content);
            }
            Event::Usage(usage) => told.usage = Some(usage.clone()),
            Event::Finish(finish) => {
                assert!(open.is_empty(), "a finish with open parts");
                told.finish = Some(finish.finish.clone());
            }
            Event::Error(_) => told.failed = true,
            Event::Start(_) | Event::Carry(_) | Event::Logprobs(_) | Event::Extra(_) => {}
        }
    }
    told
}

fn frames(text: &str) -> Vec<Frame> {
    let mut frames = Vec::new();
    for block in text.replace("\r\n", "\n").split("\n\n") {
        let lines = |name: &str| {
            block.lines().filter_map(|line| line.strip_prefix(name)).map(str::trim_start).collect::<Vec<_>>().join("\n")
        };
        let (event, data) = (lines("event:"), lines("data:"));
        if !data.is_empty() {
            frames.push(Frame { event, data });
        }
    }
    frames
}

/// Batches of `size`, with the state through bytes in between.
fn decode_stream(frames: &[Frame], size: usize) -> Vec<Event> {
    let (mut bytes, mut events) = (Vec::new(), Vec::new());
    let batches: Vec<_> = frames.chunks(size).collect();
    for (index, batch) in batches.iter().enumerate() {
        let mut state =
            if bytes.is_empty() { Default::default() } else { postcard::from_bytes(&bytes).expect("a state") };
        let last = index + 1 == batches.len();
        events.extend(provider::stream::decode(&mut state, batch.to_vec(), last));
        bytes = postcard::to_allocvec(&state).expect("bytes");
        assert!(bytes.len() < 4096, "{} bytes of state", bytes.len());
    }
    events
}

fn encode_stream(events: Vec<Event>) -> Vec<Frame> {
    let (mut bytes, mut frames) = (Vec::new(), Vec::new());
    let count = events.len();
    for (index, event) in events.into_iter().enumerate() {
        let mut state =
            if bytes.is_empty() { Default::default() } else { postcard::from_bytes(&bytes).expect("a state") };
        let last = index + 1 == count;
        frames.extend(dialect::stream::encode(&context(), &reply(), &mut state, vec![event], last).expect("frames"));
        bytes = postcard::to_allocvec(&state).expect("bytes");
        assert!(bytes.len() < 65_536, "{} bytes of state", bytes.len());
    }
    frames
}

/// What does not depend on how often it is said.
fn without_ids(mut told: Told) -> Told {
    told.encrypted.iter_mut().for_each(String::clear);
    told
}

/// The rules of the protocol's stream: numbers without a gap, pieces within their items, what is repeated the same.
fn check_order(frames: &[Frame], id: &str) {
    let mut open: BTreeMap<u64, Value> = BTreeMap::new();
    let mut texts: BTreeMap<(u64, String, u64), String> = BTreeMap::new();
    for (sequence, frame) in frames.iter().enumerate() {
        let data: Value = serde_json::from_str(&frame.data).expect("JSON");
        assert_eq!(data["type"], json!(frame.event), "{id}");
        assert_eq!(data["sequence_number"], json!(sequence), "{id}");
        let item = data["output_index"].as_u64();
        let piece = data["summary_index"].as_u64().or(data["content_index"].as_u64()).unwrap_or(0);
        let place = |kind: &str| (item.expect("an index"), kind.to_owned(), piece);
        match frame.event.as_str() {
            "response.output_item.added" => {
                assert!(open.insert(item.expect("an index"), data["item"].clone()).is_none(), "{id}");
            }
            "response.output_item.done" => {
                let added = open.remove(&item.expect("an index")).expect("an open item");
                assert_eq!(added["id"], data["item"]["id"], "{id}");
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                assert_eq!(sequence + 1, frames.len(), "{id}");
                assert!(open.is_empty(), "{id}");
            }
            event => {
                if let Some(item) = item {
                    assert_eq!(open[&item]["id"], data["item_id"], "{id}");
                }
                if let Some(kind) = event.strip_suffix(".delta") {
                    texts.entry(place(kind)).or_default().push_str(data["delta"].as_str().expect("a text"));
                } else if let Some(kind) = event.strip_suffix(".done") {
                    let said = ["text", "refusal", "arguments", "input"].iter().find_map(|name| data[name].as_str());
                    if let (Some(said), Some(text)) = (said, texts.get(&place(kind))) {
                        assert_eq!(said, text, "{id}");
                    }
                }
            }
        }
    }
}

#[test]
fn every_answer_is_read_and_written_again() {
    let Some(recordings) = recordings() else { return };
    let (mut whole, mut streamed) = (0, 0);
    for recording in recordings {
        let Some(text) = &recording.response.text else { continue };
        let id = &recording.id;
        let mut metered = Metered::default();
        let told = if recording.stream {
            streamed += 1;
            let frames = frames(text);
            let together = told_by_events(&decode_stream(&frames, frames.len()));
            for size in [1, 3] {
                assert_eq!(told_by_events(&decode_stream(&frames, size)), together, "{id}");
            }
            let again = encode_stream(decode_stream(&frames, 1));
            check_order(&again, id);
            assert_eq!(told_by_events(&decode_stream(&again, 1)), together, "{id}");
            // The last frame is the whole answer once more: the original's and ours.
            for end in [&frames, &again] {
                let last = end.iter().rev().find(|frame| frame.data != "[DONE]").expect("a frame");
                let last: Value = serde_json::from_str(&last.data).expect("JSON");
                let repeated = provider::response::decode(&last["response"].to_string()).expect("an answer");
                // Encrypted anew each time, and OpenRouter names the items anew.
                assert_eq!(
                    without_ids(told_by(&repeated)),
                    without_ids(told_by_events(&decode_stream(&frames, 2))),
                    "{id}"
                );
            }
            provider::meter::read(&mut metered, &frames, true);
            together
        } else {
            whole += 1;
            let response = provider::response::decode(text).unwrap_or_else(|failure| panic!("{id}: {failure:?}"));
            let again = dialect::response::encode(&context(), &reply(), &response);
            let back = provider::response::decode(&again).expect("our own answer");
            assert_eq!(told_by(&back), told_by(&response), "{id}");
            assert_eq!(back.choices, response.choices, "{id}");
            for field in &response.extra {
                assert!(back.extra.contains(field), "{id}: {field:?}");
            }
            provider::meter::read(&mut metered, &[Frame::data(text.as_str())], true);
            told_by(&response)
        };
        assert_eq!(metered.usage, told.usage, "{id}");
        assert_eq!(metered.failure.is_some(), told.failed, "{id}: {:?}", metered.failure);
        if let Some(finish) = &told.finish {
            assert_eq!(&metered.finishes[0], finish, "{id}");
        }
    }
    eprintln!("{whole} whole answers, {streamed} streams");
    assert!(whole > 0 && streamed > 0);
}

#[test]
fn every_request_is_read_and_written_again() {
    let Some(recordings) = recordings() else { return };
    let mut count = 0;
    for recording in recordings {
        let Some(text) = &recording.request.text else { continue };
        let Ok(sent) = serde_json::from_str::<Value>(text) else { continue };
        if !sent.is_object() {
            continue;
        }
        count += 1;
        let request = dialect::request::decode(text).unwrap_or_else(|failure| panic!("{}: {failure:?}", recording.id));
        let target = Target {
            model: request.model.clone(),
            max_output_tokens: request.max_output_tokens,
            stream: request.stream,
            capabilities: Vec::new(),
            max_output: 0,
        };
        let (body, notes) = provider::request::encode(&target, &request).expect("a body");
        let again: Value = serde_json::from_str(&body).expect("JSON");
        assert!(notes.is_empty(), "{}: {notes:?}", recording.id);
        if let Some(difference) = difference(&normal(sent), &normal(again), String::new()) {
            panic!("{}: {difference}", recording.id);
        }
    }
    eprintln!("{count} requests");
    assert!(count > 0);
}

/// The first place where two documents differ.
fn difference(sent: &Value, again: &Value, place: String) -> Option<String> {
    match (sent, again) {
        (Value::Object(one), Value::Object(other)) if one.keys().eq(other.keys()) => {
            one.iter().find_map(|(name, value)| difference(value, &other[name], format!("{place}/{name}")))
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let mut pairs = one.iter().zip(other).enumerate();
            pairs.find_map(|(index, (value, again))| difference(value, again, format!("{place}/{index}")))
        }
        _ => (sent != again).then(|| format!("{place}: sent {sent:.600}, again {again:.600}")),
    }
}

/// A request with everything said in one way: without nulls and defaults, lists of one text as the text.
fn normal(mut request: Value) -> Value {
    let members = request.as_object_mut().expect("an object");
    members.retain(|_, value| !value.is_null());
    if members.get("tools") == Some(&json!([])) {
        members.remove("tools");
    }
    if members.get("stream") == Some(&json!(false)) {
        members.remove("stream");
    }
    for name in ["reasoning", "text"] {
        if let Some(own) = members.get_mut(name).and_then(Value::as_object_mut) {
            own.retain(|_, value| !value.is_null());
        }
    }
    for name in ["temperature", "top_p"] {
        if let Some(number) = members.get_mut(name) {
            *number = json!(number.as_f64());
        }
    }
    if let Some(text) = members.get("input").and_then(Value::as_str) {
        members.insert("input".into(), json!([{"role": "user", "content": text}]));
    }
    let mut items = members.remove("input").and_then(|input| input.as_array().cloned()).unwrap_or_default();
    // The first system message and the instructions are the same.
    if let Some(instructions) = members.remove("instructions") {
        items.insert(0, json!({"role": "system", "content": instructions}));
    }
    let items: Vec<Value> = items.into_iter().map(item).filter(|item| !item.is_null()).collect();
    members.insert("input".into(), Value::Array(items));
    for tool in members.get_mut("tools").and_then(Value::as_array_mut).into_iter().flatten() {
        if tool["type"] == json!("function") {
            tool.as_object_mut().expect("a tool").retain(|_, value| !value.is_null());
        }
    }
    request
}

/// An item, or null where it says nothing.
fn item(mut item: Value) -> Value {
    let members = item.as_object_mut().expect("an item");
    let kind = members.get("type").and_then(Value::as_str).unwrap_or("message").to_owned();
    let known = [
        "message",
        "function_call",
        "custom_tool_call",
        "function_call_output",
        "custom_tool_call_output",
        "reasoning",
    ];
    if !known.contains(&kind.as_str()) {
        return item;
    }
    members.insert("type".into(), json!(kind));
    members.retain(|name, value| !(value.is_null() || name == "status" && *value == json!("completed")));
    if kind == "reasoning" {
        let summary = members.get_mut("summary").and_then(Value::as_array_mut).expect("a list");
        summary.retain(|entry| entry["text"] != json!(""));
        if members.get("content") == Some(&json!([])) {
            members.remove("content");
        }
    }
    for name in ["content", "output"] {
        let parts = members.get_mut(name).and_then(Value::as_array_mut);
        for part in parts.into_iter().flatten() {
            let part = part.as_object_mut().expect("a part");
            part.retain(|name, value| {
                !(value.is_null() || ["annotations", "logprobs"].contains(&name.as_str()) && *value == json!([]))
            });
            if part["type"] == json!("input_image") {
                part.entry("detail").or_insert(json!("auto"));
            }
        }
        let one =
            members.get(name).and_then(Value::as_array).filter(|parts| parts.len() == 1).map(|parts| parts[0].clone());
        if let Some(one) = one
            && one["type"].as_str().is_some_and(|kind| kind == "input_text" || kind == "output_text")
            && one.as_object().is_some_and(|part| part.len() == 2)
        {
            members.insert(name.into(), one["text"].clone());
        }
    }
    if members["type"] == json!("message") && members["role"] == json!("assistant") && members["content"] == json!("") {
        return Value::Null;
    }
    item
}
