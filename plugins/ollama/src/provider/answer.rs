//! A whole answer, and what its document shares with the lines of a stream (`ChatResponse` of the API's description).

use portcullis_plugin::json;
use portcullis_plugin::prelude::*;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error;
use crate::{FORMAT, finish, ids, usage};

portcullis_plugin::wire_object! {
    pub struct WireAnswer {
        model: Option<String>,
        created_at: Option<String>,
        message: Option<WireMessage>,
        done: Option<bool>,
        done_reason: Option<String>,
        prompt_eval_count: Option<u64>,
        eval_count: Option<u64>,
        logprobs: Option<Box<RawValue>>,
        error: Option<Box<RawValue>>,
    }

    pub struct WireMessage {
        role: Option<String>,
        content: Option<String>,
        thinking: Option<String>,
        images: Option<Vec<String>>,
        tool_calls: Option<Vec<WireCall>>,
    }

    pub struct WireCall {
        id: Option<String>,
        function: Option<WireFunction>,
    }

    pub struct WireFunction {
        name: Option<String>,
        arguments: Option<Box<RawValue>>,
    }
}

pub fn decode(context: &Context, body: &str) -> Result<Response, Failure> {
    let wire: WireAnswer = json::parse_upstream(body)?;
    if let Some(error) = &wire.error {
        return Err(error::in_stream(error));
    }
    let message = wire.message.ok_or_else(|| Failure::upstream_protocol("the provider's answer holds no message"))?;
    let mut parts = Vec::new();
    if let Some(text) = message.thinking.filter(|text| !text.is_empty()) {
        let format = FORMAT.to_owned();
        let reasoning = Reasoning { text, summary: false, signature: None, redacted: None, format };
        parts.push(Part::new(Content::Reasoning(reasoning)));
    }
    parts.extend(message.content.filter(|text| !text.is_empty()).map(Part::text));
    parts.extend(message.images.into_iter().flatten().map(image));
    let calls = message.tool_calls.unwrap_or_default();
    let called = !calls.is_empty();
    for (index, call) in (0..).zip(calls) {
        parts.push(Part::new(Content::ToolCall(tool_call(context, index, call)?)));
    }
    let choice = Choice {
        index: 0,
        parts,
        finish: Some(finish::decode(wire.done_reason, called)),
        logprobs: wire.logprobs.map(|raw| raw.get().to_owned()),
        extra: message.extra,
    };
    Ok(Response {
        format: FORMAT.to_owned(),
        id: context.request_id.clone(),
        model: wire.model.unwrap_or_default(),
        created: wire.created_at.as_deref().and_then(seconds),
        choices: vec![choice],
        usage: usage::usage(wire.prompt_eval_count, wire.eval_count),
        extra: wire.extra,
    })
}

/// A picture that a model made. Its type is not told.
pub fn image(data: String) -> Part {
    Part::new(Content::Image(Media { source: Source::Base64(data), media_type: None, name: None, detail: None }))
}

/// `2024-05-24T21:01:59.481632Z`, in seconds since the Unix epoch.
pub fn seconds(text: &str) -> Option<u64> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(at.unix_timestamp()).ok()
}

pub fn tool_call(context: &Context, index: u32, call: WireCall) -> Result<ToolCall, Failure> {
    let function = call.function.unwrap_or_default();
    let Some(name) = function.name.filter(|name| !name.is_empty()) else {
        return Err(Failure::upstream_protocol("a tool call of the provider's answer names no function"));
    };
    let id = call.id.filter(|id| !id.is_empty()).unwrap_or_else(|| ids::derived(context, index));
    let arguments = match function.arguments.as_deref().map(RawValue::get) {
        None | Some("null") => "{}".to_owned(),
        // Some models' templates make a string of the object.
        Some(raw) if raw.starts_with('"') => json::from_str(raw).unwrap_or_else(|_| raw.to_owned()),
        Some(raw) => raw.to_owned(),
    };
    Ok(ToolCall { id, name, arguments, custom: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_zone() {
        assert_eq!(seconds("2024-05-24T21:01:59.481632Z"), Some(1_716_584_519));
        assert_eq!(seconds("2024-05-24T23:01:59+02:00"), Some(1_716_584_519));
        assert_eq!(seconds("yesterday"), None);
    }
}
