//! Real traffic, where it is: every recorded request and answer must survive the way through the IR.
//!
//! `PORTCULLIS_RECORDINGS` names the folder; without it the tests skip, since the recordings are not part of the project.

use std::path::PathBuf;

use portcullis_plugin::prelude::*;
use portcullis_plugin_anthropic::{Anthropic, FORMAT};
use serde_json::{Map, Value, json};

struct Recording {
    id: String,
    stream: bool,
    status: u64,
    request: String,
    response: String,
}

/// The recordings of `POST /v1/messages`, or nothing where there are none.
fn recordings() -> Vec<Recording> {
    let Some(folder) = std::env::var_os("PORTCULLIS_RECORDINGS") else {
        eprintln!("skipped: PORTCULLIS_RECORDINGS is not set");
        return Vec::new();
    };
    let path = PathBuf::from(folder).join("anthropic.jsonl");
    let lines = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let text = |value: &Value| value["text"].as_str().unwrap_or_default().to_owned();
    let found: Vec<_> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a recording"))
        .filter(|value| value["operation"] == "v1/messages")
        .map(|value| Recording {
            id: value["id"].to_string(),
            stream: value["stream"] == true,
            status: value["status"].as_u64().unwrap_or_default(),
            request: text(&value["request"]),
            response: text(&value["response"]),
        })
        .collect();
    assert!(found.len() > 50, "{} holds too little", path.display());
    found
}

fn context() -> Context {
    Context { now: 1_700_000_000_000, seed: 7, request_id: "req-test".to_owned(), development: true, extra: Vec::new() }
}

fn reply() -> Reply {
    Reply {
        route: "chat".to_owned(),
        requested_model: "m".to_owned(),
        stream_usage: true,
        provider: "provider".to_owned(),
        strategy: "explicit".to_owned(),
        cost: None,
        account: None,
        echo: Vec::new(),
    }
}

fn frames(sse: &str) -> Vec<Frame> {
    sse.split("\n\n")
        .filter_map(|frame| {
            let line = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_start);
            Some(Frame::named(line("event:").unwrap_or_default(), line("data:")?))
        })
        .collect()
}

/// The state as it is between two calls.
fn carried<S: serde::Serialize + serde::de::DeserializeOwned>(state: S) -> S {
    let bytes = postcard::to_stdvec(&state).expect("a state");
    assert!(bytes.len() <= 64 * 1024, "{} bytes of state", bytes.len());
    postcard::from_bytes(&bytes).expect("the same state")
}

/// Messages without what says nothing: null members, and order.
fn plain(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name, plain(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(plain).collect()),
        other => other,
    }
}

/// An answer as this protocol's clients read it, of the members both sides must agree on.
fn essence(message: &Value) -> Value {
    let mut message = plain(message.clone());
    let usage = &mut message["usage"];
    let writes = usage["cache_creation_input_tokens"].as_u64().unwrap_or(0);
    let count = |usage: &Value, name: &str| usage[name].as_u64().unwrap_or(0);
    let usage = json!({
        "input": count(usage, "input_tokens"), "output": count(usage, "output_tokens"),
        "read": count(usage, "cache_read_input_tokens"), "written": writes,
        "searches": usage["server_tool_use"]["web_search_requests"].as_u64().unwrap_or(0),
        "thinking": usage["output_tokens_details"]["thinking_tokens"].as_u64().unwrap_or(0),
        "service_tier": usage["service_tier"], "iterations": usage["iterations"],
    });
    let Value::Object(mut members) = message else { panic!("not a message") };
    // Empty text, and an empty list of citations, say nothing.
    if let Some(Value::Array(content)) = members.get_mut("content") {
        content.retain(|block| !(block["type"] == "text" && block["text"] == ""));
        for block in content {
            if block["citations"] == json!([]) {
                block.as_object_mut().expect("a block").remove("citations");
            }
        }
    }
    members.insert("usage".to_owned(), usage);
    Value::Object(members)
}

/// A stream's events put together as the SDKs do.
fn accumulate(frames: &[Frame]) -> Value {
    let mut message = Value::Null;
    let mut inputs: Map<String, Value> = Map::new();
    let mut open = None;
    for frame in frames {
        let event: Value = serde_json::from_str(&frame.data).expect("JSON");
        assert_eq!(event["type"], *frame.event, "the event's name is its type");
        let index = event["index"].as_u64().map(|index| index as usize);
        match event["type"].as_str().expect("a type") {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                let content = message["content"].as_array_mut().expect("content");
                assert_eq!((open, index), (None, Some(content.len())), "blocks come one after the other");
                open = index;
                content.push(event["content_block"].clone());
            }
            "content_block_delta" => {
                assert_eq!(open, index);
                let block = &mut message["content"][index.expect("an index")];
                let delta = &event["delta"];
                let append = |member: &mut Value, piece: &Value| {
                    *member = json!(member.as_str().unwrap_or_default().to_owned() + piece.as_str().expect("text"));
                };
                match delta["type"].as_str().expect("a type") {
                    "text_delta" => append(&mut block["text"], &delta["text"]),
                    "thinking_delta" => append(&mut block["thinking"], &delta["thinking"]),
                    "signature_delta" => append(&mut block["signature"], &delta["signature"]),
                    "citations_delta" => match &mut block["citations"] {
                        Value::Array(citations) => citations.push(delta["citation"].clone()),
                        none => *none = json!([delta["citation"]]),
                    },
                    "input_json_delta" => append(
                        inputs.entry(index.unwrap_or_default().to_string()).or_insert(json!("")),
                        &delta["partial_json"],
                    ),
                    other => panic!("unexpected {other}"),
                }
            }
            "content_block_stop" => {
                assert_eq!(open.take(), index);
                if let Some(Value::String(input)) = inputs.remove(&index.unwrap_or_default().to_string())
                    && !input.is_empty()
                {
                    message["content"][index.expect("an index")]["input"] =
                        serde_json::from_str(&input).expect("whole arguments");
                }
            }
            "message_delta" => {
                for (name, value) in event["delta"].as_object().expect("a delta") {
                    message[name] = value.clone();
                }
                for (name, value) in event["usage"].as_object().expect("usage") {
                    message["usage"][name] = value.clone();
                }
            }
            "message_stop" | "ping" => {}
            other => panic!("unexpected {other}"),
        }
    }
    assert_eq!(open, None);
    message
}

/// Everything in one batch, or a batch a frame with the state stored in between.
fn decode(frames: Vec<Frame>, one_by_one: bool) -> Vec<Event> {
    let mut state = Default::default();
    if !one_by_one {
        return Anthropic.decode_frames(&context(), "chat", &mut state, frames, true).expect("events");
    }
    let count = frames.len();
    let mut events = Vec::new();
    for (at, frame) in frames.into_iter().enumerate() {
        events.extend(
            Anthropic.decode_frames(&context(), "chat", &mut state, vec![frame], at + 1 == count).expect("events"),
        );
        state = carried(state);
    }
    events
}

fn encode(events: Vec<Event>, one_by_one: bool) -> Vec<Frame> {
    let mut state = Default::default();
    if !one_by_one {
        return Anthropic.encode_events(&context(), &reply(), &mut state, events, true).expect("frames");
    }
    let count = events.len();
    let mut frames = Vec::new();
    for (at, event) in events.into_iter().enumerate() {
        let last = at + 1 == count;
        frames.extend(Anthropic.encode_events(&context(), &reply(), &mut state, vec![event], last).expect("frames"));
        state = carried(state);
    }
    frames
}

#[test]
fn whole_answers_come_back_the_same() {
    let head = AnswerHead { endpoint: "chat".to_owned(), status: 200, headers: Vec::new() };
    for recording in recordings().into_iter().filter(|recording| recording.status == 200 && !recording.stream) {
        let decoded = Anthropic
            .decode_response(&context(), &head, &recording.response)
            .unwrap_or_else(|failure| panic!("{}: {failure:?}", recording.id));
        let encoded = Anthropic.encode_response(&context(), &reply(), decoded.response).expect("an answer");
        let (before, after) =
            (serde_json::from_str(&recording.response).expect("JSON"), serde_json::from_str(&encoded).expect("JSON"));
        assert_eq!(essence(&after), essence(&before), "{}", recording.id);
    }
}

#[test]
fn streams_come_back_the_same_however_they_arrive() {
    for recording in recordings().into_iter().filter(|recording| recording.status == 200 && recording.stream) {
        let wire = frames(&recording.response);
        let before = essence(&accumulate(&wire));
        let events = decode(wire.clone(), false);
        assert_eq!(events, decode(wire, true), "{}", recording.id);
        assert!(!events.iter().any(|event| matches!(event, Event::Error(_))), "{}: {events:?}", recording.id);
        let encoded = encode(events.clone(), false);
        assert_eq!(encoded, encode(events, true), "{}", recording.id);
        assert_eq!(essence(&accumulate(&encoded)), before, "{}", recording.id);
    }
}

#[test]
fn a_meter_reads_what_decoding_reads() {
    let head = AnswerHead { endpoint: "chat".to_owned(), status: 200, headers: Vec::new() };
    let needles = Anthropic::manifest().endpoints.remove(0).meter_frames;
    for recording in recordings().into_iter().filter(|recording| recording.status == 200) {
        let mut metered = Metered::default();
        let (id, usage, finish);
        if recording.stream {
            let wire = frames(&recording.response);
            let (first, last) = (wire[0].clone(), wire[wire.len() - 1].clone());
            let chosen: Vec<_> = wire
                .iter()
                .filter(|frame| {
                    **frame == first || **frame == last || needles.iter().any(|needle| frame.data.contains(needle))
                })
                .cloned()
                .collect();
            Anthropic.meter(&context(), "chat", &mut metered, &chosen, true).expect("a reading");
            let message = accumulate(&wire);
            id = message["id"].as_str().map(str::to_owned);
            let events = decode(wire, false);
            usage = events.iter().rev().find_map(|event| match event {
                Event::Usage(usage) => Some(usage.clone()),
                _ => None,
            });
            finish = events.iter().rev().find_map(|event| match event {
                Event::Finish(finish) => Some(finish.finish.clone()),
                _ => None,
            });
        } else {
            Anthropic
                .meter(&context(), "chat", &mut metered, &[Frame::data(&*recording.response)], true)
                .expect("a reading");
            let response =
                Anthropic.decode_response(&context(), &head, &recording.response).expect("an answer").response;
            id = Some(response.id);
            usage = response.usage;
            finish = response.choices[0].finish.clone();
        }
        assert_eq!(
            (metered.id, metered.usage, metered.finishes),
            (id, usage, finish.into_iter().collect()),
            "{}",
            recording.id
        );
        assert_eq!(metered.failure, None, "{}", recording.id);
    }
}

#[test]
fn requests_come_back_the_same() {
    let head = Head { route: "chat".to_owned(), path: Vec::new(), query: Vec::new(), headers: Vec::new() };
    for recording in recordings() {
        let request = Anthropic
            .decode_request(&context(), &head, &recording.request)
            .unwrap_or_else(|failure| panic!("{}: {failure:?}", recording.id));
        assert_eq!(request.format, FORMAT);
        // A model the catalogue does not know, which gets what was asked.
        let target = Target {
            model: request.model.clone(),
            max_output_tokens: request.max_output_tokens,
            stream: request.stream,
            capabilities: Vec::new(),
            max_output: 0,
        };
        let target = Target { model: format!("x-{}", target.model), ..target };
        let encoded = Anthropic.encode_request(&context(), &target, request).expect("a request");
        assert_eq!(encoded.notes, [], "{}", recording.id);
        let mut after: Value = serde_json::from_slice(&encoded.body).expect("JSON");
        let mut before: Value = serde_json::from_str(&recording.request).expect("JSON");
        after["model"] = before["model"].clone();
        normalise(&mut before);
        normalise(&mut after);
        assert_eq!(after, before, "{}", recording.id);
    }
}

/// A request in one of the many spellings that mean the same.
fn normalise(request: &mut Value) {
    let members = request.as_object_mut().expect("an object");
    if members.get("stream") == Some(&json!(false)) {
        members.remove("stream");
    }
    if members.get("tools") == Some(&json!([])) {
        members.remove("tools");
    }
    // The beta's name.
    if let Some(format) = members.remove("output_format") {
        members.insert("output_config".to_owned(), json!({ "format": format }));
    }
    if let Some(system) = members.get_mut("system") {
        blocks(system);
    }
    let mut merged: Vec<Value> = Vec::new();
    for mut message in members["messages"].as_array().cloned().expect("messages") {
        blocks(&mut message["content"]);
        match merged.last_mut() {
            Some(last) if last["role"] == message["role"] => {
                let more = message["content"].as_array().cloned().unwrap_or_default();
                last["content"].as_array_mut().expect("content").extend(more);
            }
            _ => merged.push(message),
        }
    }
    members.insert("messages".to_owned(), merged.into());
    *request = plain(std::mem::take(request));
    floats(request);
}

fn blocks(content: &mut Value) {
    if let Value::String(text) = content {
        *content = json!([{"type": "text", "text": text}]);
    }
    let Value::Array(list) = content else { return };
    list.retain(|block| {
        !(block["type"] == "text" && block["text"].as_str().is_some_and(|text| text.trim().is_empty()))
    });
    for block in list {
        if block["type"] == "tool_result" {
            if block["is_error"] == json!(false) {
                block.as_object_mut().expect("a block").remove("is_error");
            }
            blocks(&mut block["content"]);
        }
    }
}

/// `1.0` and `1` are one number.
fn floats(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(float) = number.as_f64() {
                *value = json!(float);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(floats),
        Value::Object(members) => members.values_mut().for_each(floats),
        _ => {}
    }
}

#[test]
fn recorded_errors_have_their_kind() {
    for recording in recordings().into_iter().filter(|recording| recording.status >= 400) {
        let head = AnswerHead { endpoint: "chat".to_owned(), status: recording.status as u16, headers: Vec::new() };
        let failure = Anthropic.decode_error(&context(), &head, &recording.response);
        let expected = if recording.status == 404 { FailureKind::NotFound } else { FailureKind::InvalidRequest };
        assert_eq!(failure.kind, expected, "{}", recording.id);
        assert!(recording.response.contains(&failure.message), "{}", recording.id);
    }
}
