//! Whole answers to the internal representation.

use portcullis_openai_chat::provider::response::service_tier;
use portcullis_plugin::ir::{Choice, Content, Failure, Field, Part, Response, Usage};
use portcullis_plugin::json;

use crate::responses::FORMAT;
use crate::responses::wire::answer::{Answer, ToolUsage, finish, searches};
use crate::responses::wire::item::{self, Decoded};
use crate::wire::error::WireError;

pub fn decode(body: &str) -> Result<Response, Failure> {
    let mut wire: Answer = json::parse_upstream(body)?;
    if let Some(failure) = failure(&wire) {
        return Err(failure);
    }
    let output = wire.output.take();
    let output = output.ok_or_else(|| Failure::upstream_protocol("the provider's answer has no `output`"))?;
    let mut parts = Vec::with_capacity(output.len());
    for (index, item) in output.iter().enumerate() {
        parts.extend(decode_item(index, item.get())?);
    }
    let tool_usage: Option<ToolUsage> = json::field(&wire.extra, "tool_usage");
    let searched = searches(tool_usage.as_ref(), output.iter().map(|item| item.get()));
    let incomplete = wire.incomplete_details.and_then(|details| details.reason);
    let finish = finish(wire.status.as_deref(), incomplete.as_deref(), calls(&parts), refuses(&parts));
    let tier = service_tier(&wire.extra);
    let mut extra = wire.extra;
    if finish.is_none() {
        extra.extend(wire.status.map(|status| Field::new("status", json::quote(&status))));
    }
    Ok(Response {
        format: FORMAT.to_owned(),
        id: wire.id.unwrap_or_default(),
        model: wire.model.unwrap_or_default(),
        created: wire.created_at.map(|seconds| seconds as u64),
        choices: vec![Choice { index: 0, parts, finish, logprobs: None, extra: Vec::new() }],
        usage: wire.usage.map(|usage| Usage { service_tier: tier, ..usage.count(searched) }),
        extra,
    })
}

/// What went wrong, where the answer is that it failed.
pub fn failure(answer: &Answer) -> Option<Failure> {
    let said = answer.error.as_deref().map(|error| error.get()).filter(|error| *error != "null");
    let failed = answer.status.as_deref() == Some("failed");
    if !failed && (said.is_none() || answer.output.is_some()) {
        return None;
    }
    Some(WireError::parse(said.unwrap_or("{}")).failure(None))
}

/// The parts of an item of the output. An item of somebody else's is passed over: a compaction repeats the user's messages.
pub fn decode_item(index: usize, item: &str) -> Result<Vec<Part>, Failure> {
    let decoded = item::decode(item).map_err(|fault| {
        Failure::upstream_protocol(format!("output[{index}].{} of the provider's answer: {}", fault.member, fault.why))
    })?;
    Ok(match decoded {
        Decoded::Assistant { parts, .. } => parts.into_iter().filter(tells).collect(),
        Decoded::Other(part) | Decoded::Result(part) => vec![raw_part(part, item)],
        Decoded::Message { .. } => Vec::new(),
    })
}

/// An output of a tool that ran at the provider is nobody's result.
fn raw_part(part: Part, item: &str) -> Part {
    match part.content {
        Content::ToolResult(_) => item::raw_item("function_call_output", item),
        _ => part,
    }
}

/// A thought without text and proof tells nobody anything.
fn tells(part: &Part) -> bool {
    match &part.content {
        Content::Reasoning(thought) => {
            !thought.text.is_empty() || thought.signature.is_some() || thought.redacted.is_some()
        }
        _ => true,
    }
}

pub fn calls(parts: &[Part]) -> bool {
    parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)))
}

pub fn refuses(parts: &[Part]) -> bool {
    parts.iter().any(|part| matches!(part.content, Content::Refusal(_)))
}
