//! A whole answer (`V2ChatResponse` of the SDK). It names no model.

use portcullis_plugin::json;
use portcullis_plugin::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::wire::{self, WireCall};
use crate::usage::WireUsage;
use crate::{FORMAT, TOOL_PLAN, finish};

portcullis_plugin::wire_object! {
    struct WireAnswer {
        id: Option<String>,
        finish_reason: Option<String>,
        message: Option<WireMessage>,
        usage: Option<WireUsage>,
        logprobs: Option<Box<RawValue>>,
    }

    struct WireMessage {
        role: Option<String>,
        content: Option<Vec<Box<RawValue>>>,
        tool_plan: Option<String>,
        tool_calls: Option<Vec<WireCall>>,
        citations: Option<Vec<Box<RawValue>>>,
    }

    struct WireBlock {
        kind as "type": Option<String>,
        text: Option<String>,
        thinking: Option<String>,
    }
}

/// Where a citation stands. The block is left out where there is one.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct WireCitation {
    pub content_index: Option<u64>,
}

pub fn decode(body: &str) -> Result<Response, Failure> {
    let wire: WireAnswer = json::parse_upstream(body)?;
    let (Some(message), Some(reason)) = (wire.message, wire.finish_reason) else {
        return Err(Failure::upstream_protocol("the provider's answer holds no message"));
    };
    let choice = Choice {
        index: 0,
        finish: Some(finish::decode(reason)),
        logprobs: wire.logprobs.map(|raw| raw.get().to_owned()),
        ..choice(message)?
    };
    Ok(Response {
        format: FORMAT.to_owned(),
        id: wire.id.unwrap_or_default(),
        model: String::new(),
        created: None,
        choices: vec![choice],
        usage: wire.usage.and_then(|usage| usage.usage()),
        extra: wire.extra,
    })
}

fn choice(message: WireMessage) -> Result<Choice, Failure> {
    let mut parts = Vec::new();
    if let Some(plan) = message.tool_plan.filter(|plan| !plan.is_empty()) {
        parts.push(Part { carry: vec![Field::new(TOOL_PLAN, "true")], ..Part::new(wire::reasoning(plan)) });
    }
    let blocks = message.content.unwrap_or_default();
    let first = parts.len();
    for raw in &blocks {
        parts.push(block(raw)?);
    }
    let mut extra = message.extra;
    if let Some(citations) = message.citations.filter(|citations| !citations.is_empty()) {
        cite(&mut parts[first..], citations, &mut extra);
    }
    for call in message.tool_calls.into_iter().flatten() {
        parts.push(tool_call(call)?);
    }
    Ok(Choice { index: 0, parts, finish: None, logprobs: None, extra })
}

fn block(raw: &RawValue) -> Result<Part, Failure> {
    let wire: WireBlock = json::parse_upstream(raw.get())?;
    let content = match (wire.kind.as_deref(), wire.text, wire.thinking) {
        (Some("text"), Some(text), _) => Content::Text(text),
        (Some("thinking"), _, Some(text)) => wire::reasoning(text),
        (kind, ..) => {
            let kind = kind.unwrap_or_default().to_owned();
            let value = raw.get().to_owned();
            return Ok(Part::new(Content::Other(RawItem { format: FORMAT.to_owned(), kind, value })));
        }
    };
    Ok(Part { extra: wire.extra, ..Part::new(content) })
}

/// Gives each text its citations; those that stand in none stay with the message.
fn cite(blocks: &mut [Part], citations: Vec<Box<RawValue>>, extra: &mut Vec<Field>) {
    let text = blocks.iter().position(|part| matches!(part.content, Content::Text(_)));
    let mut left: Vec<_> = citations
        .into_iter()
        .map(|raw| {
            let own = json::from_str::<WireCitation>(raw.get()).ok().and_then(|wire| wire.content_index);
            (own.map_or(text, |index| usize::try_from(index).ok()), raw)
        })
        .collect();
    for (at, part) in blocks.iter_mut().enumerate() {
        let (own, rest): (Vec<_>, Vec<_>) = left.into_iter().partition(|(index, _)| *index == Some(at));
        left = rest;
        if !own.is_empty() {
            part.carry.push(wire::citations(own.iter().map(|(_, raw)| &**raw)));
        }
    }
    if !left.is_empty() {
        extra.push(Field::new("citations", wire::citations(left.iter().map(|(_, raw)| &**raw)).value));
    }
}

fn tool_call(call: WireCall) -> Result<Part, Failure> {
    let function = call.function.unwrap_or_default();
    let (Some(id), Some(name)) = (call.id, function.name) else {
        return Err(Failure::upstream_protocol("a tool call of the provider's answer has no id or name"));
    };
    let arguments = function.arguments.filter(|text| !text.trim().is_empty() && text.trim() != "null");
    let call = ToolCall { id, name, arguments: arguments.unwrap_or_else(|| "{}".to_owned()), custom: false };
    Ok(Part::new(Content::ToolCall(call)))
}
