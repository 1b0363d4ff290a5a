//! Tools and their choice (<https://ai.google.dev/gemini-api/docs/function-calling>).

use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::*;

use super::names;
use super::schema::{self, Subset};
use crate::FORMAT;
use crate::catalogue::Traits;
use crate::wire::write;
use portcullis_plugin::notes::Notes;

/// Whether the request offers functions to the model.
pub fn offers_functions(request: &Request) -> bool {
    request.tools.iter().any(|tool| matches!(tool, Tool::Function(_)))
}

/// Writes `tools` and `toolConfig`.
pub fn write(writer: &mut Writer, request: &Request, traits: &Traits, notes: &mut Notes) {
    let native = request.format == FORMAT;
    let own: Vec<&RawItem> = request
        .tools
        .iter()
        .filter_map(|tool| match tool {
            Tool::Other(item) if item.format == FORMAT => Some(item),
            Tool::Other(item) => {
                notes.dropped(&format!("tools.{}", item.kind));
                None
            }
            Tool::Function(_) => None,
        })
        .collect();
    let functions = offers_functions(request);
    if functions || !own.is_empty() {
        writer.key("tools");
        writer.begin_array();
        if functions {
            writer.begin_object();
            writer.key("functionDeclarations");
            writer.begin_array();
            for tool in &request.tools {
                if let Tool::Function(function) = tool {
                    declaration(writer, function, native, traits, notes);
                }
            }
            writer.end_array();
            writer.end_object();
        }
        for item in own {
            writer.raw(&item.value);
        }
        writer.end_array();
    }
    config(writer, request, functions, notes);
    if request.parallel_tool_calls == Some(false) && functions {
        notes.dropped("parallel_tool_calls");
    }
}

fn declaration(writer: &mut Writer, tool: &FunctionTool, native: bool, traits: &Traits, notes: &mut Notes) {
    writer.begin_object();
    writer.member_string("name", &tool_name(&tool.name, notes));
    if let Some(description) = &tool.description {
        writer.member_string("description", description);
    }
    if native {
        // An OpenAPI schema stands among the extra fields as it came.
        let written = tool.extra.iter().any(|field| field.name == "parameters");
        if let Some(parameters) = tool.parameters.as_ref().filter(|_| !written) {
            writer.member_raw("parametersJsonSchema", parameters);
        }
        write::fields(writer, &tool.extra);
    } else {
        parameters(writer, tool, traits, notes);
        for field in tool.extra.iter().filter(|field| field.value != "null") {
            notes.dropped(&format!("tools.{}", field.name));
        }
        if tool.strict == Some(true) {
            notes.dropped("tools.strict");
        }
    }
    if tool.cache.is_some() {
        notes.dropped("cache_control");
    }
    writer.end_object();
}

fn parameters(writer: &mut Writer, tool: &FunctionTool, traits: &Traits, notes: &mut Notes) {
    let Some(parameters) = &tool.parameters else { return };
    let (member, subset) =
        if traits.json_schema { ("parametersJsonSchema", Subset::JsonSchema) } else { ("parameters", Subset::OpenApi) };
    let fitted = schema::fit(parameters, subset);
    if fitted.loosened {
        notes.approximated("tools.parameters");
    }
    if let Some(schema) = fitted.schema {
        writer.member_raw(member, &schema.to_string());
    }
}

/// A name the API takes. One that had to change comes back changed in the model's calls, which the note tells.
pub fn tool_name<'a>(name: &'a str, notes: &mut Notes) -> std::borrow::Cow<'a, str> {
    let fitted = names::fit(name);
    if fitted != name {
        notes.approximated("tools.name");
    }
    fitted
}

fn config(writer: &mut Writer, request: &Request, functions: bool, notes: &mut Notes) {
    let native = request.format == FORMAT;
    let nested = native && request.extra.iter().any(|field| field.name.starts_with("toolConfig."));
    let choice = match &request.tool_choice {
        // Without functions the API has nothing to choose from.
        Some(_) if !functions && !native => {
            notes.dropped("tool_choice");
            None
        }
        Some(ToolChoice::Other(item)) if item.format != FORMAT => {
            notes.dropped("tool_choice");
            None
        }
        choice => choice.as_ref(),
    };
    if choice.is_none() && !nested {
        return;
    }
    writer.key("toolConfig");
    writer.begin_object();
    if let Some(choice) = choice {
        writer.key("functionCallingConfig");
        let (mode, name) = match choice {
            ToolChoice::Auto => ("AUTO", None),
            ToolChoice::None => ("NONE", None),
            ToolChoice::Required => ("ANY", None),
            ToolChoice::Function(name) => ("ANY", Some(tool_name(name, notes))),
            ToolChoice::Other(item) => (&*item.value, None),
        };
        if matches!(choice, ToolChoice::Other(_)) {
            writer.raw(mode);
        } else {
            writer.begin_object();
            writer.member_string("mode", mode);
            if let Some(name) = name {
                writer.key("allowedFunctionNames");
                writer.begin_array();
                writer.string(&name);
                writer.end_array();
            }
            writer.end_object();
        }
    }
    if native {
        write::nested(writer, &request.extra, "toolConfig");
    }
    writer.end_object();
}
