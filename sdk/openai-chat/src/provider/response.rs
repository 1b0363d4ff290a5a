//! Whole answers to the internal representation.

use portcullis_plugin::ir::{Choice, Content, Context, Failure, Field, Response};
use portcullis_plugin::json;
use serde_json::value::RawValue;

use super::{call_id, finish};
use crate::wire::error::WireError;
use crate::wire::{Completion, FORMAT, WireChoice, keep_nested};

pub fn decode(context: &Context, body: &str) -> Result<Response, Failure> {
    let wire: Completion = json::parse_upstream(body)?;
    // OpenRouter answers 200 with an error inside when the provider behind it failed.
    if let (Some(error), None) = (&wire.error, &wire.choices) {
        return Err(WireError::parse(error.get()).failure(None));
    }
    let choices = wire.choices.ok_or_else(|| Failure::upstream_protocol("the provider's answer has no `choices`"))?;
    let choices = (0..).zip(choices).map(|(index, choice)| decode_choice(context, index, choice));
    let mut response = Response {
        format: FORMAT.to_owned(),
        id: wire.id.unwrap_or_default(),
        model: wire.model.unwrap_or_default(),
        created: wire.created.map(|seconds| seconds as u64),
        choices: choices.collect::<Result<_, _>>()?,
        usage: wire.usage.map(|usage| usage.count()),
        extra: wire.extra,
    };
    response.extra.extend(wire.error.map(|error| Field::new("error", error.get())));
    Ok(response)
}

fn decode_choice(context: &Context, position: u32, wire: WireChoice) -> Result<Choice, Failure> {
    let index = wire.index.unwrap_or(position);
    // Azure leaves the message out where its filter withheld it.
    let mut message = wire.message.unwrap_or_default();
    let parts = message
        .take_assistant_parts(|call| call_id(context, index, call as u32))
        .map_err(|member| Failure::upstream_protocol(format!("choices[{index}].message.{member} is missing")))?;
    let refused = parts.iter().any(|part| matches!(part.content, Content::Refusal(_)));
    let mut extra = wire.extra;
    keep_nested(&mut extra, "message/", message.extra);
    Ok(Choice {
        index,
        parts,
        finish: wire.finish_reason.map(|word| finish(&word, refused)),
        logprobs: wire.logprobs.map(raw),
        extra,
    })
}

pub fn raw(value: Box<RawValue>) -> String {
    Box::<str>::from(value).into()
}
