//! `toolConfig` (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolConfiguration.html>).
//!
//! Invariant: it is there whenever the conversation holds a call or a result, for Converse refuses such a conversation without it;
//! where the request offers no tool, those that were called stand in it, without their schemas.

use std::borrow::Cow;

use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::*;

use super::content::cache_point;
use super::names;
use super::reasoning::Plan;
use crate::FORMAT;
use crate::family::Family;
use portcullis_plugin::notes::Notes;

const NO_PARAMETERS: &str = r#"{"type":"object","properties":{}}"#;

/// A name that Converse takes. One that had to change comes back changed in the model's calls, which the note tells.
pub fn tool_name<'a>(name: &'a str, notes: &mut Notes) -> Cow<'a, str> {
    let fitted = names::tool(name);
    if fitted != name {
        notes.approximated("tools.name");
    }
    fitted
}

/// What may be asked of a model's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choices {
    /// `auto`, `any` and `tool`.
    All,
    /// `auto` and `any`.
    Any,
    Auto,
}

impl Choices {
    /// "Only supported by Anthropic Claude 3 and Amazon Nova models" (`tool`), and Mistral Large (`any`). A model that the
    /// catalogue does not know is asked: the API judges.
    fn of(family: Family, target: &Target) -> Self {
        match family {
            Family::Claude | Family::Nova | Family::Nova2 => Choices::All,
            Family::Mistral => Choices::Any,
            _ if target.capabilities.is_empty() => Choices::All,
            _ => Choices::Auto,
        }
    }
}

pub fn write(writer: &mut Writer, target: &Target, request: &Request, family: Family, plan: &Plan, notes: &mut Notes) {
    let called = called(request);
    let unwanted = matches!(request.tool_choice, Some(ToolChoice::None));
    for tool in &request.tools {
        if let Tool::Other(item) = tool
            && item.format != FORMAT
        {
            notes.dropped(&format!("tools.{}", item.kind));
        }
    }
    let offered: Vec<_> = request
        .tools
        .iter()
        .filter(|tool| match tool {
            Tool::Function(_) => true,
            Tool::Other(item) => item.format == FORMAT,
        })
        .collect();
    if unwanted && !offered.is_empty() {
        // There is no such choice: tools are not offered, or are with a wish that cannot be said.
        notes.approximated("tool_choice");
    }
    if request.parallel_tool_calls == Some(false) && !offered.is_empty() {
        notes.dropped("parallel_tool_calls");
    }
    let left_out = offered.is_empty() || unwanted && called.is_empty();
    if left_out && called.is_empty() {
        if request.tool_choice.is_some() && offered.is_empty() && !unwanted {
            notes.dropped("tool_choice");
        }
        return;
    }
    writer.key("toolConfig");
    writer.begin_object();
    writer.key("tools");
    writer.begin_array();
    if offered.is_empty() {
        notes.approximated("tools");
        for name in called {
            function(writer, &name, None, NO_PARAMETERS, false);
        }
    } else {
        let strict = target.capabilities.is_empty() || target.capabilities.iter().any(|able| able == "json-schema");
        for tool in &offered {
            match tool {
                Tool::Function(tool) => offer(writer, tool, family, strict, notes),
                Tool::Other(item) => writer.raw(&item.value),
            }
        }
    }
    writer.end_array();
    if !offered.is_empty() && !unwanted {
        choice(writer, request, Choices::of(family, target), plan, notes);
    }
    writer.end_object();
}

/// Names of the functions that the conversation holds calls of, in order.
fn called(request: &Request) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for part in request.messages.iter().flat_map(|message| &message.parts) {
        let name = match &part.content {
            Content::ToolCall(call) => names::tool(&call.name).into_owned(),
            Content::ToolResult(ToolResult { name: Some(name), .. }) => names::tool(name).into_owned(),
            Content::ToolResult(_) if names.is_empty() => "tool".to_owned(),
            _ => continue,
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    // A result's own call tells the name better.
    if names.len() > 1 {
        names.retain(|name| name != "tool");
    }
    names
}

fn offer(writer: &mut Writer, tool: &FunctionTool, family: Family, strict: bool, notes: &mut Notes) {
    let name = tool_name(&tool.name, notes);
    if tool.strict == Some(true) && !strict {
        notes.dropped("tools.strict");
    }
    let schema = tool.parameters.as_deref().filter(|schema| schema.trim() != "null").unwrap_or(NO_PARAMETERS);
    function(writer, &name, tool.description.as_deref(), schema, strict && tool.strict == Some(true));
    for field in &tool.extra {
        notes.dropped(&format!("tools.{}", field.name));
    }
    if let Some(mark) = &tool.cache {
        cache_point(writer, mark, family.caches_tools(), notes);
    }
}

fn function(writer: &mut Writer, name: &str, description: Option<&str>, schema: &str, strict: bool) {
    writer.begin_object();
    writer.key("toolSpec");
    writer.begin_object();
    writer.member_string("name", name);
    if let Some(description) = description.filter(|description| !description.trim().is_empty()) {
        writer.member_string("description", description);
    }
    writer.key("inputSchema");
    writer.begin_object();
    writer.member_raw("json", schema);
    writer.end_object();
    if strict {
        writer.member_bool("strict", true);
    }
    writer.end_object();
    writer.end_object();
}

fn choice(writer: &mut Writer, request: &Request, choices: Choices, plan: &Plan, notes: &mut Notes) {
    let wanted = match &request.tool_choice {
        Some(ToolChoice::Required | ToolChoice::Function(_)) if plan.unforced => return,
        Some(ToolChoice::Auto) => "auto",
        Some(ToolChoice::Required) => "any",
        Some(ToolChoice::Function(_)) => "tool",
        Some(ToolChoice::Other(item)) if item.format == FORMAT => {
            writer.member_raw("toolChoice", &item.value);
            return;
        }
        Some(ToolChoice::Other(_)) => {
            notes.dropped("tool_choice");
            return;
        }
        Some(ToolChoice::None) | None => return,
    };
    let said = match (wanted, choices) {
        ("auto", _) | (_, Choices::All) | ("any", Choices::Any) => wanted,
        ("tool", Choices::Any) => "any",
        _ => "auto",
    };
    if said != wanted {
        notes.approximated("tool_choice");
    }
    writer.key("toolChoice");
    writer.begin_object();
    writer.key(said);
    writer.begin_object();
    if let ("tool", Some(ToolChoice::Function(name))) = (said, &request.tool_choice) {
        writer.member_string("name", &tool_name(name, notes));
    }
    writer.end_object();
    writer.end_object();
}
