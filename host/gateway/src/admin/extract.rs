//! What a call says, read and checked: bodies, queries, pages, and which version of a thing an edit is of.

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;
use super::wording;

/// Largest body of a call.
const BODY_BYTES: usize = 1 << 20;
const PAGE_DEFAULT: u32 = 50;
const PAGE_MOST: u32 = 500;

/// A JSON body. Fields that a call does not know are refused, for a misspelt one would otherwise be a silent wish.
pub struct Said<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Said<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let content_type =
            request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let media_type = content_type.split(';').next().unwrap_or("").trim();
        if !media_type.eq_ignore_ascii_case("application/json")
            && !media_type.eq_ignore_ascii_case("application/merge-patch+json")
        {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "The body is JSON: send content-type: application/json.",
            ));
        }
        let bytes = axum::body::to_bytes(request.into_body(), BODY_BYTES).await.map_err(|_| {
            Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                format!("The body is longer than {BODY_BYTES} bytes, or broke off."),
            )
        })?;
        read(&bytes).map(Said)
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let (path, inner) = (error.path().to_string(), error.into_inner());
        if inner.is_data() {
            Problem::invalid(pointer(&path), words(&inner))
        } else {
            Problem::new(StatusCode::BAD_REQUEST, "invalid_json", words(&inner))
        }
    })?;
    deserializer.end().map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "invalid_json", words(&error)))?;
    Ok(read)
}

/// From `policy.models[0]` to `/policy/models/0`.
fn pointer(path: &str) -> String {
    if path == "." {
        return String::new();
    }
    let mut pointer = String::new();
    for part in path.split(['.', '[']) {
        pointer.push('/');
        pointer.push_str(&part.trim_end_matches(']').replace('~', "~0").replace('/', "~1"));
    }
    pointer
}

/// What serde_json says, without where: the pointer says it.
fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((words, _)) if error.is_data() => wording::plain(words),
        _ => wording::sentence(&text),
    }
}

/// The pairs of a query, of which unknown ones are refused as well.
pub struct Asked<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let asked = axum::extract::Query::<T>::try_from_uri(&parts.uri).map_err(|error| {
            let text = error.body_text();
            let words = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
            // serde names the parameter first, where it knows which.
            let (name, words) = words.split_once(": ").unwrap_or(("", words));
            let problem = Problem::new(StatusCode::BAD_REQUEST, "invalid_parameter", wording::plain(words));
            Problem { pointer: Some(name.to_owned()).filter(|name| !name.is_empty()), ..problem }
        })?;
        Ok(Asked(asked.0))
    }
}

/// A page of a list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Items at most, 1 to 500. Default 50.
    pub limit: Option<u32>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

impl PageQuery {
    pub fn limit(&self) -> Result<u32, Problem> {
        match self.limit {
            None => Ok(PAGE_DEFAULT),
            Some(limit @ 1..=PAGE_MOST) => Ok(limit),
            Some(_) => Err(Problem::parameter("limit", format!("A page has 1 to {PAGE_MOST} items."))),
        }
    }

    /// What the cursor holds.
    pub fn after<T: std::str::FromStr>(&self) -> Result<Option<T>, Problem> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let invalid =
            || Problem::parameter("cursor", "This cursor is of no page: take `next` of the page before, as it is.");
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).map_err(|_| invalid())?;
        let text = String::from_utf8(bytes).map_err(|_| invalid())?;
        text.parse().map(Some).map_err(|_| invalid())
    }

    /// A page of what is in memory as a whole, in the order of `id`.
    pub fn of<T, I: Ord + std::str::FromStr + ToString>(
        &self,
        mut all: Vec<T>,
        id: impl Fn(&T) -> I,
    ) -> Result<Page<T>, Problem> {
        let limit = self.limit()? as usize;
        all.sort_by_key(&id);
        if let Some(after) = self.after::<I>()? {
            all.retain(|item| id(item) > after);
        }
        let more = all.len() > limit;
        all.truncate(limit);
        let next = all.last().filter(|_| more).map(|last| cursor(&id(last)));
        Ok(Page { data: all, next })
    }
}

pub fn cursor(last: &impl ToString) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(last.to_string())
}

/// Some of a list, and where the rest begins.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub data: Vec<T>,
    /// Where the next page begins; null on the last.
    pub next: Option<String>,
}

impl<T> Page<T> {
    pub fn map<U>(self, map: impl FnMut(T) -> U) -> Page<U> {
        Page { data: self.data.into_iter().map(map).collect(), next: self.next }
    }
}

/// A version of a thing, as `ETag` and `If-Match` have it (RFC 9110, sections 8.8.3 and 13.1.1).
pub fn etag(shown: &impl Serialize) -> HeaderValue {
    let json = serde_json::to_vec(shown).expect("what is shown is plain data");
    let digest = Sha256::digest(json);
    HeaderValue::from_str(&format!("\"{}\"", hex(&digest[..12]))).expect("hexadecimal digits are a header's")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What an edit says of the version that it is of.
#[derive(Debug, Clone, Default)]
pub struct IfMatch(Option<HeaderValue>);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(IfMatch(parts.headers.get(header::IF_MATCH).cloned()))
    }
}

impl IfMatch {
    /// What the store asks of a record in the moment of changing it: whether it is, as shown, the version that the edit is of. So of
    /// two edits of one version the later finds another.
    pub fn expects<R: Clone, V: Serialize>(self, shown: impl Fn(R) -> V) -> impl Fn(&R) -> bool {
        move |record| self.0.as_ref().is_none_or(|wanted| names(wanted, &etag(&shown(record.clone()))))
    }
}

/// Whether `If-Match` has a tag, or any will do.
fn names(wanted: &HeaderValue, current: &HeaderValue) -> bool {
    let (wanted, current) = (wanted.to_str().unwrap_or(""), current.to_str().unwrap_or(""));
    wanted.trim() == "*" || wanted.split(',').any(|one| one.trim() == current)
}

/// An answer with its version.
pub struct Versioned<T>(pub T);

impl<T: Serialize> axum::response::IntoResponse for Versioned<T> {
    fn into_response(self) -> axum::response::Response {
        Tagged { tag: etag(&self.0), shown: self.0 }.into_response()
    }
}

/// An answer whose version is that of a part of it.
pub struct Tagged<T> {
    tag: HeaderValue,
    shown: T,
}

impl<T> Tagged<T> {
    pub fn of<P: Serialize>(part: P, shown: impl FnOnce(P) -> T) -> Self {
        Tagged { tag: etag(&part), shown: shown(part) }
    }
}

impl<T: Serialize> axum::response::IntoResponse for Tagged<T> {
    fn into_response(self) -> axum::response::Response {
        let mut response = axum::Json(self.shown).into_response();
        response.headers_mut().insert(header::ETAG, self.tag);
        response
    }
}

/// Of a field in a merge patch (RFC 7396): absent leaves it, null takes it away.
pub fn patched<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A body of plain text.
pub fn text(content_type: &'static str, text: String) -> axum::response::Response {
    let mut response = axum::response::Response::new(Body::from(text));
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Body {
        name: String,
        #[serde(default)]
        list: Vec<u32>,
    }

    #[test]
    fn what_is_wrong_with_a_body_is_said_with_its_place() {
        let problem = |text: &str| {
            let problem = read::<Body>(text.as_bytes()).unwrap_err();
            (problem.code, problem.pointer.unwrap_or_default(), problem.detail.into_string())
        };
        let (code, pointer, detail) = problem(r#"{"name":"a","list":[1,"b"]}"#);
        assert_eq!((code, pointer.as_str()), ("invalid", "/list/1"));
        assert_eq!(detail, "This is the text \"b\", and takes a whole number from 0 on.");
        let (code, pointer, detail) = problem(r#"{"nam":"a"}"#);
        assert_eq!((code, pointer.as_str()), ("invalid", "/nam"));
        assert!(detail.contains("nknown field `nam`"), "{detail}");
        assert_eq!(problem("{").0, "invalid_json");
        assert_eq!(problem(r#"{"name":"a"} x"#).0, "invalid_json");
        assert_eq!(problem("{}").2, "Missing field `name`.");
    }

    #[test]
    fn pages_follow_each_other_and_hold_everything_once() {
        let mut page = PageQuery { limit: Some(2), cursor: None };
        let mut seen = Vec::new();
        loop {
            let Page { data, next } = page.of(vec![5u32, 3, 1, 4, 2], |item| *item).unwrap();
            seen.extend(data);
            let Some(next) = next else { break };
            page.cursor = Some(next);
        }
        assert_eq!(seen, [1, 2, 3, 4, 5]);
        let strange = PageQuery { limit: None, cursor: Some("%".to_owned()) };
        assert_eq!(strange.after::<u32>().unwrap_err().code, "invalid_parameter");
        assert!(PageQuery { limit: Some(0), cursor: None }.limit().is_err());
    }

    #[test]
    fn an_edit_of_an_older_version_is_refused() {
        let current = etag(&"a");
        let asked = |version: Option<HeaderValue>, there: &'static str| {
            IfMatch(version).expects(|text: &str| text.to_owned())(&there)
        };
        assert!(asked(None, "a"));
        assert!(asked(Some(current.clone()), "a"));
        assert!(asked(Some(HeaderValue::from_static("*")), "a"));
        assert!(asked(Some(format!("\"x\", {}", current.to_str().unwrap()).parse().unwrap()), "a"));
        assert!(!asked(Some(current), "b"));
    }
}
