//! Real traffic of OpenAI and of servers that speak its protocol: every answer decodes, whole and frame by frame, to the same
//! text, calls, usage and finish; what the dialect writes of it reads back as the same; every request survives the way
//! there and back. Runs where `PORTCULLIS_RECORDINGS` names the folder of recordings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use portcullis_plugin::ir::{Content, Context, Event, Finish, Frame, PartKind, Response, Usage};
use portcullis_plugin::prelude::{Reply, Target};
use portcullis_plugin::provider::Metered;
use portcullis_plugin_openai::{dialect, provider};
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

const PROVIDERS: &[&str] =
    &["openai", "azure", "groq", "mistral", "openrouter", "deepseek", "cerebras", "together", "z.ai"];

fn recordings(providers: &[&str]) -> Option<Vec<Recording>> {
    let Some(folder) = std::env::var_os("PORTCULLIS_RECORDINGS") else {
        eprintln!("skipped: PORTCULLIS_RECORDINGS is not set");
        return None;
    };
    let mut all = Vec::new();
    for provider in providers {
        let path = PathBuf::from(&folder).join(format!("{provider}.jsonl"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for line in text.lines() {
            let recording: Recording = serde_json::from_str(line).expect("a recording");
            if recording.operation.ends_with("chat/completions") && recording.status == 200 {
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
        route: "chat".into(),
        requested_model: "m".into(),
        stream_usage: true,
        provider: "provider".to_owned(),
        strategy: "explicit".to_owned(),
        cost: None,
        account: None,
        echo: Vec::new(),
    }
}

/// What must not change, by choice.
#[derive(Debug, Default, PartialEq)]
struct Told {
    choices: BTreeMap<u32, Choice>,
    usage: Option<Usage>,
    failed: Option<String>,
}

#[derive(Debug, Default, PartialEq)]
struct Choice {
    text: String,
    refusal: String,
    reasoning: String,
    signatures: String,
    redacted: Vec<String>,
    calls: Vec<(String, String, String)>,
    finish: Option<Finish>,
}

fn add(choice: &mut Choice, content: &Content) {
    match content {
        Content::Text(text) => choice.text += text,
        Content::Refusal(text) => choice.refusal += text,
        Content::Reasoning(reasoning) => {
            choice.reasoning += &reasoning.text;
            choice.signatures += reasoning.signature.as_deref().unwrap_or("");
            choice.redacted.extend(reasoning.redacted.clone());
        }
        Content::ToolCall(call) => choice.calls.push((call.id.clone(), call.name.clone(), call.arguments.clone())),
        _ => {}
    }
}

fn told_by(response: &Response) -> Told {
    let mut told = Told { usage: response.usage.clone(), ..Told::default() };
    for choice in &response.choices {
        let entry = told.choices.entry(choice.index).or_default();
        choice.parts.iter().for_each(|part| add(entry, &part.content));
        entry.finish.clone_from(&choice.finish);
    }
    told
}

/// Joins events, and holds them to the contract's order on the way.
fn told_by_events(events: &[Event]) -> Told {
    let mut told = Told::default();
    let mut open: BTreeMap<(u32, u32), (PartKind, usize)> = BTreeMap::new();
    let mut ended = false;
    for event in events {
        assert!(!ended, "an event after an error");
        match event {
            Event::PartStart(start) => {
                let choice = told.choices.entry(start.at.choice).or_default();
                let alone = |kind: &PartKind| *kind != PartKind::ToolCall || start.kind != PartKind::ToolCall;
                let beside = open.iter().any(|((index, _), (kind, _))| *index == start.at.choice && alone(kind));
                assert!(!beside, "parts interleave");
                if start.kind == PartKind::ToolCall {
                    choice.calls.push((start.id.clone(), start.name.clone(), String::new()));
                }
                open.insert((start.at.choice, start.at.part), (start.kind, choice.calls.len().saturating_sub(1)));
            }
            Event::Text(delta) => {
                let choice = told.choices.get_mut(&delta.at.choice).expect("a started choice");
                match open[&(delta.at.choice, delta.at.part)].0 {
                    PartKind::Text => choice.text += &delta.text,
                    PartKind::Reasoning => choice.reasoning += &delta.text,
                    PartKind::Refusal => choice.refusal += &delta.text,
                    PartKind::ToolCall => panic!("text in a tool call"),
                }
            }
            Event::Signature(delta) => {
                assert_eq!(open[&(delta.at.choice, delta.at.part)].0, PartKind::Reasoning);
                told.choices.entry(delta.at.choice).or_default().signatures += &delta.text;
            }
            Event::ToolArguments(delta) => {
                let (_, call) = open[&(delta.at.choice, delta.at.part)];
                told.choices.entry(delta.at.choice).or_default().calls[call].2 += &delta.text;
            }
            Event::PartEnd(at) => assert!(open.remove(&(at.choice, at.part)).is_some(), "an end without a start"),
            Event::WholePart(whole) => add(told.choices.entry(whole.at.choice).or_default(), &whole.part.content),
            Event::Usage(usage) => told.usage = Some(usage.clone()),
            Event::Finish(finish) => {
                assert!(!open.keys().any(|(index, _)| *index == finish.choice), "a finish with open parts");
                told.choices.entry(finish.choice).or_default().finish = Some(finish.finish.clone());
            }
            Event::Error(failure) => {
                ended = true;
                told.failed = Some(failure.message.clone());
            }
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
    let mut bytes = Vec::new();
    let mut events = Vec::new();
    let batches: Vec<_> = frames.chunks(size).collect();
    for (index, batch) in batches.iter().enumerate() {
        let mut state =
            if bytes.is_empty() { Default::default() } else { postcard::from_bytes(&bytes).expect("a state") };
        let last = index + 1 == batches.len();
        events.extend(provider::stream::decode(&context(), &mut state, batch.to_vec(), last));
        bytes = postcard::to_allocvec(&state).expect("bytes");
        assert!(bytes.len() < 4096, "{} bytes of state", bytes.len());
    }
    events
}

fn encode_stream(events: Vec<Event>) -> Vec<Frame> {
    let mut bytes = Vec::new();
    let mut frames = Vec::new();
    let count = events.len();
    for (index, event) in events.into_iter().enumerate() {
        let mut state =
            if bytes.is_empty() { Default::default() } else { postcard::from_bytes(&bytes).expect("a state") };
        let last = index + 1 == count;
        frames.extend(dialect::stream::encode(&context(), &reply(), &mut state, vec![event], last).expect("frames"));
        bytes = postcard::to_allocvec(&state).expect("bytes");
    }
    frames
}

/// The dialect writes words the official types know; everything else must be equal.
fn without_raw_words(mut told: Told) -> Told {
    for choice in told.choices.values_mut() {
        choice.finish.take();
    }
    if told.failed.take().is_some() {
        // After an error nothing follows, usage neither.
        told.failed = Some(String::new());
        told.usage = None;
    }
    // A rate whose name is no official one is not written again.
    if let Some(usage) = &mut told.usage {
        usage.service_tier = None;
        usage.stated_cost = None;
    }
    told
}

#[test]
fn every_answer_is_read_and_written_again() {
    let Some(recordings) = recordings(PROVIDERS) else { return };
    let (mut whole, mut streamed) = (0, 0);
    for recording in recordings {
        let Some(text) = &recording.response.text else { continue };
        let mut metered = Metered::default();
        let told = if recording.stream {
            streamed += 1;
            let frames = frames(text);
            let together = told_by_events(&decode_stream(&frames, frames.len()));
            for size in [1, 3] {
                assert_eq!(told_by_events(&decode_stream(&frames, size)), together, "{}", recording.id);
            }
            let again = encode_stream(decode_stream(&frames, 1));
            let back = told_by_events(&decode_stream(&again, 1));
            assert_eq!(
                without_raw_words(back),
                without_raw_words(told_by_events(&decode_stream(&frames, 2))),
                "{}",
                recording.id
            );
            provider::meter::read(&mut metered, &frames, true);
            together
        } else {
            whole += 1;
            let Ok(response) = provider::response::decode(&context(), text) else {
                assert!(
                    text.contains("\"error\""),
                    "{}: {:?}",
                    recording.id,
                    provider::response::decode(&context(), text)
                );
                continue;
            };
            let again = dialect::response::encode(&context(), &reply(), &response);
            let back = provider::response::decode(&context(), &again).expect("our own answer");
            assert_eq!(without_raw_words(told_by(&back)), without_raw_words(told_by(&response)), "{}", recording.id);
            provider::meter::read(&mut metered, &[Frame::data(text.as_str())], true);
            told_by(&response)
        };
        assert_eq!(metered.usage, told.usage, "{}", recording.id);
        assert_eq!(metered.failure.is_some(), told.failed.is_some(), "{}: {:?}", recording.id, metered.failure);
        let finishes = told.choices.values().filter(|choice| choice.finish.is_some()).count();
        // A server may say the same finish in two chunks.
        assert!(metered.finishes.len() >= finishes, "{}", recording.id);
        if told.failed.is_none() {
            assert_eq!(finishes, told.choices.len(), "{} is finished", recording.id);
        }
    }
    eprintln!("{whole} whole answers, {streamed} streams");
    assert!(whole > 0 && streamed > 0);
}

#[test]
fn every_request_is_read_and_written_again() {
    let Some(recordings) = recordings(PROVIDERS) else { return };
    let mut count = 0;
    for recording in recordings {
        let Some(text) = &recording.request.text else { continue };
        let Ok(sent) = serde_json::from_str::<Value>(text) else { continue };
        if sent.get("messages").is_none() {
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
        // Reasoning signed for another provider is the one thing that is not sent on.
        assert!(notes.iter().all(|note| note.code == "signature-dropped"), "{}: {notes:?}", recording.id);
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
        _ => (sent != again).then(|| format!("{place}: sent {sent:.400}, again {again:.400}")),
    }
}

/// A request with everything said in one way: without nulls and defaults, lists of one text as the text, deprecated names
/// replaced.
fn normal(mut request: Value) -> Value {
    if request["stream"] == json!(true) {
        request["stream_options"]["include_usage"] = json!(true);
    }
    let members = request.as_object_mut().expect("an object");
    members.retain(|_, value| !value.is_null());
    for name in ["temperature", "top_p", "frequency_penalty", "presence_penalty"] {
        if let Some(number) = members.get_mut(name) {
            *number = json!(number.as_f64());
        }
    }
    if members.get("stream") == Some(&json!(false)) {
        members.remove("stream");
        members.remove("stream_options");
    }
    if members.get("logprobs") == Some(&json!(false)) {
        members.remove("logprobs");
    }
    if let Some(limit) = members.remove("max_tokens") {
        members.insert("max_completion_tokens".into(), limit);
    }
    if let Some(effort) =
        members.get("reasoning").and_then(|own| own.as_object().filter(|own| own.len() == 1)?.get("effort"))
    {
        let effort = effort.clone();
        members.remove("reasoning");
        members.insert("reasoning_effort".into(), effort);
    }
    if let Some(functions) = members.remove("functions") {
        let tools = functions
            .as_array()
            .expect("a list")
            .iter()
            .map(|function| json!({"type": "function", "function": function}));
        members.insert("tools".into(), tools.collect());
    }
    if let Some(choice) = members.remove("function_call") {
        members.insert("tool_choice".into(), choice);
    }
    if members.get("tool_choice") == Some(&json!("any")) {
        members["tool_choice"] = json!("required");
    }
    if let Some(stop) = members.get_mut("stop").filter(|stop| stop.is_string()) {
        *stop = json!([stop]);
    }
    if let Some(tools) = members.get_mut("tools") {
        for tool in tools.as_array_mut().expect("a list") {
            tool["type"].as_str().is_none().then(|| tool["type"] = json!("function"));
            if let Some(function) = tool["function"].as_object_mut() {
                function.retain(|_, value| !value.is_null());
            }
        }
    }
    for message in members["messages"].as_array_mut().expect("a list") {
        let message = message.as_object_mut().expect("an object");
        message.retain(|name, value| !(value.is_null() || name == "tool_calls" && *value == json!([])));
        if let Some(call) = message.remove("function_call") {
            message.insert("tool_calls".into(), json!([{"type": "function", "function": call}]));
        }
        if message["role"] == json!("function") {
            message["role"] = json!("tool");
        }
        if let Some(reasoning) = message.remove("reasoning") {
            message.insert("reasoning_content".into(), reasoning);
        }
        content(message);
        if let Some(calls) = message.get_mut("tool_calls") {
            for call in calls.as_array_mut().expect("a list") {
                call.as_object_mut().expect("a call").retain(|name, value| name != "index" && !value.is_null());
                call["type"] = json!("function");
            }
        }
    }
    request
}

fn content(message: &mut serde_json::Map<String, Value>) {
    let Some(list) = message.get("content").and_then(Value::as_array).cloned() else {
        if message.get("content") == Some(&json!("")) && message["role"] == json!("assistant") {
            message.remove("content");
        }
        return;
    };
    let (thinking, list): (Vec<_>, Vec<_>) = list.into_iter().partition(|part| part["type"] == json!("thinking"));
    let thoughts = thinking.iter().flat_map(|part| part["thinking"].as_array().expect("a list"));
    let thoughts: String = thoughts.filter_map(|thought| thought["text"].as_str()).collect();
    if !thoughts.is_empty() {
        message.insert("reasoning_content".into(), json!(thoughts));
    }
    match list.as_slice() {
        [] => {
            message.remove("content");
        }
        [part] if part["type"] == json!("text") && part.as_object().is_some_and(|part| part.len() == 2) => {
            message.insert("content".into(), part["text"].clone());
        }
        _ => {
            message.insert("content".into(), Value::Array(list));
        }
    }
}
