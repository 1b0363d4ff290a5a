//! What the ledger needs of answers that are passed through. Only that is read: the content is skipped, not copied.

use portcullis_plugin::json;
use portcullis_plugin::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::error;
use crate::manifest::{CHAT, EMBEDDINGS};
use crate::{finish, usage};

/// A whole answer, a line of a stream, or embeddings in Ollama's shape.
#[derive(Default, Deserialize)]
#[serde(default)]
struct WireAnswer {
    model: Option<String>,
    done: Option<bool>,
    done_reason: Option<String>,
    message: Option<WireMessage>,
    prompt_eval_count: Option<u64>,
    eval_count: Option<u64>,
    error: Option<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireMessage {
    tool_calls: Option<Vec<serde::de::IgnoredAny>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireCompatible {
    model: Option<String>,
    usage: Option<WireCounts>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireCounts {
    prompt_tokens: Option<u64>,
}

pub fn read(endpoint: &str, metered: &mut Metered, frames: &[Frame], last: bool) -> Result<(), Failure> {
    for frame in frames.iter().filter(|frame| !frame.data.trim().is_empty()) {
        if endpoint == EMBEDDINGS {
            let wire: WireCompatible = json::parse_upstream(&frame.data)?;
            metered.model = metered.model.take().or(wire.model);
            if let Some(counts) = wire.usage {
                metered.usage = usage::usage(counts.prompt_tokens, None);
            }
        } else {
            answer(metered, &frame.data)?;
        }
    }
    if last && endpoint == CHAT {
        metered.finishes.retain(|finish| !is_pending(finish));
    }
    if last && endpoint == CHAT && metered.finishes.is_empty() && metered.failure.is_none() {
        metered.failure = Some(Failure::upstream_protocol("the provider's answer ended early"));
    }
    Ok(())
}

fn answer(metered: &mut Metered, data: &str) -> Result<(), Failure> {
    let wire: WireAnswer = json::parse_upstream(data)?;
    if let Some(error) = &wire.error {
        metered.failure = Some(error::in_stream(error));
        return Ok(());
    }
    metered.model = metered.model.take().or(wire.model);
    if let Some(usage) = usage::usage(wire.prompt_eval_count, wire.eval_count) {
        metered.usage = Some(usage);
    }
    let calls = wire.message.and_then(|message| message.tool_calls).is_some_and(|calls| !calls.is_empty());
    let called = calls || metered.finishes.iter().any(is_pending);
    if wire.done == Some(true) {
        let reason = wire.done_reason.unwrap_or_else(|| "stop".to_owned());
        metered.finishes = vec![finish::decode(Some(reason), called)];
    } else if called {
        metered.finishes = vec![finish::decode(None, true)];
    }
    Ok(())
}

/// Calls came, and their answer's end did not yet: an end has a word.
fn is_pending(finish: &Finish) -> bool {
    finish.raw.is_empty()
}
