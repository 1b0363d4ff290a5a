//! Errors (<https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html>), as answers and as exceptions
//! within streams.
//!
//! An exception's name says what it is; where it is general (`ValidationException` covers a prompt that is too long and a model that
//! does not exist) the message is read, although its wording is not promised: a miss falls back to the name.

use portcullis_plugin::json;
use portcullis_plugin::prelude::*;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireError {
    #[serde(alias = "Message")]
    message: Option<String>,
    #[serde(rename = "__type")]
    kind: Option<String>,
    code: Option<String>,
    #[serde(rename = "originalStatusCode")]
    original_status: Option<u16>,
    #[serde(rename = "originalMessage")]
    original_message: Option<String>,
}

/// `now`: milliseconds since the Unix epoch.
pub fn decode(head: &AnswerHead, body: &str, now: u64) -> Failure {
    // A proxy in between answers in HTML or nothing at all.
    let error: WireError = json::from_str(body).unwrap_or_default();
    let name = head.header("x-amzn-errortype").map(str::to_owned);
    let name = name.or_else(|| error.kind.clone()).or_else(|| error.code.clone());
    let mut failure = of(name.as_deref().map(bare), error, head.status);
    failure.retry_after = retry_after(head, now);
    failure
}

/// An exception of a stream: the frame's event names it.
pub fn exception(name: &str, payload: &str) -> Failure {
    of(Some(bare(name)), json::from_str(payload).unwrap_or_default(), 0)
}

/// Whether a frame of this name ends the stream with an error: an exception of the service model (`throttlingException`), or the code of
/// an error that it does not model (`InternalFailure`). Events begin with a small letter and have other names.
pub fn is_exception(event: &str) -> bool {
    event.ends_with("Exception") || event.starts_with(|first: char| first.is_ascii_uppercase())
}

/// `ValidationException:http://internal.amazon.com/…` and `com.amazon.coral.service#ValidationException` are one name.
fn bare(name: &str) -> &str {
    let name = name.split(':').next().unwrap_or(name);
    name.rsplit_once('#').map_or(name, |(_, name)| name).trim()
}

fn of(name: Option<&str>, error: WireError, status: u16) -> Failure {
    let message = error.original_message.or(error.message).filter(|message| !message.is_empty());
    let message = message.unwrap_or_else(|| match status {
        0 => "the provider's stream failed without a message".to_owned(),
        status => format!("the provider answered {status}"),
    });
    // Streams spell the names in camel case.
    let known = name.map(|name| name.trim_end_matches("Exception").to_ascii_lowercase());
    let kind = match known.as_deref() {
        Some("validation") => by_message(&message).unwrap_or(FailureKind::InvalidRequest),
        Some("throttling" | "toomanyrequests" | "servicequotaexceeded") => FailureKind::RateLimited,
        Some("accessdenied") => FailureKind::Permission,
        Some(
            "unrecognizedclient"
            | "invalidsignature"
            | "expiredtoken"
            | "invalidclienttokenid"
            | "missingauthenticationtoken"
            | "incompletesignature"
            | "notauthorized"
            | "signaturedoesnotmatch",
        ) => FailureKind::Authentication,
        Some("resourcenotfound") => FailureKind::NotFound,
        Some("modeltimeout") => FailureKind::Timeout,
        Some("modelnotready" | "serviceunavailable") => FailureKind::Overloaded,
        Some("internalserver" | "internalfailure") => FailureKind::Unavailable,
        // The model failed; what it said itself is within.
        Some("modelerror" | "modelstreamerror") => match error.original_status {
            Some(400) => by_message(&message).unwrap_or(FailureKind::InvalidRequest),
            Some(original @ (408 | 429 | 503 | 529)) => FailureKind::of_status(original),
            _ => FailureKind::Unavailable,
        },
        _ => match status {
            0 => FailureKind::Unavailable,
            400 => by_message(&message).unwrap_or(FailureKind::InvalidRequest),
            413 => FailureKind::ContextLength,
            424 => FailureKind::Unavailable,
            status => FailureKind::of_status(status),
        },
    };
    Failure {
        kind,
        message,
        code: name.filter(|name| !name.is_empty()).map(str::to_owned),
        param: None,
        retry_after: None,
    }
}

/// What a general error is about. The wordings are those of recordings and of issues against AWS's own clients (bedrock-chat #95,
/// strands-agents harness-sdk #1663).
fn by_message(message: &str) -> Option<FailureKind> {
    let message = message.to_ascii_lowercase();
    let has = |part: &str| message.contains(part);
    let any = |parts: &[&str]| parts.iter().any(|part| has(part));
    if any(&[
        "input is too long",
        "prompt is too long",
        "exceed context limit",
        "exceeds the context window",
        "maximum context length",
        "too many total text bytes",
        "too many input tokens",
        "maximum tokens you requested exceeds",
    ]) {
        Some(FailureKind::ContextLength)
    } else if any(&["content filter", "content filtering policy", "blocked by guardrail"]) {
        Some(FailureKind::ContentFilter)
    } else if any(&["model identifier is invalid", "on-demand throughput isn", "model is not found"]) {
        Some(FailureKind::NotFound)
    } else if has("this model doesn't support") || has("this model does not support") {
        Some(FailureKind::UnsupportedFeature)
    } else if any(&["security token", "signature we calculated", "signature expired"]) {
        Some(FailureKind::Authentication)
    } else {
        None
    }
}

/// Milliseconds, seconds or a date (RFC 9110, section 10.2.3).
fn retry_after(head: &AnswerHead, now: u64) -> Option<u64> {
    if let Some(milliseconds) = head.header("retry-after-ms").and_then(|text| text.trim().parse::<f64>().ok()) {
        return (milliseconds.is_finite() && milliseconds >= 0.0).then_some(milliseconds as u64);
    }
    let text = head.header("retry-after")?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return (seconds.is_finite() && seconds >= 0.0).then_some((seconds * 1000.0) as u64);
    }
    let at = OffsetDateTime::parse(text, &Rfc2822).ok()?.unix_timestamp();
    Some((u64::try_from(at).ok()? * 1000).saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(status: u16, name: &str, body: &str) -> Failure {
        let headers = vec![Pair::new("x-amzn-ErrorType", name)];
        decode(&AnswerHead { endpoint: "converse".to_owned(), status, headers }, body, 0)
    }

    #[test]
    fn every_exception_has_its_kind() {
        for (status, name, message, expected) in [
            (400, "ValidationException", "Malformed input request: #/x", FailureKind::InvalidRequest),
            (400, "ValidationException", "Input is too long for requested model.", FailureKind::ContextLength),
            (
                400,
                "ValidationException",
                "The model returned the following errors: prompt is too long: 903884 tokens > 200000 maximum",
                FailureKind::ContextLength,
            ),
            (
                400,
                "ValidationException:http://internal.amazon.com/coral/com.amazon.bedrock/",
                "The provided model identifier is invalid.",
                FailureKind::NotFound,
            ),
            (
                400,
                "ValidationException",
                "This model doesn't support the video content block that you provided.",
                FailureKind::UnsupportedFeature,
            ),
            (400, "ValidationException", "Output blocked by content filtering policy", FailureKind::ContentFilter),
            (400, "ServiceQuotaExceededException", "quota", FailureKind::RateLimited),
            (403, "AccessDeniedException", "You don't have access to the model", FailureKind::Permission),
            (403, "UnrecognizedClientException", "The security token is invalid", FailureKind::Authentication),
            (403, "ExpiredTokenException", "expired", FailureKind::Authentication),
            (404, "ResourceNotFoundException", "no", FailureKind::NotFound),
            (408, "ModelTimeoutException", "slow", FailureKind::Timeout),
            (424, "ModelErrorException", "broken", FailureKind::Unavailable),
            (429, "ThrottlingException", "Too many requests", FailureKind::RateLimited),
            (429, "ModelNotReadyException", "not yet", FailureKind::Overloaded),
            (500, "InternalServerException", "oops", FailureKind::Unavailable),
            (503, "ServiceUnavailableException", "full", FailureKind::Overloaded),
        ] {
            let failure = decoded(status, name, &format!(r#"{{"message":"{message}"}}"#));
            assert_eq!(failure.kind, expected, "{name} {message}");
            assert_eq!((failure.message.as_str(), failure.code.as_deref()), (message, Some(bare(name))));
        }
    }

    #[test]
    fn the_body_names_the_exception_where_no_header_does() {
        let head = AnswerHead { endpoint: String::new(), status: 400, headers: Vec::new() };
        let body = r#"{"__type":"com.amazon.coral.service#ThrottlingException","Message":"slow down"}"#;
        let failure = decode(&head, body, 0);
        assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::RateLimited, "slow down"));
        assert_eq!(decode(&head, "<html>", 0).kind, FailureKind::InvalidRequest);
    }

    #[test]
    fn what_the_model_said_is_within() {
        let body = r#"{"message":"m","originalStatusCode":400,"originalMessage":"prompt is too long"}"#;
        assert_eq!(decoded(424, "ModelErrorException", body).kind, FailureKind::ContextLength);
        let body = r#"{"message":"m","originalStatusCode":429}"#;
        assert_eq!(exception("modelStreamErrorException", body).kind, FailureKind::RateLimited);
    }

    #[test]
    fn retry_after_in_all_its_spellings() {
        let now = 1_700_000_000_000;
        for (name, value, expected) in [
            ("Retry-After", "2", Some(2000)),
            ("Retry-After", "1.5", Some(1500)),
            ("retry-after-ms", "250", Some(250)),
            ("Retry-After", "Tue, 14 Nov 2023 22:13:30 GMT", Some(10_000)),
            ("Retry-After", "Tue, 14 Nov 2023 22:13:10 GMT", Some(0)),
            ("Retry-After", "soon", None),
            ("Retry-After", "-1", None),
        ] {
            let head = AnswerHead { endpoint: String::new(), status: 429, headers: vec![Pair::new(name, value)] };
            assert_eq!(decode(&head, "{}", now).retry_after, expected, "{name}: {value}");
        }
    }
}
