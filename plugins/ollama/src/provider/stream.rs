//! A streamed answer: lines of the same shape as a whole one, each with the next pieces of thinking or text, or with whole tool calls;
//! the last says `done`. An error is a line of its own (<https://docs.ollama.com/api/errors>).
//!
//! Invariants: parts follow one another; every part that starts ends before the finish; after an error nothing follows, and a stream
//! that breaks off ends in one.

use portcullis_plugin::json;
use portcullis_plugin::prelude::*;
use serde::{Deserialize, Serialize};

use super::answer::{self, WireAnswer, WireMessage};
use super::error;
use crate::{FORMAT, finish, usage};

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    started: bool,
    over: bool,
    parts: u32,
    calls: u32,
    /// The open part, and whether it is thinking.
    open: Option<(u32, bool)>,
}

pub fn decode(context: &Context, state: &mut State, frames: Vec<Frame>, last: bool) -> Vec<Event> {
    let mut decoder = Decoder { context, state, events: Vec::with_capacity(frames.len() + 2) };
    for frame in frames.iter().filter(|frame| !frame.data.trim().is_empty()) {
        if decoder.state.over {
            break;
        }
        if let Err(failure) = decoder.line(&frame.data) {
            decoder.fail(failure);
        }
    }
    if last && !decoder.state.over {
        decoder.fail(Failure::upstream_protocol("the provider's stream ended early"));
    }
    decoder.events
}

struct Decoder<'a> {
    context: &'a Context,
    state: &'a mut State,
    events: Vec<Event>,
}

fn position(part: u32) -> Position {
    Position { choice: 0, part }
}

impl Decoder<'_> {
    fn line(&mut self, data: &str) -> Result<(), Failure> {
        let mut wire: WireAnswer = json::parse_upstream(data)?;
        if let Some(error) = &wire.error {
            return Err(error::in_stream(error));
        }
        self.start(&mut wire);
        if let Some(message) = wire.message.take() {
            self.message(message)?;
        }
        if let Some(raw) = &wire.logprobs {
            self.events.push(Event::Logprobs(ChoiceLogprobs { choice: 0, value: raw.get().to_owned() }));
        }
        if wire.done == Some(true) {
            self.end(wire);
        }
        Ok(())
    }

    fn start(&mut self, wire: &mut WireAnswer) {
        if std::mem::replace(&mut self.state.started, true) {
            return;
        }
        self.events.push(Event::Start(StreamStart {
            format: FORMAT.to_owned(),
            id: self.context.request_id.clone(),
            model: wire.model.take().unwrap_or_default(),
            created: wire.created_at.as_deref().and_then(answer::seconds),
            usage: None,
            extra: Vec::new(),
        }));
    }

    fn message(&mut self, message: WireMessage) -> Result<(), Failure> {
        self.text(true, message.thinking);
        self.text(false, message.content);
        for image in message.images.into_iter().flatten() {
            self.close();
            let at = position(self.next());
            self.events.push(Event::WholePart(WholePart { at, part: answer::image(image) }));
        }
        for call in message.tool_calls.into_iter().flatten() {
            self.close();
            let call = answer::tool_call(self.context, self.state.calls, call)?;
            self.state.calls += 1;
            let at = position(self.next());
            let (kind, carry) = (PartKind::ToolCall, Vec::new());
            self.events.push(Event::PartStart(PartStart { at, kind, id: call.id, name: call.name, carry }));
            self.events.push(Event::ToolArguments(Delta { at, text: call.arguments }));
            self.events.push(Event::PartEnd(at));
        }
        Ok(())
    }

    fn next(&mut self) -> u32 {
        let part = self.state.parts;
        self.state.parts += 1;
        part
    }

    fn text(&mut self, thinking: bool, text: Option<String>) {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return };
        let part = match self.state.open {
            Some((part, same)) if same == thinking => part,
            _ => {
                self.close();
                let part = self.next();
                self.state.open = Some((part, thinking));
                let kind = if thinking { PartKind::Reasoning } else { PartKind::Text };
                let (id, name, carry) = (String::new(), String::new(), Vec::new());
                self.events.push(Event::PartStart(PartStart { at: position(part), kind, id, name, carry }));
                part
            }
        };
        self.events.push(Event::Text(Delta { at: position(part), text }));
    }

    fn close(&mut self) {
        if let Some((part, _)) = self.state.open.take() {
            self.events.push(Event::PartEnd(position(part)));
        }
    }

    fn end(&mut self, wire: WireAnswer) {
        self.close();
        self.state.over = true;
        if let Some(usage) = usage::usage(wire.prompt_eval_count, wire.eval_count) {
            self.events.push(Event::Usage(usage));
        }
        self.events.extend(wire.extra.into_iter().map(Event::Extra));
        let finish = finish::decode(wire.done_reason, self.state.calls > 0);
        self.events.push(Event::Finish(ChoiceFinish { choice: 0, finish }));
    }

    fn fail(&mut self, failure: Failure) {
        self.state.over = true;
        self.events.push(Event::Error(failure));
    }
}
