//! The conversation (`ChatMessage` of the API's description; `thinking` and `tool_name` of the SDK's `Message`).
//!
//! Ollama knows no ids of calls: results name their function, and follow in the order of the calls. Content is one text, with images
//! beside it; several texts become paragraphs of it.

use portcullis_plugin::json::{self, Writer};
use portcullis_plugin::prelude::*;

use crate::FORMAT;
use portcullis_plugin::media::{Kind, data_url};
use portcullis_plugin::notes::Notes;

/// A call of the conversation: its id and its function.
type Called<'a> = Vec<(&'a str, &'a str)>;

/// Writes `messages`.
pub fn write(writer: &mut Writer, request: &Request, notes: &mut Notes) -> Result<(), Failure> {
    writer.key("messages");
    writer.begin_array();
    let mut called: Called<'_> = Vec::new();
    let mut results: Vec<&ToolResult> = Vec::new();
    let mut count = 0;
    for message in &request.messages {
        let mut wire = WireMessage::default();
        for part in &message.parts {
            match &part.content {
                Content::ToolResult(result) if message.role != Role::Assistant => {
                    left_over(part, notes);
                    results.push(result);
                }
                _ => wire.take(part, message.role, notes)?,
            }
        }
        for call in &wire.calls {
            called.push((&call.id, &call.name));
        }
        let is_results_alone = wire.is_empty() && !results.is_empty();
        if !is_results_alone {
            count += write_results(writer, &mut results, &called, notes);
            count += usize::from(wire.write(writer, role(message.role), notes));
        }
        if message.name.is_some() {
            notes.dropped("messages.name");
        }
        for field in message.extra.iter().filter(|field| field.value != "null") {
            notes.dropped(&format!("messages.{}", field.name));
        }
    }
    count += write_results(writer, &mut results, &called, notes);
    writer.end_array();
    if count == 0 {
        return Err(Failure::invalid("messages", "messages: at least one message with content is required"));
    }
    Ok(())
}

fn role(role: Role) -> &'static str {
    match role {
        Role::System | Role::Developer => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    }
}

fn left_over(part: &Part, notes: &mut Notes) {
    for field in &part.carry {
        notes.foreign(&field.name);
    }
    for field in part.extra.iter().filter(|field| field.value != "null") {
        notes.dropped(&format!("content.{}", field.name));
    }
    if part.cache.is_some() {
        notes.dropped("cache_control");
    }
}

#[derive(Default)]
struct WireMessage<'a> {
    text: String,
    thinking: String,
    images: Vec<&'a str>,
    calls: Vec<&'a ToolCall>,
}

fn paragraph(into: &mut String, text: &str) {
    if text.is_empty() {
        return;
    }
    if !into.is_empty() {
        into.push_str("\n\n");
    }
    into.push_str(text);
}

impl<'a> WireMessage<'a> {
    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.thinking.is_empty() && self.images.is_empty() && self.calls.is_empty()
    }

    fn take(&mut self, part: &'a Part, role: Role, notes: &mut Notes) -> Result<(), Failure> {
        let dropped = match &part.content {
            Content::Text(text) | Content::Refusal(text) => {
                paragraph(&mut self.text, text);
                None
            }
            Content::Image(media) => {
                self.images.extend(inline(media));
                None
            }
            Content::Document(Media { source: Source::Text(text), name, .. }) => {
                notes.approximated("messages.document");
                paragraph(&mut self.text, name.as_deref().unwrap_or_default());
                paragraph(&mut self.text, text);
                None
            }
            Content::Reasoning(Reasoning { signature: None, redacted: None, text, .. }) if role == Role::Assistant => {
                paragraph(&mut self.thinking, text);
                None
            }
            Content::Reasoning(_) => {
                notes.add("signature-dropped", "reasoning");
                return Ok(());
            }
            Content::ToolCall(call) if role == Role::Assistant => {
                self.calls.push(call);
                None
            }
            Content::ToolCall(_) | Content::ToolResult(_) => {
                let message = "messages: tool calls are the assistant's and their results the user's or the tool's";
                return Err(Failure::invalid("messages", message));
            }
            // Left out before: see `takes`.
            Content::Document(_) | Content::Audio(_) | Content::Video(_) => None,
            Content::Other(item) => Some(item.kind.as_str()),
        };
        match dropped {
            Some(kind) => notes.dropped(&format!("messages.{kind}")),
            None => left_over(part, notes),
        }
        if let Content::Image(Media { detail: Some(_), .. }) = &part.content {
            notes.dropped("image.detail");
        }
        Ok(())
    }

    fn write(self, writer: &mut Writer, role: &str, notes: &mut Notes) -> bool {
        if self.is_empty() {
            return false;
        }
        writer.begin_object();
        writer.member_string("role", role);
        writer.member_string("content", &self.text);
        if !self.thinking.is_empty() {
            writer.member_string("thinking", &self.thinking);
        }
        images(writer, &self.images);
        if !self.calls.is_empty() {
            writer.key("tool_calls");
            writer.begin_array();
            for call in self.calls {
                tool_call(writer, call, notes);
            }
            writer.end_array();
        }
        writer.end_object();
        true
    }
}

fn images(writer: &mut Writer, images: &[&str]) {
    if images.is_empty() {
        return;
    }
    writer.key("images");
    writer.begin_array();
    for image in images {
        writer.string(image);
    }
    writer.end_array();
}

/// Whether it goes along: images inline, and documents as text.
pub fn takes(kind: Kind, media: &Media) -> bool {
    match kind {
        Kind::Image => inline(media).is_some(),
        Kind::Document => matches!(media.source, Source::Text(_)),
        Kind::Audio | Kind::Video => false,
    }
}

fn inline(media: &Media) -> Option<&str> {
    match &media.source {
        Source::Base64(data) => Some(data),
        Source::Url(url) => data_url(url).map(|(_, data)| data),
        Source::File(_) | Source::Text(_) => None,
    }
}

/// Arguments are an object.
fn tool_call(writer: &mut Writer, call: &ToolCall, notes: &mut Notes) {
    let arguments = call.arguments.trim();
    writer.begin_object();
    writer.key("function");
    writer.begin_object();
    writer.member_string("name", &call.name);
    writer.key("arguments");
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
    writer.end_object();
    writer.end_object();
}

/// Writes what came of calls, in the calls' order.
fn write_results(writer: &mut Writer, results: &mut Vec<&ToolResult>, called: &Called<'_>, notes: &mut Notes) -> usize {
    let place = |result: &ToolResult| called.iter().rposition(|(id, _)| *id == result.call_id);
    results.sort_by_key(|result| place(result).unwrap_or(usize::MAX));
    for result in results.iter() {
        let name = place(result).map(|at| called[at].1).or(result.name.as_deref());
        tool_result(writer, result, name, notes);
    }
    let count = results.len();
    results.clear();
    count
}

fn tool_result(writer: &mut Writer, result: &ToolResult, name: Option<&str>, notes: &mut Notes) {
    let (mut text, mut pictures) = (String::new(), Vec::new());
    for part in &result.parts {
        for field in part.extra.iter().filter(|field| field.value != "null") {
            notes.dropped(&format!("tool_result.{}", field.name));
        }
        if part.cache.is_some() {
            notes.dropped("cache_control");
        }
        match &part.content {
            ResultContent::Text(words) => paragraph(&mut text, words),
            ResultContent::Image(media) => pictures.extend(inline(media)),
            ResultContent::Document(Media { source: Source::Text(words), name, .. }) => {
                notes.approximated("tool_result.document");
                paragraph(&mut text, name.as_deref().unwrap_or_default());
                paragraph(&mut text, words);
            }
            ResultContent::SearchResult(found) => {
                notes.approximated("tool_result.search_result");
                paragraph(&mut text, &format!("{}\n{}", found.title, found.source));
                found.texts.iter().for_each(|words| paragraph(&mut text, words));
            }
            ResultContent::Other(item) if item.format == FORMAT => paragraph(&mut text, &item.value),
            ResultContent::Other(item) => notes.dropped(&format!("tool_result.{}", item.kind)),
            ResultContent::Document(_) => {}
        }
    }
    writer.begin_object();
    writer.member_string("role", "tool");
    writer.member_string("content", &text);
    images(writer, &pictures);
    if let Some(name) = name {
        writer.member_string("tool_name", name);
    }
    writer.end_object();
    if result.is_error {
        notes.dropped("tool_result.is_error");
    }
}
