//! Content blocks, written for a request.

use portcullis_plugin::json::{self, Writer};
use portcullis_plugin::prelude::*;

use super::names::{self, Documents};
use super::tools::tool_name;
use super::{media, messages};
use crate::family::Family;
use crate::{CARRY, FORMAT};
use portcullis_plugin::notes::Notes;

/// Claude's signatures hold on every platform that serves it: "Values generated on one platform work on another"
/// (<https://platform.claude.com/docs/en/build-with-claude/extended-thinking#thinking-encryption>).
const ANTHROPIC: &str = "anthropic-messages";
const SHORT: u32 = 300;

/// What encoding the blocks of a request needs throughout.
pub struct Encoding<'a> {
    pub family: Family,
    /// The id does not tell whose model it is: signatures are its own business.
    pub opaque: bool,
    pub documents: Documents,
    pub notes: &'a mut Notes,
}

/// Writes one part as a block, and its cache mark as another; says how many. Converse refuses text without a visible
/// character, so it is left out.
pub fn write(writer: &mut Writer, part: &Part, role: Role, encoding: &mut Encoding<'_>) -> usize {
    let mut count = usize::from(block(writer, part, role, encoding));
    if let Some(mark) = &part.cache
        && count > 0
    {
        count += usize::from(cache_point(writer, mark, encoding.family.caches(), encoding.notes));
    }
    count
}

fn block(writer: &mut Writer, part: &Part, role: Role, encoding: &mut Encoding<'_>) -> bool {
    let assistant = role == Role::Assistant;
    // "You can only include images and documents if the role is user."
    let mut user_only = |what: &str| {
        if assistant {
            encoding.notes.dropped(&format!("messages.{what}"));
        }
        assistant
    };
    match &part.content {
        Content::Text(text) | Content::Refusal(text) => {
            if text.trim().is_empty() {
                return false;
            }
            if matches!(part.content, Content::Refusal(_)) {
                encoding.notes.approximated("refusal");
            }
            text_block(writer, text, &part.carry, encoding.notes);
        }
        Content::Image(_) if user_only("image") => return false,
        Content::Document(_) if user_only("document") => return false,
        Content::Audio(_) if user_only("audio") => return false,
        Content::Video(_) if user_only("video") => return false,
        Content::Image(image) => media::image(writer, image, encoding.notes),
        Content::Document(document) => media::document(writer, document, &mut encoding.documents),
        Content::Audio(audio) => media::audio(writer, audio),
        Content::Video(video) => media::video(writer, video),
        Content::ToolCall(call) => {
            writer.begin_object();
            writer.key("toolUse");
            writer.begin_object();
            writer.member_string("toolUseId", &names::id(&call.id));
            writer.member_string("name", &tool_name(&call.name, encoding.notes));
            writer.key("input");
            input(writer, call, encoding.notes);
            writer.end_object();
            writer.end_object();
        }
        Content::ToolResult(result) => tool_result(writer, result, encoding),
        Content::Reasoning(reasoning) => return thought(writer, reasoning, assistant, encoding),
        Content::Other(item) if item.format == FORMAT => {
            writer.raw(&item.value);
        }
        Content::Other(item) => {
            encoding.notes.dropped(&item.kind);
            return false;
        }
    }
    let foreign = part.carry.iter().filter(|field| !field.name.starts_with(CARRY));
    for field in foreign {
        encoding.notes.foreign(&field.name);
    }
    for field in &part.extra {
        encoding.notes.dropped(&format!("content.{}", field.name));
    }
    true
}

/// Text, with the citations that came with it.
fn text_block(writer: &mut Writer, text: &str, carry: &[Field], notes: &mut Notes) {
    let citations = carry.iter().find(|field| field.name.strip_prefix(CARRY) == Some("citations"));
    writer.begin_object();
    match citations {
        Some(citations) if citations.value.starts_with('[') => {
            writer.key("citationsContent");
            writer.begin_object();
            writer.key("content");
            writer.begin_array();
            messages::text(writer, text);
            writer.end_array();
            writer.member_raw("citations", &citations.value);
            writer.end_object();
        }
        Some(citations) => {
            notes.dropped(&citations.name);
            writer.member_string("text", text);
        }
        None => writer.member_string("text", text),
    }
    writer.end_object();
}

/// Signed reasoning returns as it came; what nobody signed, and what another provider signed, would be refused.
fn thought(writer: &mut Writer, reasoning: &Reasoning, assistant: bool, encoding: &mut Encoding<'_>) -> bool {
    let own = reasoning.format == FORMAT;
    let claude = encoding.family == Family::Claude;
    let redacted = own && (claude || encoding.opaque);
    let signed = redacted || claude && reasoning.format == ANTHROPIC;
    match (&reasoning.redacted, &reasoning.signature) {
        (Some(data), _) if assistant && redacted => {
            writer.begin_object();
            writer.key("reasoningContent");
            writer.begin_object();
            writer.member_string("redactedContent", data);
        }
        (None, Some(signature)) if assistant && signed && !signature.is_empty() => {
            writer.begin_object();
            writer.key("reasoningContent");
            writer.begin_object();
            writer.key("reasoningText");
            writer.begin_object();
            writer.member_string("text", &reasoning.text);
            writer.member_string("signature", signature);
            writer.end_object();
        }
        (None, None) => {
            encoding.notes.dropped("reasoning");
            return false;
        }
        _ => {
            encoding.notes.add("signature-dropped", "reasoning");
            return false;
        }
    }
    writer.end_object();
    writer.end_object();
    true
}

/// A call's arguments as the object that Converse demands.
fn input(writer: &mut Writer, call: &ToolCall, notes: &mut Notes) {
    let arguments = call.arguments.trim();
    if arguments.is_empty() && !call.custom {
        writer.raw("{}");
    } else if !call.custom && arguments.starts_with('{') && json::is_valid(arguments) {
        writer.raw(arguments);
    } else {
        notes.approximated("tool_calls.arguments");
        writer.begin_object();
        writer.member_string("input", &call.arguments);
        writer.end_object();
    }
}

fn tool_result(writer: &mut Writer, result: &ToolResult, encoding: &mut Encoding<'_>) {
    writer.begin_object();
    writer.key("toolResult");
    writer.begin_object();
    writer.member_string("toolUseId", &names::id(&result.call_id));
    writer.key("content");
    writer.begin_array();
    let mut count = 0;
    for part in &result.parts {
        count += usize::from(result_part(writer, part, encoding));
    }
    if count == 0 {
        // A result without content is refused as blank text is.
        messages::text(writer, "(no output)");
    }
    writer.end_array();
    if result.is_error {
        if encoding.family.takes_result_status() || encoding.opaque {
            writer.member_string("status", "error");
        } else {
            encoding.notes.dropped("tool_result.is_error");
        }
    }
    writer.end_object();
    writer.end_object();
    // A mark within a result has no place there: it goes after it, where the same prefix ends.
    if let Some(mark) = result.parts.iter().rev().find_map(|part| part.cache.as_ref()) {
        cache_point(writer, mark, encoding.family.caches(), encoding.notes);
    }
}

fn result_part(writer: &mut Writer, part: &ResultPart, encoding: &mut Encoding<'_>) -> bool {
    for field in &part.extra {
        encoding.notes.dropped(&format!("tool_result.{}", field.name));
    }
    match &part.content {
        ResultContent::Text(text) if text.trim().is_empty() => return false,
        ResultContent::Text(text) => messages::text(writer, text),
        ResultContent::Image(image) => media::image(writer, image, encoding.notes),
        ResultContent::Document(document) => media::document(writer, document, &mut encoding.documents),
        ResultContent::SearchResult(found) => search_result(writer, found, encoding),
        ResultContent::Other(item) if item.format == FORMAT => writer.raw(&item.value),
        ResultContent::Other(item) => {
            encoding.notes.dropped(&item.kind);
            return false;
        }
    }
    true
}

/// Only Claude takes search results (service model); to others they are text.
fn search_result(writer: &mut Writer, found: &SearchResult, encoding: &mut Encoding<'_>) {
    if encoding.family != Family::Claude {
        encoding.notes.approximated("search_result");
        let text = format!("{} ({})\n{}", found.title, found.source, found.texts.join("\n"));
        messages::text(writer, &text);
        return;
    }
    writer.begin_object();
    writer.key("searchResult");
    writer.begin_object();
    writer.member_string("source", &found.source);
    writer.member_string("title", &found.title);
    writer.key("content");
    writer.begin_array();
    for text in &found.texts {
        messages::text(writer, text);
    }
    writer.end_array();
    if let Some(citations) = &found.citations {
        writer.member_raw("citations", citations);
    }
    writer.end_object();
    writer.end_object();
}

/// A block of its own: `{"cachePoint":{"type":"default"}}`. Five minutes unless an hour is asked for.
pub fn cache_point(writer: &mut Writer, mark: &CacheMark, caches: bool, notes: &mut Notes) -> bool {
    if !caches {
        notes.dropped("cache_control");
        return false;
    }
    writer.begin_object();
    writer.key("cachePoint");
    writer.begin_object();
    writer.member_string("type", "default");
    if mark.ttl.is_some_and(|ttl| ttl > SHORT) {
        writer.member_string("ttl", "1h");
    }
    writer.end_object();
    writer.end_object();
    true
}
