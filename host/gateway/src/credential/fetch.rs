//! Small questions to token endpoints and metadata services, over the same sockets and with the same rules as to providers: no
//! redirects, the machine's root certificates, a bound on time and size.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::cache::Fresh;
use super::{CredentialError, sensitive};
use crate::upstream::{Address, Patience, Pool};

const ANSWER_BYTES: usize = 256 << 10;
const IDLE: Duration = Duration::from_secs(5);
/// Token endpoints are far away; metadata services are on the machine or nowhere.
const PATIENCE: Patience = Patience { connect: Duration::from_secs(5), first_byte: Duration::from_secs(15) };
const LOCAL: Patience = Patience { connect: Duration::from_secs(1), first_byte: Duration::from_secs(5) };

/// A question.
pub struct Ask<'a> {
    /// Who is asked, for the log.
    pub what: &'static str,
    pub method: Method,
    pub url: &'a str,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

impl<'a> Ask<'a> {
    pub fn get(what: &'static str, url: &'a str) -> Self {
        Ask { what, method: Method::GET, url, headers: Vec::new(), body: Bytes::new() }
    }

    /// An HTML form, as OAuth wants it.
    pub fn form(what: &'static str, url: &'a str, fields: &[(&str, &str)]) -> Self {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        Ask { what, method: Method::POST, url, headers: vec![(CONTENT_TYPE, form)], body: body.into() }
    }

    #[must_use]
    pub fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.extend(sensitive(value).map(|value| (name, value)));
        self
    }

    /// The answer's body.
    ///
    /// # Errors
    /// When nobody answers in time, or not with 200.
    pub async fn text(self, pool: &Arc<Pool>) -> Result<Bytes, CredentialError> {
        let what = self.what;
        let invalid = || CredentialError::unreadable(what, "its address is not a URL");
        let uri: Uri = self.url.parse().map_err(|_| invalid())?;
        let (scheme, authority) = (uri.scheme_str().ok_or_else(invalid)?, uri.authority().ok_or_else(invalid)?);
        let address = Arc::new(Address::parse(&format!("{scheme}://{authority}")).ok_or_else(invalid)?);
        let mut request = Request::new(Full::new(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = uri.path_and_query().map_or("/", |path| path.as_str()).parse().map_err(|_| invalid())?;
        let headers = request.headers_mut();
        headers.insert(HOST, address.authority.clone());
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("portcullis/", env!("CARGO_PKG_VERSION"))));
        headers.extend(self.headers);
        let patience = if address.tls { PATIENCE } else { LOCAL };
        let answer = pool.send(&address, request, patience).await;
        let answer = answer.map_err(|error| CredentialError::unreachable(what, &error))?;
        let status = answer.status();
        let body = answer.into_body().collect(ANSWER_BYTES, IDLE).await;
        let body = body.map_err(|error| CredentialError::cut(what, &error))?;
        if status == StatusCode::OK {
            return Ok(body);
        }
        Err(CredentialError::Refused { what, status, code: code(&body) })
    }

    /// The answer's body as JSON.
    ///
    /// # Errors
    /// As [`text`](Self::text), or when it is not what was asked for.
    pub async fn json<T: DeserializeOwned>(self, pool: &Arc<Pool>) -> Result<T, CredentialError> {
        let what = self.what;
        let body = self.text(pool).await?;
        // The parser's own words might quote what it read.
        serde_json::from_slice(&body).map_err(|_| CredentialError::unreadable(what, "its answer is not as documented"))
    }

    /// An OAuth access token (RFC 6749, section 5.1) as a header's value.
    ///
    /// # Errors
    /// As [`json`](Self::json).
    pub async fn token(self, pool: &Arc<Pool>, now: u64) -> Result<Fresh<HeaderValue>, CredentialError> {
        #[derive(Deserialize)]
        struct Granted {
            access_token: String,
            /// Seconds; RFC 6749 recommends it, both clouds give it.
            expires_in: u64,
        }
        let what = self.what;
        let granted: Granted = self.json(pool).await?;
        let value = sensitive(&format!("Bearer {}", granted.access_token));
        let value = value.ok_or_else(|| CredentialError::unreadable(what, "its token is no header value"))?;
        Ok(Fresh { value, expires: now.saturating_add(granted.expires_in.saturating_mul(1000)) })
    }
}

/// The code of an error, if it looks like one: OAuth's `error` (RFC 6749, section 5.2), Entra's numbers, AWS's `Code`.
fn code(body: &[u8]) -> String {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Refusal {
        error: Option<serde_json::Value>,
        error_codes: Vec<u64>,
        #[serde(alias = "Code")]
        code: Option<String>,
    }
    let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
    let word = refusal.error.as_ref().and_then(|error| error.as_str()).map(str::to_owned).or(refusal.code);
    let plain = |word: &String| {
        word.len() <= 64 && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    let mut code = word.filter(plain).unwrap_or_default();
    for number in refusal.error_codes.iter().take(4) {
        code.push_str(&format!(" {number}"));
    }
    code.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_of_an_error_are_kept() {
        assert_eq!(
            code(br#"{"error":"invalid_grant","error_description":"the secret s3cret is wrong"}"#),
            "invalid_grant"
        );
        assert_eq!(code(br#"{"error":"invalid_client","error_codes":[7000215]}"#), "invalid_client 7000215");
        assert_eq!(code(br#"{"code":"AccessDenied"}"#), "AccessDenied");
        assert_eq!(code(br#"{"error":"a secret with spaces"}"#), "");
        assert_eq!(code(br#"{"error":{"code":400}}"#), "");
        assert_eq!(code(b"<html>"), "");
    }
}
