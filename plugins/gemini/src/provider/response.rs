//! A whole answer (<https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse>).

use portcullis_plugin::json;
use portcullis_plugin::prelude::*;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error;
use crate::wire::answer::{WireAnswer, WireCandidate, block_reason};
use crate::wire::part::AnswerIds;
use crate::{FORMAT, finish, signature, usage};

pub fn decode(context: &Context, body: &str) -> Result<Response, Failure> {
    let wire: WireAnswer = json::parse_upstream(body)?;
    if let Some(error) = &wire.error {
        return Err(error::of(context, error.get(), 0));
    }
    let id = wire.id.unwrap_or_default();
    let model = wire.model.unwrap_or_default();
    let mut extra = wire.extra;
    let mut counted = wire.usage.as_deref().and_then(usage::decode);
    if let Some(usage) = &wire.usage {
        extra.push(Field::new(usage::EXTRA, usage.get()));
    }
    if let Some(created) = &wire.created {
        extra.push(Field::new("createTime", json::quote(created)));
    }
    let searches: u64 = wire
        .candidates
        .0
        .iter()
        .filter_map(|candidate| candidate.grounding.as_deref())
        .map(|grounding| usage::searches(&model, grounding))
        .sum();
    if searches > 0 {
        counted.get_or_insert_default().searches = searches;
    }
    let mut choices: Vec<_> = wire.candidates.0.into_iter().map(|candidate| choice(context, &id, candidate)).collect();
    let blocked = block_reason(wire.feedback.as_deref());
    if let Some(feedback) = &wire.feedback {
        extra.push(Field::new("promptFeedback", feedback.get()));
    }
    if choices.is_empty() {
        let Some(reason) = blocked else {
            return Err(Failure::upstream_protocol(
                "the provider's answer has neither candidates nor a reason for that",
            ));
        };
        choices.push(Choice {
            index: 0,
            parts: Vec::new(),
            finish: Some(finish::blocked(reason)),
            logprobs: None,
            extra: Vec::new(),
        });
    }
    let created = wire.created.as_deref().and_then(seconds);
    Ok(Response { format: FORMAT.to_owned(), id, model, created, choices, usage: counted, extra })
}

fn choice(context: &Context, answer: &str, wire: WireCandidate) -> Choice {
    let index = wire.index();
    let mut calls = 0;
    let mut parts = Vec::new();
    let mut ids = AnswerIds { context, answer, choice: index, calls: &mut calls };
    for part in wire.content.unwrap_or_default().parts.0 {
        push(&mut parts, part.into_part(&mut ids));
    }
    let mut extra = wire.extra;
    if let Some(grounding) = wire.grounding {
        extra.push(Field::new("groundingMetadata", grounding.get()));
    }
    let finish = wire.finish.map(|reason| finish::decode(reason.0, calls > 0));
    Choice { index, parts, finish, logprobs: wire.logprobs.map(|logprobs| logprobs.get().to_owned()), extra }
}

/// Adds a part, and beside it what brings its signature back through protocols that know only signed reasoning.
fn push(parts: &mut Vec<Part>, part: Part) {
    let carrier = signature::of(&part).map(|own| match &part.content {
        Content::ToolCall(call) => (signature::carrier(&own, Some(&call.id)), true),
        _ => (signature::carrier(&own, None), false),
    });
    match carrier {
        Some((carrier, true)) => parts.extend([carrier, part]),
        Some((carrier, false)) => parts.extend([part, carrier]),
        None => parts.push(part),
    }
}

pub fn seconds(time: &str) -> Option<u64> {
    OffsetDateTime::parse(time, &Rfc3339).ok()?.unix_timestamp().try_into().ok()
}
