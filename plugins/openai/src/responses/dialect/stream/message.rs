//! The open message item, and its pieces of content: texts with their annotations, and refusals.

use portcullis_plugin::ir::{Delta, Failure, Field};
use portcullis_plugin::json::{self, Writer};
use serde::{Deserialize, Serialize};

use super::{Encoder, LONGEST, misplaced};
use crate::responses::dialect::mint;
use crate::responses::wire::output::write_text;
use crate::responses::wire::{ANNOTATION, ITEM_ID, PHASE, carried_json};

/// The open message item.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Message {
    pub(super) index: u32,
    pub(super) id: String,
    /// The `openai.item-id` it came with.
    pub(super) of: Option<String>,
    pub(super) phase: Option<String>,
    /// Finished pieces of content.
    pub(super) content: String,
    pub(super) pieces: u32,
    pub(super) open: Option<Piece>,
}

/// The open piece of the message's content.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Piece {
    pub(super) part: u32,
    pub(super) refusal: bool,
    pub(super) text: String,
    pub(super) annotations: Vec<String>,
    /// Probabilities of the text that comes next.
    pub(super) logprobs: Option<String>,
}

impl Encoder<'_> {
    /// A piece of the open message's text.
    pub(super) fn say(&mut self, delta: &Delta) -> Result<(), Failure> {
        let part = delta.at.part;
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

    pub(super) fn carry(&mut self, fields: &[Field]) {
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

    /// Opens a piece of content, in the open message where it belongs to that.
    pub(super) fn speak(&mut self, part: u32, refusal: bool, carry: &[Field]) {
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

    pub(super) fn close_piece(&mut self) {
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

    pub(super) fn close_message(&mut self) {
        self.close_piece();
        let Some(message) = self.state.message.take() else { return };
        let item = message_item(&message.id, message.phase.as_deref(), "completed", &message.content);
        self.done(message.index, item);
    }
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
