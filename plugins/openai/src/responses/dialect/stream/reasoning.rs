//! The open reasoning item: its summaries and texts, and the proof of where it comes from.

use portcullis_plugin::ir::{Delta, Field};
use portcullis_plugin::json::{self, Writer};
use serde::{Deserialize, Serialize};

use super::{Encoder, LONGEST};
use crate::responses::FORMAT;
use crate::responses::dialect::mint;
use crate::responses::wire::output::Thought;
use crate::responses::wire::{ITEM_ID, SUMMARY, carried_json, proof};

/// The open reasoning item.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Thinking {
    pub(super) index: u32,
    pub(super) id: String,
    pub(super) of: Option<String>,
    /// The format that signed it, where that is not this one.
    pub(super) foreign: Option<String>,
    pub(super) summary: Vec<String>,
    pub(super) content: Vec<String>,
    pub(super) proof: String,
    pub(super) redacted: bool,
    /// The texts are not whole, since they were too long.
    pub(super) is_cut: bool,
    /// The part whose text is open.
    pub(super) part: Option<u32>,
    pub(super) is_summary: bool,
}

impl Encoder<'_> {
    /// A piece of the open thought's text.
    pub(super) fn reason(&mut self, delta: &Delta) {
        let Some(thought) = &self.state.thought else { return };
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
    }

    /// Opens a text of reasoning, in the open item where it belongs to that.
    pub(super) fn think(&mut self, part: u32, carry: &[Field]) {
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

    pub(super) fn open_thought(&mut self, carry: &[Field]) {
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
    pub(super) fn close_thinking(&mut self) {
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

    pub(super) fn close_thought(&mut self) {
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
    pub(super) fn reasoning_frame(
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
    pub(super) fn reasoning_part(&mut self, summary: bool, step: &str, index: u32, id: &str, place: usize, text: &str) {
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
}

impl Thinking {
    pub(super) fn len(&self) -> usize {
        self.summary.iter().chain(&self.content).map(String::len).sum()
    }
}
