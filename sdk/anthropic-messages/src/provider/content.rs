//! Content blocks, written for a request.

use portcullis_plugin::json::{self, Writer};
use portcullis_plugin::prelude::*;

use super::names;
use super::request::tool_name;
use crate::block::CARRY;
use crate::{FORMAT, cache};
use portcullis_plugin::media::{Kind, data_url};
use portcullis_plugin::notes::Notes;

/// Whether a part is plain text that a message may hold as a bare string.
pub fn bare(part: &Part) -> Option<&str> {
    match &part.content {
        Content::Text(text) if part.cache.is_none() && part.carry.is_empty() && part.extra.is_empty() => Some(text),
        _ => None,
    }
}

/// Writes one part as a block; says whether there was anything to write. The API refuses text without a visible
/// character, so it is left out.
pub fn write(writer: &mut Writer, part: &Part, role: Role, native: bool, notes: &mut Notes) -> bool {
    match &part.content {
        Content::Text(text) | Content::Refusal(text) => {
            if text.trim().is_empty() {
                return false;
            }
            if matches!(part.content, Content::Refusal(_)) {
                notes.approximated("refusal");
            }
            writer.begin_object();
            writer.member_string("type", "text");
            writer.member_string("text", text);
        }
        Content::Image(media) => {
            writer.begin_object();
            writer.member_string("type", "image");
            image(writer, media, notes);
        }
        Content::Document(media) => {
            writer.begin_object();
            writer.member_string("type", "document");
            document(writer, media);
        }
        // Left out before: see `takes`.
        Content::Audio(_) | Content::Video(_) => return false,
        Content::ToolCall(call) => {
            writer.begin_object();
            writer.member_string("type", "tool_use");
            writer.member_string("id", &names::id(&call.id));
            writer.member_string("name", &tool_name(&call.name, notes));
            input(writer, call, notes);
        }
        Content::ToolResult(result) => {
            writer.begin_object();
            tool_result(writer, result, native, notes);
        }
        Content::Reasoning(reasoning) => {
            // Signed for this API or not at all: unsigned thinking and another's is refused.
            let ours = reasoning.format == FORMAT && role == Role::Assistant;
            match (&reasoning.redacted, &reasoning.signature) {
                (Some(data), _) if ours => {
                    writer.begin_object();
                    writer.member_string("type", "redacted_thinking");
                    writer.member_string("data", data);
                }
                (None, Some(signature)) if ours => {
                    writer.begin_object();
                    writer.member_string("type", "thinking");
                    writer.member_string("thinking", &reasoning.text);
                    writer.member_string("signature", signature);
                }
                _ => {
                    notes.add("signature-dropped", "reasoning");
                    return false;
                }
            }
        }
        Content::Other(item) if item.format == FORMAT => {
            // The item is whole in its raw form; only a breakpoint stands beside it.
            match &part.cache {
                Some(mark) => with_mark(writer, &item.value, mark),
                None => writer.raw(&item.value),
            }
            return true;
        }
        Content::Other(item) => {
            notes.dropped(&item.kind);
            return false;
        }
    }
    members(writer, &part.carry, &part.extra, native, notes);
    if let Some(mark) = &part.cache {
        cache::write(writer, mark);
    }
    writer.end_object();
    true
}

/// A raw object with one more member.
fn with_mark(writer: &mut Writer, value: &str, mark: &CacheMark) {
    let inner = value.trim().trim_start_matches('{').strip_suffix('}').unwrap_or_default();
    writer.begin_object();
    if !inner.trim().is_empty() {
        writer.raw(inner);
    }
    cache::write(writer, mark);
    writer.end_object();
}

/// What a block has beside its content: what must return, and what this protocol's client said of it.
fn members(writer: &mut Writer, carry: &[Field], extra: &[Field], native: bool, notes: &mut Notes) {
    for field in carry {
        match field.name.strip_prefix(CARRY) {
            Some(name) => writer.member_raw(name, &field.value),
            None => notes.foreign(&field.name),
        }
    }
    for field in extra {
        if native {
            writer.member_raw(&field.name, &field.value);
        } else {
            notes.dropped(&format!("content.{}", field.name));
        }
    }
}

/// A call's arguments as the object the API demands.
fn input(writer: &mut Writer, call: &ToolCall, notes: &mut Notes) {
    writer.key("input");
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

// --- tool results ----------------------------------------------------------------------------------------------------

fn tool_result(writer: &mut Writer, result: &ToolResult, native: bool, notes: &mut Notes) {
    writer.member_string("type", "tool_result");
    writer.member_string("tool_use_id", &names::id(&result.call_id));
    match &result.parts[..] {
        [] => {}
        [ResultPart { content: ResultContent::Text(text), cache: None, extra }] if extra.is_empty() => {
            writer.member_string("content", text);
        }
        parts => {
            writer.key("content");
            writer.begin_array();
            for part in parts {
                result_part(writer, part, native, notes);
            }
            writer.end_array();
        }
    }
    if result.is_error {
        writer.member_bool("is_error", true);
    }
}

fn result_part(writer: &mut Writer, part: &ResultPart, native: bool, notes: &mut Notes) {
    match &part.content {
        ResultContent::Text(text) => {
            if text.trim().is_empty() {
                return;
            }
            writer.begin_object();
            writer.member_string("type", "text");
            writer.member_string("text", text);
        }
        ResultContent::Image(media) => {
            writer.begin_object();
            writer.member_string("type", "image");
            image(writer, media, notes);
        }
        ResultContent::Document(media) => {
            writer.begin_object();
            writer.member_string("type", "document");
            document(writer, media);
        }
        ResultContent::SearchResult(result) => {
            writer.begin_object();
            search_result(writer, result);
        }
        ResultContent::Other(item) if item.format == FORMAT => {
            match &part.cache {
                Some(mark) => with_mark(writer, &item.value, mark),
                None => writer.raw(&item.value),
            }
            return;
        }
        ResultContent::Other(item) => {
            notes.dropped(&item.kind);
            return;
        }
    }
    members(writer, &[], &part.extra, native, notes);
    if let Some(mark) = &part.cache {
        cache::write(writer, mark);
    }
    writer.end_object();
}

fn search_result(writer: &mut Writer, result: &SearchResult) {
    writer.member_string("type", "search_result");
    writer.member_string("source", &result.source);
    writer.member_string("title", &result.title);
    writer.key("content");
    writer.begin_array();
    for text in &result.texts {
        writer.begin_object();
        writer.member_string("type", "text");
        writer.member_string("text", text);
        writer.end_object();
    }
    writer.end_array();
    if let Some(citations) = &result.citations {
        writer.member_raw("citations", citations);
    }
}

// --- media -----------------------------------------------------------------------------------------------------------

const PDF: &str = "application/pdf";

/// Whether the API takes it; what it does not is left out before anything is written. `files`: it has uploaded files, and the client
/// speaks its protocol.
pub fn takes(kind: Kind, media: &Media, files: bool) -> bool {
    let is_pdf = |kind: Option<&str>| kind.is_none_or(|kind| kind == PDF);
    match (kind, &media.source) {
        (Kind::Audio | Kind::Video, _) | (Kind::Image, Source::Text(_)) => false,
        (_, Source::File(_)) => files,
        // "Anthropic models read PDF and plain text."
        (Kind::Document, Source::Base64(_)) => is_pdf(media.media_type.as_deref()),
        (Kind::Document, Source::Url(url)) => data_url(url).is_none_or(|(kind, _)| is_pdf(Some(kind))),
        _ => true,
    }
}

fn image(writer: &mut Writer, media: &Media, notes: &mut Notes) {
    if media.detail.as_deref().is_some_and(|detail| detail != "auto") {
        notes.dropped("image.detail");
    }
    match &media.source {
        Source::Base64(data) => base64(writer, image_type(media.media_type.as_deref(), data), data),
        Source::Url(url) => match data_url(url) {
            Some((kind, data)) => base64(writer, image_type(Some(kind), data), data),
            None => by(writer, "url", "url", url),
        },
        Source::File(id) => by(writer, "file", "file_id", id),
        // No image is text: see `takes`.
        Source::Text(_) => {}
    }
}

fn document(writer: &mut Writer, media: &Media) {
    match &media.source {
        Source::Base64(data) => base64(writer, PDF, data),
        Source::Url(url) => match data_url(url) {
            Some((_, data)) => base64(writer, PDF, data),
            None => by(writer, "url", "url", url),
        },
        Source::File(id) => by(writer, "file", "file_id", id),
        Source::Text(text) => {
            writer.key("source");
            writer.begin_object();
            writer.member_string("type", "text");
            writer.member_string("media_type", "text/plain");
            writer.member_string("data", text);
            writer.end_object();
        }
    }
    if let Some(title) = &media.name {
        writer.member_string("title", title);
    }
}

fn base64(writer: &mut Writer, media_type: &str, data: &str) {
    writer.key("source");
    writer.begin_object();
    writer.member_string("type", "base64");
    writer.member_string("media_type", media_type);
    writer.member_string("data", data);
    writer.end_object();
}

fn by(writer: &mut Writer, kind: &str, member: &str, value: &str) {
    writer.key("source");
    writer.begin_object();
    writer.member_string("type", kind);
    writer.member_string(member, value);
    writer.end_object();
}

/// The API insists on the right type: it is what the client says, or what the first bytes are.
fn image_type<'a>(said: Option<&'a str>, data: &str) -> &'a str {
    match said {
        Some("image/jpg") => "image/jpeg",
        Some(said) if !said.is_empty() => said,
        _ if data.starts_with("/9j/") => "image/jpeg",
        _ if data.starts_with("R0lG") => "image/gif",
        _ if data.starts_with("UklG") => "image/webp",
        _ => "image/png",
    }
}
