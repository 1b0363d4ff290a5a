//! Whose token a call shows.

use std::net::IpAddr;

use http::{HeaderMap, Method, StatusCode};
use portcullis_core::AdminSecret;
use portcullis_store::{AccessFailure, Actor, FailedAccess};

use super::problem::Problem;
use super::{Shared, login};

/// The bearer of the token, with what they may do now.
///
/// # Errors
/// Where there is no token or it does not hold. Why not is for the log: to whoever guesses, all are alike. During a lock-out a wrong
/// token waits; a right one never does.
pub async fn actor(api: &Shared, method: &Method, headers: &HeaderMap, address: IpAddr) -> Result<Actor, Problem> {
    let unauthenticated = |code, detail: &str| Problem::new(StatusCode::UNAUTHORIZED, code, detail);
    let presented = match (bearer(headers), login::session(headers)) {
        (Some(token), _) => token.to_owned(),
        (None, Some(_)) if !login::is_ours(method, headers) => {
            let detail = "A login alone changes nothing: send this from a page of this server, or with a token.";
            return Err(Problem::new(StatusCode::FORBIDDEN, "cross_site", detail));
        }
        (None, Some(token)) => token,
        (None, None) => {
            let detail = "Send an admin token (`Authorization: Bearer pca_…`), or log in.";
            return Err(unauthenticated("missing_token", detail));
        }
    };
    let presented = presented.as_str();
    let refusal = match api.store.authenticate_token(presented, Some(address)).await? {
        Ok(actor) => return Ok(actor),
        Err(refusal) => refusal,
    };
    let (now, prefix) = (api.gateway.clock.now_ms(), AdminSecret::shown(presented));
    let locked = api.gateway.access.locked(prefix, address, now);
    let failure = if locked.is_some() { AccessFailure::Locked } else { AccessFailure::AdminToken };
    api.gateway.access.failed(FailedAccess { failure, prefix, address, organisation: None }, now);
    tracing::info!(%address, code = refusal.code(), "an admin token was refused");
    Err(match locked {
        Some(left) => Problem {
            retry_after: Some(left.div_ceil(1_000)),
            ..Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "locked_out",
                "Too many wrong tokens have come from here: wait before the next.",
            )
        },
        None => unauthenticated("invalid_token", "The admin token is not valid."),
    })
}

/// Notes that somebody was refused what they may not do.
pub fn forbidden(api: &Shared, actor: &Actor, address: IpAddr) {
    let (failure, organisation) =
        (AccessFailure::AdminForbidden, actor.grants.first().and_then(|grant| grant.scope.organisation()));
    // The trail names who it was by the id: a token is known here by nothing that may be shown of it.
    let who = actor.kind.id();
    let access = FailedAccess { failure, prefix: who.as_deref(), address, organisation };
    api.gateway.access.failed(access, api.gateway.clock.now_ms());
}

/// RFC 6750, section 2.1.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}
