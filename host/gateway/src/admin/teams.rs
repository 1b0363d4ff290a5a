//! `/teams`

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use portcullis_core::{OrganisationId, TeamId};
use portcullis_store::{AccessPolicy, NewTeam, Team, TeamEdit};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Call;
use super::extract::{Asked, IfMatch, Page, PageQuery, Said, Versioned};
use super::problem::Problem;
use super::shapes::Policy;
use super::{Api, created};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, edit, delete))
        .routes(routes!(suspend))
        .routes(routes!(resume))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Team)]
struct View {
    id: String,
    organisation: String,
    /// Unlike every other team's of the organisation.
    name: String,
    /// What no key of it may pass.
    #[schema(value_type = Policy)]
    policy: AccessPolicy,
    created_ms: u64,
    /// Since when its keys are refused.
    suspended_ms: Option<u64>,
    /// Grows with every change.
    version: u64,
}

impl From<Team> for View {
    fn from(one: Team) -> Self {
        let Team { id, organisation, name, policy, created_ms, suspended_ms, version } = one;
        let (id, organisation) = (id.to_string(), organisation.to_string());
        View { id, organisation, name, policy, created_ms, suspended_ms, version }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewTeam)]
struct New {
    #[schema(value_type = String)]
    organisation: OrganisationId,
    name: String,
    #[serde(default)]
    #[schema(value_type = Option<Policy>)]
    policy: AccessPolicy,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TeamEdit)]
struct Edit {
    name: Option<String>,
    /// The whole policy anew.
    #[schema(value_type = Option<Policy>)]
    policy: Option<AccessPolicy>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Query {
    /// Only this organisation's.
    #[param(value_type = Option<String>)]
    organisation: Option<OrganisationId>,
    limit: Option<u32>,
    cursor: Option<String>,
}

type Id = Path<TeamId>;

/// The teams that the caller may see.
#[utoipa::path(get, path = "/teams", tag = "teams", operation_id = "listTeams", params(Query),
    responses((status = 200, body = Page<View>)))]
async fn list(State(api): State<Api>, call: Call, Asked(asked): Asked<Query>) -> Result<Json<Page<View>>, Problem> {
    let mut all = api.store.teams(asked.organisation).await?;
    all.retain(|one| call.sees(&one.scope()));
    let page = PageQuery { limit: asked.limit, cursor: asked.cursor };
    Ok(Json(page.of(all, |one| one.id)?.map(View::from)))
}

/// Makes a team.
#[utoipa::path(post, path = "/teams", tag = "teams", operation_id = "createTeam", request_body = New,
    responses((status = 201, body = View)))]
async fn create(State(api): State<Api>, call: Call, Said(new): Said<New>) -> Result<Response, Problem> {
    let new = NewTeam { organisation: new.organisation, name: new.name, policy: new.policy };
    Ok(created(Versioned(View::from(api.store.create_team(&call.actor, new).await?))))
}

#[utoipa::path(get, path = "/teams/{team}", tag = "teams", operation_id = "showTeam",
    params(("team" = String, Path, description = "team_…")), responses((status = 200, body = View)))]
async fn show(State(api): State<Api>, Path(id): Id) -> Result<Versioned<View>, Problem> {
    Ok(Versioned(api.store.team(None, &id.to_string()).await?.into()))
}

/// Changes name or policy. Its keys follow at once.
#[utoipa::path(patch, path = "/teams/{team}", tag = "teams", operation_id = "editTeam",
    params(("team" = String, Path, description = "team_…")), request_body = Edit, responses((status = 200, body = View)))]
async fn edit(
    State(api): State<Api>,
    call: Call,
    Path(id): Id,
    version: IfMatch,
    Said(edit): Said<Edit>,
) -> Result<Versioned<View>, Problem> {
    let edit = TeamEdit { name: edit.name, policy: edit.policy };
    Ok(Versioned(api.store.edit_team_if(&call.actor, id, edit, version.expects(View::from)).await?.into()))
}

/// Deletes a team that nothing refers to. One that ever had a key stays.
#[utoipa::path(delete, path = "/teams/{team}", tag = "teams", operation_id = "deleteTeam",
    params(("team" = String, Path, description = "team_…")), responses((status = 204)))]
async fn delete(State(api): State<Api>, call: Call, Path(id): Id, version: IfMatch) -> Result<StatusCode, Problem> {
    api.store.delete_team_if(&call.actor, id, version.expects(View::from)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Refuses all its keys. Answers when every process that serves knows.
#[utoipa::path(post, path = "/teams/{team}/suspend", tag = "teams", operation_id = "suspendTeam",
    params(("team" = String, Path, description = "team_…")), responses((status = 200, body = View)))]
async fn suspend(State(api): State<Api>, call: Call, Path(id): Id) -> Result<Versioned<View>, Problem> {
    Ok(Versioned(api.store.suspend_team(&call.actor, id).await?.into()))
}

#[utoipa::path(post, path = "/teams/{team}/resume", tag = "teams", operation_id = "resumeTeam",
    params(("team" = String, Path, description = "team_…")), responses((status = 200, body = View)))]
async fn resume(State(api): State<Api>, call: Call, Path(id): Id) -> Result<Versioned<View>, Problem> {
    Ok(Versioned(api.store.resume_team(&call.actor, id).await?.into()))
}
