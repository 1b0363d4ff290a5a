//! Errors of the API (<https://platform.claude.com/docs/en/api/errors>), as answers and within streams, and those of Google Cloud, which
//! stands before it there.
//!
//! The type says more than the status, and where the type is general (`invalid_request_error` covers a prompt that is too long
//! and an empty balance) the message is read, although its wording is not promised: a miss falls back to the type.

use portcullis_plugin::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::google;

#[derive(Debug, Default, Deserialize)]
struct WireBody {
    #[serde(default)]
    error: Option<WireError>,
}

/// The `error` object of an answer or a frame.
#[derive(Debug, Default, Deserialize)]
pub struct WireError {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    message: Option<String>,
    /// An object of Anthropic's, a list of Google's.
    #[serde(default)]
    details: Option<Box<RawValue>>,
    /// Google's word.
    #[serde(default)]
    status: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct WireDetails {
    #[serde(default)]
    error_code: Option<String>,
}

pub fn decode(head: &AnswerHead, body: &str) -> Failure {
    // A proxy in between answers in HTML or nothing at all. Google answers a stream's error as a list of one.
    let wire = if body.trim_start().starts_with('[') {
        serde_json::from_str::<Vec<WireBody>>(body).ok().and_then(|bodies| bodies.into_iter().next())
    } else {
        serde_json::from_str::<WireBody>(body).ok()
    };
    let error = wire.and_then(|body| body.error);
    let mut failure = match error {
        Some(error) => of(error, head.status),
        None => Failure::new(by_status(head.status), format!("the provider answered {}", head.status)),
    };
    failure.retry_after = retry_after(head).or(failure.retry_after);
    failure
}

/// A failure from an error object. Within a stream the status is 0, which decides nothing.
pub fn of(error: WireError, status: u16) -> Failure {
    let message = error.message.unwrap_or_else(|| "the provider failed without a message".to_owned());
    if let (None, Some(word)) = (&error.kind, error.status) {
        return google::failure(word, message, error.details.as_deref().map(RawValue::get));
    }
    let kind = match error.kind.as_deref() {
        Some("invalid_request_error") => by_message(&message).unwrap_or(match status {
            0 => FailureKind::InvalidRequest,
            status => by_status(status),
        }),
        Some("authentication_error") => FailureKind::Authentication,
        // The provider's bill is not the caller's fault, nor will trying again help: these credentials do not reach.
        Some("billing_error" | "permission_error") => FailureKind::Permission,
        Some("not_found_error") => FailureKind::NotFound,
        Some("request_too_large") => FailureKind::ContextLength,
        Some("rate_limit_error") => FailureKind::RateLimited,
        Some("overloaded_error") => FailureKind::Overloaded,
        Some("timeout_error") => FailureKind::Timeout,
        Some("api_error") => match by_status(status) {
            kind @ (FailureKind::Timeout | FailureKind::Overloaded) => kind,
            _ => FailureKind::Unavailable,
        },
        _ => by_status(status),
    };
    let param = (kind == FailureKind::InvalidRequest).then(|| param(&message)).flatten().map(str::to_owned);
    let details = error.details.and_then(|details| serde_json::from_str::<WireDetails>(details.get()).ok());
    let code = details.and_then(|details| details.error_code).or(error.kind);
    Failure { kind, message, code, param, retry_after: None }
}

fn by_status(status: u16) -> FailureKind {
    match status {
        401 => FailureKind::Authentication,
        402 | 403 => FailureKind::Permission,
        404 => FailureKind::NotFound,
        408 | 504 => FailureKind::Timeout,
        413 => FailureKind::ContextLength,
        429 => FailureKind::RateLimited,
        529 => FailureKind::Overloaded,
        400..=499 => FailureKind::InvalidRequest,
        500..=599 => FailureKind::Unavailable,
        _ => FailureKind::UpstreamProtocol,
    }
}

/// What a general error is about.
pub fn by_message(message: &str) -> Option<FailureKind> {
    let has = |part: &str| message.contains(part);
    if has("prompt is too long") || has("exceed context limit") || has("exceeds the context window") {
        Some(FailureKind::ContextLength)
    } else if has("content filtering policy") {
        Some(FailureKind::ContentFilter)
    } else if has("credit balance is too low") || has("reached your specified API usage limits") {
        Some(FailureKind::Permission)
    } else {
        None
    }
}

/// Messages begin with the field at fault: `max_tokens: Field required`, `messages.0.content: …`.
fn param(message: &str) -> Option<&str> {
    let (field, _) = message.split_once(": ")?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'.';
    (!field.is_empty() && field.bytes().all(plain)).then_some(field)
}

/// Seconds, as the API writes them.
fn retry_after(head: &AnswerHead) -> Option<u64> {
    let seconds: f64 = head.header("retry-after")?.trim().parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then_some((seconds * 1000.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(status: u16, kind: &str, message: &str) -> Failure {
        let head = AnswerHead { endpoint: "chat".to_owned(), status, headers: vec![Pair::new("Retry-After", "1.5")] };
        decode(
            &head,
            &format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}},"request_id":"r"}}"#),
        )
    }

    #[test]
    fn every_documented_error_has_its_kind() {
        for (status, kind, message, expected) in [
            (400, "invalid_request_error", "max_tokens: Field required", FailureKind::InvalidRequest),
            (
                400,
                "invalid_request_error",
                "prompt is too long: 208310 tokens > 200000 maximum",
                FailureKind::ContextLength,
            ),
            (
                400,
                "invalid_request_error",
                "input length and `max_tokens` exceed context limit: 1 + 2 > 2",
                FailureKind::ContextLength,
            ),
            (400, "invalid_request_error", "Output blocked by content filtering policy", FailureKind::ContentFilter),
            (
                400,
                "invalid_request_error",
                "Your credit balance is too low to access the Anthropic API.",
                FailureKind::Permission,
            ),
            (401, "authentication_error", "invalid x-api-key", FailureKind::Authentication),
            (402, "billing_error", "no funds", FailureKind::Permission),
            (403, "permission_error", "no", FailureKind::Permission),
            (404, "not_found_error", "model: claude-does-not-exist", FailureKind::NotFound),
            (413, "request_too_large", "Request exceeds the maximum size", FailureKind::ContextLength),
            (429, "rate_limit_error", "slow down", FailureKind::RateLimited),
            (500, "api_error", "Internal server error", FailureKind::Unavailable),
            (504, "timeout_error", "Request timeout", FailureKind::Timeout),
            (529, "overloaded_error", "Overloaded", FailureKind::Overloaded),
            (409, "conflict_error", "modified", FailureKind::InvalidRequest),
        ] {
            let failure = decoded(status, kind, message);
            assert_eq!((failure.kind, failure.retry_after), (expected, Some(1500)), "{status} {kind} {message}");
            assert_eq!(failure.message, message);
        }
    }

    #[test]
    fn the_field_at_fault_is_named() {
        assert_eq!(
            decoded(400, "invalid_request_error", "messages.0.content: bad").param.as_deref(),
            Some("messages.0.content")
        );
        assert_eq!(decoded(400, "invalid_request_error", "This model: no").param, None);
    }

    #[test]
    fn a_body_that_is_not_the_protocols_is_mapped_by_status() {
        for (status, expected) in [
            (502, FailureKind::Unavailable),
            (529, FailureKind::Overloaded),
            (403, FailureKind::Permission),
            (302, FailureKind::UpstreamProtocol),
        ] {
            let head = AnswerHead { endpoint: "chat".to_owned(), status, headers: Vec::new() };
            for body in ["", "<html>Bad gateway</html>", "{}", "[1]"] {
                assert_eq!(decode(&head, body).kind, expected);
            }
        }
    }
}
