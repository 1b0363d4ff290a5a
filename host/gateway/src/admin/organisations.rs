//! `/organisations`

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use portcullis_core::{OrganisationId, Scope};
use portcullis_store::{AccessPolicy, NewOrganisation, Organisation, OrganisationEdit};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Call;
use super::extract::{Asked, IfMatch, Page, PageQuery, Said, Versioned, patched};
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
#[schema(as = Organisation)]
struct View {
    id: String,
    /// Unlike every other organisation's.
    name: String,
    /// What no key of it may pass.
    #[schema(value_type = Policy)]
    policy: AccessPolicy,
    created_ms: u64,
    /// Since when its keys are refused.
    suspended_ms: Option<u64>,
    /// Grows with every change.
    version: u64,
    /// Days that its requests and receipts are kept; null for as long as the configuration says (`records.retention_days`).
    retention_days: Option<u16>,
    /// Days that what its requests ask and are answered is kept, though no longer than their records; null for not at all.
    capture_days: Option<u16>,
}

impl From<Organisation> for View {
    fn from(one: Organisation) -> Self {
        let Organisation { id, name, policy, created_ms, suspended_ms, version, retention_days, capture_days } = one;
        View { id: id.to_string(), name, policy, created_ms, suspended_ms, version, retention_days, capture_days }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewOrganisation)]
struct New {
    name: String,
    #[serde(default)]
    #[schema(value_type = Option<Policy>)]
    policy: AccessPolicy,
    /// 7 to 365.
    retention_days: Option<u16>,
    /// 1 to 365; by default prompts and answers are not kept.
    capture_days: Option<u16>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OrganisationEdit)]
struct Edit {
    name: Option<String>,
    /// The whole policy anew.
    #[schema(value_type = Option<Policy>)]
    policy: Option<AccessPolicy>,
    /// 7 to 365; null for as long as the configuration says. It takes `records.write`.
    #[serde(default, deserialize_with = "patched")]
    #[schema(value_type = Option<u16>)]
    retention_days: Option<Option<u16>>,
    /// 1 to 365; null to keep no more prompts and answers, where those that were stay for their time. It takes `records.write`.
    #[serde(default, deserialize_with = "patched")]
    #[schema(value_type = Option<u16>)]
    capture_days: Option<Option<u16>>,
}

type Id = Path<OrganisationId>;

/// The organisations that the caller may see.
#[utoipa::path(get, path = "/organisations", tag = "organisations", operation_id = "listOrganisations", params(PageQuery),
    responses((status = 200, body = Page<View>)))]
async fn list(State(api): State<Api>, call: Call, Asked(page): Asked<PageQuery>) -> Result<Json<Page<View>>, Problem> {
    let mut all = api.store.organisations().await?;
    all.retain(|one| call.sees(&Scope::Organisation(one.id)));
    Ok(Json(page.of(all, |one| one.id)?.map(View::from)))
}

/// Makes an organisation.
#[utoipa::path(post, path = "/organisations", tag = "organisations", operation_id = "createOrganisation", request_body = New,
    responses((status = 201, body = View)))]
async fn create(State(api): State<Api>, call: Call, Said(new): Said<New>) -> Result<Response, Problem> {
    let new = NewOrganisation {
        name: new.name,
        policy: new.policy,
        retention_days: new.retention_days,
        capture_days: new.capture_days,
    };
    Ok(created(Versioned(View::from(api.store.create_organisation(&call.actor, new).await?))))
}

#[utoipa::path(get, path = "/organisations/{organisation}", tag = "organisations", operation_id = "showOrganisation",
    params(("organisation" = String, Path, description = "org_…")), responses((status = 200, body = View)))]
async fn show(State(api): State<Api>, Path(id): Id) -> Result<Versioned<View>, Problem> {
    Ok(Versioned(api.store.organisation(&id.to_string()).await?.into()))
}

/// Changes name, policy, how long records are kept, or whether prompts and answers are. Its keys follow at once.
#[utoipa::path(patch, path = "/organisations/{organisation}", tag = "organisations", operation_id = "editOrganisation",
    params(("organisation" = String, Path, description = "org_…")), request_body = Edit, responses((status = 200, body = View)))]
async fn edit(
    State(api): State<Api>,
    call: Call,
    Path(id): Id,
    version: IfMatch,
    Said(edit): Said<Edit>,
) -> Result<Versioned<View>, Problem> {
    let edit = OrganisationEdit {
        name: edit.name,
        policy: edit.policy,
        retention_days: edit.retention_days,
        capture_days: edit.capture_days,
    };
    Ok(Versioned(api.store.edit_organisation_if(&call.actor, id, edit, version.expects(View::from)).await?.into()))
}

/// Deletes an organisation that nothing refers to. One that ever had a key stays.
#[utoipa::path(delete, path = "/organisations/{organisation}", tag = "organisations", operation_id = "deleteOrganisation",
    params(("organisation" = String, Path, description = "org_…")), responses((status = 204)))]
async fn delete(State(api): State<Api>, call: Call, Path(id): Id, version: IfMatch) -> Result<StatusCode, Problem> {
    api.store.delete_organisation_if(&call.actor, id, version.expects(View::from)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Refuses all its keys. Answers when every process that serves knows.
#[utoipa::path(post, path = "/organisations/{organisation}/suspend", tag = "organisations", operation_id = "suspendOrganisation",
    params(("organisation" = String, Path, description = "org_…")), responses((status = 200, body = View)))]
async fn suspend(State(api): State<Api>, call: Call, Path(id): Id) -> Result<Versioned<View>, Problem> {
    Ok(Versioned(api.store.suspend_organisation(&call.actor, id).await?.into()))
}

#[utoipa::path(post, path = "/organisations/{organisation}/resume", tag = "organisations", operation_id = "resumeOrganisation",
    params(("organisation" = String, Path, description = "org_…")), responses((status = 200, body = View)))]
async fn resume(State(api): State<Api>, call: Call, Path(id): Id) -> Result<Versioned<View>, Problem> {
    Ok(Versioned(api.store.resume_organisation(&call.actor, id).await?.into()))
}
