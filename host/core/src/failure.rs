//! The one enum every failure maps to and from. Mirrors `failure-kind` in `wit/types.wit`, names and meanings alike.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What went wrong, whatever the protocol calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    InvalidRequest,
    Authentication,
    Permission,
    NotFound,
    ContextLength,
    ContentFilter,
    RateLimited,
    Overloaded,
    Timeout,
    Unavailable,
    UnsupportedFeature,
    UpstreamProtocol,
    Internal,
}

impl FailureKind {
    pub const ALL: [Self; 13] = [
        Self::InvalidRequest,
        Self::Authentication,
        Self::Permission,
        Self::NotFound,
        Self::ContextLength,
        Self::ContentFilter,
        Self::RateLimited,
        Self::Overloaded,
        Self::Timeout,
        Self::Unavailable,
        Self::UnsupportedFeature,
        Self::UpstreamProtocol,
        Self::Internal,
    ];

    /// The contract's name for it: `rate-limited`. Stable; receipts, logs and the database hold it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid-request",
            Self::Authentication => "authentication",
            Self::Permission => "permission",
            Self::NotFound => "not-found",
            Self::ContextLength => "context-length",
            Self::ContentFilter => "content-filter",
            Self::RateLimited => "rate-limited",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::UnsupportedFeature => "unsupported-feature",
            Self::UpstreamProtocol => "upstream-protocol",
            Self::Internal => "internal",
        }
    }

    /// The status a client gets where its dialect has no word of its own. Where the contract names two, the first.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::InvalidRequest | Self::ContextLength | Self::ContentFilter | Self::UnsupportedFeature => 400,
            Self::Authentication => 401,
            Self::Permission => 403,
            Self::NotFound => 404,
            Self::RateLimited => 429,
            Self::Overloaded => 503,
            Self::Timeout => 504,
            Self::Unavailable | Self::UpstreamProtocol => 502,
            Self::Internal => 500,
        }
    }

    /// Whether the same request may succeed at another target, or later. What is wrong with the request itself, and the
    /// gateway's own faults, are not. A provider that refuses the *gateway's* credential also answers `authentication`:
    /// only the caller of this knows whose it was.
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::RateLimited | Self::Overloaded | Self::Timeout | Self::Unavailable | Self::UpstreamProtocol
        )
    }

    /// Whether it says that the connection is ill. A client's error never does; a rate limit is honoured by its own
    /// clock and says nothing of health.
    pub const fn trips_breaker(self) -> bool {
        matches!(self, Self::Overloaded | Self::Timeout | Self::Unavailable | Self::UpstreamProtocol)
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// No failure has this code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such failure kind")]
pub struct UnknownFailureKind;

impl FromStr for FailureKind {
    type Err = UnknownFailureKind;

    fn from_str(code: &str) -> Result<Self, UnknownFailureKind> {
        Self::ALL.into_iter().find(|kind| kind.code() == code).ok_or(UnknownFailureKind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_contracts() {
        let wit = include_str!("../../../wit/types.wit");
        let body = wit.split("enum failure-kind {").nth(1).unwrap().split('}').next().unwrap();
        let names: Vec<_> = body
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with("///"))
            .map(|line| line.trim_end_matches(','))
            .collect();
        assert_eq!(names, FailureKind::ALL.map(FailureKind::code));
        for kind in FailureKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.code());
            assert_eq!(kind.code().parse(), Ok(kind));
        }
    }

    #[test]
    fn only_sick_connections_trip_the_breaker() {
        for kind in FailureKind::ALL {
            assert!(!kind.trips_breaker() || kind.http_status() >= 500, "{kind}");
            assert!(!kind.trips_breaker() || kind.is_retryable(), "{kind}");
        }
    }
}
