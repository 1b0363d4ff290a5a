//! Frames of a streamed answer to events.
//!
//! Invariants: an event's part was started and not yet ended; parts of one choice follow one another, but for tool calls;
//! every started part ends before its choice's finish; a stream that breaks off ends in an `error` event; after an error
//! nothing follows. The state is a few bytes per choice and call, and holds no text but arguments whose name is still to come.

use portcullis_plugin::ir::{
    Carried, ChoiceFinish, ChoiceLogprobs, Content as Ir, Context, Delta, Event, Failure, Field, Frame, Part, PartKind,
    PartStart, Position, RawItem, Reasoning, StreamStart, Usage, WholePart,
};
use portcullis_plugin::json;
use serde::{Deserialize, Serialize};

use super::response::{groq_usage, raw, service_tier};
use super::think::{Piece, Think};
use super::{call_id, finish, tidy};
use crate::compat::Compat;
use crate::wire::content::Content;
use crate::wire::error::WireError;
use crate::wire::message::{Function, LEGACY_CALL, Message, ToolCall, take_thought_signature};
use crate::wire::reasoning::{self, Detail};
use crate::wire::{Completion, FORMAT, WireChoice};
use crate::{CUSTOM_TOOL, REASONING_FORMAT};

/// What one batch of frames leaves to the next.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    started: bool,
    /// `[DONE]` was seen.
    done: bool,
    failed: bool,
    choices: Vec<ChoiceState>,
    /// Names of top-level fields already handed on: servers repeat them in every chunk.
    names: Vec<String>,
    /// Top-level fields that came before the answer began.
    held: Vec<Field>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct ChoiceState {
    index: u32,
    /// How many parts were started.
    parts: u32,
    open: Option<Open>,
    calls: Vec<Call>,
    refused: bool,
    finished: bool,
    think: Think,
    annotations: u32,
}

/// The open part that is not a tool call.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Open {
    part: u32,
    kind: PartKind,
    /// The `index` of the reasoning detail it is.
    detail: Option<u64>,
}

/// A tool call of the choice.
#[derive(Debug, Serialize, Deserialize)]
struct Call {
    /// Its `index` on the wire.
    wire: u32,
    id: String,
    /// Its part, once its name is known.
    part: Option<u32>,
    custom: bool,
    /// Arguments that came before the name.
    held: String,
    any_arguments: bool,
    open: bool,
}

/// The wire index of the deprecated `function_call`, of which there is one.
const LEGACY_INDEX: u32 = u32::MAX;

/// Of OpenAI itself, and of servers of which nothing needs to be known to read them.
pub fn decode(context: &Context, state: &mut State, frames: Vec<Frame>, last: bool) -> Vec<Event> {
    decode_for(&Compat::default(), context, state, frames, last)
}

/// Of a server with its differences.
pub fn decode_for(compat: &Compat, context: &Context, state: &mut State, frames: Vec<Frame>, last: bool) -> Vec<Event> {
    let mut decoder = Decoder { compat, context, state, events: Vec::with_capacity(frames.len() + 2) };
    for frame in frames {
        if decoder.state.failed {
            break;
        }
        if let Err(failure) = decoder.frame(&frame) {
            decoder.fail(failure);
        }
    }
    if last && !decoder.state.failed {
        decoder.end();
    }
    decoder.events
}

struct Decoder<'a> {
    compat: &'a Compat,
    context: &'a Context,
    state: &'a mut State,
    events: Vec<Event>,
}

impl Decoder<'_> {
    fn frame(&mut self, frame: &Frame) -> Result<(), Failure> {
        let data = frame.data.trim();
        if data == "[DONE]" {
            self.state.done = true;
        }
        if data.is_empty() || self.state.done {
            return Ok(());
        }
        // Groq names the event as well.
        if frame.event == "error" {
            return Err(WireError::parse(data).failure(None));
        }
        self.chunk(json::parse_upstream(data)?)
    }

    fn chunk(&mut self, mut chunk: Completion) -> Result<(), Failure> {
        let usage = chunk.usage.take().or_else(|| groq_usage(&chunk.extra));
        let counted =
            usage.as_ref().map(|usage| usage.count_for(self.compat, chunk.model.as_deref().unwrap_or_default()));
        let service_tier = service_tier(&chunk.extra);
        tidy::answer(&mut chunk.extra);
        // Azure tells what its filter made of the prompt before the answer has an id (recordings).
        let unborn = chunk.id.as_deref().is_none_or(str::is_empty) && chunk.choices.as_ref().is_none_or(Vec::is_empty);
        if !self.state.started && unborn && chunk.error.is_none() && usage.is_none() {
            self.state.held.extend(chunk.extra);
            return Ok(());
        }
        chunk.extra.splice(0..0, std::mem::take(&mut self.state.held));
        let error = chunk.error.map(|error| WireError::parse(error.get()).failure(None));
        if !self.state.started && error.is_none() {
            self.state.started = true;
            self.state.names.extend(chunk.extra.iter().map(|field| field.name.clone()));
            self.events.push(Event::Start(StreamStart {
                format: FORMAT.to_owned(),
                id: chunk.id.unwrap_or_default(),
                model: chunk.model.unwrap_or_default(),
                created: chunk.created.map(|seconds| seconds as u64),
                usage: None,
                extra: chunk.extra,
            }));
        } else {
            for field in chunk.extra {
                if field.value != "null" && !self.state.names.contains(&field.name) {
                    self.state.names.push(field.name.clone());
                    self.events.push(Event::Extra(field));
                }
            }
        }
        for (position, choice) in (0..).zip(chunk.choices.unwrap_or_default()) {
            self.choice(position, choice)?;
        }
        if let (Some(usage), Some(counted)) = (usage, counted) {
            self.events.extend(usage.told_cost().map(Event::Extra));
            self.events.push(Event::Usage(Usage { service_tier, ..counted }));
        }
        error.map_or(Ok(()), Err)
    }

    fn choice(&mut self, position: u32, wire: WireChoice) -> Result<(), Failure> {
        let index = wire.index.unwrap_or(position);
        let choices = &mut self.state.choices;
        let at = choices.iter().position(|choice| choice.index == index).unwrap_or_else(|| {
            choices.push(ChoiceState { index, ..ChoiceState::default() });
            choices.len() - 1
        });
        let tags = self.compat.think_tags;
        let mut choice = Writer { tags, context: self.context, choice: &mut choices[at], events: &mut self.events };
        let mut delta = wire.delta.or(wire.message).unwrap_or_default();
        tidy::message(&mut delta.extra, "");
        tidy::number_annotations(&mut delta.extra, &mut choice.choice.annotations);
        choice.delta(delta)?;
        if let Some(value) = wire.logprobs.map(raw) {
            if tidy::is_logprobs(&value) {
                choice.events.push(Event::Logprobs(ChoiceLogprobs { choice: index, value }));
            } else {
                choice.extra("provider_logprobs", value);
            }
        }
        for field in wire.extra {
            if field.value != "null" {
                choice.extra(&field.name, field.value);
            }
        }
        if let Some(word) = wire.finish_reason {
            choice.finish(&word);
        }
        Ok(())
    }

    fn fail(&mut self, failure: Failure) {
        self.state.failed = true;
        self.events.push(Event::Error(failure));
    }

    /// The provider closed the stream. `[DONE]` or a finish of every choice is a proper end.
    fn end(&mut self) {
        let complete = self.state.choices.iter().all(|choice| choice.finished);
        if !self.state.started || !(self.state.done || (complete && !self.state.choices.is_empty())) {
            return self.fail(Failure::upstream_protocol("the provider's stream ended before the answer was finished"));
        }
        for choice in self.state.choices.iter_mut().filter(|choice| !choice.finished) {
            Writer { tags: false, context: self.context, choice, events: &mut self.events }.finish("");
        }
    }
}

/// Writes the events of one choice.
struct Writer<'a> {
    /// Text may hold reasoning between tags.
    tags: bool,
    context: &'a Context,
    choice: &'a mut ChoiceState,
    events: &'a mut Vec<Event>,
}

impl Writer<'_> {
    fn delta(&mut self, delta: Message) -> Result<(), Failure> {
        let details = delta.reasoning_details.unwrap_or_default();
        let detailed = details.iter().any(|detail| detail.text.is_some() || detail.summary.is_some());
        for (position, detail) in details.into_iter().enumerate() {
            self.detail(position as u64, detail);
        }
        if let Some(text) = delta.reasoning_content.or(delta.reasoning).filter(|_| !detailed) {
            self.text(PartKind::Reasoning, None, text);
        }
        match delta.content {
            Content::Absent => {}
            Content::Text(text) => self.spoken(text),
            Content::Parts(parts) => {
                for part in parts {
                    match (part.thinking, part.text) {
                        (Some(thinking), _) => self.text(PartKind::Reasoning, None, thinking.0),
                        (None, Some(text)) => self.spoken(text),
                        (None, None) => {
                            let kind = part.kind.unwrap_or_default();
                            let value = crate::wire::rebuild(Some(&kind), None, &part.extra);
                            self.whole(Part::new(Ir::Other(RawItem { format: FORMAT.to_owned(), kind, value })));
                        }
                    }
                }
            }
        }
        if let Some(refusal) = delta.refusal {
            self.choice.refused |= !refusal.is_empty();
            self.text(PartKind::Refusal, None, refusal);
        }
        for (position, call) in (0..).zip(delta.tool_calls.unwrap_or_default()) {
            self.call(position, call)?;
        }
        if let Some(function) = delta.function_call {
            let call = ToolCall { index: Some(LEGACY_INDEX), function: Some(function), ..ToolCall::default() };
            self.call(0, call)?;
        }
        for field in delta.extra {
            // Repeated emptiness (`"annotations":[]`, `"channel":null`) tells nothing.
            if field.value != "null" && field.value != "[]" {
                self.extra(&format!("delta/{}", field.name), field.value);
            }
        }
        Ok(())
    }

    fn extra(&mut self, name: &str, value: String) {
        self.events.push(Event::Extra(Field::new(format!("choices/{}/{name}", self.choice.index), value)));
    }

    fn at(&self, part: u32) -> Position {
        Position { choice: self.choice.index, part }
    }

    fn next_part(&mut self) -> Position {
        let at = self.at(self.choice.parts);
        self.choice.parts += 1;
        at
    }

    /// A piece of the content.
    fn spoken(&mut self, text: String) {
        if !self.tags {
            return self.text(PartKind::Text, None, text);
        }
        if !text.is_empty() {
            let pieces = self.choice.think.push(&text);
            pieces.into_iter().for_each(|piece| self.piece(piece));
        }
    }

    fn piece(&mut self, piece: Piece) {
        match piece {
            Piece::Text(text) => self.text(PartKind::Text, None, text),
            Piece::Reasoning(text) => self.text(PartKind::Reasoning, None, text),
        }
    }

    /// A piece of text of this kind: into the open part if it is of the same, else into a new one.
    fn text(&mut self, kind: PartKind, detail: Option<u64>, text: String) {
        if !text.is_empty() {
            let at = self.open(kind, detail, Vec::new());
            self.events.push(Event::Text(Delta { at, text }));
        }
    }

    /// Something else follows: what was held for a tag is none.
    fn end_thinking(&mut self) {
        if let Some(piece) = self.choice.think.end() {
            self.piece(piece);
        }
    }

    fn open(&mut self, kind: PartKind, detail: Option<u64>, carry: Vec<Field>) -> Position {
        match self.choice.open {
            Some(open) if open.kind == kind && (open.detail == detail || detail.is_none()) => {
                return self.at(open.part);
            }
            _ => {}
        }
        self.close();
        let at = self.next_part();
        self.choice.open = Some(Open { part: at.part, kind, detail });
        self.events.push(Event::PartStart(PartStart { at, kind, id: String::new(), name: String::new(), carry }));
        at
    }

    /// Ends the open part and every open call: what comes next is something else.
    fn close(&mut self) {
        if let Some(open) = self.choice.open.take() {
            let at = self.at(open.part);
            self.events.push(Event::PartEnd(at));
        }
        for position in 0..self.choice.calls.len() {
            self.close_call(position);
        }
    }

    fn close_call(&mut self, position: usize) {
        let index = self.choice.index;
        let call = &mut self.choice.calls[position];
        if !std::mem::take(&mut call.open) {
            return;
        }
        let Some(part) = call.part else { return };
        let at = Position { choice: index, part };
        if !call.any_arguments && !call.custom {
            self.events.push(Event::ToolArguments(Delta { at, text: "{}".to_owned() }));
        }
        self.events.push(Event::PartEnd(at));
    }

    fn whole(&mut self, part: Part) {
        self.close();
        let at = self.next_part();
        self.events.push(Event::WholePart(WholePart { at, part }));
    }

    fn detail(&mut self, position: u64, detail: Detail) {
        let index = detail.index.unwrap_or(position);
        let format = reasoning::format_from_wire(detail.format.as_deref()).to_owned();
        let id = detail.id.map(|id| Field::new(reasoning::ITEM_ID, json::quote(&id)));
        if let Some(data) = detail.data {
            let redacted = Reasoning {
                text: String::new(),
                summary: false,
                signature: detail.signature,
                redacted: Some(data),
                format,
            };
            let part = Part {
                content: Ir::Reasoning(redacted),
                cache: None,
                carry: id.into_iter().collect(),
                extra: Vec::new(),
            };
            return self.whole(part);
        }
        let text = detail.text.or(detail.summary).filter(|text| !text.is_empty());
        let signature = detail.signature.filter(|signature| !signature.is_empty());
        if text.is_none() && signature.is_none() {
            return;
        }
        let foreign = (format != FORMAT).then(|| Field::new(REASONING_FORMAT, json::quote(&format)));
        let is_open =
            self.choice.open.is_some_and(|open| open.kind == PartKind::Reasoning && open.detail == Some(index));
        let at = self.open(PartKind::Reasoning, Some(index), foreign.into_iter().collect());
        // The id of an open part was said when it was opened.
        if let (Some(id), false) = (id, is_open) {
            self.events.push(Event::Carry(Carried { at, fields: vec![id] }));
        }
        if let Some(text) = text {
            self.events.push(Event::Text(Delta { at, text }));
        }
        if let Some(text) = signature {
            self.events.push(Event::Signature(Delta { at, text }));
        }
    }

    fn call(&mut self, position: u32, mut wire: ToolCall) -> Result<(), Failure> {
        self.end_thinking();
        let signed = take_thought_signature(&mut wire.extra);
        let id = wire.id.filter(|id| !id.is_empty());
        let (custom, name, arguments) = match (wire.function, wire.custom) {
            (Some(Function { name, arguments, .. }), _) => (false, name, arguments.map(|arguments| arguments.0)),
            (None, Some(custom)) => (true, custom.name, custom.input),
            (None, None) => (wire.kind.as_deref() == Some("custom"), None, None),
        };
        let name = name.filter(|name| !name.is_empty());
        let index = wire.index.unwrap_or(position);
        let known = self.choice.calls.iter().rposition(|call| call.wire == index);
        let known = match (known, &id) {
            // Some servers number every call 0 and tell them apart by id alone.
            (Some(at), Some(id)) if self.choice.calls[at].id != *id && self.choice.calls[at].part.is_some() => None,
            (known, _) => known,
        };
        let at = match known {
            Some(at) => at,
            None => {
                let count = self.choice.calls.len() as u32;
                let id = id.unwrap_or_else(|| call_id(self.context, self.choice.index, count));
                let call =
                    Call { wire: index, id, part: None, custom, held: String::new(), any_arguments: false, open: true };
                self.choice.calls.push(call);
                self.choice.calls.len() - 1
            }
        };
        if !self.choice.calls[at].open {
            if arguments.is_none_or(|arguments| arguments.is_empty()) {
                return Ok(());
            }
            return Err(Failure::upstream_protocol("the provider continued a tool call after other content"));
        }
        if let (None, Some(name)) = (self.choice.calls[at].part, name) {
            self.start_call(at, name, index == LEGACY_INDEX);
        }
        if let (Some(part), Some(signed)) = (self.choice.calls[at].part, signed) {
            self.events.push(Event::Carry(Carried { at: self.at(part), fields: vec![signed] }));
        }
        let Some(arguments) = arguments.filter(|arguments| !arguments.is_empty()) else { return Ok(()) };
        let call = &mut self.choice.calls[at];
        match call.part {
            None => call.held.push_str(&arguments),
            Some(part) => {
                call.any_arguments = true;
                let at = self.at(part);
                self.events.push(Event::ToolArguments(Delta { at, text: arguments }));
            }
        }
        Ok(())
    }

    fn start_call(&mut self, position: usize, name: String, legacy: bool) {
        // Calls may stand open side by side; anything else ends first.
        if let Some(open) = self.choice.open.take() {
            let at = self.at(open.part);
            self.events.push(Event::PartEnd(at));
        }
        let at = self.next_part();
        let call = &mut self.choice.calls[position];
        call.part = Some(at.part);
        let mut carry = Vec::new();
        if legacy {
            carry.push(Field::new(LEGACY_CALL, "true"));
        }
        if call.custom {
            carry.push(Field::new(CUSTOM_TOOL, "true"));
        }
        self.events.push(Event::PartStart(PartStart {
            at,
            kind: PartKind::ToolCall,
            id: call.id.clone(),
            name,
            carry,
        }));
        let held = std::mem::take(&mut call.held);
        if !held.is_empty() {
            call.any_arguments = true;
            self.events.push(Event::ToolArguments(Delta { at, text: held }));
        }
    }

    fn finish(&mut self, word: &str) {
        if std::mem::replace(&mut self.choice.finished, true) {
            return;
        }
        self.end_thinking();
        self.close();
        self.choice.calls.clear();
        let finish = finish(word, self.choice.refused);
        self.events.push(Event::Finish(ChoiceFinish { choice: self.choice.index, finish }));
    }
}
