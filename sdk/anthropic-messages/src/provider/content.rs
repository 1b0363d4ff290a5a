//! Content blocks, written for a request.

use portcullis_plugin::json::{self, Writer};
use portcullis_plugin::prelude::*;

use super::names;
use super::request::{tool_name, unsupported};
use crate::block::CARRY;
use crate::{FORMAT, cache};
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
pub fn write(writer: &mut Writer, part: &Part, role: Role, native: bool, notes: &mut Notes) -> Result<bool, Failure> {
    match &part.content {
        Content::Text(text) | Content::Refusal(text) => {
            if text.trim().is_empty() {
                return Ok(false);
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
            image(writer, media, native, notes)?;
        }
        Content::Document(media) => {
            writer.begin_object();
            writer.member_string("type", "document");
            document(writer, media, native)?;
        }
        Content::Audio(_) => return Err(unsupported("messages", "Anthropic models do not take audio")),
        Content::Video(_) => return Err(unsupported("messages", "Anthropic models do not take video")),
        Content::ToolCall(call) => {
            writer.begin_object();
            writer.member_string("type", "tool_use");
            writer.member_string("id", &names::id(&call.id));
            writer.member_string("name", &tool_name(&call.name, notes));
            input(writer, call, notes);
        }
        Content::ToolResult(result) => {
            writer.begin_object();
            tool_result(writer, result, native, notes)?;
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
                    return Ok(false);
                }
            }
        }
        Content::Other(item) if item.format == FORMAT => {
            // The item is whole in its raw form; only a breakpoint stands beside it.
            match &part.cache {
                Some(mark) => with_mark(writer, &item.value, mark),
                None => writer.raw(&item.value),
            }
            return Ok(true);
        }
        Content::Other(item) => {
            notes.dropped(&item.kind);
            return Ok(false);
        }
    }
    members(writer, &part.carry, &part.extra, native, notes);
    if let Some(mark) = &part.cache {
        cache::write(writer, mark);
    }
    writer.end_object();
    Ok(true)
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

fn tool_result(writer: &mut Writer, result: &ToolResult, native: bool, notes: &mut Notes) -> Result<(), Failure> {
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
                result_part(writer, part, native, notes)?;
            }
            writer.end_array();
        }
    }
    if result.is_error {
        writer.member_bool("is_error", true);
    }
    Ok(())
}

fn result_part(writer: &mut Writer, part: &ResultPart, native: bool, notes: &mut Notes) -> Result<(), Failure> {
    match &part.content {
        ResultContent::Text(text) => {
            if text.trim().is_empty() {
                return Ok(());
            }
            writer.begin_object();
            writer.member_string("type", "text");
            writer.member_string("text", text);
        }
        ResultContent::Image(media) => {
            writer.begin_object();
            writer.member_string("type", "image");
            image(writer, media, native, notes)?;
        }
        ResultContent::Document(media) => {
            writer.begin_object();
            writer.member_string("type", "document");
            document(writer, media, native)?;
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
            return Ok(());
        }
        ResultContent::Other(item) => {
            notes.dropped(&item.kind);
            return Ok(());
        }
    }
    members(writer, &[], &part.extra, native, notes);
    if let Some(mark) = &part.cache {
        cache::write(writer, mark);
    }
    writer.end_object();
    Ok(())
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

fn image(writer: &mut Writer, media: &Media, native: bool, notes: &mut Notes) -> Result<(), Failure> {
    if media.detail.as_deref().is_some_and(|detail| detail != "auto") {
        notes.dropped("image.detail");
    }
    match &media.source {
        Source::Base64(data) => base64(writer, image_type(media.media_type.as_deref(), data), data),
        Source::Url(url) => match data_url(url) {
            Some((kind, data)) => base64(writer, image_type(Some(kind), data), data),
            None => by(writer, "url", "url", url),
        },
        Source::File(id) if native => by(writer, "file", "file_id", id),
        Source::File(_) => return Err(foreign_file()),
        Source::Text(_) => return Err(unsupported("messages", "an image cannot be text")),
    }
    Ok(())
}

fn document(writer: &mut Writer, media: &Media, native: bool) -> Result<(), Failure> {
    const PDF: &str = "application/pdf";
    let pdf = |kind: Option<&str>| match kind {
        None | Some(PDF) => Ok(()),
        Some(other) => Err(unsupported("messages", &format!("Anthropic models read PDF and plain text, not {other}"))),
    };
    match &media.source {
        Source::Base64(data) => {
            pdf(media.media_type.as_deref())?;
            base64(writer, PDF, data);
        }
        Source::Url(url) => match data_url(url) {
            Some((kind, data)) => {
                pdf(Some(kind))?;
                base64(writer, PDF, data);
            }
            None => by(writer, "url", "url", url),
        },
        Source::File(id) if native => by(writer, "file", "file_id", id),
        Source::File(_) => return Err(foreign_file()),
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
    Ok(())
}

fn foreign_file() -> Failure {
    unsupported(
        "messages",
        "a file uploaded to another provider cannot be read by Anthropic's; send it inline or by URL",
    )
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

/// `data:image/png;base64,…`, as OpenAI clients write inline images.
fn data_url(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let kind = head.strip_suffix(";base64")?;
    Some((kind.split(';').next().unwrap_or(kind), data))
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
