//! `/ledger`: entries, and what is decided about those in quarantine.

use axum::Json;
use axum::extract::{Path, State};
use portcullis_core::{KeyId, NanoUsd, RequestId};
use portcullis_store::EndKind;
use portcullis_store::budgets::{Decision, EntryAt, EntryFilter, LedgerEntry, QuarantinedLease};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Call;
use super::extract::{Asked, Page, PageQuery, Said, cursor};
use super::problem::Problem;
use super::{Api, Owner, Shared, amount};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(entries))
        .routes(routes!(quarantine))
        .routes(routes!(decide))
        .routes(routes!(leases))
        .routes(routes!(decide_lease))
}

/// How one attempt's reservation ended, or what was decided about it. Entries are never changed.
#[derive(Serialize, ToSchema)]
#[schema(as = LedgerEntry)]
struct View {
    request: String,
    /// From 1; a request that failed over has several.
    attempt: u32,
    /// 0 where a reservation ended; 1 where somebody decided about one in quarantine.
    step: u32,
    /// `settled`, `refunded` or `quarantined`.
    kind: &'static str,
    key: String,
    organisation: String,
    provider: String,
    model: String,
    /// The most that it could have cost.
    reserved_nano_usd: u64,
    reserved_usd: String,
    /// What it costs. What is in quarantine counts whole.
    amount_nano_usd: u64,
    amount_usd: String,
    /// A code: `ok`, `client-gone`, `decided`, …
    reason: String,
    reserved_ms: u64,
    ended_ms: u64,
}

impl From<LedgerEntry> for View {
    fn from(one: LedgerEntry) -> Self {
        View {
            request: one.request_id.to_string(),
            attempt: one.attempt,
            step: one.step,
            kind: one.kind.as_str(),
            key: one.key_id.to_string(),
            organisation: one.organisation.to_string(),
            provider: one.provider,
            model: one.model,
            reserved_nano_usd: one.reserved.get(),
            reserved_usd: one.reserved.to_string(),
            amount_nano_usd: one.amount.get(),
            amount_usd: one.amount.to_string(),
            reason: one.reason,
            reserved_ms: one.reserved_ms,
            ended_ms: one.ended_ms,
        }
    }
}

/// A reservation whose end nobody knows. All of it counts as spent until somebody decides.
#[derive(Serialize, ToSchema)]
#[schema(as = QuarantinedReservation)]
struct Quarantined {
    /// `req_…-1`: the request and the attempt.
    id: String,
    #[serde(flatten)]
    entry: View,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)]
struct Query {
    /// Only this organisation's.
    organisation: Option<String>,
    /// Only those of this team's keys.
    team: Option<String>,
    /// Only this key's.
    #[param(value_type = Option<String>)]
    key: Option<KeyId>,
    /// Only this request's.
    #[param(value_type = Option<String>)]
    request: Option<RequestId>,
    /// `settled`, `refunded` or `quarantined`.
    kind: Option<String>,
    /// Of requests that came then or later.
    since_ms: Option<u64>,
    /// Exclusive.
    until_ms: Option<u64>,
    /// Items at most, 1 to 500. Default 50.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)]
struct QuarantineQuery {
    /// Only this organisation's.
    organisation: Option<String>,
    /// Only those of this team's keys.
    team: Option<String>,
    /// Items at most, 1 to 500. Default 50.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// What a reservation in quarantine is found to have cost.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Decision)]
struct Decided {
    #[schema(inline)]
    outcome: Outcome,
    /// Of `settle`: what it cost. This or `amount_usd`.
    amount_nano_usd: Option<u64>,
    amount_usd: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// It cost the amount.
    Settle,
    /// It cost nothing.
    Release,
}

impl Decided {
    fn decision(&self) -> Result<Decision, Problem> {
        let said = amount::said("amount", self.amount_nano_usd, self.amount_usd.as_deref())?;
        match (self.outcome, said) {
            (Outcome::Settle, Some(amount)) => Ok(Decision::Spent(amount)),
            (Outcome::Settle, None) => {
                Err(Problem::invalid("/amount_usd", "Say what it cost, by amount_nano_usd or by amount_usd."))
            }
            (Outcome::Release, None) => Ok(Decision::Refunded),
            (Outcome::Release, Some(_)) => Err(Problem::invalid("/amount_usd", "What is released cost nothing.")),
        }
    }
}

/// What a process that is gone had set aside of a budget, and did not prove unspent.
#[derive(Serialize, ToSchema)]
#[schema(as = QuarantinedLease)]
struct Lease {
    /// `bud_…-START-…`
    id: String,
    budget: String,
    organisation: String,
    /// Of the budget's window.
    window_start_ms: u64,
    /// Set aside and not spent by any entry: it counts as spent until somebody decides.
    rest_nano_usd: u64,
    rest_usd: String,
    quarantined_ms: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = QuarantinedLeases)]
struct Leases {
    data: Vec<Lease>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)]
struct LeaseQuery {
    /// Only this organisation's.
    organisation: Option<String>,
    /// Only those of this team's budgets.
    team: Option<String>,
}

/// How much of a lease in quarantine was spent; the rest is free again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LeaseDecision)]
struct LeaseDecided {
    /// This or `spent_usd`.
    spent_nano_usd: Option<u64>,
    spent_usd: Option<String>,
}

fn lease_id(lease: &QuarantinedLease) -> String {
    let epoch: String = lease.epoch.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{epoch}", lease.budget, lease.start_ms)
}

impl From<QuarantinedLease> for Lease {
    fn from(one: QuarantinedLease) -> Self {
        Lease {
            id: lease_id(&one),
            budget: one.budget.to_string(),
            organisation: one.organisation.to_string(),
            window_start_ms: one.start_ms,
            rest_nano_usd: one.rest.get(),
            rest_usd: one.rest.to_string(),
            quarantined_ms: one.quarantined_ms,
        }
    }
}

/// Which attempt an id `req_…-1` names.
fn reservation(id: &str) -> Result<(RequestId, u32), Problem> {
    let parsed = id.split_once('-').and_then(|(request, attempt)| Some((request.parse().ok()?, attempt.parse().ok()?)));
    parsed.ok_or_else(|| Problem::not_found("reservation in quarantine"))
}

/// Whose a reservation in quarantine is.
pub(super) async fn owner_of_reservation(api: &Shared, id: &str) -> Result<Owner, Problem> {
    let (request, attempt) = reservation(id)?;
    let filter = EntryFilter { request: Some(request), undecided: true, ..EntryFilter::default() };
    let found = api.store.entries(&filter).await?.into_iter().find(|entry| entry.attempt == attempt);
    let found = found.ok_or_else(|| Problem::not_found("reservation in quarantine"))?;
    Ok(Owner::within("reservation in quarantine", found.organisation))
}

/// A lease in quarantine.
async fn lease(api: &Shared, id: &str) -> Result<QuarantinedLease, Problem> {
    let found = api.store.quarantined_leases(None).await?.into_iter().find(|lease| lease_id(lease) == id);
    found.ok_or_else(|| Problem::not_found("lease in quarantine"))
}

/// Whose a lease in quarantine is.
pub(super) async fn owner_of_lease(api: &Shared, id: &str) -> Result<Owner, Problem> {
    Ok(Owner::within("lease in quarantine", lease(api, id).await?.organisation))
}

async fn page(api: &Shared, page: &PageQuery, filter: EntryFilter) -> Result<Page<LedgerEntry>, Problem> {
    let limit = page.limit()?;
    // What this process has not yet written is shown too; where the database is behind, as far as it is.
    if let Err(error) = api.gateway.ledger.flush().await {
        tracing::warn!(%error, "the ledger is shown without the last requests");
    }
    let mut found = api.store.entries(&EntryFilter { before: page.after()?, limit: limit + 1, ..filter }).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(|last| cursor(&EntryAt::of(last)));
    Ok(Page { data: found, next })
}

/// Entries of the ledger, those of the newest requests first.
#[utoipa::path(get, path = "/ledger/entries", tag = "ledger", operation_id = "listLedgerEntries", params(Query),
    responses((status = 200, body = Page<View>)))]
async fn entries(State(api): State<Api>, call: Call, Asked(asked): Asked<Query>) -> Result<Json<Page<View>>, Problem> {
    let (organisation, team) = call.within();
    let kind = asked.kind.as_deref().map(|kind| {
        let unknown = || Problem::parameter("kind", format!("{kind:?} is none of settled, refunded, quarantined."));
        EndKind::parse(kind).ok_or_else(unknown)
    });
    let filter = EntryFilter {
        organisation,
        team,
        key: asked.key,
        request: asked.request,
        kind: kind.transpose()?,
        since_ms: asked.since_ms,
        until_ms: asked.until_ms,
        ..EntryFilter::default()
    };
    let which = PageQuery { limit: asked.limit, cursor: asked.cursor };
    Ok(Json(page(&api, &which, filter).await?.map(View::from)))
}

/// Reservations in quarantine, those of the newest requests first.
#[utoipa::path(get, path = "/ledger/quarantine", tag = "ledger", operation_id = "listQuarantine", params(QuarantineQuery),
    responses((status = 200, body = Page<Quarantined>)))]
async fn quarantine(
    State(api): State<Api>,
    call: Call,
    Asked(asked): Asked<QuarantineQuery>,
) -> Result<Json<Page<Quarantined>>, Problem> {
    let (organisation, team) = call.within();
    let filter = EntryFilter { organisation, team, undecided: true, ..EntryFilter::default() };
    let which = PageQuery { limit: asked.limit, cursor: asked.cursor };
    let shown =
        |entry: LedgerEntry| Quarantined { id: format!("{}-{}", entry.request_id, entry.attempt), entry: entry.into() };
    Ok(Json(page(&api, &which, filter).await?.map(shown)))
}

/// Says what a reservation in quarantine has cost. This is an entry of its own, which is the answer.
#[utoipa::path(post, path = "/ledger/quarantine/{reservation}/decide", tag = "ledger", operation_id = "decideReservation",
    params(("reservation" = String, Path, description = "req_…-1")), request_body = Decided,
    responses((status = 200, body = View)))]
async fn decide(
    State(api): State<Api>,
    call: Call,
    Path(id): Path<String>,
    Said(decided): Said<Decided>,
) -> Result<Json<View>, Problem> {
    let (request, attempt) = reservation(&id)?;
    let decision = decided.decision()?;
    let made = api.store.decide_quarantined(&call.actor, request, attempt, decision).await?;
    Ok(Json(LedgerEntry::from(made).into()))
}

/// Leases in quarantine.
#[utoipa::path(get, path = "/ledger/leases", tag = "ledger", operation_id = "listQuarantinedLeases", params(LeaseQuery),
    responses((status = 200, body = Leases)))]
async fn leases(State(api): State<Api>, call: Call, Asked(_): Asked<LeaseQuery>) -> Result<Json<Leases>, Problem> {
    let (organisation, team) = call.within();
    let mut found = api.store.quarantined_leases(organisation).await?;
    if let Some(team) = team {
        let mut theirs = api.store.budgets(organisation).await?;
        theirs.retain(|budget| budget.place().team() == Some(team));
        found.retain(|lease| theirs.iter().any(|budget| budget.id == lease.budget));
    }
    Ok(Json(Leases { data: found.into_iter().map(Lease::from).collect() }))
}

/// Says how much of a lease in quarantine was spent. The rest is free again; the lease as it was is the answer.
#[utoipa::path(post, path = "/ledger/leases/{lease}/decide", tag = "ledger", operation_id = "decideLease",
    params(("lease" = String, Path, description = "Its `id` in the list.")), request_body = LeaseDecided,
    responses((status = 200, body = Lease)))]
async fn decide_lease(
    State(api): State<Api>,
    call: Call,
    Path(id): Path<String>,
    Said(decided): Said<LeaseDecided>,
) -> Result<Json<Lease>, Problem> {
    let spent: NanoUsd = amount::required("spent", decided.spent_nano_usd, decided.spent_usd.as_deref())?;
    let found = lease(&api, &id).await?;
    api.store.decide_lease(&call.actor, &found, spent).await?;
    Ok(Json(found.into()))
}
