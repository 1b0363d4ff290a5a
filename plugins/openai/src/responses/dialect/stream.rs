//! Events of a streamed answer as the protocol's frames.
//!
//! Invariants: `sequence_number` counts from 0 without a gap; every item is added before its pieces and done after them, every
//! piece of content likewise; `output_index` counts items in order of appearance; the last frame is `response.completed`,
//! `response.incomplete` or `response.failed`, and nothing follows it.
//!
//! The protocol repeats every text when it is done, and the whole answer in its last frame, so the state holds what was said. The
//! contract's limit on states bounds that: see `ROOM`.

mod call;
mod message;
mod reasoning;

use portcullis_plugin::ir::{
    Content, Context, Delta, Event, Failure, Field, Finish, Frame, Part, PartKind, PartStart, Position, StreamStart,
    Usage,
};
use portcullis_plugin::json::{self, Writer};
use portcullis_plugin::prelude::Reply;
use serde::{Deserialize, Serialize};

use self::call::Call;
use self::message::Message;
use self::reasoning::Thinking;
use super::error;
use super::response::answer_id;
use crate::CUSTOM_TOOL;
use crate::responses::FORMAT;
use crate::responses::wire::answer::{Document, status_of};
use crate::responses::wire::{RAW_ITEM, SUMMARY, carried_json};

/// Bytes of what was said that the state keeps for the frames that repeat it; a state has 1 MB. The last frame leaves out the
/// oldest items that do not fit.
const ROOM: usize = 832 << 10;

/// Bytes of the answer's own members; a longer one (the instructions once more) is left out.
const ROOM_FOR_MEMBERS: usize = 128 << 10;

/// Bytes of an open item. A longer message is done and another begun, so that the joined text stays whole; longer reasoning is
/// repeated in part and without its proof; longer arguments of open calls fail the stream, since they cannot be cut.
const LONGEST: usize = 704 << 10;

/// What one batch of events leaves to the next.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    started: bool,
    ended: bool,
    own: bool,
    format: String,
    id: String,
    created: u64,
    model: String,
    /// The answer's own members, where it came in this very format.
    extra: Vec<(String, String)>,
    sequence: u64,
    /// How many items there are.
    items: u32,
    message: Option<Message>,
    thought: Option<Thinking>,
    calls: Vec<Call>,
    /// Finished items, by their index.
    done: Vec<(u32, String)>,
    usage: Option<Usage>,
    finish: Option<Finish>,
}

pub fn encode(
    context: &Context,
    reply: &Reply,
    state: &mut State,
    events: Vec<Event>,
    last: bool,
) -> Result<Vec<Frame>, Failure> {
    let mut encoder = Encoder { context, reply, state, frames: Vec::with_capacity(events.len() + 4) };
    for event in events {
        if encoder.state.ended {
            break;
        }
        encoder.event(event)?;
    }
    if last && !encoder.state.ended {
        encoder.end();
    }
    Ok(encoder.frames)
}

struct Encoder<'a> {
    context: &'a Context,
    reply: &'a Reply,
    state: &'a mut State,
    frames: Vec<Frame>,
}

impl Encoder<'_> {
    fn event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Start(start) => self.start(Some(&start)),
            Event::PartStart(start) if start.at.choice == 0 => self.part_start(&start),
            Event::Text(delta) if delta.at.choice == 0 => self.text(&delta)?,
            Event::Signature(delta) if delta.at.choice == 0 => {
                if let Some(thought) = &mut self.state.thought {
                    thought.proof.push_str(&delta.text);
                }
            }
            Event::ToolArguments(delta) if delta.at.choice == 0 => self.arguments(&delta)?,
            Event::Carry(carried) if carried.at.choice == 0 => self.carry(&carried.fields),
            Event::PartEnd(at) if at.choice == 0 => self.part_end(at),
            Event::WholePart(whole) if whole.at.choice == 0 => self.whole(whole.at, &whole.part)?,
            Event::Logprobs(logprobs) if logprobs.choice == 0 && self.state.own => {
                if let Some(piece) = self.state.message.as_mut().and_then(|message| message.open.as_mut()) {
                    piece.logprobs = Some(logprobs.value);
                }
            }
            Event::Usage(usage) => self.state.usage = Some(usage),
            Event::Finish(finish) if finish.choice == 0 => self.state.finish = Some(finish.finish),
            Event::Error(failure) => self.fail(&failure),
            Event::Extra(field) if self.state.own => self.extra(field),
            // This protocol's answers are one choice; what is not modelled of another's stays there.
            _ => {}
        }
        Ok(())
    }

    // --- the answer --------------------------------------------------------------------------------------------------

    fn start(&mut self, start: Option<&StreamStart>) {
        if std::mem::replace(&mut self.state.started, true) {
            return;
        }
        self.state.own = start.is_some_and(|start| start.format == FORMAT);
        self.state.id = answer_id(self.context, self.state.own, start.map_or("", |start| &start.id));
        self.state.created = start.and_then(|start| start.created).unwrap_or(self.context.now / 1000);
        let model = start.map_or("", |start| start.model.as_str());
        self.state.model = if model.is_empty() { self.reply.requested_model.clone() } else { model.to_owned() };
        self.state.format = start.map(|start| start.format.clone()).unwrap_or_default();
        self.state.usage = start.and_then(|start| start.usage.clone());
        for field in start.filter(|_| self.state.own).map(|start| start.extra.as_slice()).unwrap_or_default() {
            self.extra(field.clone());
        }
        for name in ["response.created", "response.in_progress"] {
            self.answer(name, "in_progress", None, None, "", false);
        }
    }

    /// Keeps a member of the answer, as far as there is room.
    fn extra(&mut self, field: Field) {
        self.state.extra.retain(|(name, _)| *name != field.name);
        let kept: usize = self.state.extra.iter().map(|(name, value)| name.len() + value.len()).sum();
        if kept + field.value.len() <= ROOM_FOR_MEMBERS {
            self.state.extra.push((field.name, field.value));
        }
    }

    fn answer(
        &mut self,
        event: &str,
        status: &str,
        incomplete: Option<&str>,
        error: Option<(&str, &str)>,
        output: &str,
        with_usage: bool,
    ) {
        let mut response = Writer::with_capacity(output.len() + 640);
        let extra = &self.state.extra;
        let extra: Vec<Field> = extra.iter().map(|(name, value)| Field::new(name, value.as_str())).collect();
        let usage = self.state.usage.as_ref().filter(|_| with_usage);
        Document {
            id: &self.state.id,
            created: self.state.created,
            model: &self.state.model,
            status,
            incomplete,
            error,
            output,
            usage,
            reply: Some(self.reply).filter(|_| with_usage),
            echo: &self.reply.echo,
            extra: &extra,
        }
        .write(&mut response);
        let response = response.finish();
        self.frame(event, |writer| writer.member_raw("response", &response));
    }

    fn frame(&mut self, event: &str, members: impl FnOnce(&mut Writer)) {
        let mut writer = Writer::with_capacity(192);
        writer.begin_object();
        writer.member_string("type", event);
        writer.member_number("sequence_number", self.state.sequence);
        members(&mut writer);
        writer.end_object();
        self.state.sequence += 1;
        self.frames.push(Frame::named(event, writer.finish()));
    }

    fn end(&mut self) {
        self.start(None);
        self.close_all();
        let (status, incomplete) = status_of(self.state.finish.as_ref(), self.state.own);
        let output = self.output();
        let event = match status {
            "incomplete" => "response.incomplete",
            "failed" | "cancelled" => "response.failed",
            _ => "response.completed",
        };
        let error = (event == "response.failed").then_some(("server_error", "The provider reported an error."));
        self.answer(event, status, incomplete, error, &output, true);
        self.state.ended = true;
    }

    fn fail(&mut self, failure: &Failure) {
        self.start(None);
        let data = error::event(failure, self.state.sequence);
        self.state.sequence += 1;
        self.frames.push(Frame::named("error", data));
        let error = Some((error::response_code(failure.kind), failure.message.as_str()));
        let output = self.output();
        self.answer("response.failed", "failed", None, error, &output, true);
        self.state.ended = true;
    }

    fn output(&mut self) -> String {
        self.state.done.sort_unstable_by_key(|(index, _)| *index);
        let items: Vec<&str> = self.state.done.iter().map(|(_, item)| item.as_str()).collect();
        items.join(",")
    }

    // --- items -------------------------------------------------------------------------------------------------------

    fn next_item(&mut self) -> u32 {
        self.start(None);
        self.state.items += 1;
        self.state.items - 1
    }

    fn added(&mut self, index: u32, item: &str) {
        self.frame("response.output_item.added", |writer| {
            writer.member_number("output_index", index);
            writer.member_raw("item", item);
        });
    }

    fn done(&mut self, index: u32, item: String) {
        self.frame("response.output_item.done", |writer| {
            writer.member_number("output_index", index);
            writer.member_raw("item", &item);
        });
        self.state.done.push((index, item));
        self.fit();
    }

    /// Forgets the oldest finished items where what is kept would not fit into a state.
    fn fit(&mut self) {
        let message = self
            .state
            .message
            .as_ref()
            .map_or(0, |message| message.content.len() + message.open.as_ref().map_or(0, |piece| piece.text.len()));
        let thought = self.state.thought.as_ref().map_or(0, Thinking::len);
        let calls: usize = self.state.calls.iter().map(|call| call.arguments.len()).sum();
        let done: usize = self.state.done.iter().map(|(_, item)| item.len()).sum();
        let mut kept = message + thought + calls + done;
        while kept > ROOM && !self.state.done.is_empty() {
            kept -= self.state.done.remove(0).1.len();
        }
    }

    fn close_all(&mut self) {
        self.close_message();
        self.close_thought();
        while !self.state.calls.is_empty() {
            self.close_call(0);
        }
    }

    fn part_start(&mut self, start: &PartStart) {
        match start.kind {
            PartKind::Text | PartKind::Refusal => {
                self.speak(start.at.part, start.kind == PartKind::Refusal, &start.carry);
            }
            PartKind::Reasoning => self.think(start.at.part, &start.carry),
            PartKind::ToolCall => self.call(start),
        }
    }

    fn part_end(&mut self, at: Position) {
        if let Some(call) = self.state.calls.iter().position(|call| call.part == at.part) {
            return self.close_call(call);
        }
        let open = |message: &Message| message.open.as_ref().is_some_and(|piece| piece.part == at.part);
        if self.state.message.as_ref().is_some_and(open) {
            return self.close_piece();
        }
        if self.state.thought.as_ref().is_some_and(|thought| thought.part == Some(at.part)) {
            self.close_thinking();
            // Another provider's thoughts are an item each.
            if self.state.thought.as_ref().is_some_and(|thought| thought.foreign.is_some() || thought.of.is_none()) {
                self.close_thought();
            }
        }
    }

    fn text(&mut self, delta: &Delta) -> Result<(), Failure> {
        if self.state.thought.as_ref().is_some_and(|thought| thought.part == Some(delta.at.part)) {
            self.reason(delta);
            return Ok(());
        }
        self.say(delta)
    }

    // --- parts at once -----------------------------------------------------------------------------------------------

    fn whole(&mut self, at: Position, part: &Part) -> Result<(), Failure> {
        let start = |kind, id: &str, name: &str, carry: Vec<Field>| PartStart {
            at,
            kind,
            id: id.to_owned(),
            name: name.to_owned(),
            carry,
        };
        match &part.content {
            Content::Text(text) | Content::Refusal(text) => {
                self.speak(at.part, matches!(part.content, Content::Refusal(_)), &part.carry);
                self.text(&Delta { at, text: text.clone() })?;
                self.close_piece();
            }
            Content::ToolCall(call) => {
                let mut carry = part.carry.clone();
                if call.custom {
                    carry.push(Field::new(CUSTOM_TOOL, "true"));
                }
                self.call(&start(PartKind::ToolCall, &call.id, &call.name, carry));
                self.arguments(&Delta { at, text: call.arguments.clone() })?;
                self.part_end(at);
            }
            Content::Reasoning(thought) => {
                let mut carry = part.carry.clone();
                carry.push(Field::new(crate::REASONING_FORMAT, json::quote(&thought.format)));
                if thought.summary {
                    carry.push(Field::new(SUMMARY, "true"));
                }
                if thought.text.is_empty() {
                    self.open_thought(&carry);
                } else {
                    self.think(at.part, &carry);
                    self.text(&Delta { at, text: thought.text.clone() })?;
                }
                if let Some(open) = &mut self.state.thought {
                    open.redacted = thought.redacted.is_some();
                    let proof = thought.redacted.as_ref().or(thought.signature.as_ref());
                    open.proof.push_str(proof.map_or("", String::as_str));
                }
                self.close_thinking();
                if thought.format != FORMAT {
                    self.close_thought();
                }
            }
            Content::Other(item) if item.format == FORMAT && carried_json(&part.carry, RAW_ITEM).is_some() => {
                self.close_all();
                let index = self.next_item();
                self.added(index, &item.value);
                self.done(index, item.value.clone());
            }
            // Images, sounds and other protocols' items have no place in an answer.
            _ => {}
        }
        Ok(())
    }
}

fn misplaced(at: Position) -> Failure {
    Failure::upstream_protocol(format!("a piece of part {} of choice {} came before its start", at.part, at.choice))
}
