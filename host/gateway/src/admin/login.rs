//! People: they come by the issuer's word and stay by a cookie, which holds an admin token of their own.
//!
//! Keeps: the cookie alone changes nothing. Whatever is more than reading must come from a page of ours, which a page of somebody
//! else's cannot feign (see [`is_ours`]). What a browser holds during a login is compared with what it brings back, so that nobody is
//! logged in as somebody else.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use cookie::{Cookie, SameSite};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use portcullis_store::{AccessFailure, Actor, FailedAccess, NewToken};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Call;
use super::extract::Asked;
use super::oidc::Attempt;
use super::problem::Problem;
use super::{Api, PREFIX, Peer};
use crate::config::OidcConfig;

const SESSION: &str = "portcullis_session";
const ATTEMPT: &str = "portcullis_login";
/// How long somebody may take at the issuer.
const ATTEMPT_SECONDS: i64 = 600;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(logout))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begin {
    /// Where to go in the end: a path here.
    #[serde(default)]
    return_to: Option<String>,
}

#[derive(Deserialize)]
pub struct Back {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
}

fn oidc(api: &Api) -> Result<OidcConfig, Problem> {
    let config = api.gateway.snapshot().config.admin.oidc.clone();
    config.ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "no_login", "Nobody logs in here: the operator has set no [admin.oidc].")
    })
}

fn cookie(config: &OidcConfig, name: &'static str, value: String, path: &'static str, seconds: i64) -> HeaderValue {
    let cookie = Cookie::build((name, value))
        .path(path)
        .http_only(true)
        .secure(config.is_secure())
        // Strict would not be sent with the redirect that comes back from the issuer.
        .same_site(SameSite::Lax)
        .max_age(cookie::time::Duration::seconds(seconds));
    HeaderValue::from_str(&cookie.build().to_string()).unwrap_or(HeaderValue::from_static(""))
}

fn found(to: &str, cookies: impl IntoIterator<Item = HeaderValue>) -> Response {
    let mut answer = StatusCode::SEE_OTHER.into_response();
    let headers = answer.headers_mut();
    headers.extend(HeaderValue::from_str(to).ok().map(|to| (header::LOCATION, to)));
    headers.extend(cookies.into_iter().map(|cookie| (header::SET_COOKIE, cookie)));
    answer
}

fn value_of(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut all = lines.flat_map(Cookie::split_parse).filter_map(Result::ok);
    all.find(|cookie| cookie.name() == name).map(|cookie| cookie.value().to_owned())
}

/// A path of this server, and nothing that a browser takes for another's.
fn local(path: &str) -> bool {
    path.starts_with('/') && !path.starts_with("//") && !path.contains(['\\', '\r', '\n', '\t'])
}

/// Sends a browser to the issuer.
pub async fn begin(State(api): State<Api>, Asked(asked): Asked<Begin>) -> Result<Response, Problem> {
    let config = oidc(&api)?;
    let return_to = asked.return_to.filter(|path| local(path)).unwrap_or_else(|| format!("{PREFIX}/self"));
    let (url, attempt) = api.issuers.begin(&config).await.map_err(|error| {
        tracing::error!(issuer = config.issuer, %error, "nobody can log in");
        Problem::unavailable("The issuer")
    })?;
    let Attempt { state, nonce, verifier } = attempt;
    let kept = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("state", state), ("nonce", nonce), ("verifier", verifier), ("return_to", return_to)])
        .finish();
    // A form's encoding has no character that a cookie may not have but `%` and `+`, which it may.
    Ok(found(&url, [cookie(&config, ATTEMPT, kept, "/admin/v1/login", ATTEMPT_SECONDS)]))
}

/// Where the issuer sends a browser back to.
pub async fn back(State(api): State<Api>, Asked(back): Asked<Back>, request: Request) -> Result<Response, Problem> {
    let config = oidc(&api)?;
    let address = request.extensions().get::<Peer>().map(|peer| peer.address);
    let begin_anew = || {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "login_expired",
            "This login was not begun here, or took too long: begin anew.",
        )
    };
    let kept = value_of(request.headers(), ATTEMPT).ok_or_else(begin_anew)?;
    let kept: std::collections::HashMap<String, String> =
        form_urlencoded::parse(kept.as_bytes()).map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    let word = |name: &str| kept.get(name).cloned().ok_or_else(begin_anew);
    let attempt = Attempt { state: word("state")?, nonce: word("nonce")?, verifier: word("verifier")? };
    if back.state.as_ref() != Some(&attempt.state) {
        return Err(begin_anew());
    }
    let refused = |why: &str| {
        tracing::info!(address = ?address, why, "a login was refused");
        if let Some(address) = address {
            let access = FailedAccess { failure: AccessFailure::Login, prefix: None, address, organisation: None };
            api.gateway.access.failed(access, api.gateway.clock.now_ms());
        }
        Problem::new(StatusCode::FORBIDDEN, "login_refused", "You are not let in here. Ask whoever runs this gateway.")
    };
    let Some(code) = back.code else {
        return Err(refused(&format!("the issuer said {:?}", back.error.unwrap_or_default())));
    };
    let return_to = word("return_to")?;
    let person = match api.issuers.finish(&config, attempt, code).await {
        Ok(person) => person,
        Err(error) => return Err(refused(&error.to_string())),
    };
    let email = person.email.as_deref();
    let Some(member) = api.store.member_login(&config.issuer, &person.subject, email, address).await? else {
        return Err(refused("the issuer vouches for somebody who is no member, or suspended"));
    };
    if member.grants.is_empty() {
        return Err(refused("the member has no role"));
    }
    let now = api.gateway.clock.now_ms();
    let new = NewToken {
        name: "login".to_owned(),
        grants: member.grants.clone(),
        member: Some(member.id),
        expires_ms: Some(now + config.session_hours * 3_600_000),
    };
    let token = api.store.create_token(&Actor::member(&member, address), new).await?;
    let seconds = i64::try_from(config.session_hours * 3_600).unwrap_or(i64::MAX);
    let session = cookie(&config, SESSION, token.secret.expose().to_owned(), "/admin", seconds);
    let done = cookie(&config, ATTEMPT, String::new(), "/admin/v1/login", 0);
    Ok(found(if local(&return_to) { &return_to } else { PREFIX }, [session, done]))
}

/// Ends a login: the browser's token holds no more.
#[utoipa::path(post, path = "/logout", tag = "self", operation_id = "logout", responses((status = 204)))]
async fn logout(State(api): State<Api>, call: Call, headers: HeaderMap) -> Result<Response, Problem> {
    let mut answer = StatusCode::NO_CONTENT.into_response();
    if let (Some(secret), Some(config)) = (session(&headers), api.gateway.snapshot().config.admin.oidc.clone()) {
        api.store.end_token(&call.actor, &secret).await?;
        answer.headers_mut().insert(header::SET_COOKIE, cookie(&config, SESSION, String::new(), "/admin", 0));
    }
    Ok(answer)
}

/// The token that a browser's cookie holds.
pub fn session(headers: &HeaderMap) -> Option<String> {
    value_of(headers, SESSION).filter(|token| !token.is_empty())
}

/// Whether a call that a cookie vouches for was meant by a page of ours: it only reads, or the browser says so itself
/// (<https://www.w3.org/TR/fetch-metadata/>; before that, by `Origin`, RFC 6454).
pub fn is_ours(method: &Method, headers: &HeaderMap) -> bool {
    if matches!(*method, Method::GET | Method::HEAD) {
        return true;
    }
    let word = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = word("sec-fetch-site") {
        return site == "same-origin";
    }
    let host = word("host");
    let origin = word("origin").and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    host.is_some() && origin == host
}

/// What is shared by the three routes that no token is asked for.
pub fn open_routes() -> axum::Router<Api> {
    axum::Router::new()
        .route(&format!("{PREFIX}/login"), axum::routing::get(begin))
        .route(&format!("{PREFIX}/login/callback"), axum::routing::get(back))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_cookie_alone_changes_nothing() {
        let ours = |pairs: &[(&'static str, &str)]| is_ours(&Method::POST, &headers(pairs));
        assert!(ours(&[("sec-fetch-site", "same-origin"), ("host", "gw.example")]));
        assert!(ours(&[("host", "gw.example"), ("origin", "https://gw.example")]));
        for pairs in [
            &[][..],
            &[("host", "gw.example")],
            &[("sec-fetch-site", "cross-site"), ("host", "gw.example"), ("origin", "https://gw.example")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "none")],
            &[("host", "gw.example"), ("origin", "https://evil.example")],
            &[("host", "gw.example"), ("origin", "null")],
        ] {
            assert!(!ours(pairs), "{pairs:?}");
        }
        assert!(is_ours(&Method::GET, &headers(&[])));
    }

    #[test]
    fn one_is_sent_nowhere_else() {
        assert!(local("/") && local("/admin/ui?x=1"));
        for elsewhere in ["", "https://evil.example", "//evil.example", "/\\evil.example", "evil", "/a\r\nb"] {
            assert!(!local(elsewhere), "{elsewhere:?}");
        }
    }

    #[test]
    fn a_session_is_one_cookie_of_several() {
        let found = |line: &str| session(&headers(&[("cookie", line)]));
        assert_eq!(found("a=b; portcullis_session=pca_1; c=d").as_deref(), Some("pca_1"));
        assert_eq!(found("portcullis_session="), None);
        assert_eq!(found("xportcullis_session=pca_1"), None);
    }
}
