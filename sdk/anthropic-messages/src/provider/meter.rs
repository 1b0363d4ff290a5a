//! Id, model, usage and finish of an answer that is passed through. Only what is needed is read: the content is skipped, not
//! copied.

use portcullis_plugin::json;
use portcullis_plugin::prelude::*;
use serde::Deserialize;

use super::error::{self, WireError};
use crate::stop;
use crate::usage::WireUsage;

/// A whole message or any frame of a stream.
#[derive(Default, Deserialize)]
#[serde(default)]
struct WireFrame {
    #[serde(rename = "type")]
    kind: String,
    message: Option<WireMessage>,
    delta: Option<WireDelta>,
    error: Option<WireError>,
    usage: Option<WireUsage>,
    // A whole message's own.
    id: Option<String>,
    model: Option<String>,
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireMessage {
    id: Option<String>,
    model: Option<String>,
    usage: Option<WireUsage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireDelta {
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
}

pub fn read(metered: &mut Metered, frames: &[Frame], last: bool) -> Result<(), Failure> {
    for frame in frames.iter().filter(|frame| !frame.data.is_empty()) {
        let wire: WireFrame = json::parse_upstream(&frame.data)?;
        match &*wire.kind {
            "message" => {
                metered.id = wire.id;
                metered.model = wire.model;
                count(metered, wire.usage);
                finish(metered, wire.stop_reason, wire.stop_sequence);
            }
            "message_start" => {
                if let Some(message) = wire.message {
                    metered.id = message.id;
                    metered.model = message.model;
                    count(metered, message.usage);
                }
            }
            "message_delta" => {
                count(metered, wire.usage);
                if let Some(delta) = wire.delta {
                    finish(metered, delta.stop_reason, delta.stop_sequence);
                }
            }
            "error" => metered.failure = Some(error::of(wire.error.unwrap_or_default(), 0)),
            // Google's own errors have no type.
            "" if wire.error.is_some() => metered.failure = wire.error.map(|error| error::of(error, 0)),
            _ => {}
        }
    }
    if last && metered.finishes.is_empty() && metered.failure.is_none() {
        metered.failure = Some(Failure::upstream_protocol("the provider's answer ended early"));
    }
    Ok(())
}

fn count(metered: &mut Metered, usage: Option<WireUsage>) {
    if let Some(usage) = usage {
        usage.merge_into(metered.usage.get_or_insert_default());
    }
}

fn finish(metered: &mut Metered, reason: Option<String>, sequence: Option<String>) {
    if let Some(reason) = reason {
        metered.finishes = vec![stop::decode(reason, sequence)];
    }
}
