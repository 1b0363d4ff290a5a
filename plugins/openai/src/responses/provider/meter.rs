//! What the ledger needs of an answer that is passed through: read from a whole body or from a stream's selected frames, without
//! building anything else.

use portcullis_plugin::ir::{Failure, Finish, FinishReason, Frame, Usage};
use portcullis_plugin::json;
use portcullis_plugin::provider::Metered;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::responses::wire::answer::{ToolUsage, finish, searches};
use crate::responses::wire::item::Tag;
use crate::responses::wire::usage::WireUsage;
use crate::wire::error::WireError;

/// What an event is about.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Event {
    #[serde(rename = "type")]
    kind: Option<String>,
    response: Option<Reading>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Reading {
    id: Option<String>,
    model: Option<String>,
    status: Option<String>,
    usage: Option<WireUsage>,
    output: Option<Vec<Box<RawValue>>>,
    incomplete_details: Option<Incomplete>,
    error: Option<Box<RawValue>>,
    tool_usage: Option<ToolUsage>,
    service_tier: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Incomplete {
    reason: Option<String>,
}

pub fn read(metered: &mut Metered, frames: &[Frame], last: bool) {
    for frame in frames {
        let data = frame.data.trim();
        if data.is_empty() || data == "[DONE]" {
            continue;
        }
        // Usage already read still counts.
        if let Err(error) = read_document(metered, data) {
            let failure = Failure::upstream_protocol(format!("a frame is not as the protocol says: {error}"));
            metered.failure.get_or_insert(failure);
        }
    }
    if last && metered.finishes.is_empty() && metered.failure.is_none() {
        metered.failure = Some(Failure::upstream_protocol("the answer ended before it was finished"));
    }
}

fn read_document(metered: &mut Metered, data: &str) -> serde_json::Result<()> {
    let Event { kind, response } = json::from_str(data)?;
    match (kind.as_deref(), response) {
        (Some("error"), _) => metered.failure = Some(WireError::parse(data).failure(None)),
        (Some(kind), Some(reading)) => {
            let ends = ["response.completed", "response.incomplete", "response.failed"].contains(&kind);
            take(metered, reading, ends);
        }
        (Some(_), None) => {}
        (None, _) => take(metered, json::from_str(data)?, true),
    }
    Ok(())
}

fn take(metered: &mut Metered, reading: Reading, ends: bool) {
    if let Some(id) = reading.id.filter(|id| !id.is_empty()) {
        metered.id = Some(id);
    }
    if let Some(model) = reading.model.filter(|model| !model.is_empty()) {
        metered.model = Some(model);
    }
    let output = reading.output.unwrap_or_default();
    let items = || output.iter().map(|item| item.get());
    if let Some(usage) = reading.usage {
        let service_tier = Usage::service_tier_of(reading.service_tier.as_deref());
        let counted = usage.count(searches(reading.tool_usage.as_ref(), items()));
        metered.usage = Some(Usage { service_tier, ..counted });
    }
    if !ends {
        return;
    }
    let error = reading.error.as_deref().map(|error| error.get()).filter(|error| *error != "null");
    if reading.status.as_deref() == Some("failed") || (error.is_some() && reading.status.is_none()) {
        metered.failure = Some(WireError::parse(error.unwrap_or("{}")).failure(None));
        return;
    }
    let kind = |item: &str| json::from_str::<Tag>(item).ok().and_then(|tag| tag.kind).map(|kind| kind.into_owned());
    let called = items().filter_map(kind).any(|kind| kind == "function_call" || kind == "custom_tool_call");
    let incomplete = reading.incomplete_details.and_then(|details| details.reason);
    let finished = finish(reading.status.as_deref(), incomplete.as_deref(), called, false);
    // An answer in the background goes on elsewhere: this one is all there is.
    let unfinished =
        || Finish { reason: FinishReason::Other, raw: reading.status.clone().unwrap_or_default(), stop_sequence: None };
    metered.finishes.push(finished.unwrap_or_else(unfinished));
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
    fn a_stream_that_stops_short_is_a_failure() {
        let created =
            r#"{"type":"response.created","response":{"id":"r","model":"m","status":"in_progress","usage":null}}"#;
        let metered = read_all(&[created]);
        assert_eq!((metered.id.as_deref(), metered.model.as_deref()), (Some("r"), Some("m")));
        assert!(metered.failure.is_some() && metered.finishes.is_empty());
    }

    #[test]
    fn an_answer_in_the_background_is_no_failure() {
        let metered = read_all(&[r#"{"id":"r","object":"response","status":"queued","output":[],"error":null}"#]);
        assert_eq!((metered.failure, metered.finishes[0].raw.as_str()), (None, "queued"));
    }

    #[test]
    fn searches_are_counted_where_the_answer_does_not_say() {
        let item = |action: &str| format!(r#"{{"type":"web_search_call","action":{{"type":"{action}"}}}}"#);
        let body = |usage: &str| {
            format!(
                r#"{{"status":"completed","output":[{},{}],"usage":{{"input_tokens":1}}{usage}}}"#,
                item("search"),
                item("open_page")
            )
        };
        assert_eq!(read_all(&[&body("")]).usage.unwrap().searches, 1);
        let said = r#","tool_usage":{"web_search":{"num_requests":3}}"#;
        assert_eq!(read_all(&[&body(said)]).usage.unwrap().searches, 3);
    }
}
