//! A request's body, within its limit, from a client that keeps sending; and what a request is refused with before anybody looked
//! into it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use portcullis_runtime::contract::types::{Failure, FailureKind};
use tokio::time::timeout;

/// A failure with the status that HTTP has for it, where the failure's kind alone would say less.
pub(crate) struct Refusal {
    pub failure: Failure,
    pub status: Option<StatusCode>,
    /// The method that the path takes.
    pub allow: Option<HeaderValue>,
}

impl Refusal {
    pub fn invalid(code: &str, message: impl Into<String>) -> Self {
        Refusal::from(Failure {
            kind: FailureKind::InvalidRequest,
            message: message.into(),
            code: Some(code.to_owned()),
            param: None,
            retry_after: None,
        })
    }

    fn with(self, status: StatusCode) -> Self {
        Refusal { status: Some(status), ..self }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Refusal { failure, status: None, allow: None }
    }
}

/// Reads a body.
pub(crate) async fn read(
    headers: &HeaderMap,
    mut body: Incoming,
    limit: usize,
    idle: Duration,
) -> Result<Bytes, Refusal> {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Refusal::invalid("unsupported_encoding", "The body must not be compressed.")
            .with(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(too_long(limit));
    }
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    loop {
        let frame = match timeout(idle, body.frame()).await {
            Err(_) => {
                return Err(Refusal::invalid("request_timeout", "The body did not arrive in time.")
                    .with(StatusCode::REQUEST_TIMEOUT));
            }
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(Refusal::invalid("request_cut", "The body broke off.")),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        match first.take() {
            None if rest.is_empty() => first = Some(data),
            begun => {
                if let Some(begun) = begun {
                    rest.reserve(announced.max(begun.len() + data.len()));
                    rest.extend_from_slice(&begun);
                }
                rest.extend_from_slice(&data);
            }
        }
        if rest.len().max(first.as_ref().map_or(0, Bytes::len)) > limit {
            return Err(too_long(limit));
        }
    }
    Ok(first.unwrap_or_else(|| rest.freeze()))
}

fn too_long(limit: usize) -> Refusal {
    Refusal::invalid("request_too_large", format!("The body is longer than the {limit} bytes that this gateway takes."))
        .with(StatusCode::PAYLOAD_TOO_LARGE)
}
