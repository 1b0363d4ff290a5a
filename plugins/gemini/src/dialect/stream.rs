//! A streamed answer as chunks, each of which has the shape of an answer.
//!
//! Text goes out as it comes. A call's arguments are one object here, so they wait for their end. The last chunk has the finish
//! reasons and the usage. Invariant: whatever was streamed ends with such a chunk, or with an error.

use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::*;
use serde::{Deserialize, Serialize};

use super::{error, response};
use crate::wire::write;
use crate::{FORMAT, finish, signature, usage};

/// Bytes of arguments that may wait: state holds 64 KB.
const MAX_WAITING: usize = 56 * 1024;

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    format: String,
    id: String,
    model: String,
    ended: bool,
    usage: Option<Usage>,
    own_usage: Option<String>,
    finishes: Vec<(u32, Finish)>,
    open: Vec<Open>,
    /// Signatures of this format that wait for the part that they sign, with their candidate.
    carried: Vec<(u32, String)>,
    /// Candidates whose calls are signed, or were given what stands for it.
    signed: Vec<u32>,
    /// Top-level fields for the last chunk.
    extra: Vec<Field>,
}

/// A part that has begun.
#[derive(Debug, Serialize, Deserialize)]
struct Open {
    at: Position,
    kind: PartKind,
    id: String,
    name: String,
    carry: Vec<Field>,
    /// Of a call.
    arguments: String,
    /// Of a thought.
    signature: String,
    spoken: bool,
}

pub fn encode(
    context: &Context,
    reply: &Reply,
    state: &mut State,
    events: Vec<Event>,
    last: bool,
) -> Result<Vec<Frame>, Failure> {
    let mut encoder = Encoder { context, reply, state, frames: Vec::with_capacity(events.len() + 2) };
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
    fn native(&self) -> bool {
        self.state.format == FORMAT
    }

    fn event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Start(start) => {
                self.state.format = start.format;
                self.state.id = start.id;
                self.state.model = start.model;
                self.state.usage = start.usage;
                if self.native() {
                    self.state.extra.extend(start.extra);
                }
            }
            Event::PartStart(start) => {
                self.close(start.at.choice, Some(start.kind));
                let PartStart { at, kind, id, name, carry } = start;
                self.state.open.push(Open {
                    at,
                    kind,
                    id,
                    name,
                    carry,
                    arguments: String::new(),
                    signature: String::new(),
                    spoken: false,
                });
            }
            Event::Text(delta) => self.text(&delta),
            Event::Signature(delta) => {
                if let Some(open) = self.open(delta.at) {
                    open.signature.push_str(&delta.text);
                }
                return self.bound();
            }
            Event::ToolArguments(delta) => {
                if let Some(open) = self.open(delta.at) {
                    open.arguments.push_str(&delta.text);
                }
                return self.bound();
            }
            Event::Carry(carried) => {
                if let Some(open) = self.open(carried.at) {
                    open.carry.extend(carried.fields);
                }
            }
            Event::PartEnd(at) => {
                if let Some(index) = self.state.open.iter().position(|open| open.at == at) {
                    self.finish_part(index);
                }
            }
            Event::WholePart(whole) => {
                self.close(whole.at.choice, None);
                self.whole(whole.at.choice, whole.part);
            }
            Event::Usage(usage) => self.state.usage = Some(usage),
            Event::Finish(finish) => {
                self.close(finish.choice, None);
                self.state.finishes.push((finish.choice, finish.finish));
            }
            Event::Logprobs(logprobs) if self.native() => {
                self.candidate_field(logprobs.choice, "logprobsResult", &logprobs.value);
            }
            // Another protocol's have another shape.
            Event::Logprobs(_) => {}
            Event::Extra(field) if self.native() => self.extra(field),
            Event::Extra(_) => {}
            Event::Error(failure) => {
                self.state.ended = true;
                self.frames.push(error::frame(&failure));
            }
        }
        Ok(())
    }

    fn open(&mut self, at: Position) -> Option<&mut Open> {
        self.state.open.iter_mut().find(|open| open.at == at)
    }

    fn bound(&self) -> Result<(), Failure> {
        let waiting: usize = self.state.open.iter().map(|open| open.arguments.len() + open.signature.len()).sum();
        if waiting > MAX_WAITING {
            return Err(Failure::new(FailureKind::Internal, "the arguments of a streamed function call are too large"));
        }
        Ok(())
    }

    fn text(&mut self, delta: &Delta) {
        if delta.text.is_empty() {
            return;
        }
        let Some(open) = self.open(delta.at) else { return };
        open.spoken = true;
        let thought = open.kind == PartKind::Reasoning;
        let mut writer = Writer::with_capacity(64 + delta.text.len());
        writer.begin_object();
        writer.member_string("text", &delta.text);
        if thought {
            writer.member_bool("thought", true);
        }
        writer.end_object();
        self.chunk(delta.at.choice, &writer.finish());
    }

    /// Ends a candidate's parts before the next begins; only calls may be open side by side.
    fn close(&mut self, choice: u32, next: Option<PartKind>) {
        let ends = |open: &Open| {
            open.at.choice == choice && !(next == Some(PartKind::ToolCall) && open.kind == PartKind::ToolCall)
        };
        while let Some(index) = self.state.open.iter().position(ends) {
            self.finish_part(index);
        }
    }

    /// Writes what a part still has to say.
    fn finish_part(&mut self, index: usize) {
        let open = self.state.open.remove(index);
        let choice = open.at.choice;
        let mut part = Part { carry: open.carry, ..Part::new(Content::Text(String::new())) };
        match open.kind {
            PartKind::ToolCall => {
                part.content = Content::ToolCall(ToolCall {
                    id: open.id,
                    name: open.name,
                    arguments: open.arguments,
                    custom: false,
                });
                self.whole(choice, part);
            }
            PartKind::Reasoning => {
                let foreign = !self.native() && open.spoken;
                if open.signature.is_empty() && !foreign {
                    return;
                }
                let signature = Some(open.signature).filter(|signature| !signature.is_empty());
                let format = self.state.format.clone();
                let reasoning = Reasoning { text: String::new(), summary: false, signature, redacted: None, format };
                let mut writer = Writer::new();
                writer.begin_object();
                writer.member_string("text", "");
                writer.member_bool("thought", true);
                // The API signs a thought in the part itself.
                write::signature(&mut writer, reasoning.signature.as_deref().filter(|_| self.native()));
                write::foreign(&mut writer, Some(&reasoning), open.spoken, &part.carry);
                writer.end_object();
                self.chunk(choice, &writer.finish());
            }
            PartKind::Text | PartKind::Refusal => {
                let own = signature::of(&part);
                let foreign = part.carry.iter().any(|field| !field.name.starts_with("gemini."));
                if own.is_none() && !foreign {
                    return;
                }
                let mut writer = Writer::new();
                writer.begin_object();
                writer.member_string("text", "");
                write::signature(&mut writer, own.as_deref());
                write::foreign(&mut writer, None, false, &part.carry);
                writer.end_object();
                self.chunk(choice, &writer.finish());
            }
        }
    }

    fn whole(&mut self, choice: u32, part: Part) {
        if let Some(own) = signature::carried(&part) {
            // In this format's own streams the signed part has its signature itself.
            if !self.native() {
                self.state.carried.push((choice, own.to_owned()));
            }
            return;
        }
        let mut own = signature::of(&part);
        if matches!(part.content, Content::ToolCall(_)) && !self.native() {
            let waiting = self.state.carried.iter().position(|(of, _)| *of == choice);
            own = own.or_else(|| waiting.map(|at| self.state.carried.remove(at).1));
            if !self.state.signed.contains(&choice) {
                self.state.signed.push(choice);
                own = own.or_else(|| Some(signature::UNCHECKED.to_owned()));
            }
        }
        let mut writer = Writer::new();
        response::part(&mut writer, &part, own.as_deref());
        let written = writer.finish();
        if !written.is_empty() {
            self.chunk(choice, &written);
        }
    }

    fn extra(&mut self, field: Field) {
        if field.name == usage::EXTRA {
            self.state.own_usage = Some(field.value);
            return;
        }
        let mut place = field.name.splitn(3, '/');
        match (place.next(), place.next().and_then(|index| index.parse().ok()), place.next()) {
            (Some("candidates"), Some(choice), Some(name)) => self.candidate_field(choice, name, &field.value),
            _ => self.state.extra.push(field),
        }
    }

    // --- chunks ------------------------------------------------------------------------------------------------------

    fn chunk(&mut self, choice: u32, part: &str) {
        let mut writer = Writer::with_capacity(192 + part.len());
        writer.begin_object();
        writer.key("candidates");
        writer.begin_array();
        writer.begin_object();
        writer.key("content");
        writer.begin_object();
        writer.key("parts");
        writer.begin_array();
        writer.raw(part);
        writer.end_array();
        writer.member_string("role", "model");
        writer.end_object();
        writer.member_number("index", choice);
        writer.end_object();
        writer.end_array();
        self.push(writer);
    }

    fn candidate_field(&mut self, choice: u32, name: &str, value: &str) {
        let mut writer = Writer::with_capacity(128 + value.len());
        writer.begin_object();
        writer.key("candidates");
        writer.begin_array();
        writer.begin_object();
        writer.member_number("index", choice);
        writer.member_raw(name, value);
        writer.end_object();
        writer.end_array();
        self.push(writer);
    }

    /// Ends the chunk that the writer holds.
    fn push(&mut self, mut writer: Writer) {
        response::head(&mut writer, self.context, self.reply, &self.state.id, &self.state.model);
        writer.end_object();
        self.frames.push(Frame::data(writer.finish()));
    }

    fn end(&mut self) {
        while !self.state.open.is_empty() {
            self.finish_part(0);
        }
        for (choice, own) in std::mem::take(&mut self.state.carried) {
            let mut writer = Writer::new();
            writer.begin_object();
            writer.member_string("text", "");
            write::signature(&mut writer, Some(&own));
            writer.end_object();
            self.chunk(choice, &writer.finish());
        }
        self.state.ended = true;
        let native = self.native();
        let blocked = native && self.state.extra.iter().any(|field| field.name == "promptFeedback");
        let mut finishes = std::mem::take(&mut self.state.finishes);
        if finishes.is_empty() {
            finishes.push((0, Finish { reason: FinishReason::Stop, raw: String::new(), stop_sequence: None }));
        }
        let mut writer = Writer::with_capacity(384);
        writer.begin_object();
        if !blocked {
            writer.key("candidates");
            writer.begin_array();
            for (choice, finish) in &finishes {
                writer.begin_object();
                writer.member_raw("content", r#"{"role":"model"}"#);
                writer.member_string("finishReason", finish::encode(Some(finish), native));
                writer.member_number("index", *choice);
                writer.end_object();
            }
            writer.end_array();
        }
        usage::write(&mut writer, self.state.usage.as_ref(), self.state.own_usage.as_deref(), self.reply);
        let extra = std::mem::take(&mut self.state.extra);
        for field in extra.iter().filter(|field| !self.reply.replaces(&field.name)) {
            writer.member_raw(&field.name, &field.value);
        }
        self.reply.write_account(&mut writer, &extra);
        self.push(writer);
    }
}
