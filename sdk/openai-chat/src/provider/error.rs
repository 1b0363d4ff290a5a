//! Answers that are not 2xx, and when to try again.

use std::time::{Duration, SystemTime};

use portcullis_plugin::ir::{Context, Failure, FailureKind};
use portcullis_plugin::prelude::AnswerHead;

use crate::wire::error::WireError;

pub fn decode(context: &Context, head: &AnswerHead, body: &str) -> Failure {
    let mut failure = WireError::parse(body).failure(Some(head.status));
    failure.retry_after = retry_after(context, head, &failure);
    failure
}

/// Milliseconds to wait. The standard header first (and OpenAI's finer `retry-after-ms`), then the limit that is used up
/// (`x-ratelimit-reset-*`, "Rate limits" in OpenAI's guides). A used-up quota does not come back by waiting.
fn retry_after(context: &Context, head: &AnswerHead, failure: &Failure) -> Option<u64> {
    if failure.code.as_deref() == Some("insufficient_quota") {
        return None;
    }
    if let Some(milliseconds) = head.header("retry-after-ms").and_then(|value| seconds(value, 1.0)) {
        return Some(milliseconds);
    }
    if let Some(value) = head.header("retry-after") {
        return seconds(value, 1000.0).or_else(|| until(context, head, value));
    }
    if failure.kind != FailureKind::RateLimited {
        return None;
    }
    let waits = ["requests", "tokens"].map(|what| {
        let wait = head.header(&format!("x-ratelimit-reset-{what}")).and_then(duration)?;
        let exhausted = head.header(&format!("x-ratelimit-remaining-{what}")).is_some_and(|left| left.trim() == "0");
        Some((exhausted, wait))
    });
    // Without an exhausted one the limit met is not said; the longer wait is the safe one.
    waits.into_iter().flatten().max().map(|(_, wait)| wait)
}

fn seconds(value: &str, unit: f64) -> Option<u64> {
    let number: f64 = value.trim().parse().ok()?;
    (number.is_finite() && number >= 0.0).then(|| (number * unit).ceil() as u64)
}

/// An HTTP date, as time from the answer's own `date`, else from the request's arrival.
fn until(context: &Context, head: &AnswerHead, value: &str) -> Option<u64> {
    let then = httpdate::parse_http_date(value.trim()).ok()?;
    let now = head
        .header("date")
        .and_then(|date| httpdate::parse_http_date(date).ok())
        .unwrap_or(SystemTime::UNIX_EPOCH + Duration::from_millis(context.now));
    Some(then.duration_since(now).map_or(0, |wait| wait.as_millis() as u64))
}

/// `6m0s`, `7.66s`, `120ms`: numbers with units, as Go writes durations; a bare number is seconds. In milliseconds.
fn duration(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    if let Some(milliseconds) = seconds(rest, 1000.0) {
        return Some(milliseconds);
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total += number
            * match &rest[..letters] {
                "d" => 86_400_000.0,
                "h" => 3_600_000.0,
                "m" => 60_000.0,
                "s" => 1000.0,
                "ms" => 1.0,
                "us" | "µs" => 0.001,
                "ns" => 0.000_001,
                _ => return None,
            };
        rest = &rest[letters..];
    }
    (!text.trim().is_empty()).then(|| f64::ceil(total) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_plugin::ir::Pair;
    use proptest::prelude::*;

    fn wait(headers: &[(&str, &str)], body: &str) -> Option<u64> {
        let context =
            Context { now: 784_111_777_000, seed: 0, request_id: String::new(), development: false, extra: Vec::new() };
        let headers = headers.iter().map(|(name, value)| Pair::new(*name, *value)).collect();
        decode(&context, &AnswerHead { endpoint: "chat".to_owned(), status: 429, headers }, body).retry_after
    }

    #[test]
    fn every_way_to_say_when() {
        assert_eq!(wait(&[("Retry-After", "2")], ""), Some(2000));
        assert_eq!(wait(&[("retry-after", "0.5")], ""), Some(500));
        assert_eq!(wait(&[("retry-after-ms", "120"), ("retry-after", "2")], ""), Some(120));
        // RFC 9110's example date is 784111777.
        assert_eq!(wait(&[("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")], ""), Some(10_000));
        let dated = [("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT"), ("date", "Sun, 06 Nov 1994 08:49:46 GMT")];
        assert_eq!(wait(&dated, ""), Some(1000));
        assert_eq!(
            wait(&[("x-ratelimit-reset-requests", "1s"), ("x-ratelimit-reset-tokens", "6m0s")], ""),
            Some(360_000)
        );
        let exhausted = [
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-tokens", "6m0s"),
            ("x-ratelimit-remaining-tokens", "10"),
        ];
        assert_eq!(wait(&exhausted, ""), Some(1000));
        assert_eq!(wait(&[("retry-after", "soon")], ""), None);
        assert_eq!(wait(&[], ""), None);
    }

    #[test]
    fn a_used_up_quota_has_no_time() {
        let body =
            r#"{"error":{"message":"quota","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#;
        assert_eq!(wait(&[("x-ratelimit-reset-requests", "1s")], body), None);
    }

    proptest! {
        #[test]
        fn durations_add_up(hours in 0u64..100, minutes in 0u64..60, seconds in 0u64..60, milliseconds in 1u64..1000) {
            let text = format!("{hours}h{minutes}m{seconds}s{milliseconds}ms");
            prop_assert_eq!(duration(&text), Some(((hours * 60 + minutes) * 60 + seconds) * 1000 + milliseconds));
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = duration(&text);
        }
    }
}
