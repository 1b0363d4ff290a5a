//! Errors: `{"error": "…"}` with a status, or as a line of a stream that has begun (<https://docs.ollama.com/api/errors>). There is no code:
//! the status tells what happened, and for a few things the message alone.

use std::time::{Duration, SystemTime};

use portcullis_plugin::json;
use portcullis_plugin::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireError {
    error: Option<Box<RawValue>>,
}

/// The endpoints that are compatible with OpenAI's have its shape within.
#[derive(Deserialize)]
#[serde(untagged)]
enum WireMessage {
    Text(String),
    Object { message: String },
}

pub fn decode(context: &Context, head: &AnswerHead, body: &str) -> Failure {
    let wire: WireError = json::from_str(body).unwrap_or_default();
    let message = wire
        .error
        .and_then(|error| text(&error))
        .filter(|message| !message.is_empty())
        .unwrap_or_else(|| format!("the provider answered {}", head.status));
    let kind = kind(head.status, &message);
    Failure { retry_after: retry_after(context, head), ..Failure::new(kind, message) }
}

/// An error that came with status 200.
pub fn in_stream(error: &RawValue) -> Failure {
    let message = text(error).unwrap_or_else(|| "the provider's answer failed without a message".to_owned());
    let kind = by_message(&message).unwrap_or(FailureKind::Unavailable);
    Failure::new(kind, message)
}

/// The message. That of the runner behind the server comes as its whole document in a string (recorded by others of 0.34 and 0.40).
fn text(error: &RawValue) -> Option<String> {
    let message = match json::from_str(error.get()).ok()? {
        WireMessage::Text(message) | WireMessage::Object { message } => message,
    };
    let within = json::from_str::<WireError>(&message).ok().and_then(|wire| wire.error);
    Some(match within.map(|error| json::from_str(error.get())) {
        Some(Ok(WireMessage::Text(message) | WireMessage::Object { message })) => message,
        _ => message,
    })
}

fn kind(status: u16, message: &str) -> FailureKind {
    match status {
        400 | 413 | 422 => by_message(message).unwrap_or(FailureKind::InvalidRequest),
        // A cloud account without credit.
        402 => FailureKind::Permission,
        // "request canceled"
        499 => FailureKind::Timeout,
        500 => by_message(message).unwrap_or(FailureKind::Unavailable),
        status => FailureKind::of_status(status),
    }
}

/// Wordings of issues against ollama/ollama (#6027 and others) and of clients that know them.
fn by_message(message: &str) -> Option<FailureKind> {
    let message = message.to_ascii_lowercase();
    let has = |part: &str| message.contains(part);
    if has("does not support") || has("is not supported for this model") {
        Some(FailureKind::UnsupportedFeature)
    } else if has("context length") || has("context size") || has("context window") {
        Some(FailureKind::ContextLength)
    } else if has("server busy") || has("maximum pending requests") {
        Some(FailureKind::Overloaded)
    } else if has("model") && has("not found") {
        Some(FailureKind::NotFound)
    } else {
        None
    }
}

/// Milliseconds, seconds or a date (RFC 9110, section 10.2.3), a date from the answer's own or else from the request's arrival.
fn retry_after(context: &Context, head: &AnswerHead) -> Option<u64> {
    if let Some(milliseconds) = head.header("retry-after-ms").and_then(|text| number(text, 1.0)) {
        return Some(milliseconds);
    }
    let text = head.header("retry-after")?;
    if let Some(milliseconds) = number(text, 1000.0) {
        return Some(milliseconds);
    }
    let then = httpdate::parse_http_date(text.trim()).ok()?;
    let now = head
        .header("date")
        .and_then(|date| httpdate::parse_http_date(date).ok())
        .unwrap_or(SystemTime::UNIX_EPOCH + Duration::from_millis(context.now));
    Some(then.duration_since(now).map_or(0, |wait| wait.as_millis() as u64))
}

fn number(text: &str, unit: f64) -> Option<u64> {
    let number: f64 = text.trim().parse().ok()?;
    (number.is_finite() && number >= 0.0).then(|| (number * unit).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(status: u16, headers: &[(&str, &str)], body: &str) -> Failure {
        let context =
            Context { now: 784_111_777_000, seed: 0, request_id: String::new(), development: false, extra: Vec::new() };
        let headers = headers.iter().map(|(name, value)| Pair::new(*name, *value)).collect();
        decode(&context, &AnswerHead { endpoint: "chat".to_owned(), status, headers }, body)
    }

    #[test]
    fn every_status_has_its_kind() {
        for (status, message, expected) in [
            (400, "invalid character '}' looking for beginning of value", FailureKind::InvalidRequest),
            (400, "registry.ollama.ai/library/deepseek-r1:7b does not support tools", FailureKind::UnsupportedFeature),
            (400, "\"llama3\" does not support thinking", FailureKind::UnsupportedFeature),
            (400, "the input length exceeds the context length", FailureKind::ContextLength),
            (401, "unauthorized", FailureKind::Authentication),
            (402, "no credit", FailureKind::Permission),
            (404, "model 'llama3.2' not found", FailureKind::NotFound),
            (429, "too many requests", FailureKind::RateLimited),
            (500, "the model failed to generate a response", FailureKind::Unavailable),
            (500, "input length exceeds maximum context length", FailureKind::ContextLength),
            (502, "bad gateway", FailureKind::Unavailable),
            (503, "server busy, please try again.  maximum pending requests exceeded", FailureKind::Overloaded),
        ] {
            let failure = decoded(status, &[], &format!(r#"{{"error":{}}}"#, json::quote(message)));
            assert_eq!((failure.kind, failure.message.as_str()), (expected, message), "{status}");
        }
    }

    #[test]
    fn a_body_of_another_shape_is_told_by_its_status() {
        let failure = decoded(502, &[], "<html>");
        assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Unavailable, "the provider answered 502"));
        assert_eq!(decoded(400, &[], r#"{"error":{"message":"bad"}}"#).message, "bad");
    }

    #[test]
    fn retry_after_in_all_its_spellings() {
        for (name, value, expected) in [
            ("Retry-After", "2", Some(2000)),
            ("Retry-After", "1.5", Some(1500)),
            ("retry-after-ms", "250", Some(250)),
            // RFC 9110's example date is 784111777.
            ("Retry-After", "Sun, 06 Nov 1994 08:49:47 GMT", Some(10_000)),
            ("Retry-After", "Sun, 06 Nov 1994 08:49:27 GMT", Some(0)),
            ("Retry-After", "soon", None),
            ("Retry-After", "-1", None),
        ] {
            assert_eq!(decoded(429, &[(name, value)], "{}").retry_after, expected, "{name}: {value}");
        }
    }
}
