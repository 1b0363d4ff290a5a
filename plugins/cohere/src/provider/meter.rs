//! What the ledger needs of answers that are passed through. Only that is read: the content is skipped, not copied.

use portcullis_plugin::json;
use portcullis_plugin::prelude::*;
use serde::Deserialize;

use super::error;
use crate::finish;
use crate::manifest::{CHAT, EMBEDDINGS};
use crate::usage::{Units, WireUsage, count};

pub fn read(endpoint: &str, metered: &mut Metered, frames: &[Frame], last: bool) -> Result<(), Failure> {
    for frame in frames.iter().filter(|frame| !frame.data.is_empty() && frame.data != "[DONE]") {
        match endpoint {
            CHAT => chat(metered, &frame.data)?,
            EMBEDDINGS => compatible(metered, &frame.data)?,
            _ => passed(metered, &frame.data)?,
        }
    }
    if last && endpoint == CHAT && metered.finishes.is_empty() && metered.failure.is_none() {
        metered.failure = Some(Failure::upstream_protocol("the provider's answer ended early"));
    }
    Ok(())
}

/// A whole answer or an event of a stream, whose last has the facts within `delta`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct WireChat {
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<String>,
    finish_reason: Option<String>,
    usage: Option<WireUsage>,
    delta: Option<WireDelta>,
    message: Option<WireText>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireDelta {
    finish_reason: Option<String>,
    usage: Option<WireUsage>,
    error: Option<String>,
}

/// `message` is the answer, or an error's text.
#[derive(Deserialize)]
#[serde(untagged)]
enum WireText {
    Error(String),
    Message(serde::de::IgnoredAny),
}

fn chat(metered: &mut Metered, data: &str) -> Result<(), Failure> {
    let wire: WireChat = json::parse_upstream(data)?;
    if let (None, Some(WireText::Error(message))) = (&wire.kind, wire.message) {
        metered.failure = Some(error::in_stream(message));
        return Ok(());
    }
    metered.id = metered.id.take().or(wire.id);
    let delta = wire.delta.unwrap_or_default();
    if let Some(usage) = wire.usage.or(delta.usage).and_then(|usage| usage.usage()) {
        metered.usage = Some(usage);
    }
    if let Some(reason) = wire.finish_reason.or(delta.finish_reason) {
        if let Some(error) = delta.error {
            metered.failure = Some(finish::failure(&reason, &error));
        }
        metered.finishes = vec![finish::decode(reason)];
    }
    Ok(())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WirePassed {
    id: Option<String>,
    meta: Option<WireMeta>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireMeta {
    billed_units: Option<Units>,
}

/// Rerank and embeddings (`ApiMetaBilledUnits` of the SDK). Pictures are counted in pieces by the older models and in tokens by
/// `embed-v4.0`, at a price of their own: there they count as one piece, so that they are never taken for text.
fn passed(metered: &mut Metered, data: &str) -> Result<(), Failure> {
    let wire: WirePassed = json::parse_upstream(data)?;
    metered.id = metered.id.take().or(wire.id);
    if let Some(units) = wire.meta.and_then(|meta| meta.billed_units) {
        let pictured = u64::from(count(units.image_tokens) > 0);
        metered.usage = Some(Usage {
            input: count(units.input_tokens.or(units.text_tokens)),
            output: count(units.output_tokens),
            searches: count(units.search_units),
            images: count(units.images).max(pictured),
            ..Usage::default()
        });
    }
    Ok(())
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
    prompt_tokens: Option<f64>,
}

fn compatible(metered: &mut Metered, data: &str) -> Result<(), Failure> {
    let wire: WireCompatible = json::parse_upstream(data)?;
    metered.model = metered.model.take().or(wire.model);
    if let Some(usage) = wire.usage {
        metered.usage = Some(Usage { input: count(usage.prompt_tokens), ..Usage::default() });
    }
    Ok(())
}
