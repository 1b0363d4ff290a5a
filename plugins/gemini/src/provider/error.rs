//! Errors of the API: a `google.rpc.Status` with details (<https://ai.google.dev/gemini-api/docs/troubleshooting>,
//! <https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto>), as an answer, as an item of a list (what
//! streams without frames answer), and within streams.
//!
//! The status says more than the HTTP status, and where it is general (`INVALID_ARGUMENT` covers a wrong key and a prompt
//! that is too long) details and message are read, although the wording is not promised: a miss falls back to the status.

use portcullis_plugin::json;
use portcullis_plugin::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;
use time::format_description::well_known::Rfc2822;
use time::{OffsetDateTime, PrimitiveDateTime};

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireBody {
    error: Option<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireError {
    code: Option<u16>,
    message: Option<String>,
    status: Option<String>,
    details: Vec<Detail>,
}

/// A detail of any type; the fields of those that are read.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Detail {
    /// `RetryInfo`: seconds with a fraction and an `s`.
    retry_delay: Option<String>,
    /// `ErrorInfo`.
    reason: Option<String>,
    /// `BadRequest`.
    field_violations: Vec<Violation>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Violation {
    field: Option<String>,
}

pub fn decode(context: &Context, head: &AnswerHead, body: &str) -> Failure {
    // A proxy in between answers in HTML or nothing at all.
    let parsed = if body.trim_start().starts_with('[') {
        json::from_str::<Vec<WireBody>>(body).ok().and_then(|bodies| bodies.into_iter().next())
    } else {
        json::from_str::<WireBody>(body).ok()
    };
    let mut failure = match parsed.and_then(|body| body.error) {
        Some(error) => read(error.get(), head.status),
        None => Failure::new(FailureKind::of_status(head.status), format!("the provider answered {}", head.status)),
    };
    failure.retry_after = retry_header(context, head).or(failure.retry_after);
    failure
}

/// A failure within an answer. The HTTP status was good then, and is given as 0.
pub fn of(_: &Context, error: &str, status: u16) -> Failure {
    read(error, status)
}

pub fn read(error: &str, status: u16) -> Failure {
    let wire: WireError = json::from_str(error).unwrap_or_default();
    let message = wire.message.unwrap_or_else(|| "the provider failed without a message".to_owned());
    let status = if status == 0 { wire.code.unwrap_or(0) } else { status };
    let reason = wire.details.iter().find_map(|detail| detail.reason.as_deref());
    let kind = kind(wire.status.as_deref(), reason, &message, status);
    let delay = wire.details.iter().find_map(|detail| seconds(detail.retry_delay.as_deref()?));
    let field =
        wire.details.iter().flat_map(|detail| &detail.field_violations).find_map(|violation| violation.field.clone());
    Failure {
        kind,
        param: field.filter(|field| kind == FailureKind::InvalidRequest && !field.is_empty()),
        code: reason.map(str::to_owned).or(wire.status),
        retry_after: delay.or_else(|| told(&message)),
        message,
    }
}

fn kind(status: Option<&str>, reason: Option<&str>, message: &str, http: u16) -> FailureKind {
    match reason {
        Some("API_KEY_INVALID" | "ACCESS_TOKEN_EXPIRED" | "CREDENTIALS_MISSING") => return FailureKind::Authentication,
        Some("API_KEY_SERVICE_BLOCKED" | "SERVICE_DISABLED" | "BILLING_DISABLED") => return FailureKind::Permission,
        _ => {}
    }
    match status {
        Some("INVALID_ARGUMENT" | "OUT_OF_RANGE") => by_message(message).unwrap_or(FailureKind::InvalidRequest),
        // Billing or region: these credentials do not reach.
        Some("FAILED_PRECONDITION") => FailureKind::Permission,
        Some("UNAUTHENTICATED") => FailureKind::Authentication,
        Some("PERMISSION_DENIED") => FailureKind::Permission,
        Some("NOT_FOUND") => FailureKind::NotFound,
        Some("RESOURCE_EXHAUSTED") => FailureKind::RateLimited,
        Some("UNAVAILABLE") => FailureKind::Overloaded,
        Some("DEADLINE_EXCEEDED" | "CANCELLED") => FailureKind::Timeout,
        Some("UNIMPLEMENTED") => FailureKind::UnsupportedFeature,
        Some("INTERNAL" | "UNKNOWN" | "DATA_LOSS" | "ABORTED") => FailureKind::Unavailable,
        _ if http == 0 => FailureKind::Unavailable,
        _ => FailureKind::of_status(http),
    }
}

/// What a general error is about.
fn by_message(message: &str) -> Option<FailureKind> {
    let has = |part: &str| message.contains(part);
    if has("input token count") && (has("exceeds the maximum") || has("only supports up to")) {
        Some(FailureKind::ContextLength)
    } else if has("API key not valid") || has("API key expired") {
        Some(FailureKind::Authentication)
    } else if has("blocked by the safety filters") || has("violates our policies") {
        Some(FailureKind::ContentFilter)
    } else {
        None
    }
}

/// `34.07s` in milliseconds.
fn seconds(delay: &str) -> Option<u64> {
    let seconds: f64 = delay.trim().strip_suffix('s')?.parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then_some((seconds * 1000.0).ceil() as u64)
}

/// `Please retry in 34.07s.`, which the message says where details are left out.
fn told(message: &str) -> Option<u64> {
    let rest = message.split_once("retry in ")?.1;
    let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
    let number = &rest[..end];
    if rest[end..].starts_with("ms") {
        let milliseconds: f64 = number.parse().ok()?;
        return Some(milliseconds.ceil() as u64);
    }
    rest[end..].starts_with('s').then(|| seconds(&format!("{number}s")))?
}

/// `Retry-After`: seconds, or a date (RFC 9110).
fn retry_header(context: &Context, head: &AnswerHead) -> Option<u64> {
    let value = head.header("retry-after")?.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return (seconds.is_finite() && seconds >= 0.0).then_some((seconds * 1000.0).ceil() as u64);
    }
    // An HTTP date is an RFC 2822 one that says GMT for its offset.
    let date = value.strip_suffix(" GMT").map(|date| format!("{date} +0000"))?;
    let then = OffsetDateTime::parse(&date, &Rfc2822)
        .ok()
        .or_else(|| PrimitiveDateTime::parse(&date, &Rfc2822).ok().map(PrimitiveDateTime::assume_utc))?;
    let milliseconds = u64::try_from(then.unix_timestamp()).ok()?.saturating_mul(1000);
    Some(milliseconds.saturating_sub(context.now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context { now: 1_700_000_000_000, seed: 0, request_id: String::new(), development: false, extra: Vec::new() }
    }

    fn head(status: u16, retry: Option<&str>) -> AnswerHead {
        let headers = retry.map(|value| Pair::new("Retry-After", value)).into_iter().collect();
        AnswerHead { endpoint: "generate".to_owned(), status, headers }
    }

    fn decoded(status: u16, name: &str, message: &str) -> Failure {
        let body = format!(r#"{{"error":{{"code":{status},"message":{},"status":"{name}"}}}}"#, json::quote(message));
        let listed = decode(&context(), &head(status, None), &format!("[{body}]"));
        let failure = decode(&context(), &head(status, None), &body);
        assert_eq!(listed, failure);
        failure
    }

    #[test]
    fn every_documented_error_has_its_kind() {
        for (status, name, message, expected) in [
            (400, "INVALID_ARGUMENT", "Please use a valid role: user, model.", FailureKind::InvalidRequest),
            (
                400,
                "INVALID_ARGUMENT",
                "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
                FailureKind::ContextLength,
            ),
            (
                400,
                "INVALID_ARGUMENT",
                "The input token count is 1300000 but the model only supports up to 1048576",
                FailureKind::ContextLength,
            ),
            (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", FailureKind::Authentication),
            (400, "FAILED_PRECONDITION", "User location is not supported for the API use.", FailureKind::Permission),
            (401, "UNAUTHENTICATED", "no", FailureKind::Authentication),
            (403, "PERMISSION_DENIED", "no", FailureKind::Permission),
            (404, "NOT_FOUND", "models/x is not found for API version v1beta", FailureKind::NotFound),
            (429, "RESOURCE_EXHAUSTED", "quota", FailureKind::RateLimited),
            (500, "INTERNAL", "An internal error has occurred.", FailureKind::Unavailable),
            (503, "UNAVAILABLE", "The model is overloaded. Please try again later.", FailureKind::Overloaded),
            (504, "DEADLINE_EXCEEDED", "too long", FailureKind::Timeout),
            (418, "A_STATUS_OF_TOMORROW", "?", FailureKind::InvalidRequest),
        ] {
            let failure = decoded(status, name, message);
            assert_eq!((failure.kind, failure.message.as_str()), (expected, message), "{status} {name}");
        }
    }

    #[test]
    fn details_say_when_and_where() {
        let body = r#"{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[
            {"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"q"}]},
            {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.0741s"}]}}"#;
        assert_eq!(decode(&context(), &head(429, None), body).retry_after, Some(34_075));
        assert_eq!(decode(&context(), &head(429, Some("2")), body).retry_after, Some(2000));
        let date = Some("Tue, 14 Nov 2023 22:13:50 GMT");
        assert_eq!(decode(&context(), &head(503, date), "").retry_after, Some(30_000));
        let body = r#"{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT","details":[
            {"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"contents[0].parts","description":"d"}]}]}}"#;
        assert_eq!(decode(&context(), &head(400, None), body).param.as_deref(), Some("contents[0].parts"));
        let body = r#"{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT","details":[
            {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}"#;
        assert_eq!(decode(&context(), &head(400, None), body).kind, FailureKind::Authentication);
    }

    #[test]
    fn messages_say_when_where_details_do_not() {
        assert_eq!(decoded(429, "RESOURCE_EXHAUSTED", "Quota. Please retry in 1.5s.").retry_after, Some(1500));
        assert_eq!(decoded(429, "RESOURCE_EXHAUSTED", "Please retry in 250.5ms.").retry_after, Some(251));
        for vague in ["Please retry in a while", "retry in 1.2.3s", "retry in ", "retry in 5"] {
            assert_eq!(decoded(429, "RESOURCE_EXHAUSTED", vague).retry_after, None, "{vague}");
        }
    }

    #[test]
    fn a_body_that_is_not_the_protocols_is_mapped_by_status() {
        for (status, expected) in
            [(502, FailureKind::Unavailable), (403, FailureKind::Permission), (302, FailureKind::UpstreamProtocol)]
        {
            for body in ["", "<html>Bad gateway</html>", "{}", "[1]", "[]"] {
                assert_eq!(decode(&context(), &head(status, None), body).kind, expected);
            }
        }
    }
}
