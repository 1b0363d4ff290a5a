//! How limits stand, in the headers that the client's protocol has for it.
//!
//! - OpenAI's (`x-ratelimit-limit-requests`, …; times as Go writes durations: `6m0s`, `120ms`) for every protocol that has none of
//!   its own: <https://platform.openai.com/docs/guides/rate-limits>, "Rate limits in headers", and recordings.
//! - Anthropic's (`anthropic-ratelimit-requests-limit`, …; times as RFC 3339 instants):
//!   <https://docs.anthropic.com/en/api/rate-limits>, "Response headers", and recordings. Like Anthropic, of several limits the one
//!   that is nearest to its end is told.
//! - `RateLimit-Policy` and `RateLimit`, which name all of them, for every client:
//!   <https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/> (10).
//!
//! `Retry-After` is put on where a failure says so, by whoever answers with it.

use std::fmt::Write;

use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis_core::Unit;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Standing;

/// Which headers a client looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    OpenAi,
    Anthropic,
}

impl Family {
    /// By the format of a route: `anthropic-messages`.
    pub fn of(format: &str) -> Self {
        if format.starts_with("anthropic") { Family::Anthropic } else { Family::OpenAi }
    }
}

/// Takes off what a provider says of its own limits: they are the account's, and not those that this client meets.
pub(crate) fn take_off(headers: &mut HeaderMap) {
    let foreign = |name: &HeaderName| name.as_str().contains("ratelimit");
    let names: Vec<HeaderName> = headers.keys().filter(|name| foreign(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

pub(crate) fn put_on(headers: &mut HeaderMap, standings: &[Standing], family: Family, now_ms: u64) {
    if standings.is_empty() {
        return;
    }
    for unit in Unit::ALL {
        let of_unit = standings.iter().filter(|standing| standing.unit == unit);
        if let Some(nearest) = of_unit.min_by_key(|standing| (standing.remaining, standing.limit)) {
            match family {
                Family::OpenAi => openai(headers, nearest),
                Family::Anthropic => anthropic(headers, nearest, now_ms),
            }
        }
    }
    generic(headers, standings);
}

fn openai(headers: &mut HeaderMap, standing: &Standing) {
    let names = match standing.unit {
        Unit::Requests => {
            ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"]
        }
        Unit::Tokens => ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"],
    };
    let [limit, remaining, reset] = names.map(HeaderName::from_static);
    headers.insert(limit, HeaderValue::from(standing.limit));
    headers.insert(remaining, HeaderValue::from(standing.remaining));
    if let Ok(value) = HeaderValue::try_from(duration(standing.reset)) {
        headers.insert(reset, value);
    }
}

fn anthropic(headers: &mut HeaderMap, standing: &Standing, now_ms: u64) {
    let names = match standing.unit {
        Unit::Requests => [
            "anthropic-ratelimit-requests-limit",
            "anthropic-ratelimit-requests-remaining",
            "anthropic-ratelimit-requests-reset",
        ],
        Unit::Tokens => [
            "anthropic-ratelimit-tokens-limit",
            "anthropic-ratelimit-tokens-remaining",
            "anthropic-ratelimit-tokens-reset",
        ],
    };
    let [limit, remaining, reset] = names.map(HeaderName::from_static);
    headers.insert(limit, HeaderValue::from(standing.limit));
    headers.insert(remaining, HeaderValue::from(standing.remaining));
    let at = i64::try_from(now_ms.saturating_add(standing.reset).div_ceil(1_000)).unwrap_or(i64::MAX);
    let text = OffsetDateTime::from_unix_timestamp(at).ok().and_then(|at| at.format(&Rfc3339).ok());
    if let Some(value) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(reset, value);
    }
}

/// Lists of quoted policy names with parameters: quota `q` and window `w`; remaining `r` and seconds to the reset `t`.
fn generic(headers: &mut HeaderMap, standings: &[Standing]) {
    let mut policy = String::with_capacity(40 * standings.len());
    let mut state = String::with_capacity(40 * standings.len());
    for Standing { name, unit, window, limit, remaining, reset } in standings {
        let separator = if policy.is_empty() { "" } else { ", " };
        let (window, seconds) = (window.as_str(), window.millis() / 1_000);
        let _ = write!(policy, "{separator}\"{name}-{unit}-{window}\";q={limit};w={seconds}");
        let _ = write!(state, "{separator}\"{name}-{unit}-{window}\";r={remaining};t={}", reset.div_ceil(1_000));
    }
    for (name, text) in [("ratelimit-policy", policy), ("ratelimit", state)] {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// Milliseconds as Go writes durations: `1h0m5s`, `6m0s`, `7.66s`, `120ms`, `0s`.
fn duration(ms: u64) -> String {
    if ms > 0 && ms < 1_000 {
        return format!("{ms}ms");
    }
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    let mut text = String::new();
    if hours > 0 {
        let _ = write!(text, "{hours}h");
    }
    if ms >= 60_000 {
        let _ = write!(text, "{minutes}m");
    }
    let fraction = format!(".{:03}", ms % 1_000);
    let _ = write!(text, "{seconds}{}s", fraction.trim_end_matches('0').trim_end_matches('.'));
    text
}

#[cfg(test)]
mod tests {
    use portcullis_core::Window;

    use super::*;

    fn standing(name: &str, unit: Unit, window: Window, remaining: u64, reset: u64) -> Standing {
        Standing { name: name.into(), unit, window, limit: 100, remaining, reset }
    }

    fn put(family: Family) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let standings = [
            standing("key", Unit::Requests, Window::Minute, 40, 61_000),
            standing("key", Unit::Tokens, Window::Hour, 7, 3_605_000),
            standing("organisation", Unit::Requests, Window::Day, 9, 120),
        ];
        put_on(&mut headers, &standings, family, 1_700_000_000_000);
        headers
    }

    #[test]
    fn openai_s_clients_read_the_nearest_limit_of_each_kind() {
        let headers = put(Family::OpenAi);
        let get = |name: &str| headers[name].to_str().unwrap().to_owned();
        assert_eq!(get("x-ratelimit-limit-requests"), "100");
        assert_eq!(get("x-ratelimit-remaining-requests"), "9");
        assert_eq!(get("x-ratelimit-reset-requests"), "120ms");
        assert_eq!(get("x-ratelimit-remaining-tokens"), "7");
        assert_eq!(get("x-ratelimit-reset-tokens"), "1h0m5s");
        assert!(!headers.contains_key("anthropic-ratelimit-requests-limit"));
    }

    #[test]
    fn anthropic_s_clients_read_instants() {
        let headers = put(Family::Anthropic);
        assert_eq!(headers["anthropic-ratelimit-requests-remaining"], "9");
        assert_eq!(headers["anthropic-ratelimit-requests-reset"], "2023-11-14T22:13:21Z");
        assert_eq!(headers["anthropic-ratelimit-tokens-limit"], "100");
        assert!(!headers.contains_key("x-ratelimit-limit-requests"));
        assert_eq!((Family::of("anthropic-messages"), Family::of("openai-chat")), (Family::Anthropic, Family::OpenAi));
    }

    #[test]
    fn the_generic_headers_name_every_limit() {
        let headers = put(Family::OpenAi);
        assert_eq!(
            headers["ratelimit-policy"],
            "\"key-requests-minute\";q=100;w=60, \"key-tokens-hour\";q=100;w=3600, \"organisation-requests-day\";q=100;w=86400"
        );
        assert_eq!(
            headers["ratelimit"],
            "\"key-requests-minute\";r=40;t=61, \"key-tokens-hour\";r=7;t=3605, \"organisation-requests-day\";r=9;t=1"
        );
    }

    #[test]
    fn durations_are_go_s() {
        for (ms, text) in [
            (0, "0s"),
            (6, "6ms"),
            (1_000, "1s"),
            (7_660, "7.66s"),
            (360_000, "6m0s"),
            (59_369, "59.369s"),
            (86_400_000, "24h0m0s"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }

    #[test]
    fn a_provider_s_own_limits_go() {
        let mut headers = HeaderMap::new();
        for name in ["x-ratelimit-limit-requests", "anthropic-ratelimit-tokens-reset", "ratelimit", "x-request-id"] {
            headers.insert(name, HeaderValue::from_static("1"));
        }
        take_off(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-request-id"]);
    }
}
