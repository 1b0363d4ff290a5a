//! The conversation: the system prompt aside, turns of user and model.
//!
//! Consecutive messages of one side are one content, so that the calls of a step and their results stand together: the API wants
//! as many results as calls, and where ids were made up here it matches them by order
//! (<https://ai.google.dev/gemini-api/docs/function-calling>). A client of this protocol knows the rules: its contents are kept.

use std::collections::HashMap;

use portcullis_plugin::json::{self, Writer};
use portcullis_plugin::prelude::*;

use super::media;
use super::tools::tool_name;
use crate::catalogue::Traits;
use crate::signature::{self, Placed};
use crate::wire::write;
use crate::{FORMAT, ids};
use portcullis_plugin::notes::Notes;

/// Writes `systemInstruction` and `contents`. `instruction` follows the system prompt.
pub fn write(
    writer: &mut Writer,
    request: &Request,
    traits: &Traits,
    instruction: Option<&str>,
    notes: &mut Notes,
) -> Result<(), Failure> {
    let native = request.format == FORMAT;
    let first = request.messages.iter().position(|message| !is_system(message)).unwrap_or(request.messages.len());
    let (system, turns) = request.messages.split_at(first);
    let mut turn = Turns { native, traits, calls: calls(turns), notes };
    writer.key("contents");
    // The system prompt is written behind the contents, since without any it becomes one.
    let mut system_written = false;
    writer.begin_array();
    let mut count = 0;
    let mut rest = turns;
    while let Some(head) = rest.first() {
        let side = side(head);
        let end = rest
            .iter()
            .skip(1)
            .position(|message| native || self::side(message) != side)
            .map_or(rest.len(), |at| at + 1);
        let (group, after) = rest.split_at(end);
        count += usize::from(turn.content(writer, group, side)?);
        rest = after;
    }
    if count == 0 && !native {
        // The API has no conversation without a turn: a system prompt alone becomes one.
        let text = system_text(system, instruction);
        if text.is_empty() {
            return Err(Failure::invalid("messages", "messages: at least one message with content is required"));
        }
        turn.notes.approximated("messages.system");
        writer.begin_object();
        writer.member_string("role", "user");
        text_parts(writer, &text);
        writer.end_object();
        system_written = true;
    }
    writer.end_array();
    if !system_written {
        turn.system(writer, system, instruction)?;
    }
    Ok(())
}

fn is_system(message: &Message) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}

fn side(message: &Message) -> &'static str {
    if message.role == Role::Assistant { "model" } else { "user" }
}

/// The functions that calls name, by the calls' ids, in their order.
fn calls(messages: &[Message]) -> HashMap<&str, (&str, usize)> {
    let calls = messages.iter().flat_map(|message| &message.parts).filter_map(|part| match &part.content {
        Content::ToolCall(call) => Some((&*call.id, &*call.name)),
        _ => None,
    });
    calls.enumerate().map(|(order, (id, name))| (id, (name, order))).collect()
}

fn system_text<'a>(system: &'a [Message], instruction: Option<&'a str>) -> Vec<&'a str> {
    let texts = system.iter().flat_map(|message| &message.parts).filter_map(|part| match &part.content {
        Content::Text(text) if !text.is_empty() => Some(&**text),
        _ => None,
    });
    texts.chain(instruction).collect()
}

fn text_parts(writer: &mut Writer, texts: &[&str]) {
    writer.key("parts");
    writer.begin_array();
    for text in texts {
        writer.begin_object();
        writer.member_string("text", text);
        writer.end_object();
    }
    writer.end_array();
}

struct Turns<'a> {
    native: bool,
    traits: &'a Traits,
    calls: HashMap<&'a str, (&'a str, usize)>,
    notes: &'a mut Notes,
}

impl Turns<'_> {
    fn system(&mut self, writer: &mut Writer, system: &[Message], instruction: Option<&str>) -> Result<(), Failure> {
        let parts = || system.iter().flat_map(|message| &message.parts);
        for message in system {
            self.note_name(message);
        }
        if parts().next().is_none() && instruction.is_none() {
            return Ok(());
        }
        writer.key("systemInstruction");
        writer.begin_object();
        writer.key("parts");
        writer.begin_array();
        for part in parts() {
            let text = matches!(&part.content, Content::Text(_));
            if self.native || text {
                self.part(writer, part, None)?;
            } else {
                self.notes.dropped("messages.system");
            }
        }
        if let Some(text) = instruction {
            writer.begin_object();
            writer.member_string("text", text);
            writer.end_object();
        }
        writer.end_array();
        writer.end_object();
        Ok(())
    }

    /// Writes one content; says whether it has parts.
    fn content(&mut self, writer: &mut Writer, group: &[Message], side: &str) -> Result<bool, Failure> {
        for message in group {
            self.note_name(message);
            if is_system(message) && !self.native {
                self.notes.approximated("messages.system");
            }
        }
        let mut parts: Vec<&Part> = group.iter().flat_map(|message| &message.parts).collect();
        let mut placed = Placed::default();
        if side == "model" {
            if self.native {
                placed.parts = parts.iter().map(|part| signature::of(part)).collect();
            } else {
                placed = signature::place(&parts);
                self.sign(&parts, &mut placed);
            }
        } else if !self.native {
            let order = |part: &Part| match &part.content {
                Content::ToolResult(result) => {
                    self.calls.get(&*result.call_id).map_or(usize::MAX - 1, |(_, order)| *order)
                }
                _ => usize::MAX,
            };
            parts.sort_by_key(|part| order(part));
        }
        let mut written = Writer::with_capacity(512);
        let mut count = 0;
        written.begin_array();
        for (index, part) in parts.iter().enumerate() {
            let own = placed.parts.get(index).and_then(Option::as_deref);
            count += usize::from(self.part(&mut written, part, own)?);
        }
        for signature in &placed.loose {
            written.begin_object();
            written.member_string("text", "");
            write::signature(&mut written, Some(signature));
            written.end_object();
            count += 1;
        }
        written.end_array();
        if count == 0 && !self.native {
            return Ok(false);
        }
        writer.begin_object();
        writer.member_string("role", side);
        writer.member_raw("parts", &written.finish());
        for field in group.iter().flat_map(|message| &message.extra) {
            if self.native {
                writer.member_raw(&field.name, &field.value);
            } else if field.value != "null" {
                self.notes.dropped(&format!("messages.{}", field.name));
            }
        }
        writer.end_object();
        Ok(true)
    }

    /// The first call of a step needs a signature. One that another model made has none, and gets what the API takes for one; it
    /// does so in every step and not only in those that are checked, so that a prefix stays the same.
    fn sign(&mut self, parts: &[&Part], placed: &mut Placed) {
        if !self.traits.signs_calls {
            return;
        }
        let call = parts.iter().position(|part| matches!(part.content, Content::ToolCall(_)));
        if let Some(first) = call
            && placed.parts[first].is_none()
        {
            self.notes.approximated("thought_signature");
            placed.parts[first] = Some(signature::UNCHECKED.to_owned());
        }
    }

    /// Writes one part; says whether there was anything to write.
    fn part(&mut self, writer: &mut Writer, part: &Part, signature: Option<&str>) -> Result<bool, Failure> {
        // Its signature stands with the part that it signs.
        if !self.native && signature::carried(part).is_some() {
            return Ok(false);
        }
        match &part.content {
            Content::Text(text) | Content::Refusal(text) => {
                if text.is_empty() && signature.is_none() && !self.native {
                    return Ok(false);
                }
                writer.begin_object();
                writer.member_string("text", text);
            }
            Content::Image(media) => self.media(writer, media, "image", part),
            Content::Audio(media) => self.media(writer, media, "audio", part),
            Content::Video(media) => self.media(writer, media, "video", part),
            Content::Document(media) => self.media(writer, media, "document", part),
            Content::ToolCall(call) => {
                writer.begin_object();
                writer.key("functionCall");
                writer.begin_object();
                let (arguments, wrapped) = write::arguments(call);
                if wrapped {
                    self.notes.approximated("tool_calls.arguments");
                }
                write::call_members(writer, Some(&call.id), &tool_name(&call.name, self.notes), Some(&arguments));
                writer.end_object();
            }
            Content::ToolResult(result) => {
                self.result(writer, result, part)?;
                return Ok(true);
            }
            Content::Reasoning(reasoning) => {
                if reasoning.format != FORMAT {
                    self.notes.add("signature-dropped", "reasoning");
                    return Ok(false);
                }
                // A summary that nobody signed tells the model nothing it needs; this API's own clients return it all the same.
                if reasoning.signature.is_none() && !self.native {
                    self.notes.dropped("reasoning");
                    return Ok(false);
                }
                writer.begin_object();
                writer.member_string("text", &reasoning.text);
                writer.member_bool("thought", true);
                write::signature(writer, reasoning.signature.as_deref());
            }
            Content::Other(item) if item.format == FORMAT => {
                writer.raw(&item.value);
                return Ok(true);
            }
            Content::Other(item) => {
                self.notes.dropped(&item.kind);
                return Ok(false);
            }
        }
        if !matches!(part.content, Content::Reasoning(_)) {
            write::signature(writer, signature);
        }
        self.members(writer, part);
        writer.end_object();
        Ok(true)
    }

    fn media(&mut self, writer: &mut Writer, media: &Media, kind: &str, part: &Part) {
        writer.begin_object();
        media::write(writer, media, kind, &part.extra, self.notes);
    }

    /// What a part has beside its content.
    fn members(&mut self, writer: &mut Writer, part: &Part) {
        if self.native {
            write::direct(writer, &part.extra);
        } else {
            for field in part.extra.iter().filter(|field| field.name != "extra_content" && field.value != "null") {
                self.notes.dropped(&format!("content.{}", field.name));
            }
        }
        for field in part.carry.iter().filter(|field| !field.name.starts_with("gemini.")) {
            self.notes.dropped(&field.name);
        }
        if part.cache.is_some() {
            self.notes.dropped("cache_control");
        }
    }

    // --- results of functions --------------------------------------------------------------------------------------

    fn result(&mut self, writer: &mut Writer, result: &ToolResult, part: &Part) -> Result<(), Failure> {
        writer.begin_object();
        writer.key("functionResponse");
        writer.begin_object();
        if !ids::is_derived(&result.call_id) {
            writer.member_string("id", &result.call_id);
        }
        let named = result.name.as_deref().or(self.calls.get(&*result.call_id).map(|(name, _)| *name));
        let name = named.unwrap_or_else(|| {
            self.notes.approximated("tool_result.name");
            &result.call_id
        });
        writer.member_string("name", &tool_name(name, self.notes));
        let texts = texts(result, self.notes);
        if !(self.native && texts.is_none()) {
            response(writer, result.is_error, texts.as_deref().unwrap_or_default());
        }
        // Media come with Gemini 3; before, they stand beside the response.
        let inside = self.native || self.traits.json_with_tools;
        let mut beside = Writer::new();
        let target = if inside { &mut *writer } else { &mut beside };
        self.result_media(target, result, inside)?;
        if self.native {
            write::nested(writer, &part.extra, "functionResponse");
        }
        writer.end_object();
        self.members(writer, part);
        writer.end_object();
        let beside = beside.finish();
        if !beside.is_empty() {
            self.notes.approximated("tool_result.media");
            writer.raw(&beside);
        }
        Ok(())
    }

    fn result_media(&mut self, writer: &mut Writer, result: &ToolResult, inside: bool) -> Result<(), Failure> {
        let mut opened = false;
        for part in &result.parts {
            let (media, kind) = match &part.content {
                ResultContent::Image(media) => (media, "image"),
                ResultContent::Document(media) => (media, "document"),
                ResultContent::Other(item) if item.format == FORMAT && inside => {
                    if !std::mem::replace(&mut opened, true) {
                        writer.key("parts");
                        writer.begin_array();
                    }
                    writer.raw(&item.value);
                    continue;
                }
                _ => continue,
            };
            // A text document is in the response's text.
            if matches!(media.source, Source::Text(_)) {
                continue;
            }
            if inside && !std::mem::replace(&mut opened, true) {
                writer.key("parts");
                writer.begin_array();
            }
            writer.begin_object();
            media::write(writer, media, kind, &part.extra, self.notes);
            if self.native {
                write::direct(writer, &part.extra);
            }
            writer.end_object();
        }
        if opened {
            writer.end_array();
        }
        Ok(())
    }

    fn note_name(&mut self, message: &Message) {
        if message.name.is_some() {
            self.notes.dropped("messages.name");
        }
    }
}

/// The text of a result; none where it has none.
fn texts(result: &ToolResult, notes: &mut Notes) -> Option<String> {
    let mut text: Option<String> = None;
    let mut add = |more: &str| match &mut text {
        Some(text) => {
            text.push('\n');
            text.push_str(more);
        }
        None => text = Some(more.to_owned()),
    };
    for part in &result.parts {
        match &part.content {
            ResultContent::Text(text) => add(text),
            ResultContent::Document(Media { source: Source::Text(text), .. }) => add(text),
            ResultContent::SearchResult(found) => {
                notes.approximated("tool_result.search_result");
                add(&format!("{}\n{}\n{}", found.title, found.source, found.texts.join("\n")));
            }
            ResultContent::Other(item) if item.format != FORMAT => notes.dropped(&item.kind),
            _ => {}
        }
        if part.cache.is_some() {
            notes.dropped("cache_control");
        }
    }
    text
}

/// Writes `response`, which is an object: the text itself where it is one, else what holds it.
fn response(writer: &mut Writer, is_error: bool, text: &str) {
    let is_object = text.trim_start().starts_with('{') && json::is_valid(text);
    if is_object && (!is_error || text.contains("\"error\"")) {
        writer.member_raw("response", text);
        return;
    }
    writer.key("response");
    writer.begin_object();
    let member = if is_error { "error" } else { "output" };
    if is_object {
        writer.member_raw(member, text);
    } else {
        writer.member_string(member, text);
    }
    writer.end_object();
}
