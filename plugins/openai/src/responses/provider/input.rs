//! Messages of the internal representation as items.
//!
//! A request that came in this format goes back item by item. From others: a first system text is `instructions`; the assistant's
//! turn falls apart into messages, reasoning and calls; reasoning that another provider signed is dropped, and so is this
//! format's own where its id is not known, since OpenAI refuses it then.

use std::borrow::Cow;
use std::collections::HashSet;

use portcullis_plugin::ir::{
    Content, Field, Media, Message, Note, Part, RawItem, ResultContent, ResultPart, Role, Source, ToolCall, ToolResult,
};
use portcullis_plugin::json::Writer;
use portcullis_plugin::media::Kind;

use crate::CUSTOM_TOOL;
use crate::provider::Fnv;
use crate::provider::message::note;
use crate::responses::FORMAT;
use crate::responses::dialect::response::run;
use crate::responses::wire::content::write_cache;
use crate::responses::wire::output::{CallItem, Thought, write_spoken};
use crate::responses::wire::{ITEM_ID, ITEM_MEMBER, PHASE, RAW_ITEM, carried, carried_json, proof};
use crate::wire::{media, write_fields};

/// The longest `call_id` ("Responses", `call_id`: maximum length 64).
const LONGEST_ID: usize = 64;

pub struct Input<'a> {
    pub writer: &'a mut Writer,
    pub notes: &'a mut Vec<Note>,
    /// The request came in this very format.
    pub own: bool,
    /// Ids of calls to custom tools, whose results are items of another type.
    pub custom: HashSet<&'a str>,
}

/// Whether it goes along, by what the protocol has a place for; what does not is left out before anything is written. `own`: the
/// client speaks this protocol.
pub fn takes(own: bool, kind: Kind, media: &Media) -> bool {
    match (kind, &media.source) {
        (Kind::Video, _) | (Kind::Image, Source::Text(_)) => false,
        (Kind::Audio, source) => own && matches!(source, Source::Base64(_)),
        (_, Source::File(_)) => own,
        _ => true,
    }
}

/// The text of `instructions`, where the conversation begins with one.
pub fn instructions(messages: &[Message]) -> Option<&str> {
    let first = messages.first().filter(|first| first.role == Role::System && first.extra.is_empty())?;
    match first.parts.as_slice() {
        [Part { content: Content::Text(text), cache: None, extra, .. }] if extra.is_empty() => Some(text),
        _ => None,
    }
}

/// The ids of all calls to custom tools.
pub fn custom_calls(messages: &[Message]) -> HashSet<&str> {
    let parts = messages.iter().flat_map(|message| &message.parts);
    parts
        .filter_map(|part| match &part.content {
            Content::ToolCall(call) if call.custom => Some(call.id.as_str()),
            _ => None,
        })
        .collect()
}

impl Input<'_> {
    pub fn write(&mut self, messages: &[Message], first: usize) {
        self.writer.begin_array();
        for (index, message) in messages.iter().enumerate().skip(first) {
            let place = format!("/messages/{index}");
            match message.role {
                Role::Assistant => self.assistant(&place, message),
                role => self.message(&place, message, role),
            }
        }
        self.writer.end_array();
    }

    /// A message that is not the assistant's: results are items of their own, and so is what only this format knows.
    fn message(&mut self, place: &str, message: &Message, role: Role) {
        let mut spoken = Vec::new();
        let mut head = Some(message);
        for part in &message.parts {
            match &part.content {
                Content::ToolResult(result) => {
                    self.spoken(place, head, &mut spoken, role);
                    self.result(place, part, result);
                    head = None;
                }
                Content::Other(item) if is_item(part, item) => {
                    self.spoken(place, head, &mut spoken, role);
                    self.writer.raw(&item.value);
                    head = None;
                }
                Content::Other(item) if item.format != FORMAT => self.dropped(place, &item.kind),
                Content::Reasoning(_) | Content::ToolCall(_) => self.dropped(place, "assistant_part"),
                _ => spoken.push(part),
            }
        }
        if spoken.is_empty() && !message.parts.is_empty() {
            return;
        }
        // A message without any part is somebody's silence.
        self.write_message(place, head, &spoken, role)
    }

    fn spoken(&mut self, place: &str, head: Option<&Message>, parts: &mut Vec<&Part>, role: Role) {
        if parts.is_empty() {
            return;
        }
        self.write_message(place, head, parts, role);
        parts.clear();
    }

    fn write_message(&mut self, place: &str, head: Option<&Message>, parts: &[&Part], role: Role) {
        self.writer.begin_object();
        self.writer.member_string("type", "message");
        let role = match role {
            Role::System => "system",
            Role::Developer => "developer",
            Role::User | Role::Tool | Role::Assistant => "user",
        };
        self.writer.member_string("role", role);
        self.writer.key("content");
        match parts {
            [] => self.writer.string(""),
            [Part { content: Content::Text(text), cache: None, extra, .. }] if extra.is_empty() => {
                self.writer.string(text);
            }
            _ => {
                self.writer.begin_array();
                for part in parts {
                    self.piece(place, &part.content, part.cache.is_some(), part, &part.extra);
                }
                self.writer.end_array();
            }
        }
        if let Some(message) = head {
            if message.name.is_some() {
                self.dropped(place, "name");
            }
            self.members(place, &message.extra);
        }
        self.writer.end_object();
    }

    /// Fields of the client's own format go back only where that is this one.
    fn members(&mut self, place: &str, extra: &[Field]) {
        if self.own {
            return write_fields(self.writer, extra);
        }
        for field in extra.iter().filter(|field| field.value != "null") {
            self.dropped(place, &field.name);
        }
    }

    fn dropped(&mut self, place: &str, what: &str) {
        note(self.notes, "dropped", format!("{place}/{what}"));
    }

    fn approximated(&mut self, place: &str, what: &str) {
        note(self.notes, "approximated", format!("{place}/{what}"));
    }

    /// A piece of a message that is not the assistant's.
    fn piece(&mut self, place: &str, content: &Content, marked: bool, part: &Part, extra: &[Field]) {
        match content {
            Content::Text(text) | Content::Refusal(text) => {
                self.open("input_text");
                self.writer.member_string("text", text);
            }
            Content::Image(image) => self.image(image),
            Content::Document(Media { source: Source::Text(text), .. }) => {
                self.approximated(place, "document");
                self.open("input_text");
                self.writer.member_string("text", text);
            }
            Content::Document(file) => self.file(file),
            Content::Audio(audio) => self.audio(audio),
            // Left out before: see `takes`.
            Content::Video(_) => return,
            // Everything else was sorted out before.
            Content::Other(item) => {
                self.writer.raw(&item.value);
                return;
            }
            Content::ToolCall(_) | Content::ToolResult(_) | Content::Reasoning(_) => return,
        }
        self.close(marked, part.cache, extra);
    }

    fn open(&mut self, kind: &str) {
        self.writer.begin_object();
        self.writer.member_string("type", kind);
    }

    fn close(&mut self, marked: bool, cache: Option<portcullis_plugin::ir::CacheMark>, extra: &[Field]) {
        match (cache, self.own) {
            (Some(mark), true) => write_cache(self.writer, mark),
            // OpenAI caches by itself; another protocol's breakpoints have no place.
            _ if marked => note(self.notes, "dropped", "cache_control".to_owned()),
            _ => {}
        }
        if self.own {
            write_fields(self.writer, extra);
        } else {
            for field in extra.iter().filter(|field| field.value != "null") {
                note(self.notes, "dropped", format!("content.{}", field.name));
            }
        }
        self.writer.end_object();
    }

    fn image(&mut self, image: &Media) {
        let (name, value) = match &image.source {
            Source::Url(url) => ("image_url", Cow::Borrowed(url.as_str())),
            Source::Base64(data) => {
                ("image_url", Cow::Owned(media::data_url(image.media_type.as_deref().unwrap_or("image/png"), data)))
            }
            Source::File(id) | Source::Text(id) => ("file_id", Cow::Borrowed(id.as_str())),
        };
        self.open("input_image");
        self.writer.member_string(name, &value);
        self.writer.member_string("detail", image.detail.as_deref().unwrap_or("auto"));
    }

    fn file(&mut self, file: &Media) {
        let (name, value) = match &file.source {
            Source::Url(url) => ("file_url", Cow::Borrowed(url.as_str())),
            Source::Base64(data) if self.own && file.media_type.is_none() => {
                ("file_data", Cow::Borrowed(data.as_str()))
            }
            Source::Base64(data) => {
                let media_type = file.media_type.as_deref().unwrap_or("application/pdf");
                ("file_data", Cow::Owned(media::data_url(media_type, data)))
            }
            Source::File(id) => ("file_id", Cow::Borrowed(id.as_str())),
            Source::Text(text) => ("file_data", Cow::Borrowed(text.as_str())),
        };
        self.open("input_file");
        self.writer.member_string(name, &value);
        // Data without a name is refused.
        match (&file.name, name) {
            (Some(name), _) => self.writer.member_string("filename", name),
            (None, "file_data") if !self.own => self.writer.member_string("filename", "document.pdf"),
            _ => {}
        }
        if let Some(detail) = &file.detail {
            self.writer.member_string("detail", detail);
        }
    }

    /// The official types of messages have no audio; what came in this format goes back all the same.
    fn audio(&mut self, audio: &Media) {
        let Source::Base64(data) = &audio.source else { return };
        self.open("input_audio");
        self.writer.key("input_audio");
        self.writer.begin_object();
        self.writer.member_string("data", data);
        if let Some(media_type) = &audio.media_type {
            self.writer.member_string("format", media::audio_format(media_type));
        }
        self.writer.end_object();
    }

    // --- results -----------------------------------------------------------------------------------------------------

    fn result(&mut self, place: &str, part: &Part, result: &ToolResult) {
        let custom = carried_json(&part.carry, CUSTOM_TOOL).is_some() || self.custom.contains(result.call_id.as_str());
        self.open(if custom { "custom_tool_call_output" } else { "function_call_output" });
        self.writer.member_string("call_id", &short_id(&result.call_id, self.own));
        self.writer.key("output");
        match result.parts.as_slice() {
            [] => self.writer.string(""),
            [ResultPart { content: ResultContent::Text(text), cache: None, extra }] if extra.is_empty() => {
                self.writer.string(text);
            }
            pieces => {
                self.writer.begin_array();
                for piece in pieces {
                    self.result_piece(place, piece);
                }
                self.writer.end_array();
            }
        }
        if result.is_error {
            self.dropped(place, "is_error");
        }
        if part.cache.is_some() && !self.own {
            note(self.notes, "dropped", "cache_control".to_owned());
        }
        if self.own {
            if let Some(name) = &result.name {
                self.writer.member_string("name", name);
            }
            write_fields(self.writer, &part.extra);
        }
        self.writer.end_object();
    }

    fn result_piece(&mut self, place: &str, piece: &ResultPart) {
        match &piece.content {
            ResultContent::Text(text) | ResultContent::Document(Media { source: Source::Text(text), .. }) => {
                self.open("input_text");
                self.writer.member_string("text", text);
            }
            ResultContent::Image(image) => self.image(image),
            ResultContent::Document(file) => self.file(file),
            ResultContent::SearchResult(found) => {
                self.approximated(place, "search_result");
                self.open("input_text");
                let text = format!("{}\n{}\n{}", found.title, found.source, found.texts.join("\n"));
                self.writer.member_string("text", &text);
            }
            ResultContent::Other(item) if item.format == FORMAT => {
                self.writer.raw(&item.value);
                return;
            }
            ResultContent::Other(item) => {
                self.dropped(place, &item.kind);
                return;
            }
        }
        self.close(piece.cache.is_some(), piece.cache, &piece.extra);
    }

    // --- the assistant's turns ---------------------------------------------------------------------------------------

    fn assistant(&mut self, place: &str, message: &Message) {
        let mut rest = message.parts.as_slice();
        while let Some(first) = rest.first() {
            let spoken = |part: &Part| matches!(part.content, Content::Text(_) | Content::Refusal(_));
            let thought = |part: &Part| matches!(part.content, Content::Reasoning(_));
            let together = match &first.content {
                Content::Text(_) | Content::Refusal(_) => run(rest, spoken),
                Content::Reasoning(_) => run(rest, thought),
                _ => 1,
            };
            let (item, after) = rest.split_at(together);
            rest = after;
            match &first.content {
                Content::Text(_) | Content::Refusal(_) => self.said(place, item),
                Content::Reasoning(_) => self.thought(place, item),
                Content::ToolCall(call) => self.call(first, call),
                Content::Other(item) if is_item(first, item) => self.writer.raw(&item.value),
                Content::Other(item) => self.dropped(place, &item.kind),
                Content::ToolResult(_) => self.dropped(place, "tool_result"),
                Content::Image(_) | Content::Audio(_) | Content::Video(_) | Content::Document(_) => {
                    self.dropped(place, "media");
                }
            }
        }
        for field in message.extra.iter().filter(|field| !self.own && field.value != "null") {
            note(self.notes, "dropped", format!("{place}/{}", field.name));
        }
    }

    /// What the assistant said. Without an item's id it is a message in the short form, whose content is a text.
    fn said(&mut self, place: &str, parts: &[Part]) {
        let first = &parts[0];
        let id = carried(first, ITEM_ID);
        if id.is_none() && !self.own {
            for part in parts {
                let (Content::Text(text) | Content::Refusal(text)) = &part.content else { continue };
                if matches!(part.content, Content::Refusal(_)) {
                    self.approximated(place, "refusal");
                }
                if part.cache.is_some() {
                    note(self.notes, "dropped", "cache_control".to_owned());
                }
                if text.is_empty() {
                    continue;
                }
                self.open("message");
                self.writer.member_string("role", "assistant");
                self.writer.member_string("content", text);
                self.writer.end_object();
            }
            return;
        }
        self.open("message");
        if let Some(id) = &id {
            self.writer.member_string("id", id);
        }
        self.writer.member_string("role", "assistant");
        self.writer.key("content");
        match parts {
            [Part { content: Content::Text(text), cache: None, extra, .. }] if id.is_none() && extra.is_empty() => {
                self.writer.string(text);
            }
            _ => {
                self.writer.begin_array();
                for part in parts {
                    if let Content::Text(text) | Content::Refusal(text) = &part.content {
                        let refusal = matches!(part.content, Content::Refusal(_));
                        write_spoken(self.writer, text, refusal, &part.carry, &part.extra);
                    }
                }
                self.writer.end_array();
            }
        }
        let of_item =
            first.extra.iter().filter_map(|field| Some((field.name.strip_prefix(ITEM_MEMBER)?, &field.value)));
        let mut said_status = false;
        for (name, value) in of_item {
            said_status |= name == "status";
            self.writer.member_raw(name, value);
        }
        if id.is_some() && !said_status {
            self.writer.member_string("status", "completed");
        }
        if let Some(phase) = carried_json(&first.carry, PHASE) {
            self.writer.member_raw("phase", phase);
        }
        self.writer.end_object();
    }

    fn thought(&mut self, place: &str, parts: &[Part]) {
        let mut item = Thought::default();
        let (mut id, mut encrypted) = (None, None);
        for part in parts {
            let Content::Reasoning(thought) = &part.content else { continue };
            let proof = thought.signature.as_deref().or(thought.redacted.as_deref());
            if thought.format != FORMAT {
                let code = if proof.is_some() { "signature-dropped" } else { "dropped" };
                note(self.notes, code, format!("{place}/reasoning"));
                continue;
            }
            let sealed = proof.map(proof::open);
            let is_text = sealed.as_ref().map_or(!thought.summary && self.own, |sealed| sealed.is_text);
            if let Some(sealed) = sealed {
                id = sealed.id.map(str::to_owned).or(id);
                encrypted = sealed.encrypted.or(encrypted);
            }
            id = carried(part, ITEM_ID).or(id);
            let texts = if is_text { &mut item.content } else { &mut item.summary };
            texts.extend(Some(thought.text.as_str()).filter(|text| !text.is_empty()));
            if self.own {
                item.extra = &parts[0].extra;
            }
        }
        let Some(id) = id else {
            if !item.content.is_empty() || !item.summary.is_empty() || encrypted.is_some() {
                note(self.notes, "signature-dropped", format!("{place}/reasoning"));
            }
            return;
        };
        item.id = &id;
        item.encrypted = encrypted;
        item.write(self.writer);
    }

    fn call(&mut self, part: &Part, call: &ToolCall) {
        let id = carried(part, ITEM_ID);
        let call_id = short_id(&call.id, self.own);
        CallItem {
            id: id.as_deref(),
            call_id: &call_id,
            carry: &part.carry,
            extra: if self.own { &part.extra } else { &[] },
            ..CallItem::of(call)
        }
        .write(self.writer);
    }
}

/// Whether a raw part is an item of this format's own.
fn is_item(part: &Part, item: &RawItem) -> bool {
    item.format == FORMAT && carried_json(&part.carry, RAW_ITEM).is_some()
}

/// An id that OpenAI accepts: another protocol's, shortened the same way in the call and in its result.
fn short_id(id: &str, own: bool) -> Cow<'_, str> {
    if own || id.len() <= LONGEST_ID {
        return Cow::Borrowed(id);
    }
    let mut hash = Fnv::new();
    hash.write(id.as_bytes());
    Cow::Owned(format!("call_{:016x}", hash.value()))
}
