//! Tools and the choice among them.
//!
//! Cohere knows `REQUIRED` and `NONE` and no single function: where one must be called it is the only one offered. A choice is
//! refused by models before `command-r7b-12-2024` (SDK), of which the catalogue says `tool-choice:auto`.

use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::*;

use crate::FORMAT;
use portcullis_plugin::notes::Notes;

const NO_PARAMETERS: &str = r#"{"type":"object","properties":{}}"#;

/// Writes `tools`, `tool_choice` and `strict_tools`; says whether any tool is offered.
pub fn write(writer: &mut Writer, target: &Target, request: &Request, notes: &mut Notes) -> bool {
    let choosy = !target.capabilities.iter().any(|able| able == "tool-choice:auto");
    let forced = match &request.tool_choice {
        Some(ToolChoice::Function(name)) if choosy => Some(name),
        _ => None,
    };
    let mut offered = Vec::new();
    for tool in &request.tools {
        match tool {
            Tool::Function(function) if forced.is_none_or(|name| *name == function.name) => offered.push(function),
            Tool::Function(_) => notes.approximated("tools"),
            Tool::Other(item) => notes.dropped(&format!("tools.{}", item.kind)),
        }
    }
    if offered.is_empty() {
        if request.tool_choice.is_some() && !matches!(request.tool_choice, Some(ToolChoice::None | ToolChoice::Auto)) {
            notes.dropped("tool_choice");
        }
        return false;
    }
    writer.key("tools");
    writer.begin_array();
    for tool in &offered {
        offer(writer, tool, notes);
    }
    writer.end_array();
    choice(writer, request, choosy, notes);
    strict(writer, request, &offered, notes);
    if request.parallel_tool_calls == Some(false) {
        notes.dropped("parallel_tool_calls");
    }
    true
}

fn offer(writer: &mut Writer, tool: &FunctionTool, notes: &mut Notes) {
    writer.begin_object();
    writer.member_string("type", "function");
    writer.key("function");
    writer.begin_object();
    writer.member_string("name", &tool.name);
    if let Some(description) = &tool.description {
        writer.member_string("description", description);
    }
    // The SDK's type demands them.
    let parameters = tool.parameters.as_deref().filter(|schema| schema.trim() != "null").unwrap_or(NO_PARAMETERS);
    writer.member_raw("parameters", parameters);
    writer.end_object();
    writer.end_object();
    for field in tool.extra.iter().filter(|field| field.value != "null") {
        notes.dropped(&format!("tools.{}", field.name));
    }
    if tool.cache.is_some() {
        notes.dropped("cache_control");
    }
}

fn choice(writer: &mut Writer, request: &Request, choosy: bool, notes: &mut Notes) {
    let word = match &request.tool_choice {
        None | Some(ToolChoice::Auto) => return,
        Some(ToolChoice::None) => "NONE",
        Some(ToolChoice::Required | ToolChoice::Function(_)) => "REQUIRED",
        Some(ToolChoice::Other(item)) => {
            if item.format == FORMAT {
                writer.member_raw("tool_choice", &item.value);
            } else {
                notes.dropped("tool_choice");
            }
            return;
        }
    };
    if choosy { writer.member_string("tool_choice", word) } else { notes.dropped("tool_choice") }
}

/// Strictness is a matter of all tools together; some strict ones are not made the rule for the others.
fn strict(writer: &mut Writer, request: &Request, offered: &[&FunctionTool], notes: &mut Notes) {
    let strict = offered.iter().filter(|tool| tool.strict == Some(true)).count();
    if request.extra.iter().any(|field| field.name == "strict_tools") || strict == 0 {
        return;
    }
    if strict == offered.len() {
        writer.member_bool("strict_tools", true);
    } else {
        notes.dropped("tools.strict");
    }
}
