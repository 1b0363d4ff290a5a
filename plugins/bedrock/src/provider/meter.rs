//! Usage and finish of an answer that is passed through. Only what is needed is read: the content is skipped, not copied.

use portcullis_plugin::json;
use portcullis_plugin::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::error;
use super::response::additional;
use crate::stop;
use crate::usage::WireUsage;

/// A whole answer, or any frame of a stream.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireFrame {
    stop_reason: Option<String>,
    usage: Option<WireUsage>,
    additional_model_response_fields: Option<Box<RawValue>>,
}

pub fn read(metered: &mut Metered, frames: &[Frame], last: bool) -> Result<(), Failure> {
    for frame in frames.iter().filter(|frame| !frame.data.is_empty()) {
        if error::is_exception(&frame.event) {
            metered.failure = Some(error::exception(&frame.event, &frame.data));
            continue;
        }
        let wire: WireFrame = json::parse_upstream(&frame.data)?;
        if let Some(usage) = wire.usage {
            metered.usage = Some(usage.usage());
        }
        if let Some(reason) = wire.stop_reason {
            let sequence = wire.additional_model_response_fields.and_then(|raw| additional(raw.get(), &mut Vec::new()));
            metered.finishes = vec![stop::decode(reason, sequence)];
        }
    }
    if last && metered.finishes.is_empty() && metered.failure.is_none() {
        metered.failure = Some(Failure::upstream_protocol("the provider's answer ended early"));
    }
    Ok(())
}
