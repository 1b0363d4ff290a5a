//! How much a key, a team, an organisation, an address or a model may ask for: what tiers, keys and the operator's file name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A span of time in which something is counted. All three slide: a window ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Window {
    Minute,
    Hour,
    Day,
}

impl Window {
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// Milliseconds.
    pub const fn millis(self) -> u64 {
        match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

/// What is counted in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    Requests,
    /// Input and output together, each token once, cached or not.
    Tokens,
}

impl Unit {
    pub const ALL: [Self; 2] = [Self::Requests, Self::Tokens];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of limits. What is absent is not limited; 0 allows nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_hour: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_day: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_hour: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<u64>,
    /// Requests under way at once, each from its head to its answer's last byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent_requests: Option<u64>,
}

impl Limits {
    pub const NONE: Self = Self {
        requests_per_minute: None,
        requests_per_hour: None,
        requests_per_day: None,
        tokens_per_minute: None,
        tokens_per_hour: None,
        tokens_per_day: None,
        concurrent_requests: None,
    };

    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    pub const fn rate(&self, unit: Unit, window: Window) -> Option<u64> {
        match (unit, window) {
            (Unit::Requests, Window::Minute) => self.requests_per_minute,
            (Unit::Requests, Window::Hour) => self.requests_per_hour,
            (Unit::Requests, Window::Day) => self.requests_per_day,
            (Unit::Tokens, Window::Minute) => self.tokens_per_minute,
            (Unit::Tokens, Window::Hour) => self.tokens_per_hour,
            (Unit::Tokens, Window::Day) => self.tokens_per_day,
        }
    }

    pub const fn has(&self, unit: Unit) -> bool {
        self.rate(unit, Window::Minute).is_some()
            || self.rate(unit, Window::Hour).is_some()
            || self.rate(unit, Window::Day).is_some()
    }

    /// These limits, with those of `base` where these say nothing: a key's over its tier's.
    #[must_use]
    pub fn over(&self, base: &Self) -> Self {
        Self {
            requests_per_minute: self.requests_per_minute.or(base.requests_per_minute),
            requests_per_hour: self.requests_per_hour.or(base.requests_per_hour),
            requests_per_day: self.requests_per_day.or(base.requests_per_day),
            tokens_per_minute: self.tokens_per_minute.or(base.tokens_per_minute),
            tokens_per_hour: self.tokens_per_hour.or(base.tokens_per_hour),
            tokens_per_day: self.tokens_per_day.or(base.tokens_per_day),
            concurrent_requests: self.concurrent_requests.or(base.concurrent_requests),
        }
    }

    /// These limits, none of them above those of `cap`.
    #[must_use]
    pub fn within(&self, cap: &Self) -> Self {
        let least = |own: Option<u64>, cap: Option<u64>| match (own, cap) {
            (Some(own), Some(cap)) => Some(own.min(cap)),
            (own, cap) => own.or(cap),
        };
        Self {
            requests_per_minute: least(self.requests_per_minute, cap.requests_per_minute),
            requests_per_hour: least(self.requests_per_hour, cap.requests_per_hour),
            requests_per_day: least(self.requests_per_day, cap.requests_per_day),
            tokens_per_minute: least(self.tokens_per_minute, cap.tokens_per_minute),
            tokens_per_hour: least(self.tokens_per_hour, cap.tokens_per_hour),
            tokens_per_day: least(self.tokens_per_day, cap.tokens_per_day),
            concurrent_requests: least(self.concurrent_requests, cap.concurrent_requests),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_s_own_go_over_its_tier_s_field_by_field() {
        let tier = Limits { requests_per_minute: Some(10), tokens_per_day: Some(1_000), ..Limits::NONE };
        let own = Limits { requests_per_minute: Some(99), concurrent_requests: Some(2), ..Limits::NONE };
        let both = own.over(&tier);
        assert_eq!((both.requests_per_minute, both.tokens_per_day), (Some(99), Some(1_000)));
        assert_eq!(both.concurrent_requests, Some(2));
        assert!(Limits::default().is_empty() && !both.is_empty());
        assert!(both.has(Unit::Tokens) && !own.has(Unit::Tokens));
    }

    #[test]
    fn a_cap_lowers_and_never_raises() {
        let own = Limits { requests_per_minute: Some(99), tokens_per_day: Some(5), ..Limits::NONE };
        let cap = Limits {
            requests_per_minute: Some(10),
            tokens_per_day: Some(50),
            concurrent_requests: Some(2),
            ..Limits::NONE
        };
        let both = own.within(&cap);
        assert_eq!(
            (both.requests_per_minute, both.tokens_per_day, both.concurrent_requests),
            (Some(10), Some(5), Some(2))
        );
        assert_eq!(own.within(&Limits::NONE), own);
    }

    #[test]
    fn they_are_stored_without_what_is_not_limited() {
        let limits = Limits { tokens_per_minute: Some(5), ..Limits::NONE };
        let text = serde_json::to_string(&limits).unwrap();
        assert_eq!(text, r#"{"tokens_per_minute":5}"#);
        assert_eq!(serde_json::from_str::<Limits>(&text).unwrap(), limits);
        assert!(serde_json::from_str::<Limits>(r#"{"tokens_per_week":5}"#).is_err());
    }
}
