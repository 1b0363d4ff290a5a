//! Parts of the user's and of tools' messages.

use std::borrow::Cow;

use portcullis_plugin::json::{self, Writer};
use portcullis_plugin::prelude::*;

use crate::{CARRY, FORMAT};
use portcullis_plugin::notes::Notes;

/// What stands for a result that is empty, which Cohere refuses ("message must not be empty in a turn").
const NO_OUTPUT: &str = "(no output)";

/// What a part has that nobody will read.
pub fn left_over(part: &Part, notes: &mut Notes) {
    for field in part.carry.iter().filter(|field| !field.name.starts_with(CARRY)) {
        notes.foreign(&field.name);
    }
    for field in part.extra.iter().filter(|field| field.value != "null") {
        notes.dropped(&format!("content.{}", field.name));
    }
    if part.cache.is_some() {
        notes.dropped("cache_control");
    }
}

/// `{"type":"text","text":…}`.
pub fn text(writer: &mut Writer, text: &str) {
    writer.begin_object();
    writer.member_string("type", "text");
    writer.member_string("text", text);
    writer.end_object();
}

/// A text alone, which Cohere takes without a list around it.
pub enum Block<'a> {
    Text(Cow<'a, str>),
    /// JSON.
    Raw(String),
}

/// Writes `content`: a string for one text, else a list.
pub fn write(writer: &mut Writer, blocks: &[Block<'_>]) {
    writer.key("content");
    if let [Block::Text(text)] = blocks {
        return writer.string(text);
    }
    writer.begin_array();
    for block in blocks {
        match block {
            Block::Text(words) => text(writer, words),
            Block::Raw(value) => writer.raw(value),
        }
    }
    writer.end_array();
}

/// A part of the user's: text and images (`Content` of the SDK). A document that is text is given as such.
pub fn user<'a>(part: &'a Part, notes: &mut Notes) -> Option<Block<'a>> {
    let block = match &part.content {
        Content::Text(text) | Content::Refusal(text) => (!text.is_empty()).then(|| Block::Text(Cow::Borrowed(text)))?,
        Content::Image(media) => image(media, notes)?,
        Content::Document(Media { source: Source::Text(text), name, .. }) => {
            notes.approximated("messages.document");
            Block::Text(match name {
                Some(name) => Cow::Owned(format!("{name}\n\n{text}")),
                None => Cow::Borrowed(text),
            })
        }
        Content::Other(item) if item.format == FORMAT => Block::Raw(item.value.clone()),
        other => {
            notes.dropped(&format!("messages.{}", kind(other)));
            return None;
        }
    };
    left_over(part, notes);
    Some(block)
}

/// What a part is, for a note.
pub fn kind(content: &Content) -> &str {
    match content {
        Content::Text(_) => "text",
        Content::Image(_) => "image",
        Content::Audio(_) => "audio",
        Content::Video(_) => "video",
        Content::Document(_) => "document",
        Content::ToolCall(_) => "tool_call",
        Content::ToolResult(_) => "tool_result",
        Content::Reasoning(_) => "reasoning",
        Content::Refusal(_) => "refusal",
        Content::Other(item) => &item.kind,
    }
}

/// "Can be either a base64 data URI or a web URL" (`ImageUrl` of the SDK).
fn image(media: &Media, notes: &mut Notes) -> Option<Block<'static>> {
    let url = match &media.source {
        Source::Url(url) => url.clone(),
        Source::Base64(data) => {
            let kind = media.media_type.as_deref().unwrap_or_else(|| image_type(data));
            format!("data:{kind};base64,{data}")
        }
        Source::File(_) | Source::Text(_) => {
            notes.dropped("messages.image");
            return None;
        }
    };
    let mut writer = Writer::with_capacity(url.len() + 64);
    writer.begin_object();
    writer.member_string("type", "image_url");
    writer.key("image_url");
    writer.begin_object();
    writer.member_string("url", &url);
    match media.detail.as_deref() {
        Some(detail @ ("auto" | "low" | "high")) => writer.member_string("detail", detail),
        Some(_) => notes.dropped("image.detail"),
        None => {}
    }
    writer.end_object();
    writer.end_object();
    Some(Block::Raw(writer.finish()))
}

/// The type that the first bytes tell.
fn image_type(base64: &str) -> &'static str {
    match base64 {
        data if data.starts_with("/9j/") => "image/jpeg",
        data if data.starts_with("R0lGOD") => "image/gif",
        data if data.starts_with("UklGR") => "image/webp",
        _ => "image/png",
    }
}

/// A tool's message (`ToolMessageV2` of the SDK): a string, or texts and documents, which alone can be cited apart.
pub fn tool_result(writer: &mut Writer, result: &ToolResult, notes: &mut Notes) {
    writer.begin_object();
    writer.member_string("role", "tool");
    writer.member_string("tool_call_id", &result.call_id);
    let mut blocks = Vec::new();
    for part in &result.parts {
        blocks.extend(result_part(part, notes));
    }
    if blocks.is_empty() {
        blocks.push(Block::Text(Cow::Borrowed(NO_OUTPUT)));
    }
    write(writer, &blocks);
    writer.end_object();
    if result.is_error {
        notes.dropped("tool_result.is_error");
    }
}

fn result_part<'a>(part: &'a ResultPart, notes: &mut Notes) -> Option<Block<'a>> {
    for field in part.extra.iter().filter(|field| field.value != "null") {
        notes.dropped(&format!("tool_result.{}", field.name));
    }
    if part.cache.is_some() {
        notes.dropped("cache_control");
    }
    let dropped = match &part.content {
        ResultContent::Text(text) => return (!text.is_empty()).then(|| Block::Text(Cow::Borrowed(text))),
        ResultContent::Document(Media { source: Source::Text(text), name, .. }) => {
            return Some(document(&[("title", name.as_deref()), ("text", Some(text))]));
        }
        ResultContent::SearchResult(found) => {
            if found.citations.as_deref().is_some_and(|citations| citations != "null") {
                notes.dropped("tool_result.citations");
            }
            let text = found.texts.join("\n\n");
            return Some(document(&[
                ("title", Some(&found.title)),
                ("url", Some(&found.source)),
                ("text", Some(&text)),
            ]));
        }
        ResultContent::Other(item) if item.format == FORMAT => return Some(Block::Raw(item.value.clone())),
        ResultContent::Other(item) => &item.kind,
        ResultContent::Document(_) => "document",
        ResultContent::Image(_) => "image",
    };
    notes.dropped(&format!("tool_result.{dropped}"));
    None
}

fn document(members: &[(&str, Option<&str>)]) -> Block<'static> {
    let members = members.iter().filter_map(|(name, value)| value.map(|value| (*name, value)));
    let data: Vec<_> = members.map(|(name, value)| format!("{}:{}", json::quote(name), json::quote(value))).collect();
    Block::Raw(format!(r#"{{"type":"document","document":{{"data":{{{}}}}}}}"#, data.join(",")))
}
