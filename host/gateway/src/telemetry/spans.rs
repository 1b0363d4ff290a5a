//! From a receipt to spans: one of kind SERVER for the request, and within it one of kind CLIENT for each attempt at a provider.
//!
//! Names and attributes by the semantic conventions for generative AI,
//! <https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/gen-ai-spans.md>, as read in November 2026
//! (status: development, on top of semantic conventions 1.41), and for HTTP servers,
//! <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>. What is the gateway's own is `portcullis.*`.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use portcullis_core::Receipt;
use portcullis_core::receipt::Attempt;

use super::trace::Trace;

/// Characters of a name that a client chose.
const NAME_CHARACTERS: usize = 128;

/// Who stands behind a connection.
pub struct Target {
    /// The provider plugin.
    pub plugin: String,
    pub host: String,
    pub port: u16,
}

/// The spans of a request. `target` knows the connections by their names.
pub fn of(
    trace: &Trace,
    method: &str,
    path: &str,
    receipt: &Receipt,
    target: impl Fn(&str) -> Option<Target>,
) -> Vec<SpanData> {
    let mut spans = vec![request(trace, method, path, receipt)];
    for attempt in &receipt.attempts {
        let last = attempt.number as usize == receipt.attempts.len();
        spans.push(client(trace, receipt, attempt, last, target(&attempt.provider)));
    }
    spans
}

fn request(trace: &Trace, method: &str, path: &str, receipt: &Receipt) -> SpanData {
    let outcome = &receipt.outcome;
    let mut attributes = vec![
        KeyValue::new("http.request.method", method.to_owned()),
        KeyValue::new("http.route", path.to_owned()),
        KeyValue::new("http.response.status_code", i64::from(outcome.status)),
        KeyValue::new("portcullis.request_id", receipt.request_id.to_string()),
        KeyValue::new("portcullis.key_id", receipt.caller.key_id.to_string()),
        KeyValue::new("portcullis.organisation", receipt.caller.organisation.to_string()),
        KeyValue::new("portcullis.dialect", receipt.dialect.to_string()),
        KeyValue::new("portcullis.requested_model", short(&receipt.requested_model)),
        KeyValue::new("portcullis.outcome", outcome.code.to_string()),
        KeyValue::new("portcullis.overhead_us", whole(receipt.timings.overhead_us)),
    ];
    if let Some(team) = receipt.caller.team {
        attributes.push(KeyValue::new("portcullis.team", team.to_string()));
    }
    if let Some(reason) = &outcome.reason {
        attributes.push(KeyValue::new("portcullis.reason", reason.to_string()));
    }
    if let Some(cost) = &receipt.cost {
        attributes.push(KeyValue::new("portcullis.cost_nano_usd", whole(cost.total_nano.get())));
    }
    if !receipt.plugins.is_empty() {
        let lines = receipt.plugins.iter();
        attributes.push(strings(
            "portcullis.plugins",
            lines
                .map(|call| format!("{}/{} {} {} {}us", call.name, call.role, call.version, call.verdict, call.micros)),
        ));
    }
    let failed = outcome.status >= 500;
    if failed {
        attributes.push(KeyValue::new("error.type", outcome.status.to_string()));
    }
    let start = SystemTime::UNIX_EPOCH + Duration::from_millis(receipt.time_ms);
    SpanData {
        parent_span_id: trace.parent.unwrap_or(SpanId::INVALID),
        parent_span_is_remote: trace.parent.is_some(),
        span_kind: SpanKind::Server,
        ..span(trace, trace.span(), format!("{method} {path}"), start, receipt.timings.total_us, attributes, failed)
    }
}

fn client(trace: &Trace, receipt: &Receipt, attempt: &Attempt, last: bool, target: Option<Target>) -> SpanData {
    let operation = operation(&receipt.operation);
    let model = short(&attempt.model);
    let mut attributes = vec![
        KeyValue::new("gen_ai.operation.name", operation.to_owned()),
        KeyValue::new("gen_ai.request.model", model.clone()),
        KeyValue::new("gen_ai.request.stream", receipt.stream),
        KeyValue::new("portcullis.connection", attempt.provider.to_string()),
        KeyValue::new("portcullis.attempt", i64::from(attempt.number)),
    ];
    let plugin = target.as_ref().map_or(&*attempt.provider, |target| &target.plugin);
    attributes.push(KeyValue::new("gen_ai.provider.name", provider(plugin).to_owned()));
    if let Some(target) = target {
        attributes.push(KeyValue::new("server.address", target.host));
        attributes.push(KeyValue::new("server.port", i64::from(target.port)));
    }
    if let Some(answered) = &attempt.answered_model {
        attributes.push(KeyValue::new("gen_ai.response.model", short(answered)));
    }
    if let Some(id) = &attempt.upstream_id {
        attributes.push(KeyValue::new("gen_ai.response.id", short(id)));
    }
    if let Some(status) = attempt.status {
        attributes.push(KeyValue::new("http.response.status_code", i64::from(status)));
    }
    if let Some(kind) = attempt.failure {
        attributes.push(KeyValue::new("error.type", kind.code()));
    }
    // What was used and how it ended is the answer's, and that is the last attempt's.
    if last && attempt.failure.is_none() {
        answered(receipt, attempt, &mut attributes);
    }
    let start = SystemTime::UNIX_EPOCH + Duration::from_millis(receipt.time_ms.saturating_add(attempt.started_ms));
    let failed = attempt.failure.is_some();
    SpanData {
        parent_span_id: trace.span(),
        span_kind: SpanKind::Client,
        ..span(
            trace,
            trace.attempt(attempt.number),
            format!("{operation} {model}"),
            start,
            attempt.duration_us,
            attributes,
            failed,
        )
    }
}

fn answered(receipt: &Receipt, attempt: &Attempt, attributes: &mut Vec<KeyValue>) {
    if let Some(usage) = &receipt.usage {
        // By the conventions what was read from a cache or written to it is part of the input, as audio is in either count.
        let counts = [
            ("gen_ai.usage.input_tokens", usage.total_input(), true),
            ("gen_ai.usage.output_tokens", usage.output, true),
            ("gen_ai.usage.cache_read.input_tokens", usage.cache_read, false),
            ("gen_ai.usage.cache_creation.input_tokens", usage.cache_write_short + usage.cache_write_long, false),
            ("gen_ai.usage.reasoning.output_tokens", usage.reasoning, false),
            ("gen_ai.usage.audio.input_tokens", usage.audio_input, false),
            ("gen_ai.usage.audio.output_tokens", usage.audio_output, false),
        ];
        for (name, count, always) in counts {
            if always || count > 0 {
                attributes.push(KeyValue::new(name, whole(count)));
            }
        }
    }
    let reasons = &receipt.outcome.finish_reasons;
    if !reasons.is_empty() {
        attributes
            .push(strings("gen_ai.response.finish_reasons", reasons.iter().map(|reason| reason.replace('-', "_"))));
    }
    if let (true, Some(first)) = (receipt.stream, receipt.timings.first_byte_us) {
        let asked = attempt.started_ms.saturating_mul(1000);
        let seconds = first.saturating_sub(asked) as f64 / 1e6;
        attributes.push(KeyValue::new("gen_ai.response.time_to_first_chunk", seconds));
    }
}

fn span(
    trace: &Trace,
    id: SpanId,
    name: String,
    start: SystemTime,
    micros: u64,
    attributes: Vec<KeyValue>,
    failed: bool,
) -> SpanData {
    SpanData {
        span_context: SpanContext::new(trace.trace, id, TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: Cow::Owned(name),
        start_time: start,
        end_time: start + Duration::from_micros(micros),
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        // The code is in `error.type`; a description could only repeat it.
        status: if failed { Status::error("") } else { Status::Unset },
        instrumentation_scope: InstrumentationScope::builder("portcullis")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    }
}

/// The conventions' word for an operation, where they have one.
fn operation(operation: &str) -> &str {
    match operation {
        "completions" => "text_completion",
        other => other,
    }
}

/// The conventions' word for a provider, where it is not the plugin's name.
fn provider(plugin: &str) -> &str {
    match plugin {
        "anthropic-vertex" => "gcp.vertex_ai",
        "azure" => "azure.ai.openai",
        "bedrock" => "aws.bedrock",
        "gemini" => "gcp.gemini",
        "mistral" => "mistral_ai",
        "xai" => "x_ai",
        other => other,
    }
}

fn short(name: &str) -> String {
    name.chars().take(NAME_CHARACTERS).collect()
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn strings(name: &'static str, values: impl Iterator<Item = String>) -> KeyValue {
    KeyValue::new(name, Value::Array(Array::String(values.map(StringValue::from).collect())))
}
