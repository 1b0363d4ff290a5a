//! Id, model, usage and finish of an answer that is passed through. Only what is needed is read: the content is skipped, not
//! copied.

use portcullis_plugin::json;
use portcullis_plugin::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::error;
use crate::wire::answer::block_reason;
use crate::wire::{Number, Word};
use crate::{finish, usage};

/// A whole answer or a chunk of a stream. Answers are in camel case, whatever the request was.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireAnswer {
    candidates: Vec<WireCandidate>,
    prompt_feedback: Option<Box<RawValue>>,
    usage_metadata: Option<Box<RawValue>>,
    model_version: Option<String>,
    response_id: Option<String>,
    error: Option<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireCandidate {
    index: Option<Number>,
    content: Option<WireContent>,
    finish_reason: Option<Word>,
    grounding_metadata: Option<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireContent {
    parts: Vec<WirePart>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WirePart {
    function_call: Option<serde::de::IgnoredAny>,
}

/// Reads an answer of `endpoint`. What is not generated has no finish.
pub fn read(endpoint: &str, metered: &mut Metered, frames: &[Frame], last: bool) -> Result<(), Failure> {
    for frame in frames.iter().filter(|frame| !frame.data.is_empty()) {
        let wire: WireAnswer = json::parse_upstream(&frame.data)?;
        answer(metered, wire);
    }
    if last && matches!(endpoint, "generate" | "stream") {
        let finished = !metered.finishes.is_empty() && metered.finishes.iter().all(|finish| !is_pending(finish));
        metered.finishes.retain(|finish| !is_pending(finish));
        if !finished && metered.failure.is_none() {
            metered.failure = Some(Failure::upstream_protocol("the provider's answer ended early"));
        }
    }
    Ok(())
}

/// A candidate that has not finished. It may have called functions already, which its own finish reason does not tell.
fn pending(called: bool) -> Finish {
    let reason = if called { FinishReason::ToolCalls } else { FinishReason::Other };
    Finish { reason, raw: String::new(), stop_sequence: None }
}

fn is_pending(finish: &Finish) -> bool {
    finish.raw.is_empty()
}

/// The place of a candidate among the finishes.
fn place(finishes: &mut Vec<Finish>, index: usize) -> &mut Finish {
    // As many candidates as the API can be asked for; more are not its protocol's.
    let index = index.min(63);
    while finishes.len() <= index {
        finishes.push(pending(false));
    }
    &mut finishes[index]
}

fn answer(metered: &mut Metered, wire: WireAnswer) {
    if let Some(error) = &wire.error {
        metered.failure = Some(error::read(error.get(), 0));
        return;
    }
    metered.id = metered.id.take().or(wire.response_id);
    metered.model = metered.model.take().or(wire.model_version);
    let searched = metered.usage.as_ref().map_or(0, |usage| usage.searches);
    if let Some(counted) = wire.usage_metadata.as_deref().and_then(usage::decode) {
        metered.usage = Some(Usage { searches: searched, ..counted });
    }
    let model = metered.model.clone().unwrap_or_default();
    for candidate in wire.candidates {
        if let Some(grounding) = candidate.grounding_metadata {
            let searches = usage::searches(&model, &grounding);
            if searches > 0 {
                metered.usage.get_or_insert_default().searches += searches;
            }
        }
        let index = candidate.index.map_or(0, Number::small) as usize;
        let called = candidate.content.unwrap_or_default().parts.iter().any(|part| part.function_call.is_some());
        let known = place(&mut metered.finishes, index);
        let called = called || known.reason == FinishReason::ToolCalls;
        match candidate.finish_reason {
            Some(reason) => *known = finish::decode(reason.0, called),
            None if is_pending(known) => *known = pending(called),
            None => {}
        }
    }
    if let Some(reason) = block_reason(wire.prompt_feedback.as_deref())
        && metered.finishes.is_empty()
    {
        metered.finishes.push(finish::blocked(reason));
    }
}
