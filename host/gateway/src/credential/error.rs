use http::StatusCode;
use thiserror::Error;

use crate::upstream::{CollectError, UpstreamError};

/// Why there is no credential. The texts go to the log and hold no secret: of what a server answers only codes are kept.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum CredentialError {
    #[error("{what}: {why}")]
    Unreachable { what: &'static str, why: String },
    #[error("{what} answered {status} {code}")]
    Refused { what: &'static str, status: StatusCode, code: String },
    #[error("{what}: {why}")]
    Unreadable { what: String, why: String },
    #[error("no credentials were found: {0}")]
    Absent(String),
    #[error("the request cannot be signed: {0}")]
    Unsignable(String),
}

impl CredentialError {
    pub(super) fn unreadable(what: impl Into<String>, why: impl ToString) -> Self {
        CredentialError::Unreadable { what: what.into(), why: why.to_string() }
    }

    pub(super) fn unreachable(what: &'static str, error: &UpstreamError) -> Self {
        CredentialError::Unreachable { what, why: error.to_string() }
    }

    pub(super) fn cut(what: &'static str, error: &CollectError) -> Self {
        CredentialError::Unreachable { what, why: error.to_string() }
    }
}
