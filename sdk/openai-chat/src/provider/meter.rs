//! What the ledger needs of an answer that is passed through: read from a whole body or from a stream's selected frames, without
//! building anything else.

use portcullis_plugin::ir::{Failure, Frame, Usage};
use portcullis_plugin::json;
use portcullis_plugin::provider::Metered;
use serde::Deserialize;

use super::finish;
use crate::wire::error::WireError;
use crate::wire::usage::WireUsage;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Document {
    id: Option<String>,
    model: Option<String>,
    usage: Option<WireUsage>,
    choices: Option<Vec<ChoiceEnd>>,
    error: Option<WireError>,
    x_groq: Option<Groq>,
    service_tier: Option<String>,
}

/// See [`groq_usage`](super::response::groq_usage).
#[derive(Deserialize)]
struct Groq {
    usage: Option<WireUsage>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ChoiceEnd {
    finish_reason: Option<String>,
}

pub fn read(metered: &mut Metered, frames: &[Frame], last: bool) {
    let mut done = false;
    for frame in frames {
        let data = frame.data.trim();
        if data.is_empty() {
            continue;
        }
        if data == "[DONE]" {
            done = true;
            continue;
        }
        match json::from_str::<Document>(data) {
            Ok(document) => take(metered, document),
            // Usage already read still counts.
            Err(error) => {
                let failure = Failure::upstream_protocol(format!("a frame is not as the protocol says: {error}"));
                metered.failure.get_or_insert(failure);
            }
        }
    }
    if last && !done && metered.finishes.is_empty() && metered.failure.is_none() {
        metered.failure = Some(Failure::upstream_protocol("the answer ended before it was finished"));
    }
}

fn take(metered: &mut Metered, document: Document) {
    if metered.id.is_none() {
        metered.id = document.id.filter(|id| !id.is_empty());
    }
    if let Some(model) = document.model.filter(|model| !model.is_empty()) {
        metered.model = Some(model);
    }
    let of_groq = document.x_groq.and_then(|groq| groq.usage);
    if let Some(usage) = document.usage.or(of_groq) {
        let service_tier = Usage::service_tier_of(document.service_tier.as_deref());
        metered.usage = Some(Usage { service_tier, ..usage.count() });
    }
    let ends = document.choices.unwrap_or_default().into_iter().filter_map(|choice| choice.finish_reason);
    metered.finishes.extend(ends.map(|word| finish(&word, false)));
    if let Some(error) = document.error {
        metered.failure = Some(error.failure(None));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(frames: &[&str]) -> Metered {
        let mut metered = Metered::default();
        let frames: Vec<_> = frames.iter().map(|data| Frame::data(*data)).collect();
        read(&mut metered, &frames, true);
        metered
    }

    #[test]
    fn a_stream_that_stops_short_is_a_failure_and_keeps_its_usage() {
        let metered =
            read_all(&[r#"{"id":"a","model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#]);
        assert!(metered.failure.is_some());
        assert_eq!(metered.usage.map(|usage| (usage.input, usage.output)), Some((3, 1)));
    }

    #[test]
    fn null_usage_does_not_erase_a_count() {
        let metered = read_all(&[
            r#"{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":3}}"#,
            r#"{"choices":[],"usage":null}"#,
            "[DONE]",
        ]);
        assert_eq!((metered.usage.map(|usage| usage.input), metered.failure), (Some(3), None));
    }
}
