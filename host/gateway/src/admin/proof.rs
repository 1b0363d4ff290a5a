//! `/audit`: checkpoints, the key that they are signed with, and the proof of the ledger and the audit trail.
//!
//! A proof reads the whole database. One runs at a time in a process, on a thread that serves no request; who asks waits for it as
//! long as they like, a minute at most, and can ask about it later.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use portcullis_store::chain::{Presence, Report};
use portcullis_store::{Anchor, Checkpoint, PublicKey, Verification};
use rand::Rng;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Asked, Page, PageQuery, Said, cursor};
use super::problem::Problem;
use super::{Api, Shared};

/// How long a call waits for a proof at most, and where it does not say, seconds.
const LONGEST_WAIT: u64 = 60;
const USUAL_WAIT: u64 = 20;
/// Anchors of one call at most.
const ANCHORS: usize = 10_000;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(checkpoints)).routes(routes!(key)).routes(routes!(verify)).routes(routes!(show))
}

/// A signed checkpoint: how far every chain went. Kept elsewhere it is an anchor, which proves that nothing before it was changed.
#[derive(Serialize, ToSchema)]
#[schema(as = Checkpoint)]
struct View {
    /// Its number, from 1.
    checkpoint: i64,
    time_ms: i64,
    /// SHA-256, hexadecimal.
    hash: String,
    /// Of the key that signed it: Ed25519, base64.
    public_key: String,
    /// The key that signs from here on, where it hands over to another.
    next_key: Option<String>,
    /// Of the hash: Ed25519, base64.
    signature: String,
}

impl From<Checkpoint> for View {
    fn from(one: Checkpoint) -> Self {
        let anchor = one.anchor();
        View {
            checkpoint: one.number,
            time_ms: one.time_ms,
            hash: anchor.hash_text(),
            public_key: one.public_key.to_string(),
            next_key: one.next_key.map(|key| key.to_string()),
            signature: anchor.signature_text(),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Query {
    /// Items at most, 1 to 500. Default 50.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// The key that this gateway signs checkpoints with.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditKey)]
struct Key {
    /// `Ed25519`
    algorithm: &'static str,
    /// Base64.
    public_key: String,
    /// The same as SubjectPublicKeyInfo (RFC 8410), PEM.
    pem: String,
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = NewProof)]
struct New {
    /// Keys that checkpoints may be signed with, base64, hexadecimal or PEM. By default this gateway's own.
    public_keys: Vec<String>,
    /// Checkpoints as they were kept elsewhere: they must all be there still.
    #[schema(value_type = Vec<AnchorShape>)]
    anchors: Vec<serde_json::Value>,
    /// Seconds that the call waits for the end, 60 at most. Default 20.
    wait_seconds: Option<u64>,
}

/// A checkpoint as it was kept elsewhere.
#[derive(ToSchema)]
#[schema(as = Anchor)]
#[allow(dead_code)]
struct AnchorShape {
    checkpoint: i64,
    time_ms: i64,
    hash: String,
    public_key: String,
    signature: String,
}

/// A proof that runs, or ran, in this process.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = Proof)]
struct Proof {
    id: String,
    /// `running`; `proven`; `faulty`: something is wrong, see `fault`; `failed`: the database could not be read.
    state: &'static str,
    started_ms: u64,
    /// Absent while it runs.
    report: Option<Shown>,
}

/// What was proven.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = ProofReport)]
struct Shown {
    /// What is wrong first; null where nothing is.
    fault: Option<Fault>,
    chains: u64,
    entries: u64,
    events: u64,
    seals: u64,
    requests: Records,
    receipt_pages: Records,
    checkpoints: u64,
    /// Of those that were given.
    anchors: u64,
    /// Keys that signed, oldest first.
    keys: Vec<String>,
    /// Links behind the newest checkpoint, which nobody has signed yet.
    unsigned_links: u64,
    /// The number of the newest checkpoint.
    newest_checkpoint: Option<i64>,
    took_ms: u64,
}

/// What became of records.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = ProofRecords)]
struct Records {
    /// There, and as they were written.
    proven: u64,
    /// Deleted when they had expired, as the audit trail says.
    expired: u64,
    /// From before there were seals: nothing is proven of them.
    unsealed: u64,
}

#[derive(Clone, Serialize, ToSchema)]
#[schema(as = ProofFault)]
struct Fault {
    table: &'static str,
    chain: Option<String>,
    /// The place in the chain, or a checkpoint's number.
    seq: Option<i64>,
    request: Option<String>,
    what: String,
}

impl From<Presence> for Records {
    fn from(Presence { proven, expired, unsealed }: Presence) -> Self {
        Records { proven, expired, unsealed }
    }
}

impl From<Report> for Shown {
    fn from(report: Report) -> Self {
        Shown {
            fault: report.fault.map(|fault| Fault {
                table: fault.table,
                chain: fault.chain_name(),
                seq: fault.seq,
                request: fault.request.map(|request| request.to_string()),
                what: fault.what,
            }),
            chains: report.chains,
            entries: report.entries,
            events: report.events,
            seals: report.seals,
            requests: report.requests.into(),
            receipt_pages: report.pages.into(),
            checkpoints: report.checkpoints,
            anchors: report.anchors,
            keys: report.keys.iter().map(ToString::to_string).collect(),
            unsigned_links: report.unsigned,
            newest_checkpoint: report.newest.map(|newest| newest.checkpoint),
            took_ms: u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// The newest proof of this process.
#[derive(Default)]
pub(super) struct Desk(Mutex<Option<watch::Receiver<Proof>>>);

impl Desk {
    fn newest(&self) -> Option<watch::Receiver<Proof>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins a proof, unless one runs.
    fn begin(&self, api: &Api, given: Verification) -> Result<watch::Receiver<Proof>, Problem> {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = newest.as_ref().map(|proof| proof.borrow()).filter(|proof| proof.state == "running") {
            let detail = format!("A proof runs already: ask for /audit/verify/{}.", running.id);
            return Err(Problem {
                retry_after: Some(USUAL_WAIT),
                ..Problem::new(StatusCode::CONFLICT, "proof_running", detail)
            });
        }
        let mut random = [0; 8];
        rand::rng().fill_bytes(&mut random);
        let id = format!("proof_{:016x}", u64::from_be_bytes(random));
        let proof = Proof { id, state: "running", started_ms: api.gateway.clock.now_ms(), report: None };
        let (told, proofs) = watch::channel(proof);
        let store = api.store.clone();
        tokio::spawn(async move {
            let outcome = store.verify(&given).await;
            told.send_modify(|proof| match outcome {
                Ok(report) => {
                    proof.state = if report.fault.is_none() { "proven" } else { "faulty" };
                    proof.report = Some(report.into());
                }
                Err(error) => {
                    tracing::error!(%error, "the ledger and the audit trail could not be read for their proof");
                    proof.state = "failed";
                }
            });
        });
        Ok(newest.insert(proofs).clone())
    }
}

/// The public key, from where the operator keeps the key: it may have been replaced since the start.
async fn public_key(api: &Shared) -> Result<PublicKey, Problem> {
    let snapshot = api.gateway.snapshot();
    let source = snapshot.config.audit.key(&snapshot.config.store.path);
    // It may run a program.
    let fetched = tokio::task::spawn_blocking(move || source.fetch().map(|key| key.public())).await;
    fetched.map_err(|error| error.to_string()).and_then(|key| key.map_err(|error| error.to_string())).map_err(|error| {
        tracing::error!(error, "the audit key");
        Problem::unavailable("The audit key")
    })
}

/// Checkpoints, the newest first.
#[utoipa::path(get, path = "/audit/checkpoints", tag = "audit", operation_id = "listCheckpoints", params(Query),
    responses((status = 200, body = Page<View>)))]
async fn checkpoints(State(api): State<Api>, Asked(asked): Asked<Query>) -> Result<Json<Page<View>>, Problem> {
    let page = PageQuery { limit: asked.limit, cursor: asked.cursor };
    let limit = page.limit()?;
    let mut found = api.store.checkpoints(page.after()?, limit + 1).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(|last| cursor(&last.number));
    Ok(Json(Page { data: found.into_iter().map(View::from).collect(), next }))
}

/// The public key that checkpoints are signed with.
#[utoipa::path(get, path = "/audit/key", tag = "audit", operation_id = "showAuditKey", responses((status = 200, body = Key)))]
async fn key(State(api): State<Api>) -> Result<Json<Key>, Problem> {
    let key = public_key(&api).await?;
    Ok(Json(Key { algorithm: "Ed25519", public_key: key.to_string(), pem: key.pem() }))
}

/// Proves the ledger and the audit trail: that no entry or event was changed, taken away or added, up to the newest checkpoint. 202
/// where it is still running when the call has waited. One runs at a time.
#[utoipa::path(post, path = "/audit/verify", tag = "audit", operation_id = "verifyAudit", request_body = New,
    responses((status = 200, body = Proof), (status = 202, body = Proof)))]
async fn verify(State(api): State<Api>, Said(new): Said<New>) -> Result<Response, Problem> {
    let wait = new.wait_seconds.unwrap_or(USUAL_WAIT);
    if wait > LONGEST_WAIT {
        return Err(Problem::invalid("/wait_seconds", format!("A call waits {LONGEST_WAIT} seconds at most.")));
    }
    if new.anchors.len() > ANCHORS {
        return Err(Problem::invalid("/anchors", format!("A call has {ANCHORS} anchors at most.")));
    }
    let mut given = Verification::default();
    for (at, key) in new.public_keys.iter().enumerate() {
        let key = key.parse();
        given.trusted.push(key.map_err(|_| Problem::invalid(format!("/public_keys/{at}"), "This is no public key."))?);
    }
    for (at, anchor) in new.anchors.iter().enumerate() {
        let no_anchor = || {
            let detail = "This is no checkpoint that the key it names has signed.";
            Problem::invalid(format!("/anchors/{at}"), detail)
        };
        given.anchors.push(Anchor::from_json(&anchor.to_string()).ok_or_else(no_anchor)?);
    }
    if given.trusted.is_empty() {
        given.trusted.push(public_key(&api).await?);
    }
    let mut proof = api.proofs.begin(&api, given)?;
    let ended = proof.wait_for(|proof| proof.state != "running");
    // Where nobody tells of the end any more, what is known is shown.
    let _ = tokio::time::timeout(Duration::from_secs(wait), ended).await;
    let proof = proof.borrow().clone();
    let status = if proof.state == "running" { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, Json(proof)).into_response())
}

/// The newest proof of this process. Of several processes, each knows its own.
#[utoipa::path(get, path = "/audit/verify/{proof}", tag = "audit", operation_id = "showProof",
    params(("proof" = String, Path, description = "proof_…")), responses((status = 200, body = Proof)))]
async fn show(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Proof>, Problem> {
    let newest = api.proofs.newest().map(|proof| proof.borrow().clone());
    newest.filter(|proof| proof.id == id).map(Json).ok_or_else(|| Problem::not_found("proof"))
}
