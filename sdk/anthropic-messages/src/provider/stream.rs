//! A streamed answer of the API (<https://platform.claude.com/docs/en/build-with-claude/streaming>).
//!
//! The API does not interleave blocks: at most one is open. Text, thinking and tool calls pass on as their pieces come. Blocks
//! without a counterpart in the IR come out as whole raw items: at once where they begin complete (a server tool's result),
//! at their end where they grow by deltas (a server tool's input).

use portcullis_plugin::json;
use portcullis_plugin::logging::{self, Level};
use portcullis_plugin::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::{self, WireError};
use super::response::WireMessage;
use crate::block::{Block, CARRY};
use crate::usage::WireUsage;
use crate::{FORMAT, stop};

/// What a growing raw item may hold; the contract bounds the whole state at 64 KB.
const MAX_ITEM: usize = 56 * 1024;

portcullis_plugin::wire_object! {
    struct WireFrame {
        kind as "type": Option<String>,
        index: Option<u32>,
        delta: Option<WireDelta>,
        content_block: Option<Block>,
        message: Option<WireMessage>,
        usage: Option<WireUsage>,
        error: Option<WireError>,
    }
    struct WireDelta {
        kind as "type": Option<String>,
        text: Option<String>,
        thinking: Option<String>,
        signature: Option<String>,
        partial_json: Option<String>,
        citation: Option<Box<RawValue>>,
        stop_reason: Option<String>,
        stop_sequence: Option<String>,
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    started: bool,
    /// The stop reason came, or the end, or an error: the stream may close.
    complete: bool,
    usage: Usage,
    next_part: u32,
    open: Option<Open>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Open {
    Text,
    Reasoning,
    ToolCall {
        /// Arguments have come.
        begun: bool,
    },
    /// A raw item that grows: its first form, the pieces of its input, and members that deltas replaced.
    Item {
        kind: String,
        value: String,
        input: String,
        replaced: Vec<Field>,
    },
    /// Passed on already; what follows until its end says nothing new.
    Done,
}

pub fn decode(state: &mut State, frames: &[Frame], last: bool) -> Result<Vec<Event>, Failure> {
    let mut events = Vec::with_capacity(frames.len() + 2);
    for frame in frames.iter().filter(|frame| !frame.data.is_empty()) {
        let wire: WireFrame = json::parse_upstream(&frame.data)?;
        read(state, wire, &mut events)?;
    }
    if last && !state.complete {
        state.complete = true;
        events.push(Event::Error(Failure::upstream_protocol("the provider's stream ended early")));
    }
    Ok(events)
}

fn read(state: &mut State, wire: WireFrame, events: &mut Vec<Event>) -> Result<(), Failure> {
    match wire.kind.as_deref() {
        Some("content_block_delta") => {
            let delta = wire.delta.ok_or_else(|| incomplete("content_block_delta"))?;
            block_delta(state, delta, events)
        }
        Some("content_block_start") => {
            let Block(part) = wire.content_block.ok_or_else(|| incomplete("content_block_start"))?;
            block_start(state, part, events);
            Ok(())
        }
        Some("content_block_stop") => {
            block_stop(state, events);
            Ok(())
        }
        Some("message_start") => {
            message_start(state, wire.message.ok_or_else(|| incomplete("message_start"))?, events);
            Ok(())
        }
        Some("message_delta") => {
            message_delta(state, wire, events);
            Ok(())
        }
        Some("message_stop") => {
            state.complete = true;
            Ok(())
        }
        Some("error") => {
            failed(state, wire.error.unwrap_or_default(), events);
            Ok(())
        }
        // `ping`, and kinds of next year, which the API's versioning reserves the right to add.
        Some(_) => Ok(()),
        // Google's own errors have no type.
        None => match wire.error {
            Some(error) => {
                failed(state, error, events);
                Ok(())
            }
            None => Err(incomplete("a frame")),
        },
    }
}

fn failed(state: &mut State, error: WireError, events: &mut Vec<Event>) {
    state.complete = true;
    events.push(Event::Error(error::of(error, 0)));
}

fn incomplete(what: &str) -> Failure {
    Failure::upstream_protocol(format!("{what} of the provider's stream lacks what it is about"))
}

fn message_start(state: &mut State, message: WireMessage, events: &mut Vec<Event>) {
    state.started = true;
    let mut extra = message.extra;
    let usage = message.usage.map(|wire| {
        wire.merge_into(&mut state.usage);
        wire.into_extra(&mut extra);
        state.usage.clone()
    });
    events.push(Event::Start(StreamStart {
        format: FORMAT.to_owned(),
        id: message.id.unwrap_or_default(),
        model: message.model.unwrap_or_default(),
        created: None,
        usage,
        extra,
    }));
}

fn message_delta(state: &mut State, wire: WireFrame, events: &mut Vec<Event>) {
    let mut extra = wire.extra;
    if let Some(usage) = wire.usage {
        usage.merge_into(&mut state.usage);
        usage.into_extra(&mut extra);
        events.push(Event::Usage(state.usage.clone()));
    }
    let delta = wire.delta.unwrap_or_default();
    extra.extend(delta.extra);
    events.extend(extra.into_iter().filter(|field| field.value != "null").map(Event::Extra));
    if let Some(reason) = delta.stop_reason {
        state.complete = true;
        let finish = stop::decode(reason, delta.stop_sequence);
        events.push(Event::Finish(ChoiceFinish { choice: 0, finish }));
    }
}

/// The open block's place; a block that has begun has counted itself.
fn at(state: &State) -> Position {
    Position { choice: 0, part: state.next_part.saturating_sub(1) }
}

fn block_start(state: &mut State, part: Part, events: &mut Vec<Event>) {
    // A block that was never closed must not leak into the next one.
    block_stop(state, events);
    state.next_part += 1;
    let at = at(state);
    let begin = |kind, id, name, carry| Event::PartStart(PartStart { at, kind, id, name, carry });
    let delta = |text| Delta { at, text };
    let Part { content, carry, extra, cache } = part;
    state.open = Some(match content {
        Content::Text(text) => {
            // An empty list of citations only announces that some may come.
            let carry = carry.into_iter().filter(|field| field.value.trim() != "[]").collect();
            events.push(begin(PartKind::Text, String::new(), String::new(), carry));
            if !text.is_empty() {
                events.push(Event::Text(delta(text)));
            }
            Open::Text
        }
        Content::Reasoning(Reasoning { redacted: None, text, signature, .. }) => {
            events.push(begin(PartKind::Reasoning, String::new(), String::new(), carry));
            if !text.is_empty() {
                events.push(Event::Text(delta(text)));
            }
            if let Some(signature) = signature {
                events.push(Event::Signature(delta(signature)));
            }
            Open::Reasoning
        }
        Content::ToolCall(call) => {
            events.push(begin(PartKind::ToolCall, call.id, call.name, carry));
            let begun = call.arguments.trim() != "{}";
            if begun {
                events.push(Event::ToolArguments(delta(call.arguments)));
            }
            Open::ToolCall { begun }
        }
        // Results come complete; what the model writes itself may grow.
        Content::Other(item) if !item.kind.ends_with("_result") && item.value.len() <= MAX_ITEM => {
            Open::Item { kind: item.kind, value: item.value, input: String::new(), replaced: Vec::new() }
        }
        content => {
            events.push(Event::WholePart(WholePart { at, part: Part { content, carry, extra, cache } }));
            Open::Done
        }
    });
}

fn block_delta(state: &mut State, delta: WireDelta, events: &mut Vec<Event>) -> Result<(), Failure> {
    let at = at(state);
    let Some(open) = &mut state.open else {
        return Err(Failure::upstream_protocol("the provider's stream has a delta outside any block"));
    };
    match open {
        Open::Text => {
            if let Some(text) = delta.text.filter(|text| !text.is_empty()) {
                events.push(Event::Text(Delta { at, text }));
            }
            if let Some(citation) = delta.citation {
                let citations = Field::new(format!("{CARRY}citations"), format!("[{}]", citation.get()));
                events.push(Event::Carry(Carried { at, fields: vec![citations] }));
            }
        }
        Open::Reasoning => {
            if let Some(text) = delta.thinking.filter(|text| !text.is_empty()) {
                events.push(Event::Text(Delta { at, text }));
            }
            if let Some(text) = delta.signature.filter(|text| !text.is_empty()) {
                events.push(Event::Signature(Delta { at, text }));
            }
        }
        Open::ToolCall { begun } => {
            if let Some(text) = delta.partial_json.filter(|text| !text.is_empty()) {
                *begun = true;
                events.push(Event::ToolArguments(Delta { at, text }));
            }
        }
        Open::Item { kind, value, input, replaced } => {
            if let Some(piece) = delta.partial_json {
                input.push_str(&piece);
            }
            for field in delta.extra {
                replaced.retain(|known| known.name != field.name);
                replaced.push(field);
            }
            let replaced: usize = replaced.iter().map(|field| field.name.len() + field.value.len()).sum();
            if value.len() + input.len() + replaced > MAX_ITEM {
                logging::write(
                    Level::Warn,
                    &format!("a `{kind}` block is too large for a stream's state; it keeps its first form"),
                );
                let item = RawItem { format: FORMAT.to_owned(), kind: kind.clone(), value: std::mem::take(value) };
                events.push(Event::WholePart(WholePart { at, part: Part::new(Content::Other(item)) }));
                *open = Open::Done;
            }
        }
        Open::Done => {}
    }
    Ok(())
}

fn block_stop(state: &mut State, events: &mut Vec<Event>) {
    let at = at(state);
    match state.open.take() {
        None | Some(Open::Done) => {}
        Some(Open::Text | Open::Reasoning | Open::ToolCall { begun: true }) => events.push(Event::PartEnd(at)),
        Some(Open::ToolCall { begun: false }) => {
            events.push(Event::ToolArguments(Delta { at, text: "{}".to_owned() }));
            events.push(Event::PartEnd(at));
        }
        Some(Open::Item { kind, value, input, replaced }) => {
            let value = grown(&value, &input, &replaced);
            let item = RawItem { format: FORMAT.to_owned(), kind, value };
            events.push(Event::WholePart(WholePart { at, part: Part::new(Content::Other(item)) }));
        }
    }
}

/// A raw item with what its deltas brought.
fn grown(value: &str, input: &str, replaced: &[Field]) -> String {
    portcullis_plugin::wire_object! {
        struct WireItem {}
    }
    if input.is_empty() && replaced.is_empty() {
        return value.to_owned();
    }
    let item: WireItem = json::from_str(value).unwrap_or_default();
    // Input that broke off is not JSON; the item keeps its first form.
    let input = Some(input).filter(|input| json::is_valid(input));
    let is_replaced =
        |name: &str| replaced.iter().any(|field| field.name == name) || (input.is_some() && name == "input");
    let mut writer = json::Writer::with_capacity(value.len() + input.map_or(0, str::len));
    writer.begin_object();
    for field in item.extra.iter().filter(|field| !is_replaced(&field.name)) {
        writer.member_raw(&field.name, &field.value);
    }
    for field in replaced {
        writer.member_raw(&field.name, &field.value);
    }
    if let Some(input) = input {
        writer.member_raw("input", input);
    }
    writer.end_object();
    writer.finish()
}
