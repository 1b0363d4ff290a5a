//! A client's request to the internal representation. Invariant: what is not modelled is in some `extra`, under its own name or,
//! inside a nested object, under `object/name`; nothing is dropped here.

use portcullis_plugin::ir::{
    Content as Ir, Failure, Field, FunctionTool, JsonSchema, Logprobs, Message, Part, RawItem, ReasoningSettings,
    Request, ResponseFormat, ResultContent, ResultPart, Role, Tool, ToolChoice, ToolResult,
};
use portcullis_plugin::json;
use serde_json::value::RawValue;

use crate::wire::content::Content;
use crate::wire::request::{ChatRequest, Choose, Format, FunctionDefinition, FunctionName, WireReasoning, WireTool};
use crate::wire::{self, FORMAT, keep_nested, rebuild};

pub fn decode(body: &str) -> Result<Request, Failure> {
    let wire: ChatRequest = json::parse(body)?;
    let missing = |name: &str| {
        Failure::invalid(name, format!("Missing required parameter: '{name}'.")).with_code("missing_required_parameter")
    };
    let mut request = Request::new(FORMAT, wire.model.ok_or_else(|| missing("model"))?);
    request.extra = wire.extra;
    request.messages = messages(wire.system, wire.messages.ok_or_else(|| missing("messages"))?)?;
    if request.messages.is_empty() {
        return Err(Failure::invalid("messages", "'messages' must not be empty."));
    }
    request.tools = tools(wire.tools.unwrap_or_default(), wire.functions.unwrap_or_default())?;
    request.tool_choice = wire.tool_choice.or(wire.function_call).map(tool_choice).transpose()?;
    request.parallel_tool_calls = wire.parallel_tool_calls;
    request.response_format =
        wire.response_format.map(|format| response_format(format, &mut request.extra)).transpose()?;
    request.sampling.temperature = wire.temperature;
    request.sampling.top_p = wire.top_p;
    request.sampling.top_k = wire.top_k;
    request.sampling.frequency_penalty = wire.frequency_penalty;
    request.sampling.presence_penalty = wire.presence_penalty;
    request.sampling.seed = wire.seed;
    request.stop = wire.stop.map(|stop| stop.0).unwrap_or_default();
    // A client that names both means neither to be exceeded.
    request.max_output_tokens = match (wire.max_completion_tokens, wire.max_tokens) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    request.choices = wire.n;
    request.logprobs = (wire.logprobs == Some(true)).then(|| Logprobs { top: wire.top_logprobs.unwrap_or(0) });
    request.reasoning = reasoning(wire.reasoning_effort, wire.reasoning, &mut request.extra);
    request.stream = wire.stream.unwrap_or(false);
    if let Some(options) = wire.stream_options {
        request.stream_usage = options.include_usage.unwrap_or(false);
        keep_nested(&mut request.extra, "stream_options/", options.extra);
    }
    request.user = wire.user;
    request.metadata = wire.metadata.map(|metadata| metadata.0).unwrap_or_default();
    Ok(request)
}

fn messages(system: Content, wire: Vec<wire::Message>) -> Result<Vec<Message>, Failure> {
    let mut messages = Vec::with_capacity(wire.len() + 1);
    let system = content_parts(system, true).map_err(|member| Failure::invalid("system", format!("system{member}")))?;
    if !system.is_empty() {
        messages.push(Message::new(Role::System, system));
    }
    // Deprecated function calls have no ids; a call and the `function` message after it share one made from their count.
    let mut legacy_calls = 0;
    for (index, mut message) in wire.into_iter().enumerate() {
        let invalid = |member: &str, why: &str| {
            let param = format!("messages[{index}].{member}");
            Failure::invalid(&param, format!("Invalid value for '{param}': {why}."))
        };
        let role = match message.role.as_deref() {
            Some("system") => Role::System,
            Some("developer") => Role::Developer,
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some("tool" | "function") => Role::Tool,
            Some(other) => return Err(invalid("role", &format!("'{other}' is not a role"))),
            None => return Err(invalid("role", "it is missing")),
        };
        let parts = match role {
            Role::Assistant => {
                // DeepSeek demands the field on every turn of a thinking model, even where nothing was thought.
                if message.reasoning_content.as_deref() == Some("") {
                    message.extra.push(Field::new("reasoning_content", "\"\""));
                }
                let legacy = message.function_call.is_some();
                legacy_calls += usize::from(legacy);
                message.take_assistant_parts(|call| match legacy {
                    true => legacy_id(legacy_calls),
                    false => format!("call_{index}_{call}"),
                })
            }
            .map_err(|member| invalid(&member, "it is missing"))?,
            Role::Tool => {
                let call_id = match (message.tool_call_id.take(), message.role.as_deref()) {
                    (Some(id), _) => id,
                    (None, Some("function")) => legacy_id(legacy_calls),
                    (None, _) => return Err(invalid("tool_call_id", "it is missing")),
                };
                let content = std::mem::take(&mut message.content);
                let parts = content_parts(content, true)
                    .map_err(|member| invalid(&format!("content{member}"), "it is missing"))?;
                let result = ToolResult {
                    call_id,
                    name: message.name.take(),
                    parts: parts.into_iter().map(result_part).collect(),
                    is_error: false,
                };
                vec![Part::new(Ir::ToolResult(result))]
            }
            Role::System | Role::Developer | Role::User => {
                let content = std::mem::take(&mut message.content);
                content_parts(content, false).map_err(|member| invalid(&format!("content{member}"), "it is missing"))?
            }
        };
        messages.push(Message { role, parts, name: message.name, extra: message.extra });
    }
    Ok(messages)
}

fn legacy_id(count: usize) -> String {
    format!("call_function_{count}")
}

/// Parts of a content that holds no tool calls. An error is the place and member that is missing: `[2].text`.
fn content_parts(content: Content, skip_empty: bool) -> Result<Vec<Part>, String> {
    match content {
        Content::Absent => Ok(Vec::new()),
        Content::Text(text) if skip_empty && text.is_empty() => Ok(Vec::new()),
        Content::Text(text) => Ok(vec![Part::text(text)]),
        Content::Parts(list) => list
            .into_iter()
            .enumerate()
            .map(|(index, part)| part.into_part().map_err(|member| format!("[{index}].{member}")))
            .collect(),
    }
}

fn result_part(part: Part) -> ResultPart {
    let content = match part.content {
        Ir::Text(text) | Ir::Refusal(text) => ResultContent::Text(text),
        Ir::Image(media) => ResultContent::Image(media),
        Ir::Document(media) => ResultContent::Document(media),
        Ir::Other(item) => ResultContent::Other(item),
        Ir::Audio(media) | Ir::Video(media) => ResultContent::Document(media),
        // `content_parts` makes none of these.
        Ir::ToolCall(_) | Ir::ToolResult(_) | Ir::Reasoning(_) => ResultContent::Text(String::new()),
    };
    ResultPart { content, cache: part.cache, extra: part.extra }
}

fn tools(tools: Vec<WireTool>, functions: Vec<FunctionDefinition>) -> Result<Vec<Tool>, Failure> {
    let mut decoded = Vec::with_capacity(tools.len() + functions.len());
    for (index, tool) in tools.into_iter().enumerate() {
        // Some compatible clients leave `type` out.
        decoded.push(match (tool.kind.as_deref(), tool.function) {
            (Some("function") | None, Some(function)) => {
                let mut function = function_tool(function, &format!("tools[{index}].function"))?;
                function.cache = tool.cache_control.map(|control| control.mark());
                keep_nested(&mut function.extra, "tool/", tool.extra);
                Tool::Function(function)
            }
            (Some(kind), None) if kind != "function" => {
                let value = rebuild(Some(kind), None, &tool.extra);
                Tool::Other(RawItem { format: FORMAT.to_owned(), kind: kind.to_owned(), value })
            }
            _ => {
                let param = format!("tools[{index}].function");
                return Err(Failure::invalid(&param, format!("Missing required parameter: '{param}'.")));
            }
        });
    }
    for (index, function) in functions.into_iter().enumerate() {
        decoded.push(Tool::Function(function_tool(function, &format!("functions[{index}]"))?));
    }
    Ok(decoded)
}

fn function_tool(function: FunctionDefinition, place: &str) -> Result<FunctionTool, Failure> {
    let name = function.name.ok_or_else(|| {
        let param = format!("{place}.name");
        Failure::invalid(&param, format!("Missing required parameter: '{param}'."))
    })?;
    Ok(FunctionTool {
        name,
        description: function.description,
        parameters: function.parameters.map(raw),
        strict: function.strict,
        cache: None,
        extra: function.extra,
    })
}

fn tool_choice(choice: Choose) -> Result<ToolChoice, Failure> {
    let other = |kind: &str, value: String| {
        ToolChoice::Other(RawItem { format: FORMAT.to_owned(), kind: kind.to_owned(), value })
    };
    Ok(match choice {
        Choose::Word(word) => match word.as_str() {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            // Mistral's word for it is `any`.
            "required" | "any" => ToolChoice::Required,
            _ => other(&word, json::quote(&word)),
        },
        Choose::Named(named) => match (named.kind.as_deref(), named.function, named.name) {
            (Some("function") | None, Some(FunctionName { name: Some(name), .. }), _) | (None, None, Some(name)) => {
                ToolChoice::Function(name)
            }
            (Some(kind), None, None) if kind != "function" => other(kind, rebuild(Some(kind), None, &named.extra)),
            _ => {
                return Err(Failure::invalid(
                    "tool_choice",
                    "Missing required parameter: 'tool_choice.function.name'.",
                ));
            }
        },
    })
}

fn response_format(format: Format, extra: &mut Vec<Field>) -> Result<ResponseFormat, Failure> {
    Ok(match (format.kind.as_deref(), format.json_schema) {
        (Some("text"), _) => ResponseFormat::Text,
        (Some("json_object"), _) => ResponseFormat::JsonObject,
        (Some("json_schema"), Some(schema)) => {
            keep_nested(extra, "response_format/json_schema/", schema.extra);
            ResponseFormat::JsonSchema(JsonSchema {
                name: schema.name,
                description: schema.description,
                schema: schema.schema.map_or_else(|| "{}".to_owned(), raw),
                strict: schema.strict,
            })
        }
        (Some("json_schema"), None) => {
            let param = "response_format.json_schema";
            return Err(Failure::invalid(param, format!("Missing required parameter: '{param}'.")));
        }
        (Some(kind), _) => {
            let value = rebuild(Some(kind), None, &format.extra);
            ResponseFormat::Other(RawItem { format: FORMAT.to_owned(), kind: kind.to_owned(), value })
        }
        (None, _) => {
            return Err(Failure::invalid(
                "response_format.type",
                "Missing required parameter: 'response_format.type'.",
            ));
        }
    })
}

fn reasoning(effort: Option<String>, wire: Option<WireReasoning>, extra: &mut Vec<Field>) -> Option<ReasoningSettings> {
    let settings = match wire {
        None => ReasoningSettings { effort, budget: None, enabled: None, summary: None },
        Some(wire) => {
            keep_nested(extra, "reasoning/", wire.extra);
            let omitted = (wire.exclude == Some(true)).then(|| "omitted".to_owned());
            ReasoningSettings {
                effort: effort.or(wire.effort),
                budget: wire.max_tokens,
                enabled: wire.enabled,
                summary: omitted.or(wire.summary),
            }
        }
    };
    let unset = ReasoningSettings { effort: None, budget: None, enabled: None, summary: None };
    (settings != unset).then_some(settings)
}

fn raw(value: Box<RawValue>) -> String {
    Box::<str>::from(value).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_plugin::ir::FailureKind;

    fn decode_members(members: &str) -> Result<Request, Failure> {
        decode(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}]{members}}}"#))
    }

    #[test]
    fn a_fault_is_named_by_its_field() {
        for (body, param) in [
            (r#"{"messages":[]}"#, "model"),
            (r#"{"model":"m"}"#, "messages"),
            (r#"{"model":"m","messages":[]}"#, "messages"),
            (r#"{"model":"m","messages":[{"role":"robot","content":"x"}]}"#, "messages[0].role"),
            (r#"{"model":"m","messages":[{"role":"tool","content":"x"}]}"#, "messages[0].tool_call_id"),
            (
                r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text"}]}]}"#,
                "messages[0].content[0].text",
            ),
            (r#"{"model":"m","messages":[{"role":"user","content":7}]}"#, "messages[0].content"),
            (r#"{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":"hot"}"#, "temperature"),
        ] {
            let failure = decode(body).unwrap_err();
            assert_eq!((failure.kind, failure.param.as_deref()), (FailureKind::InvalidRequest, Some(param)), "{body}");
        }
    }

    #[test]
    fn the_smaller_limit_counts() {
        let limit = |members: &str| decode_members(members).unwrap().max_output_tokens;
        assert_eq!(limit(r#","max_tokens":5,"max_completion_tokens":9"#), Some(5));
        assert_eq!(limit(r#","max_tokens":5"#), Some(5));
        assert_eq!(limit(r#","max_completion_tokens":null"#), None);
    }

    #[test]
    fn every_choice_of_tool() {
        let choice = |json: &str| decode_members(&format!(r#","tool_choice":{json}"#)).unwrap().tool_choice.unwrap();
        assert_eq!(choice(r#""auto""#), ToolChoice::Auto);
        assert_eq!(choice(r#""any""#), ToolChoice::Required);
        assert_eq!(choice(r#"{"type":"function","function":{"name":"f"}}"#), ToolChoice::Function("f".into()));
        let allowed = r#"{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[]}}"#;
        assert!(
            matches!(choice(allowed), ToolChoice::Other(item) if item.value == allowed && item.kind == "allowed_tools")
        );
        assert_eq!(
            decode_members(r#","function_call":{"name":"f"}"#).unwrap().tool_choice,
            Some(ToolChoice::Function("f".into()))
        );
    }

    #[test]
    fn unknown_members_are_kept_with_their_place() {
        let request = decode_members(
            r#","verbosity":"low","stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}"#,
        )
        .unwrap();
        let names: Vec<_> = request.extra.iter().map(|field| (field.name.as_str(), field.value.as_str())).collect();
        assert_eq!(names, [("verbosity", "\"low\""), ("stream_options/include_obfuscation", "false")]);
        assert!(request.stream_usage);
    }

    #[test]
    fn deprecated_functions_become_tools_with_ids() {
        let body = r#"{"model":"m","functions":[{"name":"f","parameters":{}}],"messages":[
            {"role":"user","content":"x"},
            {"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"}},
            {"role":"function","name":"f","content":"1"}]}"#;
        let request = decode(body).unwrap();
        let Ir::ToolCall(call) = &request.messages[1].parts[0].content else { panic!() };
        let Ir::ToolResult(result) = &request.messages[2].parts[0].content else { panic!() };
        assert_eq!((&call.id, result.name.as_deref()), (&result.call_id, Some("f")));
    }
}
