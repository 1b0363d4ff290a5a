//! From a request's head to whoever serves it: the gateway's own routes, then the dialects'.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use portcullis_core::RequestId;
use portcullis_runtime::Plugin;
use portcullis_runtime::contract::types::{self, Failure, FailureKind, Pair};

use portcullis_store::ActiveKey;

use crate::access::Unadmitted;
use crate::answer::{self, AnswerBody};
use crate::inbound::{self, Refusal};
use crate::limits::{self, Admission, Caller, Denied, Family};
use crate::pipeline::{Arrival, Unread, denied, serve as run, unread, wire_error};
use crate::route::{Matched, NoRoute, Route, RouteTable};
use crate::server::Surface;
use crate::snapshot::Snapshot;
use crate::{Admin, Gateway, access, auth, client_address, kept, models, receipts};

/// Longest `x-request-id` of a client that is kept.
const CORRELATION_BYTES: usize = 128;

/// What is known of a request before anybody was asked who sent it.
pub(crate) struct Head {
    pub snapshot: Arc<Snapshot>,
    pub request_id: RequestId,
    pub now: u64,
}

/// Serves one request; whatever goes wrong is an answer too.
pub(crate) async fn serve(
    gateway: Arc<Gateway>,
    surface: &Surface,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Response<AnswerBody> {
    let started = Instant::now();
    let now = gateway.clock.now_ms();
    let request_id = RequestId::new(now, &mut rand::rng());
    let own = HeaderValue::from_str(&request_id.to_string()).unwrap_or(HeaderValue::from_static(""));
    let correlation = correlation(request.headers()).unwrap_or_else(|| own.clone());
    let mut response = match surface.admin() {
        Some(admin) if surface.is_apart() || Admin::covers(request.uri().path()) => {
            // Boxed, so that clients' requests carry no room for it.
            let call = admin.call(request, peer, surface.is_apart(), request_id);
            Box::pin(call).await.map(|body| AnswerBody::Admin(Box::new(body)))
        }
        _ => {
            let head = Head { snapshot: gateway.snapshot(), request_id, now };
            respond(gateway, head, request, peer, correlation.clone(), started).await
        }
    };
    answer::identify(response.headers_mut(), correlation, own);
    response
}

async fn respond(
    gateway: Arc<Gateway>,
    head: Head,
    request: Request<Incoming>,
    peer: SocketAddr,
    correlation: HeaderValue,
    started: Instant,
) -> Response<AnswerBody> {
    let (now, request_id) = (head.now, head.request_id);
    let (mut parts, body) = request.into_parts();
    match (parts.uri.path(), &parts.method) {
        ("/healthz", &Method::GET | &Method::HEAD) => return answer::json(StatusCode::OK, r#"{"status":"ok"}"#),
        ("/readyz", &Method::GET | &Method::HEAD) => return ready(&head.snapshot),
        _ => {}
    }
    let mut found = Found::of(&head.snapshot.routes, &parts);
    let address = client_address::of(&parts.headers, peer, &head.snapshot.config.server);
    let key = match access::authenticate(&gateway, &parts.headers, address, now).await {
        Ok(key) => key,
        Err(Unadmitted { failure, code }) => {
            tracing::info!(request_id = %request_id, %address, code, "a request was not authenticated");
            // That it cannot be known whose the key is, is nobody's upstream's doing.
            let status = (failure.kind == FailureKind::Unavailable).then_some(StatusCode::SERVICE_UNAVAILABLE);
            return head.fail(found.dialect.as_ref(), &Refusal { status, ..failure.into() });
        }
    };
    // What a key's requests ask for can lead elsewhere.
    if auth::complete(&mut parts.headers, &key.defaults) {
        found = Found::of(&head.snapshot.routes, &parts);
    }
    let family = found.family();
    let admitted = match access::admit(&gateway, &key, &parts.headers, address, now) {
        Ok(()) => gateway.limiter.admit(&head.snapshot.limits, &Caller::of(&key, address), now),
        Err(failure) => Err(Denied::Access(failure)),
    };
    let (admission, told) = match &admitted {
        Ok(admission) => (admission.clone(), None),
        Err(Denied::Refused(refused)) => (None, Some(refused.standings.clone())),
        Err(Denied::Tier(unknown)) => {
            tracing::error!(key = %key.id, %unknown, "a key's requests are refused");
            (None, None)
        }
        Err(Denied::Access(_)) => (None, None),
    };
    let clock = Arc::clone(&gateway.clock);
    let asked = Asked { parts, body, found, key, address, admitted, correlation, started };
    let mut response = answered(gateway, head, asked).await;
    // As they stand now, after a whole answer was settled.
    let standings = told.or_else(|| admission.as_ref().map(|admission| admission.standings(now.max(clock.now_ms()))));
    if let Some(standings) = standings {
        limits::take_off(response.headers_mut());
        limits::put_on(response.headers_mut(), &standings, family, now);
    }
    match admission {
        Some(admission) => response.map(|body| body.counted(admission)),
        None => response,
    }
}

/// A request whose caller is known.
struct Asked {
    parts: Parts,
    body: Incoming,
    found: Found,
    key: Arc<ActiveKey>,
    address: IpAddr,
    admitted: Result<Option<Arc<Admission>>, Denied>,
    correlation: HeaderValue,
    started: Instant,
}

async fn answered(gateway: Arc<Gateway>, head: Head, asked: Asked) -> Response<AnswerBody> {
    let Asked { parts, body, found, key, address, admitted, correlation, started } = asked;
    let (now, request_id) = (head.now, head.request_id);
    let Found { matched, below, dialect } = found;
    let fail = |refusal: Refusal| {
        let code = refusal.failure.code.as_deref().unwrap_or("");
        tracing::info!(request_id = %request_id, key = %key.id, code, "a request was refused");
        head.fail(dialect.as_ref(), &refusal)
    };
    let (admission, refused) = match admitted {
        Ok(admission) => (admission, None),
        Err(denied) => (None, Some(denied)),
    };
    // A request that a route is found for leaves a receipt, below.
    if let Some(refused) = &refused
        && !matches!(&matched, Ok(Matched { route, .. }) if &*route.operation != "models")
    {
        return fail(refused.failure().into());
    }
    if let Some(id) = parts.uri.path().strip_prefix("/v1/receipts/")
        && parts.method == Method::GET
    {
        return receipts::answer(&gateway, &key, id).await.unwrap_or_else(|failure| fail(failure.into()));
    }
    if let Some(below) = &below {
        if let Some(refusal) = kept::refusal(&parts, below.further) {
            return fail(refusal);
        }
        let answered = kept::answer(&gateway, &head.snapshot, &key, &parts.method, &below.name).await;
        return answered.unwrap_or_else(|failure| fail(failure.into()));
    }
    let Matched { route, parameters } = match matched {
        Ok(matched) => matched,
        Err(why) => return fail(unknown_route(&parts, &why)),
    };
    let pairs = |pairs: Vec<(String, String)>| pairs.into_iter().map(|(name, value)| Pair { name, value }).collect();
    if &*route.operation == "models" {
        return models::answer(&head, &route, &parameters, &key).unwrap_or_else(|failure| fail(failure.into()));
    }
    let Head { snapshot, .. } = head;
    let query = parts.uri.query().map(query_pairs).unwrap_or_default();
    let arrival = Arrival {
        gateway,
        snapshot,
        route,
        key,
        address,
        admission,
        request_id,
        correlation,
        now,
        started,
        headers: parts.headers,
        path: pairs(parameters),
        query: pairs(query),
    };
    if let Some(refused) = refused {
        return denied(arrival, &refused);
    }
    let limits = &arrival.snapshot.config.limits;
    match inbound::read(&arrival.headers, body, limits.request_bytes, limits.client_idle()).await {
        Ok(bytes) => run(arrival, bytes).await,
        Err(Refusal { failure, status, .. }) => unread(arrival, Unread { failure, status, body_bytes: 0 }),
    }
}

/// Whom a request is for.
struct Found {
    matched: Result<Matched, NoRoute>,
    /// Where no route matched.
    below: Option<Below>,
    /// Whose shape an error has.
    dialect: Option<Arc<Plugin>>,
}

/// A path below that of a route whose answers are kept by name.
struct Below {
    route: Arc<Route>,
    name: String,
    /// It goes on past the name.
    further: bool,
}

impl Below {
    fn of(routes: &RouteTable, path: &str, headers: &HeaderMap) -> Option<Self> {
        let below = |path, further| {
            let (route, name) = routes.kept(path, headers)?;
            Some(Below { route: Arc::clone(route), name, further })
        };
        below(path, false).or_else(|| below(path.rsplit_once('/')?.0, true))
    }
}

impl Found {
    /// Which headers the client looks for.
    fn family(&self) -> Family {
        let route = match (&self.matched, &self.below) {
            (Ok(Matched { route, .. }) | Err(NoRoute::OtherMethod(route)), _) => Some(route),
            (Err(NoRoute::Unknown), below) => below.as_ref().map(|below| &below.route),
        };
        Family::of(route.map_or("", |route| &route.format))
    }

    fn of(routes: &RouteTable, parts: &Parts) -> Self {
        let path = parts.uri.path();
        let matched = routes.find(&parts.method, &parts.uri, &parts.headers);
        let below = match matched {
            Ok(_) => None,
            Err(_) => Below::of(routes, path, &parts.headers),
        };
        let dialect = match (&matched, &below) {
            (Ok(Matched { route, .. }) | Err(NoRoute::OtherMethod(route)), _)
            | (Err(NoRoute::Unknown), Some(Below { route, .. })) => Some(Arc::clone(&route.plugin)),
            (Err(NoRoute::Unknown), None) => routes.dialect_for(&parts.headers).cloned(),
        };
        Found { matched, below, dialect }
    }
}

impl Head {
    pub(crate) fn context(&self) -> types::Context {
        types::Context {
            now: self.now,
            seed: 0,
            request_id: self.request_id.to_string(),
            development: self.snapshot.config.server.development,
            extra: Vec::new(),
        }
    }

    fn fail(&self, dialect: Option<&Arc<Plugin>>, refusal: &Refusal) -> Response<AnswerBody> {
        let mut response = wire_error(dialect, &self.context(), &refusal.failure);
        if let Some(status) = refusal.status {
            *response.status_mut() = status;
        }
        let headers = response.headers_mut();
        if let Some(allow) = &refusal.allow {
            headers.insert(header::ALLOW, allow.clone());
        }
        if refusal.failure.kind == FailureKind::Authentication {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The client's own request id, where it is one that can be repeated in a header and a log.
fn correlation(headers: &HeaderMap) -> Option<HeaderValue> {
    let theirs = headers.get("x-request-id").filter(|value| {
        (1..=CORRELATION_BYTES).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    theirs.cloned()
}

pub(crate) fn ready(snapshot: &Snapshot) -> Response<AnswerBody> {
    if snapshot.is_ready() {
        answer::json(StatusCode::OK, r#"{"status":"ready"}"#)
    } else {
        answer::json(StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"not ready: no dialect or no model"}"#)
    }
}

fn unknown_route(parts: &Parts, why: &NoRoute) -> Refusal {
    let (path, method) = (parts.uri.path(), &parts.method);
    match why {
        NoRoute::OtherMethod(route) => Refusal {
            status: Some(StatusCode::METHOD_NOT_ALLOWED),
            allow: HeaderValue::from_str(route.method.as_str()).ok(),
            ..Refusal::invalid("method_not_allowed", format!("{path} takes {}, not {method}.", route.method))
        },
        NoRoute::Unknown => Refusal::from(Failure {
            kind: FailureKind::NotFound,
            message: format!("There is nothing at {method} {path}."),
            code: Some("unknown_route".to_owned()),
            param: None,
            retry_after: None,
        }),
    }
}

/// Query pairs, decoded. A pair that is not UTF-8 is left out.
fn query_pairs(query: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(query.as_bytes()).map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}
