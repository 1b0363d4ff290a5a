//! Items of a conversation, in a request's input and in an answer's output: what they are in the internal representation.

use std::borrow::Cow;

use portcullis_plugin::ir::{Content as Ir, Field, Part, RawItem, Reasoning, ResultPart, Role, ToolCall, ToolResult};
use portcullis_plugin::json;
use serde::Deserialize;

use super::content::Content;
use super::proof;
use super::{CALLER, ITEM_ID, ITEM_MEMBER, NAMESPACE, PHASE, RAW_ITEM, carry, is_idle};
use crate::CUSTOM_TOOL;
use crate::responses::FORMAT;

portcullis_plugin::wire_object! {
    struct MessageItem {
        kind as "type": Option<String>,
        id: Option<String>,
        role: Option<String>,
        content: Content,
        phase: Option<String>,
    }

    struct CallItem {
        kind as "type": Option<String>,
        id: Option<String>,
        call_id: Option<String>,
        name: Option<String>,
        /// JSON in a string, for functions.
        arguments: Option<String>,
        /// Free text, for custom tools.
        input: Option<String>,
        namespace: Option<String>,
    }

    struct OutputItem {
        kind as "type": Option<String>,
        call_id: Option<String>,
        name: Option<String>,
        output: Content,
    }

    pub struct ReasoningItem {
        kind as "type": Option<String>,
        id: Option<String>,
        summary: Option<Vec<Entry>>,
        content: Option<Vec<Entry>>,
        encrypted_content: Option<String>,
        /// The gateway's own mark on another provider's reasoning.
        format: Option<String>,
    }

    pub struct Entry {
        kind as "type": Option<String>,
        text: Option<String>,
    }
}

/// What an item is.
#[derive(Deserialize)]
pub struct Tag<'a> {
    #[serde(rename = "type", borrow, default)]
    pub kind: Option<Cow<'a, str>>,
}

/// An item in the internal representation.
#[derive(Debug)]
pub enum Decoded {
    /// Parts of the assistant's turn.
    Assistant {
        parts: Vec<Part>,
        is_message: bool,
    },
    /// A message of somebody else.
    Message {
        role: Role,
        parts: Vec<Part>,
        extra: Vec<Field>,
    },
    Result(Part),
    /// Something of the client's that only this format knows.
    Other(Part),
}

/// Why an item cannot be decoded: the member at fault and what is wrong with it.
#[derive(Debug, PartialEq)]
pub struct Fault {
    pub member: String,
    pub why: String,
}

impl Fault {
    fn missing(member: impl Into<String>) -> Self {
        Fault { member: member.into(), why: "it is missing".to_owned() }
    }
}

/// Items that the client says and not the model; every other unknown one is the model's.
const CLIENT_ITEMS: &[&str] = &[
    "mcp_approval_response",
    "additional_tools",
    "configuration_update",
    "compaction_trigger",
    "tool_search_output",
    "program_output",
];

pub fn decode(raw: &str) -> Result<Decoded, Fault> {
    if !raw.trim_ascii_start().starts_with('{') {
        return Err(Fault { member: String::new(), why: "it is not an object".to_owned() });
    }
    let tag: Tag = parse(raw)?;
    match tag.kind.as_deref() {
        None | Some("message") => message(parse(raw)?),
        Some("function_call") => call(parse(raw)?, false),
        Some("custom_tool_call") => call(parse(raw)?, true),
        Some("function_call_output") => output(raw, false),
        Some("custom_tool_call_output") => output(raw, true),
        Some("reasoning") => Ok(Decoded::Assistant { parts: reasoning(parse(raw)?), is_message: false }),
        Some(kind) => Ok(other(kind, raw)),
    }
}

fn parse<'a, T: Deserialize<'a>>(raw: &'a str) -> Result<T, Fault> {
    json::parse(raw).map_err(|failure| Fault { member: failure.param.unwrap_or_default(), why: failure.message })
}

/// An item as it came.
pub fn raw_item(kind: &str, raw: &str) -> Part {
    let item = RawItem { format: FORMAT.to_owned(), kind: kind.to_owned(), value: raw.to_owned() };
    let mut part = Part::new(Ir::Other(item));
    part.carry.push(Field::new(RAW_ITEM, "true"));
    part
}

fn other(kind: &str, raw: &str) -> Decoded {
    let part = raw_item(kind, raw);
    match CLIENT_ITEMS.contains(&kind) || kind.ends_with("_call_output") {
        true => Decoded::Other(part),
        false => Decoded::Assistant { parts: vec![part], is_message: false },
    }
}

fn message(item: MessageItem) -> Result<Decoded, Fault> {
    let role = match item.role.as_deref() {
        Some("system") => Role::System,
        Some("developer") => Role::Developer,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some(role) => return Err(Fault { member: "role".to_owned(), why: format!("'{role}' is not a role") }),
        None => return Err(Fault::missing("role")),
    };
    // With an id and nothing else it would name what OpenAI keeps, of which there is nothing here.
    if matches!(item.content, Content::Absent) {
        return Err(Fault::missing("content"));
    }
    let mut parts = item.content.into_parts().map_err(|place| Fault::missing(format!("content{place}")))?;
    let members = item.extra.into_iter().filter(|field| !is_idle(field));
    if role != Role::Assistant {
        let id = item.id.map(|id| Field::new("id", json::quote(&id)));
        return Ok(Decoded::Message { role, parts, extra: id.into_iter().chain(members).collect() });
    }
    parts.retain(|part| !matches!(&part.content, Ir::Text(text) if text.is_empty()));
    for part in &mut parts {
        part.carry.extend(item.id.as_deref().map(|id| carry(ITEM_ID, id)));
        part.carry.extend(item.phase.as_deref().map(|phase| carry(PHASE, phase)));
    }
    if let Some(first) = parts.first_mut() {
        first.extra.extend(members.map(|field| Field::new(format!("{ITEM_MEMBER}{}", field.name), field.value)));
    }
    Ok(Decoded::Assistant { parts, is_message: true })
}

fn call(item: CallItem, custom: bool) -> Result<Decoded, Fault> {
    let arguments = match custom {
        true => item.input.unwrap_or_default(),
        false => item.arguments.filter(|text| !text.trim().is_empty()).unwrap_or_else(|| "{}".to_owned()),
    };
    let id = item.call_id.ok_or_else(|| Fault::missing("call_id"))?;
    let name = item.name.ok_or_else(|| Fault::missing("name"))?;
    let mut part = Part::new(Ir::ToolCall(ToolCall { id, name, arguments, custom }));
    part.carry.extend(item.id.as_deref().map(|id| carry(ITEM_ID, id)));
    part.carry.extend(item.namespace.as_deref().map(|namespace| carry(NAMESPACE, namespace)));
    for field in item.extra {
        match field.name.as_str() {
            "caller" if field.value != "null" => part.carry.push(Field::new(CALLER, field.value)),
            _ if is_idle(&field) => {}
            _ => part.extra.push(field),
        }
    }
    Ok(Decoded::Assistant { parts: vec![part], is_message: false })
}

fn output(raw: &str, custom: bool) -> Result<Decoded, Fault> {
    let item: OutputItem = parse(raw)?;
    // Outputs of tools that a program called can be named without an id; only this format knows them.
    let Some(call_id) = item.call_id else { return Ok(other(item.kind.as_deref().unwrap_or_default(), raw)) };
    let parts: Vec<ResultPart> = item.output.into_result().map_err(|place| Fault::missing(format!("output{place}")))?;
    let result = ToolResult { call_id, name: item.name, parts, is_error: false };
    let mut part = Part::new(Ir::ToolResult(result));
    if custom {
        part.carry.push(Field::new(CUSTOM_TOOL, "true"));
    }
    part.extra.extend(item.extra.into_iter().filter(|field| !is_idle(field)));
    Ok(Decoded::Result(part))
}

/// The parts of a reasoning item: one for each summary or text, with the proof on the last; redacted where there is no text.
pub fn reasoning(item: ReasoningItem) -> Vec<Part> {
    let texts = |entries: Option<Vec<Entry>>| {
        entries.unwrap_or_default().into_iter().filter_map(|entry| entry.text).filter(|text| !text.is_empty())
    };
    let foreign = item.encrypted_content.as_deref().and_then(proof::unwrap);
    // Its own proof was emptied by a guard, so that its id proves nothing either.
    let is_broken = item.encrypted_content.as_deref() == Some("");
    let summaries = texts(item.summary).map(|text| (text, true));
    let mut texts: Vec<(String, bool)> = summaries.chain(texts(item.content).map(|text| (text, false))).collect();
    if let Some(foreign) = foreign {
        let summary = texts.first().is_some_and(|(_, summary)| *summary);
        let thought = Reasoning {
            text: texts.iter().map(|(text, _)| text.as_str()).collect(),
            summary,
            signature: foreign.signature.map(str::to_owned),
            redacted: foreign.redacted.map(str::to_owned),
            format: foreign.format.to_owned(),
        };
        return vec![Part::new(Ir::Reasoning(thought))];
    }
    let id = item.id.as_deref().filter(|_| !is_broken);
    let encrypted = item.encrypted_content.as_deref().filter(|_| !is_broken);
    let redacted = texts.is_empty();
    if redacted {
        texts.push((String::new(), false));
    }
    let last = texts.len() - 1;
    let mut extra: Vec<Field> = item.extra.into_iter().filter(|field| !is_idle(field)).collect();
    let part = |(index, (text, summary)): (usize, (String, bool))| {
        let proof = match index == last {
            true => proof::seal(id, !summary && !redacted, encrypted),
            false => None,
        };
        let (signature, redacted) = match (redacted, encrypted) {
            (false, _) => (proof, None),
            (true, Some(_)) => (None, proof),
            (true, None) => (None, None),
        };
        Part {
            content: Ir::Reasoning(Reasoning { text, summary, signature, redacted, format: FORMAT.to_owned() }),
            cache: None,
            carry: id.map(|id| carry(ITEM_ID, id)).into_iter().collect(),
            extra: std::mem::take(&mut extra),
        }
    };
    texts.into_iter().enumerate().map(part).collect()
}
