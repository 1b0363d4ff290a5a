//! A streamed answer (`V2ChatStreamResponse` of the SDK; recordings). Each event names its type in its data; `[DONE]` follows the last.
//!
//! Blocks of text and thinking are told apart by `index`, tool calls by an `index` of their own; the plan of tool calls has no start
//! and no end: it begins with its first piece and ends with whatever comes next. Citations come after the words they are of, and
//! may come after their block: so a text ends only where something else begins.
//!
//! Invariants: parts of the answer that are not tool calls follow one another; every part that starts ends before the finish; after an
//! error nothing follows, and a stream that breaks off ends in one.

use portcullis_plugin::json;
use portcullis_plugin::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error;
use super::wire::{self, WireCall};
use crate::usage::WireUsage;
use crate::{FORMAT, TOOL_PLAN, finish};

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireEvent {
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<String>,
    index: Option<u32>,
    delta: Option<WireDelta>,
    logprobs: Option<Box<RawValue>>,
    /// Of an error, which has no type.
    message: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireDelta {
    message: Option<WireMessage>,
    finish_reason: Option<String>,
    usage: Option<WireUsage>,
    error: Option<String>,
}

/// In events that start a message its members are lists, in all others single ones.
#[derive(Default, Deserialize)]
#[serde(default)]
struct WireMessage {
    content: Option<Box<RawValue>>,
    tool_plan: Option<String>,
    tool_calls: Option<Box<RawValue>>,
    citations: Option<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireBlock {
    #[serde(rename = "type")]
    kind: Option<String>,
    text: Option<String>,
    thinking: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    started: bool,
    /// The finish was told, or an error: nothing follows.
    over: bool,
    parts: u32,
    open: Option<Open>,
    calls: Vec<Call>,
}

/// The open part that is no tool call.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Open {
    part: u32,
    kind: Kind,
    /// Its block ended; only citations may follow.
    ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Kind {
    Text,
    Thinking,
    Plan,
}

/// An open tool call.
#[derive(Debug, Serialize, Deserialize)]
struct Call {
    index: u32,
    part: u32,
    /// Arguments have come.
    begun: bool,
}

pub fn decode(state: &mut State, frames: Vec<Frame>, last: bool) -> Vec<Event> {
    let mut decoder = Decoder { state, events: Vec::with_capacity(frames.len() + 2) };
    for frame in frames {
        if decoder.state.over {
            break;
        }
        if let Err(failure) = decoder.frame(frame.data.trim()) {
            decoder.fail(failure);
        }
    }
    if last && !decoder.state.over {
        decoder.fail(Failure::upstream_protocol("the provider's stream ended early"));
    }
    decoder.events
}

struct Decoder<'a> {
    state: &'a mut State,
    events: Vec<Event>,
}

fn position(part: u32) -> Position {
    Position { choice: 0, part }
}

fn incomplete(kind: &str) -> Failure {
    Failure::upstream_protocol(format!("`{kind}` of the provider's stream lacks what it is about"))
}

impl Decoder<'_> {
    fn frame(&mut self, data: &str) -> Result<(), Failure> {
        if data.is_empty() || data == "[DONE]" {
            return Ok(());
        }
        let wire: WireEvent = json::parse_upstream(data)?;
        let Some(kind) = wire.kind else {
            return match wire.message {
                Some(message) => Err(error::in_stream(message)),
                None => Err(Failure::upstream_protocol("an event of the provider's stream has no type")),
            };
        };
        self.start(wire.id);
        let delta = wire.delta.unwrap_or_default();
        let message = delta.message.unwrap_or_default();
        match &*kind {
            "content-delta" => {
                self.content(message.content.as_deref())?;
                if let Some(logprobs) = wire.logprobs {
                    let value = format!("[{}]", logprobs.get());
                    self.events.push(Event::Logprobs(ChoiceLogprobs { choice: 0, value }));
                }
            }
            "content-start" => {
                self.end_block();
                self.content(message.content.as_deref())?;
            }
            "content-end" => self.end_block(),
            "tool-plan-delta" => {
                let text = message.tool_plan.ok_or_else(|| incomplete(&kind))?;
                self.text(Kind::Plan, text);
            }
            "tool-call-start" => {
                let raw = message.tool_calls.ok_or_else(|| incomplete(&kind))?;
                self.call(wire.index.unwrap_or(0), json::parse_upstream(raw.get())?)?;
            }
            "tool-call-delta" => {
                let raw = message.tool_calls.ok_or_else(|| incomplete(&kind))?;
                let call: WireCall = json::parse_upstream(raw.get())?;
                let text = call.function.and_then(|function| function.arguments);
                self.arguments(wire.index.unwrap_or(0), text.unwrap_or_default());
            }
            "tool-call-end" => self.end_call(wire.index.unwrap_or(0)),
            "citation-start" => {
                if let Some(raw) = message.citations {
                    self.cite(&raw);
                }
            }
            "message-end" => self.end(delta.finish_reason, delta.usage, delta.error)?,
            // `message-start`, `citation-end`, `debug`, and types of next year.
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, id: Option<String>) {
        if std::mem::replace(&mut self.state.started, true) {
            return;
        }
        self.events.push(Event::Start(StreamStart {
            format: FORMAT.to_owned(),
            id: id.unwrap_or_default(),
            model: String::new(),
            created: None,
            usage: None,
            extra: Vec::new(),
        }));
    }

    fn content(&mut self, raw: Option<&RawValue>) -> Result<(), Failure> {
        let Some(raw) = raw else { return Ok(()) };
        let block: WireBlock = json::parse_upstream(raw.get())?;
        let known = matches!(block.kind.as_deref(), None | Some("text" | "thinking"));
        if let (Some(kind), false) = (block.kind, known) {
            let item = RawItem { format: FORMAT.to_owned(), kind, value: raw.get().to_owned() };
            self.close();
            let at = position(self.next());
            self.events.push(Event::WholePart(WholePart { at, part: Part::new(Content::Other(item)) }));
            return Ok(());
        }
        if let Some(text) = block.thinking {
            self.text(Kind::Thinking, text);
        }
        if let Some(text) = block.text {
            self.text(Kind::Text, text);
        }
        Ok(())
    }

    fn next(&mut self) -> u32 {
        let part = self.state.parts;
        self.state.parts += 1;
        part
    }

    /// A piece of this kind, in the part that is open or a new one.
    fn text(&mut self, kind: Kind, text: String) {
        if text.is_empty() {
            return;
        }
        let part = match self.state.open {
            Some(open) if open.kind == kind && !open.ended => open.part,
            _ => {
                self.close();
                let part = self.next();
                self.state.open = Some(Open { part, kind, ended: false });
                let carry = match kind {
                    Kind::Plan => vec![Field::new(TOOL_PLAN, "true")],
                    Kind::Text | Kind::Thinking => Vec::new(),
                };
                let kind = if kind == Kind::Text { PartKind::Text } else { PartKind::Reasoning };
                let (id, name) = (String::new(), String::new());
                self.events.push(Event::PartStart(PartStart { at: position(part), kind, id, name, carry }));
                part
            }
        };
        self.events.push(Event::Text(Delta { at: position(part), text }));
    }

    fn end_block(&mut self) {
        match &mut self.state.open {
            Some(open) if open.kind == Kind::Text => open.ended = true,
            _ => self.close(),
        }
    }

    fn close(&mut self) {
        if let Some(open) = self.state.open.take() {
            self.events.push(Event::PartEnd(position(open.part)));
        }
    }

    fn call(&mut self, index: u32, call: WireCall) -> Result<(), Failure> {
        self.close();
        self.end_call(index);
        let function = call.function.unwrap_or_default();
        let (Some(id), Some(name)) = (call.id, function.name) else {
            return Err(Failure::upstream_protocol("a tool call of the provider's stream has no id or name"));
        };
        let part = self.next();
        self.state.calls.push(Call { index, part, begun: false });
        let carry = Vec::new();
        let start = PartStart { at: position(part), kind: PartKind::ToolCall, id, name, carry };
        self.events.push(Event::PartStart(start));
        self.arguments(index, function.arguments.unwrap_or_default());
        Ok(())
    }

    fn arguments(&mut self, index: u32, text: String) {
        let call = self.state.calls.iter_mut().find(|call| call.index == index);
        if let (Some(call), false) = (call, text.is_empty()) {
            call.begun = true;
            self.events.push(Event::ToolArguments(Delta { at: position(call.part), text }));
        }
    }

    fn end_call(&mut self, index: u32) {
        let Some(at) = self.state.calls.iter().position(|call| call.index == index) else { return };
        let call = self.state.calls.remove(at);
        let at = position(call.part);
        if !call.begun {
            self.events.push(Event::ToolArguments(Delta { at, text: "{}".to_owned() }));
        }
        self.events.push(Event::PartEnd(at));
    }

    fn cite(&mut self, raw: &RawValue) {
        let citations = wire::citations([raw]);
        self.events.push(match self.state.open {
            Some(Open { part, kind: Kind::Text, .. }) => {
                Event::Carry(Carried { at: position(part), fields: vec![citations] })
            }
            _ => Event::Extra(Field::new("citations", citations.value)),
        });
    }

    fn end(&mut self, reason: Option<String>, usage: Option<WireUsage>, error: Option<String>) -> Result<(), Failure> {
        self.close();
        while let Some(index) = self.state.calls.first().map(|call| call.index) {
            self.end_call(index);
        }
        if let Some(usage) = usage.and_then(|usage| usage.usage()) {
            self.events.push(Event::Usage(usage));
        }
        let reason = reason.ok_or_else(|| incomplete("message-end"))?;
        if let Some(error) = error {
            return Err(finish::failure(&reason, &error));
        }
        self.state.over = true;
        self.events.push(Event::Finish(ChoiceFinish { choice: 0, finish: finish::decode(reason) }));
        Ok(())
    }

    fn fail(&mut self, failure: Failure) {
        self.state.over = true;
        self.events.push(Event::Error(failure));
    }
}
