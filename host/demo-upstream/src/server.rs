//! Accepts, authenticates, routes, and turns an answer into a body with its pace. Each connection is a task of a set that the
//! handle owns: dropping the handle ends them all.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::ask::Ask;
use crate::behaviour::{Behaviour, Stall};
use crate::bench::{Bench, Ready};
use crate::openai::operations::{self, Files, Told};
use crate::playback::{Counters, InFlight, Playback, Stats, Step};
use crate::protocol::Protocol;
use crate::refusal::Refusal;
use crate::{pace, reply};

/// How to serve.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where set, every request must carry it, as `Authorization: Bearer`, `x-api-key` or `x-goog-api-key`; else any key or none will do.
    pub api_key: Option<String>,
    /// Between the tokens of an ordinary stream.
    pub token_delay: Duration,
    /// Between the tokens of `demo-slow`.
    pub slow_token_delay: Duration,
    /// How many of the last requests [`Handle::received`] gives back. None by default: prompts are not kept unasked.
    pub keep_requests: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            api_key: None,
            token_delay: Duration::from_millis(15),
            slow_token_delay: Duration::from_millis(400),
            keep_requests: 0,
        }
    }
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: Method,
    /// With its query.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A running server. It stops when this is dropped.
#[derive(Debug)]
pub struct Handle {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

impl Handle {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS/v1`, which the OpenAI SDK takes as it is; the Anthropic SDK wants it without `/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub fn stats(&self) -> Stats {
        self.shared.counters.read()
    }

    /// The last requests, oldest first, as many as [`Options::keep_requests`] says.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().expect("no panic while held").iter().cloned().collect()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

#[derive(Debug)]
struct Shared {
    options: Options,
    serial: AtomicU64,
    counters: Arc<Counters>,
    received: Mutex<VecDeque<Received>>,
    bench: Bench,
    files: Files,
}

/// What makes an answer unlike the last one.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    pub serial: u64,
    /// Seconds since 1970.
    pub created: u64,
}

/// A server-sent event; paced before it where it carries a token.
#[derive(Debug)]
pub struct Frame {
    pub bytes: Bytes,
    pub token: bool,
}

/// What `GET /v1/models` lists. Any other name is ordinary chat.
const MODELS: [&str; 14] = [
    "demo",
    "demo-echo",
    "demo-tool",
    "demo-think",
    "demo-long",
    "demo-burst-100",
    "demo-slow",
    "demo-stall",
    "demo-stall-headers",
    "demo-stall-middle",
    "demo-cut",
    "demo-error-429",
    "demo-error-stream",
    "demo-bench",
];
/// As the Messages API has it.
const LARGEST_BODY: usize = 32 << 20;

/// Serves on the current runtime until the handle is dropped.
///
/// # Errors
/// The listener's own address cannot be read.
pub fn serve(listener: TcpListener, options: Options) -> io::Result<Handle> {
    let address = listener.local_addr()?;
    let shared = Arc::new(Shared {
        options,
        serial: AtomicU64::new(1),
        counters: Arc::default(),
        received: Mutex::default(),
        bench: Bench::default(),
        files: Files::default(),
    });
    let accepting = tokio::spawn(accept(listener, shared.clone())).abort_handle();
    Ok(Handle { address, shared, accepting })
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, shared.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    // A token is a packet of its own: waiting to fill one would delay it.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let service = service_fn(|request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(shared.handle(request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        // Frames that are ready together leave in one buffer, not sixteen to a call.
        .writev(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended");
    }
}

impl Shared {
    async fn handle(&self, request: Request<Incoming>) -> Response<Playback> {
        let in_flight = InFlight::begin(&self.counters);
        let (parts, body) = request.into_parts();
        let body = Limited::new(body, LARGEST_BODY).collect().await.map(|body| body.to_bytes());
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        let headers = &parts.headers;
        let protocol = Protocol::of(&parts.uri, headers);
        let stamp = Stamp { serial, created: now() };
        let Ok(body) = body else {
            let refusal = Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "Request exceeds the maximum size");
            return self.refuse(protocol, &refusal, stamp, in_flight);
        };
        self.keep(&parts, &body);
        if let Err(refusal) = self.authenticate(headers, protocol) {
            return self.refuse(protocol, &refusal, stamp, in_flight);
        }
        match (&parts.method, parts.uri.path()) {
            (&Method::POST, path) if protocol.is_chat(path) => {
                self.chat(protocol, &parts, &body, stamp, in_flight).await
            }
            (&Method::GET, "/v1/models" | "/v1beta/models") => {
                let models = whole(&protocol.models(&MODELS), in_flight);
                answer(protocol, stamp, StatusCode::OK, "application/json", models)
            }
            (method, path) => {
                if let Some(told) = operations::answer(&self.files, &parts, &body, stamp) {
                    return self.tell(told, stamp, in_flight);
                }
                let refusal = Refusal::new(StatusCode::NOT_FOUND, format!("Invalid URL ({method} {path})"));
                self.refuse(protocol, &refusal, stamp, in_flight)
            }
        }
    }

    async fn chat(
        &self,
        protocol: Protocol,
        parts: &http::request::Parts,
        body: &Bytes,
        stamp: Stamp,
        in_flight: InFlight,
    ) -> Response<Playback> {
        if let Some(ready) = self.bench.answer(protocol, body) {
            let (kind, body) = match ready {
                Ready::Whole(bytes) => ("application/json", Playback::whole(bytes, in_flight)),
                Ready::Frames(frames) => {
                    let steps = frames.iter().cloned().map(Step::Send).collect();
                    ("text/event-stream; charset=utf-8", Playback::stream(steps, in_flight))
                }
            };
            return answer(protocol, stamp, StatusCode::OK, kind, body);
        }
        let ask = match protocol.read(&parts.uri, &parts.headers, body) {
            Ok(ask) => ask,
            Err(refusal) => return self.refuse(protocol, &refusal, stamp, in_flight),
        };
        let behaviour = Behaviour::of(&ask);
        match behaviour {
            Behaviour::Error(status) => {
                return self.refuse(protocol, &Refusal::told(status, &ask.model), stamp, in_flight);
            }
            Behaviour::Stall(Stall::Headers) => std::future::pending::<()>().await,
            _ => {}
        }
        let reply = reply::compose(&ask, behaviour, stamp.serial);
        if ask.stream {
            let frames = protocol.frames(&reply, &ask, stamp);
            let steps = pace::stream(frames, behaviour, protocol, &self.options);
            let body = Playback::stream(steps, in_flight);
            return answer(protocol, stamp, StatusCode::OK, "text/event-stream; charset=utf-8", body);
        }
        let value = protocol.whole(&reply, &ask, stamp);
        self.whole_answer(protocol, &ask, behaviour, stamp, &value, in_flight)
    }

    fn whole_answer(
        &self,
        protocol: Protocol,
        ask: &Ask,
        behaviour: Behaviour,
        stamp: Stamp,
        value: &Value,
        in_flight: InFlight,
    ) -> Response<Playback> {
        if behaviour == Behaviour::ErrorInStream {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            return self.refuse(protocol, &Refusal::told(status, &ask.model), stamp, in_flight);
        }
        let bytes = Bytes::from(value.to_string());
        let length = bytes.len() as u64;
        let steps = pace::whole(bytes, behaviour, &self.options);
        let body = Playback::partial(length, steps, in_flight);
        answer(protocol, stamp, StatusCode::OK, "application/json", body)
    }

    fn tell(&self, told: Result<Told, Refusal>, stamp: Stamp, in_flight: InFlight) -> Response<Playback> {
        let (kind, body) = match told {
            Ok(Told::Json(value)) => ("application/json", whole(&value, in_flight)),
            Ok(Told::Bytes(kind, bytes)) => (kind, Playback::whole(bytes, in_flight)),
            Ok(Told::Events(events)) => {
                let steps = events.iter().map(|event| Step::Send(format!("data: {event}\n\n").into())).collect();
                ("text/event-stream; charset=utf-8", Playback::stream(steps, in_flight))
            }
            Err(refusal) => return self.refuse(Protocol::OpenAi, &refusal, stamp, in_flight),
        };
        answer(Protocol::OpenAi, stamp, StatusCode::OK, kind, body)
    }

    fn authenticate(&self, headers: &HeaderMap, protocol: Protocol) -> Result<(), Refusal> {
        let Some(expected) = &self.options.api_key else { return Ok(()) };
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let given =
            bearer.or_else(|| headers.get("x-api-key").or_else(|| headers.get("x-goog-api-key"))?.to_str().ok());
        match given {
            Some(given) if given == expected => Ok(()),
            _ => {
                let message = match (protocol, given) {
                    (Protocol::Anthropic, Some(_)) => "invalid x-api-key",
                    (Protocol::Anthropic, None) => "x-api-key header is required",
                    (Protocol::Gemini, _) => "API key not valid. Please pass a valid API key.",
                    (_, Some(_)) => "Incorrect API key provided.",
                    (_, None) => "You didn't provide an API key.",
                };
                Err(Refusal::new(StatusCode::UNAUTHORIZED, message).code("invalid_api_key"))
            }
        }
    }

    fn keep(&self, parts: &http::request::Parts, body: &Bytes) {
        if self.options.keep_requests == 0 {
            return;
        }
        let mut received = self.received.lock().expect("no panic while held");
        if received.len() == self.options.keep_requests {
            received.pop_front();
        }
        received.push_back(Received {
            method: parts.method.clone(),
            path: parts.uri.to_string(),
            headers: parts.headers.clone(),
            body: body.clone(),
        });
    }

    fn refuse(&self, protocol: Protocol, refusal: &Refusal, stamp: Stamp, in_flight: InFlight) -> Response<Playback> {
        let body = protocol.error(refusal, &request_id(stamp));
        let mut answer = answer(protocol, stamp, refusal.status, "application/json", whole(&body, in_flight));
        if let Some(seconds) = refusal.retry_after {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        answer
    }
}

fn whole(value: &Value, in_flight: InFlight) -> Playback {
    Playback::whole(Bytes::from(value.to_string()), in_flight)
}

fn answer(
    protocol: Protocol,
    stamp: Stamp,
    status: StatusCode,
    kind: &'static str,
    body: Playback,
) -> Response<Playback> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    let id = HeaderValue::try_from(request_id(stamp)).expect("letters and digits");
    match protocol {
        Protocol::OpenAi | Protocol::Responses => {
            headers.insert(HeaderName::from_static("x-request-id"), id);
            headers.insert(HeaderName::from_static("openai-processing-ms"), HeaderValue::from_static("1"));
            headers.insert(HeaderName::from_static("openai-version"), HeaderValue::from_static("2020-10-01"));
        }
        Protocol::Anthropic => {
            headers.insert(HeaderName::from_static("request-id"), id);
        }
        // Gemini names its answers in their bodies.
        Protocol::Gemini => {}
    }
    answer
}

fn request_id(stamp: Stamp) -> String {
    format!("req_demo{:012x}", stamp.serial)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
