//! A client's request to the internal representation. Invariant: what is not modelled is in some `extra`, under its own name or,
//! inside a nested object, under `object/name`; or it is a raw item. Nothing is dropped here.
//!
//! `instructions` are the first system message. The assistant's consecutive items make one message, since other protocols have
//! reasoning, text and parallel calls of a turn together.

use std::borrow::Cow;
use std::collections::BTreeMap;

use portcullis_plugin::ir::{
    Content, Failure, Field, FunctionTool, JsonSchema, Logprobs, Message, Part, RawItem, ReasoningSettings, Request,
    ResponseFormat, Role, Tool, ToolChoice,
};
use portcullis_plugin::json;
use serde_json::value::RawValue;

use crate::responses::FORMAT;
use crate::responses::wire::answer::REPEATED;
use crate::responses::wire::item::{self, Decoded, Tag};
use crate::responses::wire::raw;
use crate::responses::wire::request::{self as wire, Choose, CreateResponse, Input, TextFormat, WireReasoning};
use crate::wire::rebuild;

pub fn decode(body: &str) -> Result<Request, Failure> {
    let wire: CreateResponse = json::parse(body)?;
    let missing = |name: &str| {
        Failure::invalid(name, format!("Missing required parameter: '{name}'.")).with_code("missing_required_parameter")
    };
    let mut request = Request::new(FORMAT, wire.model.ok_or_else(|| missing("model"))?);
    request.extra = wire.extra;
    if let Some(instructions) = wire.instructions {
        request.messages.push(Message::new(Role::System, vec![Part::text(instructions)]));
    }
    match wire.input {
        // What is continued or stored at the provider needs no input of its own.
        Input::Absent => {
            let stored = ["previous_response_id", "conversation", "prompt"];
            if !request.extra.iter().any(|field| stored.contains(&field.name.as_str()) && field.value != "null") {
                return Err(missing("input"));
            }
        }
        Input::Text(text) => request.messages.push(Message::new(Role::User, vec![Part::text(text)])),
        Input::Items(items) => input(&mut request.messages, items)?,
    }
    request.tools = tools(wire.tools.unwrap_or_default())?;
    request.tool_choice = wire.tool_choice.map(tool_choice).transpose()?;
    request.parallel_tool_calls = wire.parallel_tool_calls;
    if let Some(text) = wire.text {
        keep(&mut request.extra, wire::TEXT_MEMBER, text.extra);
        request.response_format = text.format.map(|format| response_format(format, &mut request.extra)).transpose()?;
    }
    request.reasoning = wire.reasoning.and_then(|reasoning| settings(reasoning, &mut request.extra));
    request.sampling.temperature = wire.temperature;
    request.sampling.top_p = wire.top_p;
    request.max_output_tokens = wire.max_output_tokens;
    request.logprobs = logprobs(wire.top_logprobs, &request.extra);
    request.stream = wire.stream.unwrap_or(false);
    // This protocol's streams always end with usage.
    request.stream_usage = true;
    request.user = wire.user;
    request.metadata = wire.metadata.map(|metadata| metadata.0).unwrap_or_default();
    request.echo = repeated(body)?;
    Ok(request)
}

/// What the answer will repeat, as it stands in the request; a null there is a default.
fn repeated(body: &str) -> Result<Vec<Field>, Failure> {
    let members: BTreeMap<Cow<'_, str>, &RawValue> = json::parse(body)?;
    let asked = |&name: &&str| members.get(name).filter(|value| value.get() != "null");
    let repeated = REPEATED.iter().filter_map(|name| Some(Field::new(*name, asked(name)?.get())));
    Ok(repeated.collect())
}

fn keep(into: &mut Vec<Field>, prefix: &str, members: Vec<Field>) {
    into.extend(members.into_iter().map(|member| Field::new(format!("{prefix}{}", member.name), member.value)));
}

fn input(messages: &mut Vec<Message>, items: Vec<Box<RawValue>>) -> Result<(), Failure> {
    let first = messages.len();
    for (index, raw) in items.iter().enumerate() {
        let decoded = item::decode(raw.get()).map_err(|fault| {
            let place = format!("input[{index}]");
            let param = if fault.member.is_empty() { place } else { format!("{place}.{}", fault.member) };
            Failure::invalid(&param, format!("Invalid value for '{param}': {}.", fault.why.trim_end_matches('.')))
        })?;
        match decoded {
            Decoded::Message { role, parts, extra } => {
                messages.push(Message { role, parts, name: None, extra });
            }
            Decoded::Result(part) => messages.push(Message::new(Role::Tool, vec![part])),
            Decoded::Assistant { parts, is_message } => match messages[first..].last_mut() {
                Some(turn) if joins(turn, is_message) => turn.parts.extend(parts),
                _ if parts.is_empty() => {}
                _ => messages.push(Message::new(Role::Assistant, parts)),
            },
            // It goes with what it follows, so that no message is left empty where only this format knows it.
            Decoded::Other(part) => match messages[first..].last_mut() {
                Some(turn) if turn.role != Role::Tool => turn.parts.push(part),
                _ => messages.push(Message::new(Role::User, vec![part])),
            },
        }
    }
    Ok(())
}

/// Whether an item of the assistant continues this message. Two messages of its own stay two.
fn joins(turn: &Message, is_message: bool) -> bool {
    let spoken = |part: &Part| matches!(part.content, Content::Text(_) | Content::Refusal(_));
    turn.role == Role::Assistant && !(is_message && turn.parts.last().is_some_and(spoken))
}

fn tools(wire: Vec<Box<RawValue>>) -> Result<Vec<Tool>, Failure> {
    (0..).zip(wire).map(|(index, tool): (usize, _)| decode_tool(index, &tool)).collect()
}

fn decode_tool(index: usize, raw_tool: &RawValue) -> Result<Tool, Failure> {
    let invalid = |member: &str| {
        let param = format!("tools[{index}].{member}");
        Failure::invalid(&param, format!("Missing required parameter: '{param}'."))
    };
    let tag: Tag = json::from_str(raw_tool.get()).map_err(|_| invalid("type"))?;
    let kind = tag.kind.ok_or_else(|| invalid("type"))?;
    if kind != "function" {
        let value = raw_tool.get().to_owned();
        return Ok(Tool::Other(RawItem { format: FORMAT.to_owned(), kind: kind.into_owned(), value }));
    }
    let function: wire::FunctionTool = json::parse(raw_tool.get()).map_err(|mut failure| {
        failure.param = Some(format!("tools[{index}].{}", failure.param.unwrap_or_default()));
        failure
    })?;
    Ok(Tool::Function(FunctionTool {
        name: function.name.ok_or_else(|| invalid("name"))?,
        description: function.description,
        parameters: function.parameters.map(raw),
        strict: function.strict,
        cache: None,
        extra: function.extra,
    }))
}

fn tool_choice(choice: Choose) -> Result<ToolChoice, Failure> {
    let other = |kind: &str, value: String| {
        ToolChoice::Other(RawItem { format: FORMAT.to_owned(), kind: kind.to_owned(), value })
    };
    Ok(match choice {
        Choose::Word(word) => match word.as_str() {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "required" => ToolChoice::Required,
            _ => other(&word, json::quote(&word)),
        },
        Choose::Named { kind, name, mut members } => match (kind.as_deref(), name) {
            (Some("function"), Some(name)) => ToolChoice::Function(name),
            (Some(kind), name) if kind != "function" => {
                members.splice(0..0, name.map(|name| Field::new("name", json::quote(&name))));
                other(kind, rebuild(Some(kind), None, &members))
            }
            (kind, _) => {
                let param = if kind.is_some() { "tool_choice.name" } else { "tool_choice.type" };
                return Err(Failure::invalid(param, format!("Missing required parameter: '{param}'.")));
            }
        },
    })
}

fn response_format(format: TextFormat, extra: &mut Vec<Field>) -> Result<ResponseFormat, Failure> {
    let missing = |param: &str| Failure::invalid(param, format!("Missing required parameter: '{param}'."));
    Ok(match format.kind.as_deref() {
        Some("text") => ResponseFormat::Text,
        Some("json_object") => ResponseFormat::JsonObject,
        Some("json_schema") => {
            keep(extra, wire::FORMAT_MEMBER, format.extra);
            ResponseFormat::JsonSchema(JsonSchema {
                name: format.name,
                description: format.description,
                schema: raw(format.schema.ok_or_else(|| missing("text.format.schema"))?),
                strict: format.strict,
            })
        }
        Some(kind) => {
            let value = rebuild(Some(kind), None, &format.extra);
            ResponseFormat::Other(RawItem { format: FORMAT.to_owned(), kind: kind.to_owned(), value })
        }
        None => return Err(missing("text.format.type")),
    })
}

fn settings(wire: WireReasoning, extra: &mut Vec<Field>) -> Option<ReasoningSettings> {
    keep(extra, wire::REASONING_MEMBER, wire.extra);
    let said = wire.effort.is_some() || wire.summary.is_some();
    said.then_some(ReasoningSettings { effort: wire.effort, budget: None, enabled: None, summary: wire.summary })
}

/// Probabilities come where `include` names them, or where their number is given.
fn logprobs(top: Option<u32>, extra: &[Field]) -> Option<Logprobs> {
    let include: Vec<String> = json::field(extra, "include").unwrap_or_default();
    let included = include.iter().any(|name| name == "message.output_text.logprobs");
    (included || top.is_some_and(|top| top > 0)).then(|| Logprobs { top: top.unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_plugin::ir::FailureKind;

    #[test]
    fn a_fault_is_named_by_its_field() {
        for (body, param) in [
            (r#"{"input":"x"}"#, "model"),
            (r#"{"model":"m"}"#, "input"),
            (r#"{"model":"m","input":7}"#, "input"),
            (r#"{"model":"m","input":[{"role":"robot","content":"x"}]}"#, "input[0].role"),
            (r#"{"model":"m","input":[{"content":"x"}]}"#, "input[0].role"),
            (
                r#"{"model":"m","input":[{"role":"user","content":[{"type":"input_text"}]}]}"#,
                "input[0].content[0].text",
            ),
            (r#"{"model":"m","input":[{"role":"user","content":"x"},{"type":"function_call"}]}"#, "input[1].call_id"),
            (r#"{"model":"m","input":[{"type":"message","id":"msg_1","role":"assistant"}]}"#, "input[0].content"),
            (r#"{"model":"m","input":[{"type":"function_call","id":"fc_1"}]}"#, "input[0].call_id"),
            (r#"{"model":"m","input":[7]}"#, "input[0]"),
            (r#"{"model":"m","input":[null]}"#, "input[0]"),
            (r#"{"model":"m","input":[{"type":"function_call","call_id":"c","name":7}]}"#, "input[0].name"),
            (r#"{"model":"m","input":"x","tools":[{}]}"#, "tools[0].type"),
            (r#"{"model":"m","input":"x","tools":[{"type":"function"}]}"#, "tools[0].name"),
            (r#"{"model":"m","input":"x","tool_choice":{"type":"function"}}"#, "tool_choice.name"),
            (r#"{"model":"m","input":"x","text":{"format":{"type":"json_schema"}}}"#, "text.format.schema"),
            (r#"{"model":"m","input":"x","temperature":"hot"}"#, "temperature"),
        ] {
            let failure = decode(body).unwrap_err();
            assert_eq!((failure.kind, failure.param.as_deref()), (FailureKind::InvalidRequest, Some(param)), "{body}");
        }
    }

    #[test]
    fn what_is_stored_needs_no_input() {
        for stored in [r#""previous_response_id":"resp_1""#, r#""conversation":"conv_1""#, r#""prompt":{"id":"p"}"#] {
            let request = decode(&format!(r#"{{"model":"m",{stored}}}"#)).unwrap();
            assert!(request.messages.is_empty() && request.extra.len() == 1, "{stored}");
        }
        assert!(decode(r#"{"model":"m","previous_response_id":null}"#).is_err());
    }

    #[test]
    fn every_choice_of_tool() {
        let choice = |json: &str| {
            decode(&format!(r#"{{"model":"m","input":"x","tool_choice":{json}}}"#)).unwrap().tool_choice.unwrap()
        };
        assert_eq!(choice(r#""required""#), ToolChoice::Required);
        assert_eq!(choice(r#"{"type":"function","name":"f"}"#), ToolChoice::Function("f".into()));
        for other in [
            r#"{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"f"}]}"#,
            r#"{"type":"custom","name":"f"}"#,
            r#"{"type":"mcp","name":"t","server_label":"s"}"#,
            r#"{"type":"web_search_preview"}"#,
        ] {
            let ToolChoice::Other(item) = choice(other) else { panic!("{other}") };
            assert_eq!(item.value, other);
        }
    }
}
