//! A streamed answer, in the API's event sequence (<https://platform.claude.com/docs/en/build-with-claude/streaming>):
//! `message_start`, for each block `content_block_start`, deltas, `content_block_stop`, then one `message_delta` with the stop
//! reason and the cumulative usage, and `message_stop`.
//!
//! Invariant: blocks never interleave and their indexes count up from 0. The IR's tool calls may interleave, so a call that
//! begins while another is open waits until that one's arguments are whole JSON or its part ends.
//!
//! `message_delta` is written when no event can follow, since some providers tell the usage after the finish.

use std::mem;

use portcullis_plugin::json::{self, Writer};
use portcullis_plugin::prelude::*;
use serde::{Deserialize, Serialize};

use super::{error, response};
use portcullis_anthropic_messages::block::CARRY;
use portcullis_anthropic_messages::{FORMAT, signature, stop, usage};

/// What waiting tool calls may hold; the contract bounds the whole state at 64 KB.
const MAX_WAITING: usize = 48 * 1024;
/// Around a custom tool's free text.
const FREE_TEXT: (&str, &str) = (r#"{"input":""#, r#""}"#);
/// Members that stand in `message_delta`'s `delta`; other unmodelled ones stand beside it.
const DELTA_MEMBERS: &[&str] = &["container", "stop_details"];

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    started: bool,
    ended: bool,
    format: String,
    next_index: u32,
    open: Option<Open>,
    waiting: Vec<Waiting>,
    called: bool,
    usage: Usage,
    finish: Option<Finish>,
    extra: Vec<Field>,
}

/// The block that is being written; its index is the last one given.
#[derive(Debug, Serialize, Deserialize)]
struct Open {
    part: u32,
    kind: PartKind,
    /// For a tool call: how far its arguments are.
    arguments: Balance,
    /// For a tool call: its arguments are free text, which this protocol takes as the string of one member.
    free_text: bool,
    /// For reasoning: a signature has begun.
    signed: bool,
}

/// A tool call whose turn has not come.
#[derive(Debug, Serialize, Deserialize)]
struct Waiting {
    part: u32,
    id: String,
    name: String,
    carry: Vec<Field>,
    arguments: String,
    ended: bool,
}

/// Says when pieces of JSON have become one whole object, without parsing it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Balance {
    depth: u32,
    begun: bool,
    in_string: bool,
    escaped: bool,
}

impl Balance {
    fn read(&mut self, piece: &str) {
        for byte in piece.bytes() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => {
                    self.begun = true;
                    self.depth += 1;
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    fn whole(self) -> bool {
        self.begun && self.depth == 0
    }
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
        if !matches!(event, Event::Start(_) | Event::Error(_)) {
            self.ensure_started();
        }
        match event {
            Event::Start(start) => self.start(start),
            Event::PartStart(start) if start.at.choice == 0 => self.part_start(start)?,
            Event::Text(delta) if delta.at.choice == 0 => self.text(&delta),
            Event::Signature(delta) if delta.at.choice == 0 => self.signature(&delta),
            Event::ToolArguments(delta) if delta.at.choice == 0 => self.arguments(delta)?,
            Event::Carry(carried) if carried.at.choice == 0 => self.carry(&carried),
            Event::PartEnd(at) if at.choice == 0 => self.part_end(at.part),
            Event::WholePart(whole) if whole.at.choice == 0 => self.whole_part(whole)?,
            Event::Usage(usage) => self.state.usage = usage,
            Event::Finish(finish) if finish.choice == 0 => self.state.finish = Some(finish.finish),
            Event::Extra(field) if self.state.format == FORMAT => self.state.extra.push(field),
            Event::Error(failure) => {
                self.state.ended = true;
                self.frames.push(error::frame(self.context, &failure));
            }
            // The protocol has one answer, no logprobs, and no place for another's fields.
            _ => {}
        }
        Ok(())
    }

    fn ensure_started(&mut self) {
        if !self.state.started {
            self.start(StreamStart {
                format: String::new(),
                id: String::new(),
                model: String::new(),
                created: None,
                usage: None,
                extra: Vec::new(),
            });
        }
    }

    fn start(&mut self, start: StreamStart) {
        if self.state.started {
            return;
        }
        self.state.started = true;
        self.state.usage = start.usage.unwrap_or_default();
        let extra = if start.format == FORMAT { &start.extra[..] } else { &[] };
        let mut writer = Writer::with_capacity(512);
        writer.begin_object();
        writer.member_string("type", "message_start");
        writer.key("message");
        writer.begin_object();
        response::head(&mut writer, self.context, self.reply, &start.id, &start.model);
        writer.member_raw("content", "[]");
        writer.member_raw("stop_reason", "null");
        writer.member_raw("stop_sequence", "null");
        for field in extra.iter().filter(|field| !field.name.starts_with(usage::EXTRA)) {
            writer.member_raw(&field.name, &field.value);
        }
        usage::write(&mut writer, &self.state.usage, extra, |_| {});
        writer.end_object();
        writer.end_object();
        self.push("message_start", writer);
        self.state.format = start.format;
    }

    fn part_start(&mut self, start: PartStart) -> Result<(), Failure> {
        if start.kind == PartKind::ToolCall {
            self.state.called = true;
            self.advance();
            if self.state.open.as_ref().is_some_and(|open| open.kind == PartKind::ToolCall) {
                self.state.waiting.push(Waiting {
                    part: start.at.part,
                    id: start.id,
                    name: start.name,
                    carry: start.carry,
                    arguments: String::new(),
                    ended: false,
                });
                return self.bound();
            }
        }
        self.settle();
        self.open(&start);
        Ok(())
    }

    /// Begins a block.
    fn open(&mut self, start: &PartStart) {
        let mut writer = Writer::with_capacity(160);
        match start.kind {
            PartKind::Text | PartKind::Refusal => {
                writer.begin_object();
                writer.member_string("type", "text");
                writer.member_string("text", "");
            }
            PartKind::Reasoning => {
                writer.begin_object();
                writer.member_string("type", "thinking");
                writer.member_string("thinking", "");
                writer.member_string("signature", "");
            }
            PartKind::ToolCall => {
                writer.begin_object();
                writer.member_string("type", "tool_use");
                writer.member_string("id", &start.id);
                writer.member_string("name", &start.name);
                writer.member_raw("input", "{}");
            }
        }
        // A block's citations come as deltas, all else it starts with.
        for field in &start.carry {
            match field.name.strip_prefix(CARRY) {
                Some("citations") | None => {}
                Some(name) => writer.member_raw(name, &field.value),
            }
        }
        writer.end_object();
        self.block_start(&writer.finish());
        self.state.open = Some(Open {
            part: start.at.part,
            kind: start.kind,
            arguments: Balance::default(),
            free_text: false,
            signed: false,
        });
        self.citations(&start.carry);
    }

    fn text(&mut self, delta: &Delta) {
        let Some(open) = self.state.open.as_ref().filter(|open| open.part == delta.at.part) else { return };
        match open.kind {
            PartKind::Text | PartKind::Refusal => self.delta("text_delta", "text", &delta.text),
            PartKind::Reasoning => self.delta("thinking_delta", "thinking", &delta.text),
            PartKind::ToolCall => {}
        }
    }

    fn signature(&mut self, delta: &Delta) {
        let Some(open) = self.state.open.as_mut().filter(|open| open.part == delta.at.part) else { return };
        if mem::replace(&mut open.signed, true) || self.state.format == FORMAT {
            self.delta("signature_delta", "signature", &delta.text);
        } else {
            let text = format!("{}{}", signature::prefix(&self.state.format), delta.text);
            self.delta("signature_delta", "signature", &text);
        }
    }

    fn arguments(&mut self, delta: Delta) -> Result<(), Failure> {
        if self.state.open.as_ref().is_some_and(|open| open.part == delta.at.part) {
            self.piece(delta.text);
            if !self.state.waiting.is_empty() {
                self.advance();
            }
        } else if let Some(waiting) = self.state.waiting.iter_mut().find(|call| call.part == delta.at.part) {
            waiting.arguments.push_str(&delta.text);
            return self.bound();
        }
        Ok(())
    }

    /// A piece of the open call's arguments. What does not begin as an object is the free text of a custom tool: as in a whole
    /// answer it becomes the member `input` of one.
    fn piece(&mut self, text: String) {
        let Some(open) = &mut self.state.open else { return };
        let first = open.arguments == Balance::default() && !text.trim_start().is_empty();
        let begins = first && !text.trim_start().starts_with('{');
        open.free_text |= begins;
        let piece = if open.free_text {
            let quoted = json::quote(&text);
            let inner = &quoted[1..quoted.len() - 1];
            format!("{}{inner}", if begins { FREE_TEXT.0 } else { "" })
        } else {
            text
        };
        open.arguments.read(&piece);
        self.delta("input_json_delta", "partial_json", &piece);
    }

    fn carry(&mut self, carried: &Carried) {
        if self.state.open.as_ref().is_some_and(|open| open.part == carried.at.part) {
            self.citations(&carried.fields);
        }
    }

    fn part_end(&mut self, part: u32) {
        if self.state.open.as_ref().is_some_and(|open| open.part == part) {
            self.close();
            self.next_waiting();
        } else if let Some(waiting) = self.state.waiting.iter_mut().find(|call| call.part == part) {
            waiting.ended = true;
        }
    }

    fn whole_part(&mut self, whole: WholePart) -> Result<(), Failure> {
        let at = whole.at;
        let start = |kind, id: &str, name: &str, carry: Vec<Field>| PartStart {
            at,
            kind,
            id: id.to_owned(),
            name: name.to_owned(),
            carry,
        };
        let delta = |text: &str| Delta { at, text: text.to_owned() };
        match &whole.part.content {
            Content::Text(text) | Content::Refusal(text) => {
                self.part_start(start(PartKind::Text, "", "", whole.part.carry.clone()))?;
                self.text(&delta(text));
                self.part_end(at.part);
            }
            Content::ToolCall(call) => {
                self.part_start(start(PartKind::ToolCall, &call.id, &call.name, whole.part.carry.clone()))?;
                self.arguments(delta(&call.arguments))?;
                self.part_end(at.part);
            }
            Content::Reasoning(reasoning) if reasoning.redacted.is_none() => {
                self.part_start(start(PartKind::Reasoning, "", "", Vec::new()))?;
                self.text(&delta(&reasoning.text));
                if let Some(own) = &reasoning.signature {
                    let carried = signature::wrap(&reasoning.format, own);
                    self.delta("signature_delta", "signature", &carried);
                }
                self.part_end(at.part);
            }
            _ => {
                let mut writer = Writer::new();
                response::block(&mut writer, &whole.part, &self.state.format);
                let block = writer.finish();
                if !block.is_empty() {
                    self.settle();
                    self.block_start(&block);
                    self.block_stop();
                }
            }
        }
        Ok(())
    }

    /// Ends open calls whose arguments are whole, so that the next one need not wait for their parts' ends.
    fn advance(&mut self) {
        while self.state.open.as_ref().is_some_and(|open| open.kind == PartKind::ToolCall && open.arguments.whole()) {
            self.close();
            self.next_waiting();
        }
    }

    /// Ends the open block and all that waited behind it.
    fn settle(&mut self) {
        while self.state.open.is_some() {
            self.close();
            self.next_waiting();
        }
    }

    fn close(&mut self) {
        if let Some(open) = self.state.open.take() {
            if open.free_text {
                self.delta("input_json_delta", "partial_json", FREE_TEXT.1);
            }
            self.block_stop();
        }
    }

    /// Opens the calls that waited, up to the first that is not complete.
    fn next_waiting(&mut self) {
        while self.state.open.is_none() && !self.state.waiting.is_empty() {
            let call = self.state.waiting.remove(0);
            let at = Position { choice: 0, part: call.part };
            self.open(&PartStart { at, kind: PartKind::ToolCall, id: call.id, name: call.name, carry: call.carry });
            if !call.arguments.is_empty() {
                self.piece(call.arguments);
            }
            if call.ended {
                self.close();
            }
        }
    }

    fn bound(&self) -> Result<(), Failure> {
        let waiting: usize =
            self.state.waiting.iter().map(|call| call.arguments.len() + call.id.len() + call.name.len()).sum();
        if waiting > MAX_WAITING {
            return Err(Failure::new(FailureKind::Internal, "the interleaved tool calls of a stream are too large"));
        }
        Ok(())
    }

    fn end(&mut self) {
        self.ensure_started();
        self.settle();
        self.state.ended = true;
        let native = self.state.format == FORMAT;
        let finish = self.state.finish.take();
        let extra = mem::take(&mut self.state.extra);
        let in_delta = |field: &&Field| DELTA_MEMBERS.contains(&&*field.name);

        let mut writer = Writer::with_capacity(384);
        writer.begin_object();
        writer.member_string("type", "message_delta");
        writer.key("delta");
        writer.begin_object();
        writer.key("stop_reason");
        match &finish {
            Some(finish) => writer.string(stop::encode(finish, native, self.state.called)),
            None => writer.string(if self.state.called { "tool_use" } else { "end_turn" }),
        }
        response::stop_sequence(&mut writer, finish.as_ref());
        for field in extra.iter().filter(in_delta) {
            writer.member_raw(&field.name, &field.value);
        }
        writer.end_object();
        let beside = |field: &&Field| {
            !in_delta(field) && !field.name.starts_with(usage::EXTRA) && !self.reply.replaces(&field.name)
        };
        for field in extra.iter().filter(beside) {
            writer.member_raw(&field.name, &field.value);
        }
        usage::write(&mut writer, &self.state.usage, &extra, |writer| self.reply.write_cost(writer));
        self.reply.write_account(&mut writer, &extra);
        writer.end_object();
        self.push("message_delta", writer);
        self.frames.push(Frame::named("message_stop", r#"{"type":"message_stop"}"#));
    }

    // --- frames ------------------------------------------------------------------------------------------------

    fn block_start(&mut self, block: &str) {
        let mut writer = Writer::with_capacity(64 + block.len());
        writer.begin_object();
        writer.member_string("type", "content_block_start");
        writer.member_number("index", self.state.next_index);
        writer.member_raw("content_block", block);
        writer.end_object();
        self.state.next_index += 1;
        self.push("content_block_start", writer);
    }

    fn delta(&mut self, kind: &str, member: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        let mut writer = Writer::with_capacity(96 + text.len());
        self.begin_delta(&mut writer, kind);
        writer.member_string(member, text);
        writer.end_object();
        writer.end_object();
        self.push("content_block_delta", writer);
    }

    /// Citations come one a delta.
    fn citations(&mut self, fields: &[Field]) {
        for field in fields.iter().filter(|field| field.name.strip_prefix(CARRY) == Some("citations")) {
            let Ok(citations) = json::from_str::<Vec<&serde_json::value::RawValue>>(&field.value) else {
                continue;
            };
            for citation in citations {
                let mut writer = Writer::new();
                self.begin_delta(&mut writer, "citations_delta");
                writer.member_raw("citation", citation.get());
                writer.end_object();
                writer.end_object();
                self.push("content_block_delta", writer);
            }
        }
    }

    fn begin_delta(&self, writer: &mut Writer, kind: &str) {
        writer.begin_object();
        writer.member_string("type", "content_block_delta");
        writer.member_number("index", self.state.next_index.saturating_sub(1));
        writer.key("delta");
        writer.begin_object();
        writer.member_string("type", kind);
    }

    fn block_stop(&mut self) {
        let mut writer = Writer::with_capacity(48);
        writer.begin_object();
        writer.member_string("type", "content_block_stop");
        writer.member_number("index", self.state.next_index.saturating_sub(1));
        writer.end_object();
        self.push("content_block_stop", writer);
    }

    fn push(&mut self, event: &str, writer: Writer) {
        self.frames.push(Frame::named(event, writer.finish()));
    }
}
