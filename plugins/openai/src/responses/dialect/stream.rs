//! Events of a streamed answer as the protocol's frames.
//!
//! Invariants: `sequence_number` counts from 0 without a gap; every item is added before its pieces and done after them, every
//! piece of content likewise; `output_index` counts items in order of appearance; the last frame is `response.completed`,
//! `response.incomplete` or `response.failed`, and nothing follows it.
//!
//! The protocol repeats every text when it is done, and the whole answer in its last frame, so the state holds what was said. The
//! contract's limit on states bounds that: see [`ROOM`].

use portcullis_plugin::ir::{
    Content, Context, Delta, Event, Failure, FailureKind, Field, Finish, Frame, Part, PartKind, PartStart, Position,
    StreamStart, Usage,
};
use portcullis_plugin::json::{self, Writer};
use portcullis_plugin::prelude::Reply;
use serde::{Deserialize, Serialize};

use super::response::answer_id;
use super::{error, mint};
use crate::CUSTOM_TOOL;
use crate::responses::FORMAT;
use crate::responses::wire::answer::{Document, status_of};
use crate::responses::wire::output::{CallItem, Thought, write_text};
use crate::responses::wire::{ANNOTATION, CALLER, ITEM_ID, NAMESPACE, PHASE, RAW_ITEM, SUMMARY, carried_json, proof};

/// Bytes of what was said that the state keeps for the frames that repeat it; a state has 64 KB. The last frame leaves out the
/// oldest items that do not fit.
const ROOM: usize = 52 << 10;

/// Bytes of the answer's own members; a longer one (the instructions once more) is left out.
const ROOM_FOR_MEMBERS: usize = 8 << 10;

/// Bytes of an open item. A longer message is done and another begun, so that the joined text stays whole; longer reasoning is
/// repeated in part and without its proof; longer arguments of open calls fail the stream, since they cannot be cut.
const LONGEST: usize = 44 << 10;

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

/// The open message item.
#[derive(Debug, Serialize, Deserialize)]
struct Message {
    index: u32,
    id: String,
    /// The `openai.item-id` it came with.
    of: Option<String>,
    phase: Option<String>,
    /// Finished pieces of content.
    content: String,
    pieces: u32,
    open: Option<Piece>,
}

/// The open piece of the message's content.
#[derive(Debug, Serialize, Deserialize)]
struct Piece {
    part: u32,
    refusal: bool,
    text: String,
    annotations: Vec<String>,
    /// Probabilities of the text that comes next.
    logprobs: Option<String>,
}

/// The open reasoning item.
#[derive(Debug, Serialize, Deserialize)]
struct Thinking {
    index: u32,
    id: String,
    of: Option<String>,
    /// The format that signed it, where that is not this one.
    foreign: Option<String>,
    summary: Vec<String>,
    content: Vec<String>,
    proof: String,
    redacted: bool,
    /// The texts are not whole, since they were too long.
    is_cut: bool,
    /// The part whose text is open.
    part: Option<u32>,
    is_summary: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Call {
    part: u32,
    index: u32,
    id: String,
    call_id: String,
    name: String,
    custom: bool,
    arguments: String,
    /// Names and values of what the item carries.
    carry: Vec<(String, String)>,
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
        self.state.usage = start.and_then(|start| start.usage);
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
        let usage = self.state.usage.filter(|_| with_usage);
        Document {
            id: &self.state.id,
            created: self.state.created,
            model: &self.state.model,
            status,
            incomplete,
            error,
            output,
            usage: usage.as_ref(),
            reply: Some(self.reply).filter(|_| with_usage),
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
        let part = delta.at.part;
        if let Some(thought) = self.state.thought.as_ref().filter(|thought| thought.part == Some(part)) {
            let (index, summary) = (thought.index, thought.is_summary);
            let id = thought.id.clone();
            let place = if summary { thought.summary.len() } else { thought.content.len() } - 1;
            self.reasoning_frame(summary, "delta", index, &id, place, |writer| {
                writer.member_string("delta", &delta.text);
            });
            if let Some(thought) = &mut self.state.thought {
                thought.is_cut |= thought.len() + delta.text.len() > LONGEST;
                let texts = if summary { &mut thought.summary } else { &mut thought.content };
                if let Some(text) = texts.last_mut().filter(|_| !thought.is_cut) {
                    text.push_str(&delta.text);
                }
            }
            self.fit();
            return Ok(());
        }
        let Some(message) = &mut self.state.message else { return Err(misplaced(delta.at)) };
        let Some(piece) = message.open.as_mut().filter(|piece| piece.part == part) else {
            return Err(misplaced(delta.at));
        };
        piece.text.push_str(&delta.text);
        let (refusal, logprobs) = (piece.refusal, piece.logprobs.take());
        let length = piece.text.len() + message.content.len();
        let (index, id, pieces) = (message.index, message.id.clone(), message.pieces);
        let event = if refusal { "response.refusal.delta" } else { "response.output_text.delta" };
        self.frame(event, |writer| {
            content_place(writer, &id, index, pieces);
            writer.member_string("delta", &delta.text);
            if !refusal {
                writer.member_raw("logprobs", logprobs.as_deref().unwrap_or("[]"));
            }
        });
        self.fit();
        if length > LONGEST {
            let phase = self.state.message.as_ref().and_then(|message| message.phase.clone());
            self.close_message();
            let phase = phase.map(|phase| Field::new(PHASE, phase));
            self.speak(part, refusal, phase.as_slice());
        }
        Ok(())
    }

    fn carry(&mut self, fields: &[Field]) {
        for field in fields.iter().filter(|field| field.name == ANNOTATION) {
            let Some(message) = &mut self.state.message else { continue };
            let Some(piece) = message.open.as_mut().filter(|piece| !piece.refusal) else { continue };
            let place = piece.annotations.len();
            piece.annotations.push(field.value.clone());
            let (index, id, pieces) = (message.index, message.id.clone(), message.pieces);
            self.frame("response.output_text.annotation.added", |writer| {
                content_place(writer, &id, index, pieces);
                writer.member_number("annotation_index", place as u64);
                writer.member_raw("annotation", &field.value);
            });
        }
    }

    // --- messages ----------------------------------------------------------------------------------------------------

    /// Opens a piece of content, in the open message where it belongs to that.
    fn speak(&mut self, part: u32, refusal: bool, carry: &[Field]) {
        let of = carried_json(carry, ITEM_ID).map(str::to_owned);
        self.close_thought();
        if self.state.message.as_ref().is_some_and(|message| message.of != of) {
            self.close_message();
        }
        self.close_piece();
        if self.state.message.is_none() {
            let index = self.next_item();
            let id = of.as_deref().and_then(|id| json::from_str(id).ok());
            let id: String = id.unwrap_or_else(|| mint(self.context, "msg", index));
            let phase = carried_json(carry, PHASE).map(str::to_owned);
            let item = message_item(&id, phase.as_deref(), "in_progress", "");
            self.added(index, &item);
            let message = Message { index, id, of, phase, content: String::new(), pieces: 0, open: None };
            self.state.message = Some(message);
        }
        let Some(message) = &mut self.state.message else { return };
        message.open = Some(Piece { part, refusal, text: String::new(), annotations: Vec::new(), logprobs: None });
        let (index, id, pieces) = (message.index, message.id.clone(), message.pieces);
        self.frame("response.content_part.added", |writer| {
            content_place(writer, &id, index, pieces);
            writer.member_raw("part", &content_part("", refusal, &[]));
        });
    }

    fn close_piece(&mut self) {
        let Some(message) = &mut self.state.message else { return };
        let Some(piece) = message.open.take() else { return };
        let part = content_part(&piece.text, piece.refusal, &piece.annotations);
        if message.pieces > 0 {
            message.content.push(',');
        }
        message.content.push_str(&part);
        let pieces = message.pieces;
        message.pieces += 1;
        let (index, id) = (message.index, message.id.clone());
        if piece.refusal {
            self.frame("response.refusal.done", |writer| {
                content_place(writer, &id, index, pieces);
                writer.member_string("refusal", &piece.text);
            });
        } else {
            self.frame("response.output_text.done", |writer| {
                content_place(writer, &id, index, pieces);
                writer.member_string("text", &piece.text);
                writer.member_raw("logprobs", "[]");
            });
        }
        self.frame("response.content_part.done", |writer| {
            content_place(writer, &id, index, pieces);
            writer.member_raw("part", &part);
        });
        // A text grows where it is escaped.
        if self.state.message.as_ref().is_some_and(|message| message.content.len() > LONGEST) {
            self.close_message();
        }
    }

    fn close_message(&mut self) {
        self.close_piece();
        let Some(message) = self.state.message.take() else { return };
        let item = message_item(&message.id, message.phase.as_deref(), "completed", &message.content);
        self.done(message.index, item);
    }

    // --- reasoning ---------------------------------------------------------------------------------------------------

    /// Opens a text of reasoning, in the open item where it belongs to that.
    fn think(&mut self, part: u32, carry: &[Field]) {
        self.open_thought(carry);
        let is_summary = carried_json(carry, SUMMARY).is_some();
        let Some(thought) = &mut self.state.thought else { return };
        (thought.part, thought.is_summary) = (Some(part), is_summary);
        let texts = if is_summary { &mut thought.summary } else { &mut thought.content };
        let place = texts.len();
        texts.push(String::new());
        let (index, id) = (thought.index, thought.id.clone());
        self.reasoning_part(is_summary, "added", index, &id, place, "");
    }

    fn open_thought(&mut self, carry: &[Field]) {
        self.close_message();
        let of = carried_json(carry, ITEM_ID).map(str::to_owned);
        self.close_thinking();
        if self.state.thought.as_ref().is_some_and(|thought| thought.of != of || of.is_none()) {
            self.close_thought();
        }
        if self.state.thought.is_some() {
            return;
        }
        let index = self.next_item();
        let id = of.as_deref().and_then(|id| json::from_str(id).ok());
        let id: String = id.unwrap_or_else(|| mint(self.context, "rs", index));
        let mut item = Writer::with_capacity(96);
        Thought { id: &id, ..Thought::default() }.write(&mut item);
        self.added(index, &item.finish());
        let format = json::field::<String>(carry, crate::REASONING_FORMAT).unwrap_or_else(|| self.state.format.clone());
        self.state.thought = Some(Thinking {
            index,
            id,
            of,
            foreign: Some(format).filter(|format| format != FORMAT),
            summary: Vec::new(),
            content: Vec::new(),
            proof: String::new(),
            redacted: false,
            is_cut: false,
            part: None,
            is_summary: false,
        });
    }

    /// Ends the open text of the reasoning item.
    fn close_thinking(&mut self) {
        let Some(thought) = &mut self.state.thought else { return };
        if thought.part.take().is_none() {
            return;
        }
        let summary = thought.is_summary;
        let texts = if summary { &thought.summary } else { &thought.content };
        let (place, text) = (texts.len().saturating_sub(1), texts.last().cloned().unwrap_or_default());
        let (index, id) = (thought.index, thought.id.clone());
        self.reasoning_frame(summary, "done", index, &id, place, |writer| writer.member_string("text", &text));
        self.reasoning_part(summary, "done", index, &id, place, &text);
    }

    fn close_thought(&mut self) {
        self.close_thinking();
        let Some(thought) = self.state.thought.take() else { return };
        let texts =
            |texts: &[String]| -> Vec<String> { texts.iter().filter(|text| !text.is_empty()).cloned().collect() };
        let (summary, content) = (texts(&thought.summary), texts(&thought.content));
        let proof = Some(thought.proof.as_str()).filter(|proof| !proof.is_empty());
        // A proof of more than stands here proves nothing.
        let is_foreign = thought.foreign.is_some() && !thought.is_cut;
        let encrypted = match &thought.foreign {
            Some(_) if !is_foreign => None,
            Some(format) if thought.redacted => Some(proof::wrap(format, None, proof)),
            Some(format) => Some(proof::wrap(format, proof, None)),
            None => proof.and_then(|proof| proof::open(proof).encrypted).map(str::to_owned),
        };
        let mut item = Writer::with_capacity(256);
        Thought {
            id: &thought.id,
            summary: summary.iter().map(String::as_str).collect(),
            content: content.iter().map(String::as_str).collect(),
            encrypted: encrypted.as_deref(),
            format: thought.foreign.as_deref(),
            extra: &[],
        }
        .write(&mut item);
        self.done(thought.index, item.finish());
    }

    /// `response.reasoning_summary_text.*` or `response.reasoning_text.*`.
    fn reasoning_frame(
        &mut self,
        summary: bool,
        step: &str,
        index: u32,
        id: &str,
        place: usize,
        members: impl FnOnce(&mut Writer),
    ) {
        let (event, counter) = match summary {
            true => ("response.reasoning_summary_text", "summary_index"),
            false => ("response.reasoning_text", "content_index"),
        };
        self.frame(&format!("{event}.{step}"), |writer| {
            writer.member_string("item_id", id);
            writer.member_number("output_index", index);
            writer.member_number(counter, place as u64);
            members(writer);
        });
    }

    /// `response.reasoning_summary_part.*`, or `response.content_part.*` of reasoning.
    fn reasoning_part(&mut self, summary: bool, step: &str, index: u32, id: &str, place: usize, text: &str) {
        let (event, counter, kind) = match summary {
            true => ("response.reasoning_summary_part", "summary_index", "summary_text"),
            false => ("response.content_part", "content_index", "reasoning_text"),
        };
        self.frame(&format!("{event}.{step}"), |writer| {
            writer.member_string("item_id", id);
            writer.member_number("output_index", index);
            writer.member_number(counter, place as u64);
            writer.key("part");
            writer.begin_object();
            writer.member_string("type", kind);
            writer.member_string("text", text);
            writer.end_object();
        });
    }

    // --- calls -------------------------------------------------------------------------------------------------------

    fn call(&mut self, start: &PartStart) {
        self.close_message();
        self.close_thought();
        let index = self.next_item();
        let custom = carried_json(&start.carry, CUSTOM_TOOL).is_some();
        let id: Option<String> = json::field(&start.carry, ITEM_ID);
        let kept = start.carry.iter().filter(|field| [NAMESPACE, CALLER].contains(&field.name.as_str()));
        let call = Call {
            part: start.at.part,
            index,
            id: id.unwrap_or_else(|| mint(self.context, if custom { "ctc" } else { "fc" }, index)),
            call_id: start.id.clone(),
            name: start.name.clone(),
            custom,
            arguments: String::new(),
            carry: kept.map(|field| (field.name.clone(), field.value.clone())).collect(),
        };
        let item = call.item("in_progress");
        self.added(index, &item);
        self.state.calls.push(call);
    }

    fn arguments(&mut self, delta: &Delta) -> Result<(), Failure> {
        let known = self.state.calls.iter_mut().find(|call| call.part == delta.at.part);
        let call = known.ok_or_else(|| misplaced(delta.at))?;
        call.arguments.push_str(&delta.text);
        let (index, id, custom) = (call.index, call.id.clone(), call.custom);
        let all: usize = self.state.calls.iter().map(|call| call.arguments.len()).sum();
        if all > LONGEST {
            let message = "The arguments of a tool call are too long to be repeated in this protocol's stream.";
            return Err(Failure::new(FailureKind::Internal, message));
        }
        self.fit();
        self.frame(&format!("{}.delta", call_event(custom)), |writer| {
            writer.member_string("item_id", &id);
            writer.member_number("output_index", index);
            writer.member_string("delta", &delta.text);
        });
        Ok(())
    }

    fn close_call(&mut self, at: usize) {
        let call = self.state.calls.remove(at);
        self.frame(&format!("{}.done", call_event(call.custom)), |writer| {
            writer.member_string("item_id", &call.id);
            writer.member_number("output_index", call.index);
            writer.member_string(if call.custom { "input" } else { "arguments" }, &call.arguments);
            if !call.custom {
                writer.member_string("name", &call.name);
            }
        });
        self.done(call.index, call.item("completed"));
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

impl Thinking {
    fn len(&self) -> usize {
        self.summary.iter().chain(&self.content).map(String::len).sum()
    }
}

impl Call {
    fn item(&self, status: &str) -> String {
        let carry: Vec<Field> = self.carry.iter().map(|(name, value)| Field::new(name, value.as_str())).collect();
        let mut writer = Writer::with_capacity(self.arguments.len() + 160);
        CallItem {
            id: Some(&self.id),
            call_id: &self.call_id,
            name: &self.name,
            arguments: &self.arguments,
            custom: self.custom,
            status: Some(status),
            carry: &carry,
            extra: &[],
        }
        .write(&mut writer);
        writer.finish()
    }
}

fn misplaced(at: Position) -> Failure {
    Failure::upstream_protocol(format!("a piece of part {} of choice {} came before its start", at.part, at.choice))
}

fn call_event(custom: bool) -> &'static str {
    if custom { "response.custom_tool_call_input" } else { "response.function_call_arguments" }
}

/// Where a piece of a message stands.
fn content_place(writer: &mut Writer, id: &str, index: u32, piece: u32) {
    writer.member_string("item_id", id);
    writer.member_number("output_index", index);
    writer.member_number("content_index", piece);
}

fn content_part(text: &str, refusal: bool, annotations: &[String]) -> String {
    let mut writer = Writer::with_capacity(text.len() + 64);
    if refusal {
        writer.begin_object();
        writer.member_string("type", "refusal");
        writer.member_string("refusal", text);
        writer.end_object();
    } else {
        write_text(&mut writer, text, Some(&format!("[{}]", annotations.join(","))), &[]);
    }
    writer.finish()
}

fn message_item(id: &str, phase: Option<&str>, status: &str, content: &str) -> String {
    let mut writer = Writer::with_capacity(content.len() + 160);
    writer.begin_object();
    writer.member_string("type", "message");
    writer.member_string("id", id);
    writer.member_string("role", "assistant");
    writer.member_string("status", status);
    if let Some(phase) = phase {
        writer.member_raw("phase", phase);
    }
    writer.key("content");
    writer.begin_array();
    if !content.is_empty() {
        writer.raw(content);
    }
    writer.end_array();
    writer.end_object();
    writer.finish()
}
