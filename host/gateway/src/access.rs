//! Who may come in: the key that a request shows, lock-outs, and what the key's policy says of where requests come from. What it
//! says of models is asked where they are chosen.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use http::header::{ORIGIN, REFERER};
use portcullis_core::{KeyHash, KeyPrefix, key};
use portcullis_runtime::contract::types::{Failure, FailureKind};
use portcullis_store::{
    AccessFailure, ActiveKey, Cached, FailedAccess, KeyRefusal, PolicyDenial, PolicyField, Suspension,
};

use crate::{Gateway, auth};

/// Why nobody came in: for the client, and for the log.
pub(crate) struct Unadmitted {
    pub failure: Failure,
    pub code: &'static str,
}

/// The key that a request shows, where it is one and holds.
pub(crate) async fn authenticate(
    gateway: &Gateway,
    headers: &HeaderMap,
    address: IpAddr,
    now: u64,
) -> Result<Arc<ActiveKey>, Unadmitted> {
    let presented = auth::presented_key(headers);
    let refused = match presented {
        None => AccessFailure::Missing,
        // What has not a key's shape is no key, and costs no look-up.
        Some(presented) if key::check_shape(presented).is_err() => AccessFailure::Malformed,
        Some(presented) => {
            let hash = KeyHash::of(presented);
            let found = match gateway.keys.get(&hash, now) {
                Cached::Found(key) => return Ok(key),
                Cached::Refused(refusal) => Ok(Err(refusal)),
                Cached::Unknown | Cached::Lapsed => gateway.keys.find(&hash, now).await,
            };
            match found {
                Ok(Ok(key)) => return Ok(key),
                Ok(Err(KeyRefusal::Unknown)) => AccessFailure::Unknown,
                Ok(Err(KeyRefusal::Revoked)) => AccessFailure::Revoked,
                Ok(Err(KeyRefusal::Expired)) => AccessFailure::Expired,
                Ok(Err(KeyRefusal::Rotated)) => AccessFailure::Rotated,
                Err(error) => {
                    tracing::error!(%error, "keys cannot be read");
                    AccessFailure::Unavailable
                }
            }
        }
    };
    let prefix = presented.and_then(KeyPrefix::of_presented);
    let prefix = prefix.as_ref().map(KeyPrefix::as_str);
    let failed = |failure| gateway.access.failed(FailedAccess { failure, prefix, address, organisation: None }, now);
    // A key that is one has passed by here: only wrong ones wait.
    let guesses = matches!(refused, AccessFailure::Malformed | AccessFailure::Unknown);
    if let Some(left) = gateway.access.locked(prefix, address, now).filter(|_| guesses) {
        failed(AccessFailure::Locked);
        return Err(Unadmitted { failure: locked(left), code: AccessFailure::Locked.code() });
    }
    failed(refused);
    let (kind, code, message) = match refused {
        AccessFailure::Missing => (
            FailureKind::Authentication,
            "missing_api_key",
            "No API key: send `Authorization: Bearer KEY` or `x-api-key: KEY`.",
        ),
        AccessFailure::Unavailable => {
            (FailureKind::Unavailable, "keys_unavailable", "The gateway cannot check keys at the moment.")
        }
        _ => (FailureKind::Authentication, "invalid_api_key", "The API key is not valid."),
    };
    let mut failure = told(kind, code, message);
    failure.retry_after = (refused == AccessFailure::Unavailable).then_some(1_000);
    Err(Unadmitted { failure, code: refused.code() })
}

/// Whether a key's requests may come from there, and now.
pub(crate) fn admit(
    gateway: &Gateway,
    key: &ActiveKey,
    headers: &HeaderMap,
    address: IpAddr,
    now: u64,
) -> Result<(), Failure> {
    if key.suspension.is_none() && key.policy.is_open() {
        return Ok(());
    }
    let header = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let denied = match key.suspension {
        Some(suspension) => Some((AccessFailure::Suspended, suspended(suspension))),
        None => {
            key.policy.allows_from(address, header(ORIGIN), header(REFERER)).err().map(|denial| denied(denial, address))
        }
    };
    let Some((access, failure)) = denied else { return Ok(()) };
    let prefix = Some(key.prefix.as_str());
    let organisation = Some(key.organisation);
    gateway.access.failed(FailedAccess { failure: access, prefix, address, organisation }, now);
    Err(failure)
}

fn suspended(suspension: Suspension) -> Failure {
    let (code, message) = match suspension {
        Suspension::Key => ("key_suspended", "The API key is suspended."),
        Suspension::Team => ("team_suspended", "The team of this API key is suspended."),
        Suspension::Organisation => ("organisation_suspended", "The organisation of this API key is suspended."),
    };
    told(FailureKind::Permission, code, message)
}

fn denied(denial: PolicyDenial, address: IpAddr) -> (AccessFailure, Failure) {
    let whose = denial.origin.as_str();
    let (access, code, message) = match denial.field {
        PolicyField::Origins => (
            AccessFailure::Origin,
            "origin_not_allowed",
            format!("This request's `Origin` is not among those that the {whose} allows."),
        ),
        PolicyField::Referrers => (
            AccessFailure::Referrer,
            "referrer_not_allowed",
            format!("This request's `Referer` is not among those that the {whose} allows."),
        ),
        _ => (
            AccessFailure::Address,
            "address_not_allowed",
            format!("Requests from {address} are not allowed by the {whose}."),
        ),
    };
    (access, told(FailureKind::Permission, code, &message))
}

/// The failure of a request for a model that its key may not use.
pub(crate) fn model_denied(denial: PolicyDenial, model: &str) -> (AccessFailure, &'static str, String) {
    let whose = denial.origin.as_str();
    match denial.field {
        PolicyField::Providers => (
            AccessFailure::Provider,
            "provider_not_allowed",
            format!("No provider of the model `{model}` is permitted: the {whose} allows others."),
        ),
        PolicyField::Regions => (
            AccessFailure::Region,
            "region_not_allowed",
            format!("The model `{model}` is not to be had in a region that the {whose} allows."),
        ),
        _ => (
            AccessFailure::Model,
            "model_not_allowed",
            format!("The model `{model}` is not permitted: the {whose} allows others."),
        ),
    }
}

fn locked(left_ms: u64) -> Failure {
    let mut failure = told(
        FailureKind::RateLimited,
        "too_many_invalid_keys",
        "Too many API keys that are not valid came from here. A valid one is served at any time.",
    );
    failure.retry_after = Some(left_ms);
    failure
}

fn told(kind: FailureKind, code: &str, message: &str) -> Failure {
    Failure { kind, message: message.to_owned(), code: Some(code.to_owned()), param: None, retry_after: None }
}
