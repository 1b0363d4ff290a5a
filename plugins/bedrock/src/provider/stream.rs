//! A streamed answer (`ConverseStreamOutput` of the service model). A frame's event names its kind, its data is that kind's object.
//!
//! Blocks come one after the other, told apart by `contentBlockIndex`; only tools announce theirs with a start, text and
//! reasoning begin with their first delta. Usage comes after the stop reason, in `metadata`.

use portcullis_plugin::json;
use portcullis_plugin::logging::{self, Level};
use portcullis_plugin::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error;
use super::response::additional;
use crate::usage::WireUsage;
use crate::{CARRY, FORMAT, block, stop};

/// What a growing item may hold; the contract bounds the whole state at 64 KB.
const MAX_ITEM: usize = 56 * 1024;

portcullis_plugin::wire_object! {
    struct WireStart {
        index as "contentBlockIndex": Option<u32>,
        start: Option<WireStartOf>,
    }

    struct WireStartOf {
        tool_use as "toolUse": Option<Box<RawValue>>,
        tool_result as "toolResult": Option<Box<RawValue>>,
        image: Option<WireFormat>,
    }

    struct WireFormat {
        format: Option<String>,
    }

    struct WireDelta {
        index as "contentBlockIndex": Option<u32>,
        delta: Option<WireDeltaOf>,
    }

    struct WireDeltaOf {
        text: Option<String>,
        tool_use as "toolUse": Option<WireInput>,
        tool_result as "toolResult": Option<Vec<Box<RawValue>>>,
        reasoning as "reasoningContent": Option<WireThought>,
        citation: Option<Box<RawValue>>,
        image: Option<block::WireImage>,
    }

    struct WireInput {
        input: Option<String>,
    }

    struct WireThought {
        text: Option<String>,
        signature: Option<String>,
        redacted as "redactedContent": Option<String>,
    }

    struct WireStop {
        reason as "stopReason": Option<String>,
        additional as "additionalModelResponseFields": Option<Box<RawValue>>,
    }

    struct WireMetadata {
        /// Padding against guesses at lengths.
        padding as "p": Option<String>,
        usage: Option<WireUsage>,
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    started: bool,
    /// The stop reason came, or an error: the stream may close.
    complete: bool,
    next_part: u32,
    open: Option<Open>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Open {
    index: u32,
    kind: Kind,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Text,
    Reasoning,
    ToolCall {
        /// Arguments have come.
        begun: bool,
    },
    /// A call or a result of a tool that Bedrock ran: its head, and what came of it.
    ServerCall {
        head: String,
        input: String,
    },
    ServerResult {
        head: String,
        content: String,
    },
    Image {
        format: Option<String>,
    },
    /// Passed on already, or unknown.
    Done,
}

pub fn decode(state: &mut State, id: &str, frames: Vec<Frame>, last: bool) -> Result<Vec<Event>, Failure> {
    let mut events = Vec::with_capacity(frames.len() + 2);
    for frame in frames {
        read(state, id, &frame, &mut events)?;
    }
    if last && !state.complete {
        state.complete = true;
        events.push(Event::Error(Failure::upstream_protocol("the provider's stream ended early")));
    }
    Ok(events)
}

fn read(state: &mut State, id: &str, frame: &Frame, events: &mut Vec<Event>) -> Result<(), Failure> {
    let incomplete =
        || Failure::upstream_protocol(format!("`{}` of the provider's stream lacks what it is about", frame.event));
    if error::is_exception(&frame.event) {
        state.complete = true;
        events.push(Event::Error(error::exception(&frame.event, &frame.data)));
        return Ok(());
    }
    if !std::mem::replace(&mut state.started, true) {
        events.push(Event::Start(StreamStart {
            format: FORMAT.to_owned(),
            id: id.to_owned(),
            model: String::new(),
            created: None,
            usage: None,
            extra: Vec::new(),
        }));
    }
    match &*frame.event {
        "contentBlockDelta" => {
            let wire: WireDelta = json::parse_upstream(&frame.data)?;
            let (Some(index), Some(delta)) = (wire.index, wire.delta) else { return Err(incomplete()) };
            block_delta(state, index, delta, events);
        }
        "contentBlockStart" => {
            let wire: WireStart = json::parse_upstream(&frame.data)?;
            let (Some(index), Some(start)) = (wire.index, wire.start) else { return Err(incomplete()) };
            block_start(state, index, start, events)?;
        }
        "contentBlockStop" => close(state, events),
        "messageStop" => {
            close(state, events);
            let wire: WireStop = json::parse_upstream(&frame.data)?;
            let mut extra = Vec::new();
            let sequence = wire.additional.and_then(|raw| additional(raw.get(), &mut extra));
            events.extend(extra.into_iter().map(Event::Extra));
            state.complete = true;
            let finish = stop::decode(wire.reason.ok_or_else(incomplete)?, sequence);
            events.push(Event::Finish(ChoiceFinish { choice: 0, finish }));
        }
        "metadata" => {
            let wire: WireMetadata = json::parse_upstream(&frame.data)?;
            events.extend(wire.usage.map(|usage| Event::Usage(usage.usage())));
            events.extend(wire.extra.into_iter().map(Event::Extra));
        }
        // `messageStart`, and kinds of next year.
        _ => {}
    }
    Ok(())
}

/// The open block's place; a block that has begun has counted itself.
fn at(state: &State) -> Position {
    Position { choice: 0, part: state.next_part.saturating_sub(1) }
}

fn begin(state: &mut State, index: u32, kind: Kind) -> Position {
    state.next_part += 1;
    state.open = Some(Open { index, kind });
    at(state)
}

fn part_start(at: Position, kind: PartKind, id: String, name: String) -> Event {
    Event::PartStart(PartStart { at, kind, id, name, carry: Vec::new() })
}

fn whole(at: Position, content: Content) -> Event {
    Event::WholePart(WholePart { at, part: Part::new(content) })
}

fn block_start(state: &mut State, index: u32, start: WireStartOf, events: &mut Vec<Event>) -> Result<(), Failure> {
    // A block that was never closed must not leak into the next one.
    close(state, events);
    if let Some(raw) = start.tool_use {
        let call: block::WireToolUse = json::parse_upstream(raw.get())?;
        if !block::is_call(call.kind.as_deref()) {
            let head = raw.get().to_owned();
            begin(state, index, Kind::ServerCall { head, input: String::new() });
            return Ok(());
        }
        let (Some(id), Some(name)) = (call.id, call.name) else {
            return Err(Failure::upstream_protocol("a tool use of the provider's stream has no id or name"));
        };
        let at = begin(state, index, Kind::ToolCall { begun: false });
        events.push(part_start(at, PartKind::ToolCall, id, name));
    } else if let Some(raw) = start.tool_result {
        begin(state, index, Kind::ServerResult { head: raw.get().to_owned(), content: String::new() });
    } else if let Some(image) = start.image {
        begin(state, index, Kind::Image { format: image.format });
    }
    Ok(())
}

/// Makes sure that the open block is this one and of this kind.
fn ensure(state: &mut State, index: u32, kind: Kind, part: PartKind, events: &mut Vec<Event>) -> Position {
    let is_open = state.open.as_ref().is_some_and(|open| open.index == index && open.kind == kind);
    if !is_open {
        close(state, events);
        let at = begin(state, index, kind);
        events.push(part_start(at, part, String::new(), String::new()));
    }
    at(state)
}

fn block_delta(state: &mut State, index: u32, delta: WireDeltaOf, events: &mut Vec<Event>) {
    if let Some(text) = delta.text.filter(|text| !text.is_empty()) {
        let at = ensure(state, index, Kind::Text, PartKind::Text, events);
        events.push(Event::Text(Delta { at, text }));
    }
    if let Some(citation) = delta.citation {
        let at = ensure(state, index, Kind::Text, PartKind::Text, events);
        let citations = Field::new(format!("{CARRY}citations"), format!("[{}]", citation.get()));
        events.push(Event::Carry(Carried { at, fields: vec![citations] }));
    }
    if let Some(thought) = delta.reasoning {
        reasoning(state, index, thought, events);
    }
    if let Some(bytes) = delta.image.and_then(|image| image.source).and_then(|source| source.bytes) {
        let format = match state.open.take().map(|open| open.kind) {
            Some(Kind::Image { format }) => format,
            _ => {
                begin(state, index, Kind::Done);
                None
            }
        };
        events.push(whole(at(state), block::image(format, bytes)));
        state.open = Some(Open { index, kind: Kind::Done });
    }
    let at = at(state);
    let Some(open) = &mut state.open else { return };
    match &mut open.kind {
        Kind::ToolCall { begun } => {
            let piece = delta.tool_use.and_then(|piece| piece.input).filter(|piece| !piece.is_empty());
            if let Some(text) = piece {
                *begun = true;
                events.push(Event::ToolArguments(Delta { at, text }));
            }
        }
        Kind::ServerCall { head, input } => {
            input.push_str(&delta.tool_use.and_then(|piece| piece.input).unwrap_or_default());
            if head.len() + input.len() > MAX_ITEM {
                too_large("toolUse");
                events.push(whole(at, block::server_call(head, "{}")));
                open.kind = Kind::Done;
            }
        }
        Kind::ServerResult { head, content } => {
            for piece in delta.tool_result.into_iter().flatten() {
                if !content.is_empty() {
                    content.push(',');
                }
                content.push_str(piece.get());
            }
            if head.len() + content.len() > MAX_ITEM {
                too_large("toolResult");
                events.push(whole(at, block::server_result(head, "[]")));
                open.kind = Kind::Done;
            }
        }
        Kind::Text | Kind::Reasoning | Kind::Image { .. } | Kind::Done => {}
    }
}

fn too_large(what: &str) {
    logging::write(
        Level::Warn,
        &format!("a `{what}` block is too large for a stream's state; it keeps its head alone"),
    );
}

fn reasoning(state: &mut State, index: u32, thought: WireThought, events: &mut Vec<Event>) {
    if let Some(data) = thought.redacted.filter(|data| !data.is_empty()) {
        close(state, events);
        let at = begin(state, index, Kind::Done);
        events.push(whole(at, block::reasoning(String::new(), None, Some(data))));
    }
    if let Some(text) = thought.text.filter(|text| !text.is_empty()) {
        let at = ensure(state, index, Kind::Reasoning, PartKind::Reasoning, events);
        events.push(Event::Text(Delta { at, text }));
    }
    if let Some(text) = thought.signature.filter(|text| !text.is_empty()) {
        let at = ensure(state, index, Kind::Reasoning, PartKind::Reasoning, events);
        events.push(Event::Signature(Delta { at, text }));
    }
}

fn close(state: &mut State, events: &mut Vec<Event>) {
    let at = at(state);
    match state.open.take().map(|open| open.kind) {
        None | Some(Kind::Done) => {}
        Some(Kind::Text | Kind::Reasoning | Kind::ToolCall { begun: true }) => events.push(Event::PartEnd(at)),
        Some(Kind::ToolCall { begun: false }) => {
            events.push(Event::ToolArguments(Delta { at, text: "{}".to_owned() }));
            events.push(Event::PartEnd(at));
        }
        Some(Kind::ServerCall { head, input }) => {
            let input = if input.is_empty() { "{}" } else { &input };
            events.push(whole(at, block::server_call(&head, input)));
        }
        Some(Kind::ServerResult { head, content }) => {
            events.push(whole(at, block::server_result(&head, &format!("[{content}]"))));
        }
        // One that never came leaves its place empty: nothing to say.
        Some(Kind::Image { .. }) => state.next_part = state.next_part.saturating_sub(1),
    }
}
