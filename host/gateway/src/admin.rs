//! The admin API: `/admin/v1` with its OpenAPI document, and `/metrics`.
//!
//! Keeps: nothing is answered without a token and the permission that [`access::RULES`] names, but where the operator opened metrics
//! and health on a listener of their own. No answer holds a secret, but for that of a key or token just made.

mod access;
mod alerts;
mod amount;
mod audit;
mod authenticate;
mod budgets;
mod connections;
mod cors;
mod document;
mod extract;
mod file;
mod health;
mod keys;
mod ledger;
mod limits;
mod login;
mod members;
mod models;
mod oidc;
mod organisations;
mod plugins;
mod problem;
mod proof;
mod replicas;
mod requests;
mod shapes;
mod teams;
#[cfg(test)]
mod tests;
mod tokens;
mod usage;
mod wording;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawPathParams, Request};
use axum::response::IntoResponse;
use axum::{Router, middleware};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use hyper::body::Incoming;
use portcullis_core::{MemberId, OrganisationId, RequestId, Scope};
use portcullis_runtime::PluginManager;
use portcullis_store::{Keyring, Store};
use tower_service::Service;
use utoipa_axum::router::OpenApiRouter;

use crate::service::ready;
use crate::snapshot::Snapshot;
use crate::{Gateway, answer, client_address};
use oidc::Issuers;
use problem::{Problem, Refused};

/// Where the API is.
const PREFIX: &str = "/admin/v1";

/// The admin API, ready to be called.
pub struct Admin {
    gateway: Arc<Gateway>,
    router: Router,
}

/// What calls are answered from.
struct Shared {
    gateway: Arc<Gateway>,
    store: Store,
    plugins: Arc<PluginManager>,
    /// For connections' credentials.
    keys: Arc<Keyring>,
    issuers: Issuers,
    document: Bytes,
    proofs: proof::Desk,
}

type Api = Arc<Shared>;

/// Where a call comes from, and by which listener.
#[derive(Clone, Copy, Debug)]
struct Peer {
    address: IpAddr,
    /// Not the one that clients use.
    apart: bool,
}

/// Whose something is.
struct Owner {
    /// What it is, for people.
    what: &'static str,
    /// All scopes that it belongs to.
    scopes: Vec<Scope>,
    member: Option<MemberId>,
}

impl Owner {
    /// Of something that is an organisation's.
    fn within(what: &'static str, organisation: OrganisationId) -> Self {
        Owner { what, scopes: vec![Scope::Organisation(organisation)], member: None }
    }
}

impl Admin {
    /// `keys` encrypt connections' credentials.
    pub fn new(gateway: Arc<Gateway>, store: Store, plugins: Arc<PluginManager>, keys: Arc<Keyring>) -> Arc<Self> {
        let (router, document) = document::complete(routes()).split_for_parts();
        let document = serde_json::to_vec(&document).expect("the document is plain data").into();
        let api: Api = Arc::new(Shared {
            gateway: Arc::clone(&gateway),
            store,
            plugins,
            keys,
            issuers: Issuers::default(),
            document,
            proofs: proof::Desk::default(),
        });
        let router = router
            .route_layer(middleware::from_fn_with_state(Arc::clone(&api), access::guard))
            // Who logs in has no token yet.
            .merge(login::open_routes())
            // What the API is stands open, like its source.
            .route(&format!("{PREFIX}/openapi.json"), axum::routing::get(document::show))
            .method_not_allowed_fallback(async || {
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This path takes other methods.")
            })
            .fallback(async || Problem::not_found("route"))
            .with_state(api);
        Arc::new(Admin { gateway, router })
    }

    /// Whether a path is the admin API's.
    pub(crate) fn covers(path: &str) -> bool {
        path == "/metrics" || path.strip_prefix("/admin").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Answers a call. `apart` where it came by the listener that is the admin API's own.
    pub(crate) async fn call(
        &self,
        request: http::Request<Incoming>,
        peer: SocketAddr,
        apart: bool,
        id: RequestId,
    ) -> Response<Body> {
        let counts = &self.gateway.metrics.counts;
        counts.admin_calls.add();
        let snapshot = self.gateway.snapshot();
        let address = client_address::of(request.headers(), peer, &snapshot.config.server);
        let origins = &snapshot.config.admin.origins;
        let origin = cors::origin(request.headers(), origins);
        if let Some(answer) = cors::preflight(&request, origin.as_ref()) {
            return answer;
        }
        if let Some(answer) = alive(&request, &snapshot) {
            return answer;
        }
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer { address, apart });
        let mut router = self.router.clone();
        let mut answer = match router.call(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        };
        if let Some(Refused(code)) = answer.extensions().get::<Refused>().copied() {
            counts.admin_refused.add(code);
            tracing::info!(request_id = %id, %address, code, "a call of the admin API was refused");
        }
        let headers = answer.headers_mut();
        // What it shows is nobody else's to keep.
        headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        cors::allow(headers, origin, !origins.is_empty());
        answer
    }
}

/// Whether the process lives and can serve, for whoever watches the admin API's own listener.
fn alive(request: &http::Request<Incoming>, snapshot: &Snapshot) -> Option<Response<Body>> {
    let answer = match request.uri().path() {
        "/healthz" => answer::json(StatusCode::OK, r#"{"status":"ok"}"#),
        "/readyz" => ready(snapshot),
        _ => return None,
    };
    Some(answer.map(Body::new))
}

fn routes() -> OpenApiRouter<Api> {
    let v1 = OpenApiRouter::new()
        .merge(organisations::routes())
        .merge(teams::routes())
        .merge(keys::routes())
        .merge(members::routes())
        .merge(tokens::routes())
        .merge(budgets::routes())
        .merge(alerts::routes())
        .merge(ledger::routes())
        .merge(limits::routes())
        .merge(login::routes())
        .merge(usage::routes())
        .merge(requests::routes())
        .merge(audit::routes())
        .merge(proof::routes())
        .merge(models::routes())
        .merge(connections::routes())
        .merge(plugins::routes())
        .merge(replicas::routes())
        .merge(health::routes());
    OpenApiRouter::with_openapi(document::base()).nest(PREFIX, v1).merge(health::metrics_route())
}

impl Shared {
    /// Whether a route is open to whoever reaches its listener.
    fn is_open(&self, rule: &access::Rule, request: &Request) -> bool {
        let apart = request.extensions().get::<Peer>().is_some_and(|peer| peer.apart);
        apart && matches!(rule.path, "/metrics" | "/health") && self.gateway.snapshot().config.admin.open_metrics
    }

    /// Whose the thing is that a path names.
    async fn owner_of(&self, parameters: &RawPathParams) -> Result<Owner, Problem> {
        let Some((name, value)) = parameters.iter().next() else { return Err(Problem::not_found("thing")) };
        let of = |what, scope, member| Owner { what, scopes: vec![scope], member };
        Ok(match name {
            "organisation" => {
                let id = value.parse().map_err(|_| Problem::not_found("organisation"))?;
                of("organisation", Scope::Organisation(id), None)
            }
            "team" => of("team", self.store.team(None, id(value, "team_", "team")?).await?.scope(), None),
            "key" => {
                let key = self.store.key(id(value, "key_", "key")?).await?;
                of("key", key.scope(), key.member)
            }
            "member" => {
                let member = self.store.member(id(value, "mem_", "member")?).await?;
                let scopes = member.grants.iter().map(|grant| grant.scope).collect();
                Owner { what: "member", scopes, member: Some(member.id) }
            }
            "budget" => {
                let budget = value.parse().map_err(|_| Problem::not_found("budget"))?;
                of("budget", self.store.budget(budget).await?.place(), None)
            }
            "reservation" => ledger::owner_of_reservation(self, value).await?,
            "lease" => ledger::owner_of_lease(self, value).await?,
            "request" => {
                let request = value.parse().map_err(|_| Problem::not_found("request"))?;
                let found = self.store.request(request).await?.ok_or_else(|| Problem::not_found("request"))?;
                of("request", Scope::of(found.organisation, found.team), None)
            }
            _ => return Err(Problem::not_found("thing")),
        })
    }
}

/// Paths name things by their ids, never by what may be another's tomorrow.
fn id<'v>(value: &'v str, prefix: &str, what: &str) -> Result<&'v str, Problem> {
    if value.starts_with(prefix) { Ok(value) } else { Err(Problem::not_found(what)) }
}

/// An answer with a status of its own.
fn created(answer: impl IntoResponse) -> axum::response::Response {
    let mut answer = answer.into_response();
    *answer.status_mut() = StatusCode::CREATED;
    answer
}
