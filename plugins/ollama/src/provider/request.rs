//! A request to `POST /api/chat` (<https://docs.ollama.com/api/chat>).
//!
//! What Ollama has no place for is left out, each with a note. Its own top-level fields are taken from `extra` of any client under
//! Ollama's names.

use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::*;

use super::{messages, options, thinking};
use crate::FORMAT;
use crate::config::Config;
use crate::manifest::CHAT;
use portcullis_plugin::media;
use portcullis_plugin::notes::Notes;

/// Ollama's own, which cross as they are.
const OWN: &[&str] = &["keep_alive", TRUNCATE, SHIFT];
/// Whether a conversation longer than the window is cut, and whether one that an answer makes longer is (`ChatRequest` of
/// <https://pkg.go.dev/github.com/ollama/ollama/api>; both are the default, and not told).
const TRUNCATE: &str = "truncate";
const SHIFT: &str = "shift";
/// "between 0 and 20" (SDK).
const MOST_LOGPROBS: u32 = 20;
const NO_PARAMETERS: &str = r#"{"type":"object","properties":{}}"#;

pub fn encode(config: &Config, target: &Target, request: &Request) -> Result<UpstreamRequest, Failure> {
    let mut notes = Notes::default();
    let request = media::fitted(request, "Ollama", &mut notes, messages::takes)?;
    let request = &*request;
    let mut writer = Writer::with_capacity(1024 + text_bytes(request));
    writer.begin_object();
    writer.member_string("model", &target.model);
    messages::write(&mut writer, request, &mut notes)?;
    tools(&mut writer, request, &mut notes);
    format(&mut writer, request, &mut notes);
    options::write(&mut writer, target, request, &mut notes);
    thinking::write(&mut writer, target, request, &mut notes);
    logprobs(&mut writer, request, &mut notes);
    for field in request.extra.iter().filter(|field| field.value != "null" && !options::is_option(&field.name)) {
        if request.format == FORMAT || OWN.contains(&field.name.as_str()) {
            writer.member_raw(&field.name, &field.value);
        } else {
            notes.dropped(&field.name);
        }
    }
    // Nothing is left out in silence, unless the client or the operator says so.
    for name in [TRUNCATE, SHIFT] {
        if !config.truncate && !request.extra.iter().any(|field| field.name == name && field.value != "null") {
            writer.member_bool(name, false);
        }
    }
    // A stream is what Ollama answers unless told otherwise.
    writer.member_bool("stream", target.stream);
    writer.end_object();
    // It answers once.
    let many = request.choices.is_some_and(|choices| choices > 1);
    for (name, given) in [("n", many), ("user", request.user.is_some()), ("metadata", !request.metadata.is_empty())] {
        if given {
            notes.dropped(name);
        }
    }
    Ok(UpstreamRequest::new(CHAT, writer.finish(), notes.into_vec()))
}

/// About what the texts and images of a request come to, so that a long one is not moved again and again as it is written.
fn text_bytes(request: &Request) -> usize {
    let text = |part: &Part| match &part.content {
        Content::Text(text) => text.len() + text.len() / 16 + 64,
        Content::Image(Media { source: Source::Base64(data), .. }) => data.len() + 64,
        _ => 256,
    };
    request.messages.iter().flat_map(|message| &message.parts).map(text).sum()
}

/// There is no choice among tools: the model decides, or is offered none.
fn tools(writer: &mut Writer, request: &Request, notes: &mut Notes) {
    let mut offered = Vec::new();
    for tool in &request.tools {
        match tool {
            Tool::Function(function) => offered.push(function),
            Tool::Other(item) => notes.dropped(&format!("tools.{}", item.kind)),
        }
    }
    match &request.tool_choice {
        None | Some(ToolChoice::Auto) => {}
        Some(ToolChoice::None) => {
            if !offered.is_empty() {
                notes.approximated("tool_choice");
            }
            return;
        }
        Some(_) => notes.dropped("tool_choice"),
    }
    if offered.is_empty() {
        return;
    }
    if request.parallel_tool_calls == Some(false) {
        notes.dropped("parallel_tool_calls");
    }
    writer.key("tools");
    writer.begin_array();
    for tool in offered {
        function(writer, tool, notes);
    }
    writer.end_array();
}

fn function(writer: &mut Writer, tool: &FunctionTool, notes: &mut Notes) {
    writer.begin_object();
    writer.member_string("type", "function");
    writer.key("function");
    writer.begin_object();
    writer.member_string("name", &tool.name);
    if let Some(description) = &tool.description {
        writer.member_string("description", description);
    }
    // The API's description demands them.
    let parameters = tool.parameters.as_deref().filter(|schema| schema.trim() != "null").unwrap_or(NO_PARAMETERS);
    writer.member_raw("parameters", parameters);
    writer.end_object();
    writer.end_object();
    if tool.strict == Some(true) {
        notes.dropped("tools.strict");
    }
    if tool.cache.is_some() {
        notes.dropped("cache_control");
    }
    for field in tool.extra.iter().filter(|field| field.value != "null") {
        notes.dropped(&format!("tools.{}", field.name));
    }
}

/// "Can be `json` or a JSON schema."
fn format(writer: &mut Writer, request: &Request, notes: &mut Notes) {
    match &request.response_format {
        None | Some(ResponseFormat::Text) => {}
        Some(ResponseFormat::JsonObject) => writer.member_string("format", "json"),
        Some(ResponseFormat::JsonSchema(schema)) => writer.member_raw("format", &schema.schema),
        Some(ResponseFormat::Other(item)) if item.format == FORMAT => writer.member_raw("format", &item.value),
        Some(ResponseFormat::Other(_)) => notes.dropped("response_format"),
    }
}

fn logprobs(writer: &mut Writer, request: &Request, notes: &mut Notes) {
    let Some(logprobs) = &request.logprobs else { return };
    writer.member_bool("logprobs", true);
    if logprobs.top > MOST_LOGPROBS {
        notes.clamped("top_logprobs");
    }
    if logprobs.top > 0 {
        writer.member_number("top_logprobs", logprobs.top.min(MOST_LOGPROBS));
    }
}
