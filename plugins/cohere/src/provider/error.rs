//! Errors: `{"id", "message"}` with a status (<https://docs.cohere.com/v2/reference/errors>), which alone tells what happened but for a
//! few messages.

use std::time::{Duration, SystemTime};

use portcullis_plugin::json;
use portcullis_plugin::prelude::*;
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireError {
    message: Option<String>,
    /// The compatibility API has OpenAI's shape.
    error: Option<Inner>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Inner {
    message: Option<String>,
}

pub fn decode(context: &Context, head: &AnswerHead, body: &str) -> Failure {
    let wire: WireError = json::from_str(body).unwrap_or_default();
    let message = wire.message.or_else(|| wire.error.and_then(|inner| inner.message));
    let message = message
        .filter(|message| !message.is_empty())
        .unwrap_or_else(|| format!("the provider answered {}", head.status));
    let kind = kind(head.status, &message);
    Failure { retry_after: retry_after(context, head), ..Failure::new(kind, message) }
}

/// An error within a stream that has begun has no status.
pub fn in_stream(message: String) -> Failure {
    let kind = by_message(&message).unwrap_or(FailureKind::Unavailable);
    Failure::new(kind, message)
}

fn kind(status: u16, message: &str) -> FailureKind {
    match status {
        400 | 413 | 422 => by_message(message).unwrap_or(FailureKind::InvalidRequest),
        // The account reached its billing limit, which waiting does not change.
        402 => FailureKind::Permission,
        // "This error is returned when a request or response contains a deny-listed token" (the API's description).
        498 => FailureKind::ContentFilter,
        // "… when a request is cancelled by the user", which a gateway in between is not.
        499 => FailureKind::Timeout,
        501 => FailureKind::UnsupportedFeature,
        status => FailureKind::of_status(status),
    }
}

/// Wordings of the documentation's examples and of the error library of Portkey.
fn by_message(message: &str) -> Option<FailureKind> {
    let message = message.to_ascii_lowercase();
    let has = |part: &str| message.contains(part);
    if has("too many tokens") || has("size limit exceeded") || has("maximum context length") {
        Some(FailureKind::ContextLength)
    } else if has("blocked output") || has("blocked input") || has("content filter") {
        Some(FailureKind::ContentFilter)
    } else if has("model") && has("not found") {
        Some(FailureKind::NotFound)
    } else if has("is not supported") || has("does not support") {
        Some(FailureKind::UnsupportedFeature)
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
            (400, "invalid request: list of documents must not be empty", FailureKind::InvalidRequest),
            (
                400,
                "too many tokens: total number of tokens in the prompt cannot exceed 4081",
                FailureKind::ContextLength,
            ),
            (400, "too many tokens: max tokens must be less than or equal to 4096", FailureKind::ContextLength),
            (400, "invalid request: model 'x' is not supported by the generate API", FailureKind::UnsupportedFeature),
            (400, "invalid request: response_format is not supported with RAG.", FailureKind::UnsupportedFeature),
            (401, "invalid api token", FailureKind::Authentication),
            (402, "Please add or update your payment method", FailureKind::Permission),
            (403, "forbidden", FailureKind::Permission),
            (404, "model 'nonexistent' not found, make sure the correct model ID was used", FailureKind::NotFound),
            (413, "content too large", FailureKind::InvalidRequest),
            (422, "unprocessable", FailureKind::InvalidRequest),
            (429, "You are using a Trial key, which is limited to 40 API calls / minute.", FailureKind::RateLimited),
            (498, "deny-listed", FailureKind::ContentFilter),
            (499, "request cancelled", FailureKind::Timeout),
            (500, "internal server error", FailureKind::Unavailable),
            (501, "not implemented", FailureKind::UnsupportedFeature),
            (503, "busy", FailureKind::Overloaded),
            (504, "slow", FailureKind::Timeout),
        ] {
            let failure = decoded(status, &[], &format!(r#"{{"id":"i","message":{}}}"#, json::quote(message)));
            assert_eq!((failure.kind, failure.message.as_str()), (expected, message), "{status}");
        }
    }

    #[test]
    fn a_body_that_is_not_cohere_s_is_told_by_its_status() {
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
