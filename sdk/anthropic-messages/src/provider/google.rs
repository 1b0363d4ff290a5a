//! Google's errors, which come from what stands before the models on Google Cloud: a `google.rpc.Status`
//! (<https://docs.cloud.google.com/apis/design/errors>). Those of the models themselves are Anthropic's.

use portcullis_plugin::ir::{Failure, FailureKind};
use serde::Deserialize;

/// A detail of any type; the fields of those that are read.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Detail {
    /// `RetryInfo`: seconds with a fraction and an `s`.
    retry_delay: Option<String>,
    /// `ErrorInfo`.
    reason: Option<String>,
}

/// A failure from the status' word, its message and its list of details.
pub fn failure(word: String, message: String, details: Option<&str>) -> Failure {
    let details: Vec<Detail> = details.and_then(|details| serde_json::from_str(details).ok()).unwrap_or_default();
    let reason = details.iter().find_map(|detail| detail.reason.clone());
    Failure {
        kind: kind(&word, &message),
        message,
        code: reason.or(Some(word)),
        param: None,
        retry_after: details.iter().find_map(|detail| milliseconds(detail.retry_delay.as_deref()?)),
    }
}

fn kind(word: &str, message: &str) -> FailureKind {
    match word {
        "UNAUTHENTICATED" => FailureKind::Authentication,
        // Billing, region, or a model that was not enabled: these credentials do not reach.
        "PERMISSION_DENIED" | "FAILED_PRECONDITION" => FailureKind::Permission,
        "NOT_FOUND" => FailureKind::NotFound,
        "RESOURCE_EXHAUSTED" => FailureKind::RateLimited,
        "UNAVAILABLE" => FailureKind::Overloaded,
        "DEADLINE_EXCEEDED" | "CANCELLED" => FailureKind::Timeout,
        "UNIMPLEMENTED" => FailureKind::UnsupportedFeature,
        "INVALID_ARGUMENT" | "OUT_OF_RANGE" => super::error::by_message(message).unwrap_or(FailureKind::InvalidRequest),
        _ => FailureKind::Unavailable,
    }
}

/// `34.07s`.
fn milliseconds(delay: &str) -> Option<u64> {
    let seconds: f64 = delay.trim().strip_suffix('s')?.parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then_some((seconds * 1000.0).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_has_its_kind() {
        for (word, expected) in [
            ("UNAUTHENTICATED", FailureKind::Authentication),
            ("PERMISSION_DENIED", FailureKind::Permission),
            ("FAILED_PRECONDITION", FailureKind::Permission),
            ("NOT_FOUND", FailureKind::NotFound),
            ("RESOURCE_EXHAUSTED", FailureKind::RateLimited),
            ("UNAVAILABLE", FailureKind::Overloaded),
            ("DEADLINE_EXCEEDED", FailureKind::Timeout),
            ("UNIMPLEMENTED", FailureKind::UnsupportedFeature),
            ("INVALID_ARGUMENT", FailureKind::InvalidRequest),
            ("INTERNAL", FailureKind::Unavailable),
            ("A_NEW_WORD", FailureKind::Unavailable),
        ] {
            assert_eq!(failure(word.to_owned(), String::new(), None).kind, expected, "{word}");
        }
    }

    #[test]
    fn details_tell_why_and_when_again() {
        let details = r#"[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"RATE_LIMIT_EXCEEDED"},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.07s"}]"#;
        let failure = failure("RESOURCE_EXHAUSTED".to_owned(), "Quota".to_owned(), Some(details));
        assert_eq!((failure.code.as_deref(), failure.retry_after), (Some("RATE_LIMIT_EXCEEDED"), Some(34070)));
        assert_eq!(milliseconds("soon"), None);
    }
}
