//! A message: in a request, in an answer, and in pieces as a stream's `delta`, which has the same members.

use std::fmt;

use portcullis_plugin::ir::{Content as Ir, Field, Part, RawItem, ToolCall as IrCall};
use portcullis_plugin::json::{self, Writer};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::content::Content;
use super::reasoning::{self, Detail};
use super::{FORMAT, rebuild};

portcullis_plugin::wire_object! {
    pub struct Message {
        role: Option<String>,
        content: Content,
        name: Option<String>,
        refusal: Option<String>,
        tool_calls: Option<Vec<ToolCall>>,
        tool_call_id: Option<String>,
        /// Deprecated in favour of `tool_calls`.
        function_call: Option<Function>,
        reasoning_content: Option<String>,
        reasoning: Option<String>,
        reasoning_details: Option<Vec<Detail>>,
    }

    pub struct ToolCall {
        index: Option<u32>,
        id: Option<String>,
        kind as "type": Option<String>,
        function: Option<Function>,
        custom: Option<Custom>,
    }

    pub struct Function {
        name: Option<String>,
        arguments: Option<Arguments>,
    }

    pub struct Custom {
        name: Option<String>,
        input: Option<String>,
    }
}

/// The `carry` field that marks a call made as the deprecated `function_call`, so that an answer gives it back as one.
pub const LEGACY_CALL: &str = "openai.function-call";

/// The `carry` field that tells a tool call of a kind not modelled from a content part of one.
pub const RAW_CALL: &str = "openai.tool-call";

/// The `carry` field of a part that Gemini signed, as the contract's example has it. A call says it as Google's own endpoint of this
/// protocol does, in `extra_content.google.thought_signature` (<https://ai.google.dev/gemini-api/docs/thought-signatures>, "OpenAI
/// compatibility").
pub const THOUGHT_SIGNATURE: &str = "gemini.thought-signature";

/// Where a call has what a provider adds of its own.
const EXTRA_CONTENT: &str = "extra_content";

/// Takes Gemini's signature out of a call's members, and says it as a `carry` field. An empty one, which a guard leaves of what it
/// changed, is none. What else another provider may say there stays.
pub fn take_thought_signature(extra: &mut Vec<Field>) -> Option<Field> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Extra {
        google: Google,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Google {
        thought_signature: String,
    }
    let at = extra.iter().position(|field| field.name == EXTRA_CONTENT)?;
    let own = json::from_str::<Extra>(&extra[at].value).ok()?.google.thought_signature;
    extra.remove(at);
    (!own.is_empty()).then(|| Field::new(THOUGHT_SIGNATURE, json::quote(&own)))
}

/// Writes the signature that a call carries, where it does, into the call's object.
pub fn write_thought_signature(writer: &mut Writer, carry: &[Field]) {
    if let Some(field) = carry.iter().find(|field| field.name == THOUGHT_SIGNATURE) {
        writer.member_raw(EXTRA_CONTENT, &format!(r#"{{"google":{{"thought_signature":{}}}}}"#, field.value));
    }
}

/// Arguments: JSON in a string, or, from some compatible servers, the object itself.
#[derive(Debug, Default)]
pub struct Arguments(pub String);

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ArgumentsVisitor;

        impl<'de> Visitor<'de> for ArgumentsVisitor {
            type Value = Arguments;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a JSON string")
            }

            fn visit_str<E>(self, text: &str) -> Result<Arguments, E> {
                Ok(Arguments(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Arguments, A::Error> {
                let value = serde_json::Value::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Arguments(value.to_string()))
            }
        }

        deserializer.deserialize_any(ArgumentsVisitor)
    }
}

impl Message {
    /// Takes the parts of an assistant's message, in the order the wire cannot tell: reasoning, text, refusal, tool calls.
    /// `call_id` mints the id of the n-th call where the wire has none. An error names the member at fault.
    pub fn take_assistant_parts(&mut self, call_id: impl Fn(usize) -> String) -> Result<Vec<Part>, String> {
        let plain = self.reasoning_content.take().or(self.reasoning.take());
        let mut parts = reasoning::parts(plain, self.reasoning_details.take().unwrap_or_default());
        match std::mem::take(&mut self.content) {
            Content::Absent => {}
            Content::Text(text) => {
                if !text.is_empty() {
                    parts.push(Part::text(text));
                }
            }
            Content::Parts(list) => {
                for (index, part) in list.into_iter().enumerate() {
                    match part.thinking {
                        Some(thinking) => parts.extend(reasoning::parts(Some(thinking.0), Vec::new())),
                        None => {
                            parts.push(part.into_part().map_err(|member| format!("content[{index}].{member}"))?);
                        }
                    }
                }
            }
        }
        if let Some(refusal) = self.refusal.take().filter(|refusal| !refusal.is_empty()) {
            parts.push(Part::new(Ir::Refusal(refusal)));
        }
        let calls = self.tool_calls.take().unwrap_or_default();
        for (index, call) in calls.into_iter().enumerate() {
            parts.push(call.into_part(|| call_id(index)).map_err(|member| format!("tool_calls[{index}].{member}"))?);
        }
        if let Some(call) = self.function_call.take() {
            let mut part = Part::new(Ir::ToolCall(IrCall {
                id: call_id(0),
                name: call.name.ok_or("function_call.name")?,
                arguments: complete(call.arguments),
                custom: false,
            }));
            part.carry.push(Field::new(LEGACY_CALL, "true"));
            parts.push(part);
        }
        Ok(parts)
    }
}

impl ToolCall {
    fn into_part(mut self, call_id: impl FnOnce() -> String) -> Result<Part, &'static str> {
        let signed = take_thought_signature(&mut self.extra);
        let call = match (self.function, self.custom) {
            (Some(function), _) => IrCall {
                id: self.id.filter(|id| !id.is_empty()).unwrap_or_else(call_id),
                name: function.name.ok_or("function.name")?,
                arguments: complete(function.arguments),
                custom: false,
            },
            (None, Some(custom)) => IrCall {
                id: self.id.filter(|id| !id.is_empty()).unwrap_or_else(call_id),
                name: custom.name.ok_or("custom.name")?,
                arguments: custom.input.unwrap_or_default(),
                custom: true,
            },
            (None, None) => {
                let kind = self.kind.ok_or("function")?;
                let mut members: Vec<Field> =
                    self.id.map(|id| Field::new("id", json::quote(&id))).into_iter().collect();
                members.extend(self.extra);
                let value = rebuild(Some(&kind), None, &members);
                let mut part = Part::new(Ir::Other(RawItem { format: FORMAT.to_owned(), kind, value }));
                part.carry.push(Field::new(RAW_CALL, "true"));
                return Ok(part);
            }
        };
        Ok(Part { content: Ir::ToolCall(call), cache: None, carry: signed.into_iter().collect(), extra: self.extra })
    }
}

/// A function's arguments are JSON; a call without any is `{}`.
fn complete(arguments: Option<Arguments>) -> String {
    arguments.map(|arguments| arguments.0).filter(|text| !text.trim().is_empty()).unwrap_or_else(|| "{}".to_owned())
}

/// Writes a tool call's members but for `index`: `id`, `type`, and the function or custom tool. The object is the caller's.
pub fn write_call(writer: &mut Writer, id: &str, name: &str, arguments: &str, custom: bool) {
    let (kind, text) = if custom { ("custom", "input") } else { ("function", "arguments") };
    writer.member_string("id", id);
    writer.member_string("type", kind);
    writer.key(kind);
    writer.begin_object();
    writer.member_string("name", name);
    writer.member_string(text, arguments);
    writer.end_object();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(json: &str) -> Vec<Part> {
        serde_json::from_str::<Message>(json).unwrap().take_assistant_parts(|index| format!("made-{index}")).unwrap()
    }

    #[test]
    fn arguments_may_be_missing_empty_or_an_object() {
        for (arguments, expected) in [
            ("", "{}"),
            (r#","arguments":"""#, "{}"),
            (r#","arguments":null"#, "{}"),
            (r#","arguments":{"a":1}"#, r#"{"a":1}"#),
        ] {
            let json = format!(r#"{{"tool_calls":[{{"function":{{"name":"f"{arguments}}}}}]}}"#);
            let parts = parts(&json);
            let Ir::ToolCall(call) = &parts[0].content else { panic!() };
            assert_eq!((call.arguments.as_str(), call.id.as_str()), (expected, "made-0"));
        }
    }

    #[test]
    fn content_lists_with_thinking_are_read() {
        let parts = parts(
            r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"4"}]}"#,
        );
        assert!(matches!(&parts[0].content, Ir::Reasoning(reasoning) if reasoning.text == "hm"));
        assert_eq!(parts[1].content, Ir::Text("4".into()));
    }

    #[test]
    fn a_signature_is_carried_and_what_else_stands_there_stays() {
        let call = |extra: &str| {
            let json = format!(r#"{{"tool_calls":[{{"id":"c","function":{{"name":"f"}},"extra_content":{extra}}}]}}"#);
            let part = parts(&json).remove(0);
            let mut writer = Writer::new();
            writer.begin_object();
            write_thought_signature(&mut writer, &part.carry);
            writer.end_object();
            (writer.finish(), part.extra.len())
        };
        let signed = r#"{"google":{"thought_signature":"A\"B"}}"#;
        assert_eq!(call(signed), (format!(r#"{{"extra_content":{signed}}}"#), 0));
        assert_eq!(call(r#"{"google":{"thought_signature":""}}"#), ("{}".to_owned(), 0));
        for other in ["null", "{}", r#"{"google":{"thought_signature":"A","more":1}}"#, r#"{"other":{}}"#] {
            assert_eq!(call(other), ("{}".to_owned(), 1), "{other}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = |json: &str| {
            serde_json::from_str::<Message>(json).unwrap().take_assistant_parts(|_| String::new()).unwrap_err()
        };
        assert_eq!(error(r#"{"tool_calls":[{"function":{}}]}"#), "tool_calls[0].function.name");
        assert_eq!(error(r#"{"content":[{"type":"text"}]}"#), "content[0].text");
    }
}
