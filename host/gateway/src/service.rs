//! From a request's head to whoever serves it: the gateway's own routes, then the dialects'.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use portcullis_core::{KeyHash, RequestId};
use portcullis_runtime::contract::types::{self, Failure, FailureKind, Pair};
use portcullis_store::{Cached, KeyRecord};
use tokio::time::timeout;

use crate::answer::{self, AnswerBody};
use crate::pipeline::{Arrival, chat, wire_error};
use crate::route::Matched;
use crate::snapshot::Snapshot;
use crate::{Gateway, auth, models, receipts};

/// Longest `x-request-id` of a client that is kept.
const CORRELATION_BYTES: usize = 128;

/// What is known of a request before anybody was asked who sent it.
pub(crate) struct Head {
    pub snapshot: Arc<Snapshot>,
    pub request_id: RequestId,
    pub correlation: HeaderValue,
    pub now: u64,
}

/// Serves one request; whatever goes wrong is an answer too.
pub(crate) async fn serve(gateway: Arc<Gateway>, request: Request<Incoming>, peer: SocketAddr) -> Response<AnswerBody> {
    let started = Instant::now();
    let now = gateway.clock.now_ms();
    let request_id = RequestId::new(now, &mut rand::rng());
    let (parts, body) = request.into_parts();
    let head =
        Head { snapshot: gateway.snapshot(), request_id, correlation: correlation(&parts.headers, request_id), now };
    match (parts.uri.path(), &parts.method) {
        ("/healthz", &Method::GET | &Method::HEAD) => return answer::json(StatusCode::OK, r#"{"status":"ok"}"#),
        ("/readyz", &Method::GET | &Method::HEAD) => return ready(&head.snapshot),
        _ => {}
    }
    let matched = head.snapshot.routes.find(&parts.method, parts.uri.path(), &parts.headers);
    let dialect = match &matched {
        Ok(matched) => Some(Arc::clone(&matched.route.plugin)),
        Err(_) => head.snapshot.routes.dialect_for(&parts.headers).cloned(),
    };
    let fail = |failure: Failure| head.fail(dialect.as_ref(), &failure);
    let key = match authenticate(&gateway, &parts.headers, now).await {
        Ok(key) => key,
        Err(failure) => {
            tracing::info!(
                request_id = %request_id, %peer, code = failure.code.as_deref().unwrap_or(""), "a request was not authenticated"
            );
            return fail(failure);
        }
    };
    if let Some(id) = parts.uri.path().strip_prefix("/v1/receipts/")
        && parts.method == Method::GET
    {
        return receipts::answer(&gateway, &key, id).await.unwrap_or_else(fail);
    }
    let Matched { route, parameters } = match matched {
        Ok(matched) => matched,
        Err(other_method) => return fail(unknown_route(&parts, other_method)),
    };
    let pairs = |pairs: Vec<(String, String)>| pairs.into_iter().map(|(name, value)| Pair { name, value }).collect();
    if &*route.operation == "models" {
        return models::answer(&head, &route, &key).unwrap_or_else(fail);
    }
    let limits = &head.snapshot.config.limits;
    if let Err(failure) = check_head(&parts.headers, &body, limits.request_bytes) {
        return fail(failure);
    }
    let bytes = match collect(body, limits.request_bytes, limits.client_idle()).await {
        Ok(bytes) => bytes,
        Err(failure) => return fail(failure),
    };
    let Head { snapshot, correlation, .. } = head;
    let query = parts.uri.query().map(query_pairs).unwrap_or_default();
    let arrival = Arrival {
        gateway,
        snapshot,
        route,
        key,
        request_id,
        correlation,
        now,
        started,
        headers: parts.headers,
        path: pairs(parameters),
        query: pairs(query),
    };
    chat(arrival, bytes).await
}

impl Head {
    pub(crate) fn context(&self) -> types::Context {
        types::Context {
            now: self.now,
            seed: 0,
            request_id: self.request_id.to_string(),
            development: self.snapshot.config.server.development,
        }
    }

    fn fail(&self, dialect: Option<&Arc<portcullis_runtime::Plugin>>, failure: &Failure) -> Response<AnswerBody> {
        let mut response = wire_error(dialect, &self.context(), failure);
        response.headers_mut().insert("x-request-id", self.correlation.clone());
        if failure.kind == FailureKind::Authentication {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The client's own request id where it is one that can be repeated in a header and a log, else ours.
fn correlation(headers: &HeaderMap, request_id: RequestId) -> HeaderValue {
    let theirs = headers.get("x-request-id").filter(|value| {
        (1..=CORRELATION_BYTES).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    match theirs {
        Some(value) => value.clone(),
        None => HeaderValue::from_str(&request_id.to_string()).unwrap_or(HeaderValue::from_static("")),
    }
}

fn ready(snapshot: &Snapshot) -> Response<AnswerBody> {
    if snapshot.is_ready() {
        answer::json(StatusCode::OK, r#"{"status":"ready"}"#)
    } else {
        answer::json(StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"not ready: no dialect or no model"}"#)
    }
}

async fn authenticate(gateway: &Gateway, headers: &HeaderMap, now: u64) -> Result<Arc<KeyRecord>, Failure> {
    let refused = |code: &str, message: &str| Failure {
        kind: FailureKind::Authentication,
        message: message.to_owned(),
        code: Some(code.to_owned()),
        param: None,
        retry_after: None,
    };
    let Some(presented) = auth::presented_key(headers) else {
        return Err(refused("missing_api_key", "No API key: send `Authorization: Bearer KEY` or `x-api-key: KEY`."));
    };
    // What has not a key's shape is no key, and costs no look-up.
    if portcullis_core::key::check_shape(presented).is_err() {
        return Err(refused("invalid_api_key", "The API key is not valid."));
    }
    let hash = KeyHash::of(presented);
    let found = match gateway.keys.get(&hash, now) {
        Cached::Found(record) => Ok(record),
        Cached::Refused(refusal) => Err(refusal),
        Cached::Unknown => gateway.keys.find(&hash, now).await.map_err(|error| {
            tracing::error!(%error, "keys cannot be read");
            Failure {
                kind: FailureKind::Unavailable,
                message: "The gateway cannot check keys at the moment.".to_owned(),
                code: Some("keys_unavailable".to_owned()),
                param: None,
                retry_after: Some(1_000),
            }
        })?,
    };
    found.map_err(|_| refused("invalid_api_key", "The API key is not valid."))
}

fn unknown_route(parts: &Parts, other_method: bool) -> Failure {
    let (path, method) = (parts.uri.path(), &parts.method);
    let (kind, message) = if other_method {
        (FailureKind::InvalidRequest, format!("{path} does not take {method}."))
    } else {
        (FailureKind::NotFound, format!("There is nothing at {method} {path}."))
    };
    Failure { kind, message, code: Some("unknown_route".to_owned()), param: None, retry_after: None }
}

fn check_head(headers: &HeaderMap, body: &Incoming, limit: usize) -> Result<(), Failure> {
    let refused = |code: &str, message: String| Failure {
        kind: FailureKind::InvalidRequest,
        message,
        code: Some(code.to_owned()),
        param: None,
        retry_after: None,
    };
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && encoding != "identity"
    {
        return Err(refused("unsupported_encoding", "The body must not be compressed.".to_owned()));
    }
    if body.size_hint().lower() > limit as u64 {
        return Err(too_long(limit));
    }
    Ok(())
}

fn too_long(limit: usize) -> Failure {
    Failure {
        kind: FailureKind::InvalidRequest,
        message: format!("The body is longer than the {limit} bytes that this gateway takes."),
        code: Some("request_too_large".to_owned()),
        param: None,
        retry_after: None,
    }
}

/// The whole body, within its limit, from a client that keeps sending.
async fn collect(mut body: Incoming, limit: usize, idle: std::time::Duration) -> Result<Bytes, Failure> {
    let failed = |code: &str, message: &str| Failure {
        kind: FailureKind::InvalidRequest,
        message: message.to_owned(),
        code: Some(code.to_owned()),
        param: None,
        retry_after: None,
    };
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(0).min(limit);
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    loop {
        let frame = match timeout(idle, body.frame()).await {
            Err(_) => return Err(failed("request_timeout", "The body did not arrive in time.")),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(failed("request_cut", "The body broke off.")),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        match first.take() {
            None if rest.is_empty() => first = Some(data),
            taken => {
                if let Some(begun) = taken {
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

/// Query pairs, decoded. A pair that is not UTF-8 is left out.
fn query_pairs(query: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(query.as_bytes()).map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}
