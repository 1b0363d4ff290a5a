//! `/budgets`

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use portcullis_core::{BudgetId, OrganisationId};
use portcullis_store::budgets::{
    Budget, BudgetChange, BudgetError, InvalidBudget, Mode, NewBudget, Period, PeriodError, Scope, Standing, THRESHOLDS,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Call;
use super::extract::{Asked, IfMatch, Page, PageQuery, Said, Tagged};
use super::problem::Problem;
use super::{Api, PREFIX, Shared, amount, created};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(show, edit, delete)).routes(routes!(top_up))
}

/// What a budget says: what its `ETag` is of.
#[derive(Serialize, ToSchema)]
#[schema(as = BudgetTerms)]
struct Terms {
    id: String,
    organisation: String,
    /// For people; refusals name it.
    name: String,
    /// Whose requests it counts: `organisation`, `team`, `key`, `user`, `model`, `provider`, `tag`.
    scope: &'static str,
    /// Which team or key (by id), user, model (`model` or `provider/model`), provider or tag (`name` or `name=value`); null for the
    /// organisation.
    value: Option<String>,
    /// `request`, `day`, `week`, `month`, or `total` for prepaid credit.
    period: &'static str,
    /// The last day, 7 days or 30 at any moment, instead of the calendar's.
    rolling: bool,
    /// In which the calendar's days begin: `Europe/Berlin`.
    time_zone: Option<String>,
    limit_nano_usd: u64,
    limit_usd: String,
    /// `hard`: what does not fit is refused. `soft`: nothing is refused, alerts are raised.
    mode: &'static str,
    /// Per cent of the limit at which an alert is raised, once a window each.
    thresholds: Vec<u16>,
    created_ms: u64,
}

impl From<Budget> for Terms {
    fn from(one: Budget) -> Self {
        Terms {
            id: one.id.to_string(),
            organisation: one.organisation.to_string(),
            scope: one.scope.kind(),
            value: one.scope.value(),
            period: one.period.name(),
            rolling: one.period.is_rolling(),
            time_zone: one.period.zone().map(str::to_owned),
            limit_nano_usd: one.limit.get(),
            limit_usd: one.limit.to_string(),
            mode: one.mode.as_str(),
            name: one.name,
            thresholds: one.thresholds,
            created_ms: one.created_ms,
        }
    }
}

/// How much of a budget is used now, and until when that counts.
#[derive(Serialize, ToSchema)]
#[schema(as = BudgetStanding)]
struct Stands {
    /// From when on spending counts, milliseconds since the Unix epoch.
    window_start_ms: u64,
    /// When another window begins, in which nothing is spent (or, of a rolling one, when its oldest part stops to count); null where
    /// there is no other.
    window_end_ms: Option<u64>,
    spent_nano_usd: u64,
    spent_usd: String,
    /// Set aside by processes that serve: for requests under way, and for those to come.
    leased_nano_usd: u64,
    leased_usd: String,
    /// Of that, what processes that are gone had set aside, until somebody decides about it.
    quarantined_nano_usd: u64,
    quarantined_usd: String,
    /// Of the limit, what is neither spent nor set aside.
    remaining_nano_usd: u64,
    remaining_usd: String,
}

impl From<Standing> for Stands {
    fn from(Standing { window, used, remaining }: Standing) -> Self {
        Stands {
            window_start_ms: window.from_ms,
            window_end_ms: window.end_ms,
            spent_nano_usd: used.spent.get(),
            spent_usd: used.spent.to_string(),
            leased_nano_usd: used.leased.get(),
            leased_usd: used.leased.to_string(),
            quarantined_nano_usd: used.quarantined.get(),
            quarantined_usd: used.quarantined.to_string(),
            remaining_nano_usd: remaining.get(),
            remaining_usd: remaining.to_string(),
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = Budget)]
struct View {
    #[serde(flatten)]
    terms: Terms,
    /// Null for a budget of single requests, each of which has the limit to itself.
    standing: Option<Stands>,
}

/// A budget with its standing now. Its version is that of its terms: spending is no change.
async fn shown(api: &Shared, budget: Budget) -> Result<Tagged<View>, Problem> {
    let standing = api.store.budget_standings(std::slice::from_ref(&budget)).await?.into_iter().flatten().next();
    Ok(Tagged::of(Terms::from(budget), |terms| View { terms, standing: standing.map(Stands::from) }))
}

impl From<BudgetError> for Problem {
    fn from(error: BudgetError) -> Self {
        let invalid = match error {
            BudgetError::Store(error) => return error.into(),
            BudgetError::Invalid(invalid) => invalid,
        };
        let pointer = match invalid {
            InvalidBudget::NotCredit => {
                return Problem::new(StatusCode::CONFLICT, "not_credit", sentence(&invalid));
            }
            InvalidBudget::Scope(_) => "/value",
            InvalidBudget::Name => "/name",
            InvalidBudget::Thresholds => "/thresholds",
            InvalidBudget::TooMuch => "/amount_nano_usd",
        };
        Problem::invalid(pointer, sentence(&invalid))
    }
}

impl From<PeriodError> for Problem {
    fn from(error: PeriodError) -> Self {
        let pointer = match error {
            PeriodError::Unknown(_) => "/period",
            PeriodError::Timeless => "/rolling",
            PeriodError::Zone(_) | PeriodError::RollingZone => "/time_zone",
        };
        Problem::invalid(pointer, sentence(&error))
    }
}

fn sentence(said: &impl ToString) -> String {
    super::wording::sentence(&said.to_string())
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewBudget)]
struct New {
    /// By default the one that every installation has.
    #[schema(value_type = Option<String>)]
    organisation: Option<OrganisationId>,
    name: String,
    /// By default `organisation`.
    scope: Option<String>,
    value: Option<String>,
    /// `request`, `day`, `week`, `month`, or `total` for prepaid credit.
    period: String,
    #[serde(default)]
    rolling: bool,
    /// By default `UTC`.
    time_zone: Option<String>,
    /// This or `limit_usd`.
    limit_nano_usd: Option<u64>,
    /// `12.50`
    limit_usd: Option<String>,
    /// By default `hard`.
    #[schema(value_type = Option<String>)]
    mode: Option<Mode>,
    /// By default 50, 80 and 100.
    thresholds: Option<Vec<u16>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BudgetEdit)]
struct Edit {
    name: Option<String>,
    /// This or `limit_usd`.
    limit_nano_usd: Option<u64>,
    limit_usd: Option<String>,
    /// `hard` or `soft`.
    #[schema(value_type = Option<String>)]
    mode: Option<Mode>,
    /// All of them anew.
    thresholds: Option<Vec<u16>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TopUp)]
struct TopUp {
    /// This or `amount_usd`.
    amount_nano_usd: Option<u64>,
    amount_usd: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)]
struct Query {
    /// Only this organisation's.
    organisation: Option<String>,
    /// Only those that are this team's.
    team: Option<String>,
    /// Only those that count by this: `organisation`, `team`, `key`, `user`, `model`, `provider`, `tag`.
    scope: Option<String>,
    /// Only those for this team, key, user, model, provider or tag.
    value: Option<String>,
    /// Items at most, 1 to 500. Default 50.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

type Id = Path<BudgetId>;

/// Budgets with how they stand now, oldest first.
#[utoipa::path(get, path = "/budgets", tag = "budgets", operation_id = "listBudgets", params(Query),
    responses((status = 200, body = Page<View>)))]
async fn list(State(api): State<Api>, call: Call, Asked(asked): Asked<Query>) -> Result<Json<Page<View>>, Problem> {
    if let Some(scope) = asked.scope.as_deref().filter(|scope| !Scope::KINDS.contains(scope)) {
        let kinds = Scope::KINDS.join(", ");
        return Err(Problem::parameter("scope", format!("{scope:?} is none of {kinds}.")));
    }
    let (organisation, team) = call.within();
    let mut all = api.store.budgets(organisation).await?;
    all.retain(|one| {
        team.is_none_or(|team| one.place().team() == Some(team))
            && asked.scope.as_ref().is_none_or(|scope| one.scope.kind() == scope)
            && asked.value.as_ref().is_none_or(|value| one.scope.value().as_ref() == Some(value))
    });
    let Page { data, next } = PageQuery { limit: asked.limit, cursor: asked.cursor }.of(all, |one| one.id)?;
    let standings = api.store.budget_standings(&data).await?;
    let view = |(budget, standing): (Budget, Option<Standing>)| View {
        terms: budget.into(),
        standing: standing.map(Stands::from),
    };
    Ok(Json(Page { data: data.into_iter().zip(standings).map(view).collect(), next }))
}

/// Makes a budget. Processes that serve count by it within a fraction of a second; what was spent before is not counted.
#[utoipa::path(post, path = "/budgets", tag = "budgets", operation_id = "createBudget", request_body = New,
    responses((status = 201, body = View)))]
async fn create(State(api): State<Api>, call: Call, Said(new): Said<New>) -> Result<Response, Problem> {
    let scope = new.scope.as_deref().unwrap_or("organisation");
    let scope = Scope::from_parts(scope, new.value.as_deref()).map_err(|error| {
        let pointer = if Scope::KINDS.contains(&scope) { "/value" } else { "/scope" };
        Problem::invalid(pointer, sentence(&error))
    })?;
    let budget = NewBudget {
        organisation: new.organisation.unwrap_or(OrganisationId::DEFAULT),
        name: new.name,
        scope,
        period: Period::from_parts(&new.period, new.rolling, new.time_zone.as_deref())?,
        limit: amount::required("limit", new.limit_nano_usd, new.limit_usd.as_deref())?,
        mode: new.mode.unwrap_or(Mode::Hard),
        thresholds: new.thresholds.unwrap_or_else(|| THRESHOLDS.to_vec()),
    };
    let made = api.store.create_budget(&call.actor, budget).await?;
    let location = HeaderValue::from_str(&format!("{PREFIX}/budgets/{}", made.id));
    let mut answer = created(shown(&api, made).await?);
    answer.headers_mut().extend(location.ok().map(|location| (header::LOCATION, location)));
    Ok(answer)
}

/// A budget and how it stands now.
#[utoipa::path(get, path = "/budgets/{budget}", tag = "budgets", operation_id = "showBudget",
    params(("budget" = String, Path, description = "bud_…")), responses((status = 200, body = View)))]
async fn show(State(api): State<Api>, Path(id): Id) -> Result<impl IntoResponse, Problem> {
    // What this process has not yet written is counted too; where the database is behind, as far as it is.
    if let Err(error) = api.gateway.ledger.flush().await {
        tracing::warn!(%error, "a budget is shown without the last requests");
    }
    shown(&api, api.store.budget(id).await?).await
}

/// Changes name, limit, mode or thresholds. Another scope or period is another budget.
#[utoipa::path(patch, path = "/budgets/{budget}", tag = "budgets", operation_id = "editBudget",
    params(("budget" = String, Path, description = "bud_…")), request_body = Edit, responses((status = 200, body = View)))]
async fn edit(
    State(api): State<Api>,
    call: Call,
    Path(id): Id,
    version: IfMatch,
    Said(edit): Said<Edit>,
) -> Result<impl IntoResponse, Problem> {
    let limit = amount::said("limit", edit.limit_nano_usd, edit.limit_usd.as_deref())?;
    let change = BudgetChange { name: edit.name, limit, mode: edit.mode, thresholds: edit.thresholds };
    let changed = api.store.change_budget_if(&call.actor, id, &change, version.expects(Terms::from)).await?;
    shown(&api, changed).await
}

/// Deletes a budget: nothing is counted by it any more. The ledger's entries and the alerts stay.
#[utoipa::path(delete, path = "/budgets/{budget}", tag = "budgets", operation_id = "deleteBudget",
    params(("budget" = String, Path, description = "bud_…")), responses((status = 204)))]
async fn delete(State(api): State<Api>, call: Call, Path(id): Id, version: IfMatch) -> Result<StatusCode, Problem> {
    api.store.delete_budget_if(&call.actor, id, version.expects(Terms::from)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Adds credit to a budget of the period `total`. With `If-Match`, a call that is sent again does not add twice.
#[utoipa::path(post, path = "/budgets/{budget}/top-up", tag = "budgets", operation_id = "topUpBudget",
    params(("budget" = String, Path, description = "bud_…")), request_body = TopUp, responses((status = 200, body = View)))]
async fn top_up(
    State(api): State<Api>,
    call: Call,
    Path(id): Id,
    version: IfMatch,
    Said(more): Said<TopUp>,
) -> Result<impl IntoResponse, Problem> {
    let more = amount::required("amount", more.amount_nano_usd, more.amount_usd.as_deref())?;
    let changed = api.store.top_up_budget_if(&call.actor, id, more, version.expects(Terms::from)).await?;
    shown(&api, changed).await
}
