//! The admin API over real sockets, on a database of its own. The table of rules is walked with every role.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use portcullis_core::{
    Environment, Grant, KeyId, OrganisationId, Receipt, RequestId, Role, Scope, SystemClock, TeamId,
};
use portcullis_runtime::{PluginManager, Runtime, RuntimeOptions};
use portcullis_store::budgets::{Hold, LeaseWant, Leased, Mode, NewBudget, Period, Scope as BudgetScope};
use portcullis_store::{
    Actor, AuditFilter, AuditPage, CaptureKeys, CapturedContent, CapturedPart, Keyring, LedgerOptions, LockoutSettings,
    MasterKey, NewCapture, NewKey, NewMember, NewOrganisation, NewTeam, NewToken, ReserveRequest, Store, StoreOptions,
};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::Admin;
use super::access::{RULES, Reach, Rule};
use crate::config::Config;
use crate::server::{self, Server, Surface};
use crate::{Gateway, Parts};

mod files;
mod ledger;
mod money;
mod proof;

struct World {
    _directory: tempfile::TempDir,
    store: Store,
    gateway: Arc<Gateway>,
    server: Server,
    apart: Server,
    superadmin: String,
    /// Two organisations, the first with a team; ids of what is in it.
    organisations: [OrganisationId; 2],
    team: TeamId,
    ids: HashMap<&'static str, String>,
}

struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Value,
    text: String,
}

impl Answer {
    fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or("")
    }
}

const CONFIG: &str = r#"
[admin]
listen = "127.0.0.1:0"
open_metrics = true
origins = ["https://ops.example"]
[audit]
key = { command = ["echo", "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="] }
[providers.one]
plugin = "openai"
base_url = "https://one.example/v1"
api_key = "s3cret-of-one"
"#;

async fn world() -> World {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&StoreOptions::at(directory.path().join("p.db"))).await.unwrap();
    let plugins = directory.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    let ledger = store.ledger(LedgerOptions::default()).await.unwrap();
    let parts = Parts {
        keys: Arc::new(store.key_cache().await.unwrap()),
        access: store.access_guard(LockoutSettings::default()).await.unwrap(),
        ledger: ledger.clone(),
        conversations: store.conversations(MasterKey::in_file(directory.path().join("key"))),
        captures: store.captures(CaptureKeys::new(MasterKey::in_file(directory.path().join("captures")), Vec::new())),
        clock: Arc::new(SystemClock),
    };
    let gateway = Gateway::new(Config::parse(CONFIG, "test").unwrap(), parts).unwrap();
    let manager = {
        let gateway = Arc::clone(&gateway);
        let publish = Box::new(move |set: &[_]| gateway.publish(set));
        tokio::task::spawn_blocking(move || {
            let runtime = Runtime::new(RuntimeOptions::default()).unwrap();
            PluginManager::start(runtime, plugins, HashMap::new(), publish).unwrap()
        })
        .await
        .unwrap()
    };
    let keys = Arc::new(Keyring::new(MasterKey::in_file(directory.path().join("connections.key")), Vec::new()));
    let admin = Admin::new(Arc::clone(&gateway), store.clone(), manager, keys);
    let here = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = server::serve(Arc::clone(&gateway), Surface::Clients(Some(Arc::clone(&admin))), here).await.unwrap();
    let apart = server::serve(Arc::clone(&gateway), Surface::Admin(admin), here).await.unwrap();

    let cli = Actor::cli("test");
    let superadmin = store.bootstrap(&cli, false).await.unwrap().secret.expose().to_owned();
    let mut organisations = Vec::new();
    for name in ["one", "two"] {
        let new = NewOrganisation { name: name.to_owned(), ..NewOrganisation::default() };
        organisations.push(store.create_organisation(&cli, new).await.unwrap().id);
    }
    let first = organisations[0];
    let new = NewTeam { organisation: first, name: "team".to_owned(), policy: Default::default() };
    let team = store.create_team(&cli, new).await.unwrap().id;
    let mut new = NewKey::new("a key", Environment::Production);
    (new.organisation, new.team) = (first, Some(team));
    let key = store.create_key(&cli, new).await.unwrap().record.id;
    let grant = Grant { role: Role::Developer, scope: Scope::Team(first, team) };
    let new = NewMember { email: "ada@one.example".to_owned(), name: "Ada".to_owned(), grants: vec![grant] };
    let member = store.create_member(&cli, new).await.unwrap().id;
    let new = NewToken { name: "a token".to_owned(), grants: vec![grant], ..NewToken::default() };
    let token = store.create_token(&cli, new).await.unwrap().record.id;
    let budget = {
        let new = NewBudget {
            organisation: first,
            name: "the team's".to_owned(),
            scope: BudgetScope::Team(team),
            period: Period::Total,
            limit: "1".parse().unwrap(),
            mode: Mode::Soft,
            thresholds: vec![50],
        };
        store.create_budget(&cli, new).await.unwrap().id
    };
    // What a process that is gone had leased, and did not prove unspent.
    let lease = {
        let new = NewBudget {
            organisation: first,
            name: "leased".to_owned(),
            scope: BudgetScope::Organisation,
            period: Period::Total,
            limit: "1".parse().unwrap(),
            mode: Mode::Hard,
            thresholds: vec![],
        };
        let budget = store.create_budget(&cli, new).await.unwrap();
        let window = budget.period.window(0).unwrap();
        let want = LeaseWant { budget: budget.id, window, granted: 0, need: 700, want: 700 };
        assert_eq!(store.backend().lease([9; 16], &[want]).await.unwrap(), Leased::Granted(vec![700]));
        store.backend().close_epoch([9; 16], false, 1_000).await.unwrap();
        format!("{}-0-{}", budget.id, "09".repeat(16))
    };
    let lost = RequestId::new(1_780_000_000_001, &mut rand::rng());
    let reserve = ReserveRequest {
        request_id: lost,
        attempt: 1,
        key_id: key,
        organisation: first,
        provider: "one".into(),
        model: "m".into(),
        worst: "0.5".parse().unwrap(),
        now_ms: 1_780_000_000_001,
    };
    ledger.reserve(reserve, Hold::unbudgeted()).unwrap().quarantine("no-answer").unwrap();
    let request = RequestId::new(1_780_000_000_000, &mut rand::rng());
    ledger.record(&receipt(request, key, first, Some(team))).unwrap();
    ledger.flush().await.unwrap();
    let part = |bytes: &[u8], length| CapturedPart { bytes: bytes.to_vec(), length };
    let content = CapturedContent { request: part(b"{}", 9), answer: Some(part(&[0xff, 1], 2)) };
    assert!(gateway.captures.keep(NewCapture { id: request, organisation: first, expires_ms: u64::MAX >> 1, content }));
    gateway.captures.flush().await.unwrap();
    let ids = HashMap::from([
        ("organisation", first.to_string()),
        ("team", team.to_string()),
        ("key", key.to_string()),
        ("member", member.to_string()),
        ("token", token.to_string()),
        ("budget", budget.to_string()),
        ("lease", lease),
        ("reservation", format!("{lost}-1")),
        ("proof", "proof_0".to_owned()),
        ("request", request.to_string()),
        ("plugin", "openai".to_owned()),
        ("connection", "one".to_owned()),
    ]);
    let organisations = [organisations[0], organisations[1]];
    World { _directory: directory, store, gateway, server, apart, superadmin, organisations, team, ids }
}

fn receipt(id: RequestId, key: KeyId, organisation: OrganisationId, team: Option<TeamId>) -> Receipt {
    let team = team.map(|team| team.to_string());
    serde_json::from_value(json!({
        "request_id": id.to_string(), "time_ms": 1_780_000_000_000u64,
        "caller": {"key_id": key.to_string(), "organisation": organisation.to_string(), "team": team, "user": "u-1",
            "environment": "production"},
        "operation": "chat", "dialect": "openai", "route": "chat-completions", "requested_model": "auto", "stream": false,
        "passthrough": true, "plugins": [],
        "attempts": [{"number": 1, "provider": "one", "model": "m", "status": 200, "started_ms": 1, "duration_us": 9}],
        "usage": {"input": 10, "output": 5}, "timings": {"total_us": 1000, "overhead_us": 60},
        "outcome": {"status": 200, "code": "ok"}, "tags": [{"name": "job", "value": "nightly"}]
    }))
    .unwrap()
}

impl World {
    async fn token(&self, role: Role, scope: Scope) -> String {
        let new = NewToken { name: role.to_string(), grants: vec![Grant { role, scope }], ..NewToken::default() };
        self.store.create_token(&Actor::cli("test"), new).await.unwrap().secret.expose().to_owned()
    }

    async fn call(&self, method: &str, path: &str, token: &str, body: Option<Value>) -> Answer {
        ask(
            self.server.address(),
            method,
            &format!("/admin/v1{path}"),
            &[("authorization", &format!("Bearer {token}"))],
            body,
        )
        .await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &self.superadmin, None).await
    }

    fn path(&self, rule: &Rule) -> String {
        self.ids.iter().fold(rule.path.to_owned(), |path, (name, id)| path.replace(&format!("{{{name}}}"), id))
    }
}

async fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", "gateway");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
    let answer = sender.send_request(request.body(Full::new(body)).unwrap()).await.unwrap();
    let (head, body) = answer.into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Answer { status: head.status, headers: head.headers, body, text }
}

/// What is sent to a route that makes something, so that it is known whose it would be.
fn body(rule: &Rule, world: &World) -> Option<Value> {
    let organisation = world.organisations[0].to_string();
    Some(match (rule.method, rule.path) {
        ("GET", _) => return None,
        ("POST", "/teams") => json!({"organisation": organisation, "name": "x"}),
        ("POST", "/keys") => json!({"organisation": organisation, "name": "x", "environment": "development"}),
        ("POST", "/members") => {
            json!({"email": "x@one.example", "name": "x", "grants": [{"role": "developer", "organisation": organisation}]})
        }
        ("POST", "/budgets") => json!({"organisation": organisation, "name": "x", "period": "day", "limit_usd": "1"}),
        ("POST", "/tokens") => json!({"name": "x", "grants": [{"role": "developer", "organisation": organisation}]}),
        // What is refused for its body was not refused for whose it is.
        _ => json!({"no such field": 1}),
    })
}

/// A scope that the role fits, within an organisation.
fn scope(role: Role, organisation: OrganisationId, team: TeamId) -> Scope {
    match role {
        Role::Superadmin => Scope::All,
        Role::TeamAdmin => Scope::Team(organisation, team),
        _ => Scope::Organisation(organisation),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_with_every_role() {
    let world = world().await;
    let foreign_team = {
        let new =
            NewTeam { organisation: world.organisations[1], name: "theirs".to_owned(), policy: Default::default() };
        world.store.create_team(&Actor::cli("test"), new).await.unwrap().id
    };
    for &role in Role::ALL {
        let own = scope(role, world.organisations[0], world.team);
        let foreign = scope(role, world.organisations[1], foreign_team);
        let [token, stranger] = [world.token(role, own).await, world.token(role, foreign).await];
        for rule in RULES {
            if rule.path == "/metrics" {
                continue;
            }
            // What ends a thing would end the walk: it is asked for with a stranger's token alone.
            let ends = matches!(rule.method, "DELETE")
                || ["/suspend", "/revoke", "/rotate"].iter().any(|end| rule.path.ends_with(end));
            let about = format!("{role} {} {}", rule.method, rule.path);
            let owner = match rule.reach {
                Reach::Everything => Scope::All,
                Reach::Named if rule.path.starts_with("/organisations") || rule.path.starts_with("/ledger") => {
                    Scope::Organisation(world.organisations[0])
                }
                Reach::Named => Scope::Team(world.organisations[0], world.team),
                Reach::Listed | Reach::Somewhere | Reach::Oneself => own,
            };
            let grant = Grant { role, scope: own };
            // Of one's own, what is somebody else's is there for whoever may see that.
            let theirs = Scope::Team(world.organisations[0], world.team);
            let may = match rule.reach {
                Reach::Oneself => !rule.path.contains('{') || grant.allows(rule.permission, &theirs),
                _ => grant.allows(rule.permission, &owner),
            };
            if !(may && ends) {
                let answer = world.call(rule.method, &world.path(rule), &token, body(rule, &world)).await;
                let refused = matches!(answer.status, StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED);
                // Of what a store's method asks for further, the routes' own tests tell.
                let further = rule.method == "POST" && matches!(rule.reach, Reach::Somewhere | Reach::Oneself);
                if !further {
                    let hidden = answer.status == StatusCode::NOT_FOUND
                        && answer.code() == "not_found"
                        && !["/plugins/{plugin}", "/audit/verify/{proof}"].contains(&rule.path);
                    assert_eq!(!may, refused || hidden, "{about}: {} {}", answer.status, answer.text);
                }
            }
            // Somebody of another organisation.
            if role == Role::Superadmin || rule.reach == Reach::Oneself {
                continue;
            }
            let path = match rule.reach {
                Reach::Listed => format!("{}?organisation={}", rule.path, world.organisations[0]),
                _ => world.path(rule),
            };
            let answer = world.call(rule.method, &path, &stranger, body(rule, &world)).await;
            match rule.reach {
                Reach::Everything | Reach::Listed => assert_eq!(answer.status, StatusCode::FORBIDDEN, "{about}"),
                Reach::Named => {
                    let refused = matches!(answer.status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND);
                    assert!(refused, "{about}: {} {}", answer.status, answer.text);
                }
                Reach::Somewhere | Reach::Oneself => {
                    let theirs = answer.text.contains(&world.organisations[0].to_string());
                    assert!(!theirs || answer.status.is_client_error(), "{about}: {}", answer.text);
                    assert_ne!(answer.status, StatusCode::CREATED, "{about}: {}", answer.text);
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_nothing_is_answered() {
    let world = world().await;
    for rule in RULES {
        let path =
            if rule.path == "/metrics" { rule.path.to_owned() } else { format!("/admin/v1{}", world.path(rule)) };
        for (headers, code) in [(vec![], "missing_token"), (vec![("authorization", "Bearer pca_no")], "invalid_token")]
        {
            // Enough wrong tokens lock out, and that is told with another status.
            let answer = ask(world.server.address(), rule.method, &path, &headers, None).await;
            let told = (answer.status, answer.code());
            let locked = told == (StatusCode::TOO_MANY_REQUESTS, "locked_out");
            assert!(
                told == (StatusCode::UNAUTHORIZED, code) || (locked && code == "invalid_token"),
                "{path}: {told:?}"
            );
        }
    }
    // A right token passes a lock-out.
    assert_eq!(world.get("/self").await.status, StatusCode::OK);
    let unknown = ask(world.server.address(), "GET", "/admin/v1/nothing", &[], None).await;
    assert_eq!(
        (unknown.status, unknown.headers["content-type"].to_str().unwrap()),
        (StatusCode::NOT_FOUND, "application/problem+json")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_has_the_routes_and_no_others() {
    let world = world().await;
    let answer = ask(world.server.address(), "GET", "/admin/v1/openapi.json", &[], None).await;
    assert!(answer.body["openapi"].as_str().unwrap().starts_with("3.1"), "{}", answer.body["openapi"]);
    let mut shown: Vec<String> = Vec::new();
    for (path, item) in answer.body["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(name, _)| name.len() <= 6) {
            assert!(operation["description"].as_str().unwrap().contains("Takes "), "{path} {method}");
            assert_eq!(operation["security"][0]["adminToken"], json!([]));
            assert!(operation["responses"]["default"]["content"]["application/problem+json"].is_object());
            let described = |answer: &Value| answer["description"].as_str().is_some_and(|said| !said.is_empty());
            assert!(operation["responses"].as_object().unwrap().values().all(described), "{path} {method}");
            shown.push(format!("{} {}", method.to_uppercase(), path.strip_prefix("/admin/v1").unwrap_or(path)));
        }
    }
    let mut named = Vec::new();
    references(&answer.body, &mut named);
    assert!(!named.is_empty());
    for name in named {
        let pointer = name.strip_prefix('#').unwrap();
        assert!(answer.body.pointer(pointer).is_some(), "{name} names nothing");
    }
    let mut rules: Vec<String> = RULES.iter().map(|rule| format!("{} {}", rule.method, rule.path)).collect();
    shown.sort();
    rules.sort();
    assert_eq!(shown, rules);
    if let Ok(path) = std::env::var("PORTCULLIS_WRITE_OPENAPI") {
        std::fs::write(path, &answer.text).unwrap();
    }
}

/// What the document refers to.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_s_life() {
    let world = world().await;
    let organisation = world.organisations[0].to_string();
    let new = json!({"name": "k", "environment": "production", "organisation": organisation, "team": world.team.to_string(),
        "policy": {"models": ["gpt-*"]}, "tags": [{"name": "a", "value": "b"}]});
    let made = world.call("POST", "/keys", &world.superadmin, Some(new)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let (id, secret) = (made.body["id"].as_str().unwrap().to_owned(), made.body["secret"].as_str().unwrap().to_owned());
    assert_eq!(made.headers["location"], format!("/admin/v1/keys/{id}"));
    let path = format!("/keys/{id}");
    let shown = world.get(&path).await;
    assert_eq!((shown.body["name"].as_str(), shown.body["policy"]["models"][0].as_str()), (Some("k"), Some("gpt-*")));
    assert!(!shown.text.contains(&secret));

    // An edit of an older version is refused, one of this version is not.
    let edit = |tag: String, name: &str| {
        let (path, name) = (format!("/admin/v1{path}"), name.to_owned());
        let (address, token) = (world.server.address(), format!("Bearer {}", world.superadmin));
        async move {
            let headers = [("authorization", token.as_str()), ("if-match", tag.as_str())];
            ask(address, "PATCH", &path, &headers, Some(json!({"name": name, "expires_ms": null}))).await
        }
    };
    let tag = shown.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(edit(tag.clone(), "l").await.body["name"], "l");
    let late = edit(tag, "m").await;
    assert_eq!((late.status, late.code()), (StatusCode::PRECONDITION_FAILED, "changed"));

    let policy = world.get(&format!("{path}/policy")).await;
    let line = policy.body["lines"].as_array().unwrap().iter().find(|line| line["field"] == "models").unwrap().clone();
    assert_eq!((&line["value"][0], &line["origin"]), (&json!("gpt-*"), &json!("key")));
    let rotated =
        world.call("POST", &format!("{path}/rotate"), &world.superadmin, Some(json!({"grace_seconds": 60}))).await;
    assert_ne!(rotated.body["secret"], json!(secret), "{}", rotated.text);
    for (action, field) in [("suspend", "suspended_ms"), ("revoke", "revoked_ms")] {
        let done = world.call("POST", &format!("{path}/{action}"), &world.superadmin, None).await;
        assert!(done.body[field].is_u64(), "{}", done.text);
    }
    let unrevoked = world.get("/keys?limit=500").await;
    assert!(!unrevoked.text.contains(&id));
    assert!(world.get("/keys?revoked=true&limit=500").await.text.contains(&id));
    let events = world.store.audit_events(&AuditFilter::default(), AuditPage::Before(None, 5)).await.unwrap();
    assert_eq!((events[0].event.action.as_str(), events[0].event.actor_kind.as_str()), ("key.revoke", "token"));
    let trail = world.get(&format!("/audit-events?target={id}&action=key.&limit=2")).await;
    assert_eq!(trail.body["data"].as_array().unwrap().len(), 2);
    let next = trail.body["next"].as_str().unwrap();
    let rest = world.get(&format!("/audit-events?target={id}&action=key.&cursor={next}")).await;
    assert_eq!(rest.body["data"].as_array().unwrap().last().unwrap()["action"], "key.create");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said() {
    let world = world().await;
    let key = json!({"name": "k", "environment": "staging"});
    for (method, path, body, status, code, pointer) in [
        ("POST", "/keys", Some(key), 422, "invalid", Some("/environment")),
        ("POST", "/keys", Some(json!({"nam": "k"})), 422, "invalid", Some("/nam")),
        ("POST", "/organisations", Some(json!({"name": "one"})), 409, "taken", None),
        (
            "POST",
            "/organisations",
            Some(json!({"name": "x", "policy": {"modles": []}})),
            422,
            "invalid",
            Some("/policy/modles"),
        ),
        ("GET", "/keys?limit=0", None, 400, "invalid_parameter", Some("limit")),
        ("GET", "/keys?colour=red", None, 400, "invalid_parameter", None),
        ("GET", "/usage?by=colour", None, 400, "invalid_parameter", Some("by")),
        ("GET", "/requests?tag=x", None, 400, "invalid_parameter", Some("tag")),
        ("GET", "/keys/key_no", None, 404, "not_found", None),
        ("DELETE", "/keys", None, 405, "method_not_allowed", None),
    ] {
        let answer = world.call(method, path, &world.superadmin, body).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (status, code), "{method} {path}: {}", answer.text);
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{method} {path}");
        if pointer.is_some() {
            assert_eq!(answer.body["pointer"].as_str(), pointer, "{method} {path}: {}", answer.text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_is_found() {
    let world = world().await;
    let sums = world.get(&format!("/usage?by=organisation,team,user&organisation={}", world.organisations[0])).await;
    let sum = &sums.body["data"][0];
    assert_eq!(
        (&sum["requests"], &sum["tokens"]["input"], &sum["user"]),
        (&json!(1), &json!(10), &json!("u-1")),
        "{}",
        sums.text
    );
    let found = world.get("/requests?tag=job:nightly&outcome=ok").await;
    assert_eq!(found.body["data"][0]["id"].as_str(), Some(world.ids["request"].as_str()), "{}", found.text);
    assert_eq!(world.get("/requests?tag=job:weekly").await.body["data"], json!([]));
    let one = world.get(&format!("/requests/{}", world.ids["request"])).await;
    assert_eq!(one.body["receipt"]["attempts"][0]["provider"], "one", "{}", one.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn captured_content_is_for_few_and_each_reading_is_told() {
    let world = world().await;
    let [first, second] = world.organisations;
    let path = format!("/requests/{}/content", world.ids["request"]);
    for (role, scope, status) in [
        (Role::Auditor, Scope::All, 403),
        (Role::Developer, Scope::Team(first, world.team), 403),
        (Role::TeamAdmin, Scope::Team(first, world.team), 403),
        (Role::OrganisationAdmin, Scope::Organisation(second), 404),
        (Role::OrganisationAdmin, Scope::Organisation(first), 200),
    ] {
        let token = world.token(role, scope).await;
        assert_eq!(world.call("GET", &path, &token, None).await.status.as_u16(), status, "{role}");
    }
    let shown = world.get(&path).await.body;
    assert_eq!(shown["request"], json!({"text": "{}", "length": 9, "cut": true}));
    assert_eq!(shown["answer"], json!({"base64": "/wE=", "length": 2, "cut": false}));
    let events = world.get("/audit-events?action=request.content.read").await.body;
    assert_eq!(events["data"].as_array().unwrap().len(), 2);
    assert_eq!(events["data"][0]["organisation"], first.to_string());
    assert!(!world.get(&format!("/requests/{}", world.ids["request"])).await.text.contains("/wE="));
    assert_eq!(world.call("DELETE", &path, &world.superadmin, None).await.status, 204);
    assert_eq!(world.call("DELETE", &path, &world.superadmin, None).await.status, 404);
    assert_eq!(world.get(&path).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_live_as_an_organisation_says() {
    let world = world().await;
    let path = format!("/organisations/{}", world.organisations[0]);
    let edit = async |body: Value| world.call("PATCH", &path, &world.superadmin, Some(body)).await;
    let shown = edit(json!({"retention_days": 30, "capture_days": 7})).await.body;
    assert_eq!((&shown["retention_days"], &shown["capture_days"]), (&json!(30), &json!(7)));
    let shown = edit(json!({"name": "one more"})).await.body;
    assert_eq!((&shown["retention_days"], &shown["capture_days"]), (&json!(30), &json!(7)));
    let shown = edit(json!({"retention_days": null, "capture_days": null})).await.body;
    assert_eq!((&shown["retention_days"], &shown["capture_days"]), (&Value::Null, &Value::Null));
    for wrong in [json!({"retention_days": 6}), json!({"capture_days": 366})] {
        assert_eq!(edit(wrong).await.status, 422);
    }
    let found = world.get("/requests?cost_from=1&us_to=5&policy=allow&reason=x&correlation=y").await;
    assert_eq!((found.status.as_u16(), &found.body["data"]), (200, &json!([])));
    assert_eq!(
        world.get("/requests?us_from=1000&us_to=1000&policy=allow").await.body["data"][0]["id"],
        world.ids["request"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_what_is_theirs() {
    let world = world().await;
    // A developer's own token: its keys are the developer's own.
    let member = world.ids["member"].parse().unwrap();
    let grant = Grant { role: Role::Developer, scope: Scope::Team(world.organisations[0], world.team) };
    let new = NewToken { name: "ada's".to_owned(), grants: vec![grant], member: Some(member), expires_ms: None };
    let token = world.store.create_token(&Actor::cli("test"), new).await.unwrap().secret.expose().to_owned();
    let listed = world.call("GET", "/keys", &token, None).await;
    assert_eq!((listed.status, &listed.body["data"]), (StatusCode::OK, &json!([])), "{}", listed.text);
    let hidden = world.call("GET", &format!("/keys/{}", world.ids["key"]), &token, None).await;
    assert_eq!(hidden.status, StatusCode::NOT_FOUND);
    let mut new = json!({"name": "mine", "environment": "development", "organisation": world.organisations[0].to_string(),
        "team": world.team.to_string(), "member": member.to_string()});
    let made = world.call("POST", "/keys", &token, Some(new.clone())).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert_eq!(world.call("GET", "/keys", &token, None).await.body["data"].as_array().unwrap().len(), 1);
    let path = format!("/keys/{}/revoke", made.body["id"].as_str().unwrap());
    assert_eq!(world.call("POST", &path, &token, None).await.status, StatusCode::OK);
    new["member"] = Value::Null;
    assert_eq!(world.call("POST", "/keys", &token, Some(new)).await.status, StatusCode::FORBIDDEN);
    let tokens = world.call("GET", "/tokens", &token, None).await;
    assert_eq!(tokens.body["data"].as_array().unwrap().len(), 1, "{}", tokens.text);
    assert_eq!(world.call("GET", "/self", &token, None).await.body["kind"], "member");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listeners_show_what_they_should() {
    let world = world().await;
    let metrics = ask(world.apart.address(), "GET", "/metrics", &[], None).await;
    assert_eq!(metrics.status, StatusCode::OK);
    assert!(metrics.headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    assert!(metrics.text.contains("portcullis_admin_calls_total") && metrics.text.contains("portcullis_ready 0.0"));
    let closed = ask(world.server.address(), "GET", "/metrics", &[], None).await;
    assert_eq!(closed.status, StatusCode::UNAUTHORIZED);
    let bearer = format!("Bearer {}", world.superadmin);
    let opened = ask(world.server.address(), "GET", "/metrics", &[("authorization", &bearer)], None).await;
    assert!(opened.text.contains(r#"portcullis_access_failures_total{code="admin.token"}"#), "{}", opened.text);
    let health = ask(world.apart.address(), "GET", "/admin/v1/health", &[], None).await;
    assert_eq!((health.body["ready"].as_bool(), health.body["database"].as_bool()), (Some(false), Some(true)));
    assert_eq!(ask(world.apart.address(), "GET", "/admin/v1/keys", &[], None).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(world.apart.address(), "GET", "/healthz", &[], None).await.status, StatusCode::OK);
    assert_eq!(
        ask(world.apart.address(), "POST", "/v1/chat/completions", &[], None).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_holds_a_connection_s_secret() {
    let world = world().await;
    let all = world.get("/connections").await;
    assert_eq!(
        (&all.body["data"][0]["name"], &all.body["data"][0]["auth"]),
        (&json!("one"), &json!("bearer")),
        "{}",
        all.text
    );
    assert!(!all.text.contains("s3cret"));
    let auditor = world.token(Role::Auditor, Scope::Organisation(world.organisations[0])).await;
    let one = world.call("GET", "/connections/one", &auditor, None).await;
    assert_eq!((one.status, &one.body["base_url"]), (StatusCode::OK, &Value::Null), "{}", one.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_pages_of_known_origins_may_call() {
    let world = world().await;
    let preflight = |origin: &'static str| {
        let headers = [("origin", origin), ("access-control-request-method", "GET")];
        let address = world.server.address();
        async move { ask(address, Method::OPTIONS.as_str(), "/admin/v1/keys", &headers, None).await }
    };
    let known = preflight("https://ops.example").await;
    assert_eq!(
        (known.status, &known.headers["access-control-allow-origin"]),
        (StatusCode::NO_CONTENT, &"https://ops.example".parse().unwrap())
    );
    let other = preflight("https://evil.example").await;
    assert!(!other.headers.contains_key("access-control-allow-origin"));
    assert!(world.gateway.metrics.counts.admin_calls.get() >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_keeps_its_own_connections() {
    let world = world().await;
    let [own, other] = world.organisations;
    let admin = world.token(Role::OrganisationAdmin, Scope::Organisation(own)).await;
    let stranger = world.token(Role::OrganisationAdmin, Scope::Organisation(other)).await;
    let new = |organisation: Value, url: &str| {
        json!({"provider": "mine", "organisation": organisation, "settings": {"plugin": "openai", "base_url": url},
            "secret": "sk-secret"})
    };
    let url = "https://api.openai.com/v1";
    let everybodys = world.call("POST", "/connections", &admin, Some(new(Value::Null, url))).await;
    assert_eq!(everybodys.status, StatusCode::FORBIDDEN, "{}", everybodys.text);
    let elsewhere = world.call("POST", "/connections", &admin, Some(new(json!(own), "https://evil.example"))).await;
    assert_eq!(
        (elsewhere.status, elsewhere.code()),
        (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
        "{}",
        elsewhere.text
    );
    let made = world.call("POST", "/connections", &admin, Some(new(json!(own), url))).await;
    assert_eq!((made.status, &made.body["name"]), (StatusCode::CREATED, &json!("mine")), "{}", made.text);
    let path = format!("/connections/{}", made.body["id"].as_str().unwrap());
    assert_eq!(made.headers["location"].to_str().unwrap(), format!("/admin/v1{path}"));

    let names = |answer: &Answer| -> Vec<Value> {
        answer.body["data"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect()
    };
    assert_eq!(names(&world.call("GET", "/connections", &admin, None).await), ["one", "mine"]);
    assert_eq!(names(&world.call("GET", "/connections", &stranger, None).await), ["one"]);
    for (method, path, body) in [
        ("GET", path.clone(), None),
        ("PATCH", path.clone(), Some(json!({"weight": 2}))),
        ("DELETE", path.clone(), None),
        ("POST", format!("{path}/rotate"), Some(json!({"secret": "sk-secret"}))),
        ("POST", format!("{path}/suspend"), None),
        ("POST", format!("{path}/test"), Some(json!({}))),
    ] {
        let answer = world.call(method, &path, &stranger, body).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}: {}", answer.text);
    }
    let of_file = world.call("PATCH", "/connections/one", &world.superadmin, Some(json!({"weight": 2}))).await;
    assert_eq!((of_file.status, of_file.code()), (StatusCode::CONFLICT, "of_file"));

    // Whoever may edit it need not know its credential, and does not get it sent elsewhere.
    let moved = json!({"settings": {"base_url": "https://mine.openai.azure.com"}});
    let refused = world.call("PATCH", &path, &admin, Some(moved.clone())).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text);
    let mut given = moved;
    given["secret"] = json!("sk-secret-2");
    let edited = world.call("PATCH", &path, &admin, Some(given)).await;
    assert_eq!(edited.body["base_url"], "https://mine.openai.azure.com", "{}", edited.text);
    let stale = ask(
        world.server.address(),
        "PATCH",
        &format!("/admin/v1{path}"),
        &[("authorization", &format!("Bearer {admin}")), ("if-match", made.headers["etag"].to_str().unwrap())],
        Some(json!({"weight": 5})),
    )
    .await;
    assert_eq!(stale.status, StatusCode::PRECONDITION_FAILED, "{}", stale.text);
    let rested = world.call("POST", &format!("{path}/suspend"), &admin, None).await;
    assert!(rested.body["suspended_ms"].is_u64(), "{}", rested.text);
    for answer in [&made, &edited, &rested] {
        assert!(!answer.text.contains("sk-secret"), "{}", answer.text);
    }
    assert_eq!(world.call("DELETE", &path, &admin, None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.call("GET", &path, &admin, None).await.status, StatusCode::NOT_FOUND);
    let trail = world.get("/audit-events?limit=100").await;
    assert!(trail.text.contains("connection.create") && !trail.text.contains("sk-secret"), "{}", trail.text);
}
