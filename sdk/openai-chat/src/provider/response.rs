//! Whole answers to the internal representation.

use portcullis_plugin::ir::{Choice, Content, Context, Failure, Field, Part, Reasoning, Response, Usage};
use portcullis_plugin::json;
use serde_json::value::RawValue;

use super::think::{Piece, Think};
use super::{call_id, finish, tidy};
use crate::compat::Compat;
use crate::wire::error::WireError;
use crate::wire::usage::WireUsage;
use crate::wire::{Completion, FORMAT, WireChoice, keep_nested};

/// Of OpenAI itself, and of servers of which nothing needs to be known to read them.
pub fn decode(context: &Context, body: &str) -> Result<Response, Failure> {
    decode_for(&Compat::default(), context, body)
}

/// Of a server with its differences.
pub fn decode_for(compat: &Compat, context: &Context, body: &str) -> Result<Response, Failure> {
    let wire: Completion = json::parse_upstream(body)?;
    // OpenRouter answers 200 with an error inside when the provider behind it failed.
    if let (Some(error), None) = (&wire.error, &wire.choices) {
        return Err(WireError::parse(error.get()).failure(None));
    }
    let choices = wire.choices.ok_or_else(|| Failure::upstream_protocol("the provider's answer has no `choices`"))?;
    let choices = (0..).zip(choices).map(|(index, choice)| decode_choice(compat, context, index, choice));
    let usage = wire.usage.or_else(|| groq_usage(&wire.extra));
    let model = wire.model.unwrap_or_default();
    let mut response = Response {
        format: FORMAT.to_owned(),
        id: wire.id.unwrap_or_default(),
        created: wire.created.map(|seconds| seconds as u64),
        choices: choices.collect::<Result<_, _>>()?,
        usage: usage
            .as_ref()
            .map(|usage| Usage { service_tier: service_tier(&wire.extra), ..usage.count_for(compat, &model) }),
        model,
        extra: wire.extra,
    };
    tidy::answer(&mut response.extra);
    response.extra.extend(usage.and_then(|usage| usage.told_cost()));
    response.extra.extend(wire.error.map(|error| Field::new("error", error.get())));
    Ok(response)
}

fn decode_choice(compat: &Compat, context: &Context, position: u32, wire: WireChoice) -> Result<Choice, Failure> {
    let index = wire.index.unwrap_or(position);
    // Azure leaves the message out where its filter withheld it.
    let mut message = wire.message.unwrap_or_default();
    let mut parts = message
        .take_assistant_parts(|call| call_id(context, index, call as u32))
        .map_err(|member| Failure::upstream_protocol(format!("choices[{index}].message.{member} is missing")))?;
    if compat.think_tags {
        parts = split_thinking(parts);
    }
    let refused = parts.iter().any(|part| matches!(part.content, Content::Refusal(_)));
    let mut extra = wire.extra;
    keep_nested(&mut extra, "message/", message.extra);
    tidy::message(&mut extra, "message/");
    let mut logprobs = wire.logprobs.map(raw);
    if let Some(odd) = logprobs.take_if(|value| !tidy::is_logprobs(value)) {
        extra.push(Field::new("provider_logprobs", odd));
    }
    Ok(Choice { index, parts, finish: wire.finish_reason.map(|word| finish(&word, refused)), logprobs, extra })
}

/// Takes the reasoning out of the first text.
fn split_thinking(parts: Vec<Part>) -> Vec<Part> {
    let mut split = Vec::with_capacity(parts.len() + 1);
    let mut think = Think::default();
    for part in parts {
        let Content::Text(text) = &part.content else {
            split.push(part);
            continue;
        };
        let mut pieces = think.push(text);
        pieces.extend(think.end());
        split.extend(pieces.into_iter().map(|piece| match piece {
            Piece::Text(text) => Part { content: Content::Text(text), ..part.clone() },
            Piece::Reasoning(text) => Part::new(Content::Reasoning(Reasoning {
                text,
                summary: false,
                signature: None,
                redacted: None,
                format: FORMAT.to_owned(),
            })),
        }));
    }
    split
}

/// What the usage's rates go by, of an answer's or chunk's own members.
pub fn service_tier(fields: &[Field]) -> Option<String> {
    Usage::service_tier_of(json::field::<String>(fields, "service_tier").as_deref())
}

/// Groq tells the usage of a stream in a member of its own, `x_groq`, and sometimes there alone (recordings).
pub fn groq_usage(fields: &[Field]) -> Option<WireUsage> {
    #[derive(serde::Deserialize)]
    struct Groq {
        usage: Option<WireUsage>,
    }
    json::field::<Groq>(fields, "x_groq")?.usage
}

pub fn raw(value: Box<RawValue>) -> String {
    Box::<str>::from(value).into()
}
