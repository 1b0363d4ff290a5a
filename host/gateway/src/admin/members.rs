//! `/members`

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use portcullis_core::{Grant, MemberId};
use portcullis_store::{Member, MemberEdit, NewMember};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Call;
use super::extract::{Asked, IfMatch, Page, PageQuery, Said, Versioned};
use super::problem::Problem;
use super::shapes::RoleGrant;
use super::{Api, created};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, edit, delete))
        .routes(routes!(suspend))
        .routes(routes!(resume))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Member)]
struct View {
    id: String,
    /// In lower case; unlike every other member's.
    email: String,
    name: String,
    #[schema(value_type = Vec<RoleGrant>)]
    grants: Vec<Grant>,
    /// Who vouches for them at login, and under what name there.
    issuer: Option<String>,
    subject: Option<String>,
    created_ms: u64,
    /// Since when they may do nothing.
    suspended_ms: Option<u64>,
    /// Their last login.
    last_seen_ms: Option<u64>,
    /// Grows with every change.
    version: u64,
}

impl From<Member> for View {
    fn from(one: Member) -> Self {
        View {
            id: one.id.to_string(),
            email: one.email,
            name: one.name,
            grants: one.grants,
            issuer: one.issuer,
            subject: one.subject,
            created_ms: one.created_ms,
            suspended_ms: one.suspended_ms,
            last_seen_ms: one.last_seen_ms,
            version: one.version,
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewMember)]
struct New {
    email: String,
    name: String,
    /// At least one, and none that the caller could not have.
    #[schema(value_type = Vec<RoleGrant>)]
    grants: Vec<Grant>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MemberEdit)]
struct Edit {
    name: Option<String>,
    /// All of them anew.
    #[schema(value_type = Option<Vec<RoleGrant>>)]
    grants: Option<Vec<Grant>>,
}

type Id = Path<MemberId>;

/// The members with a role where the caller may see members.
#[utoipa::path(get, path = "/members", tag = "members", operation_id = "listMembers", params(PageQuery),
    responses((status = 200, body = Page<View>)))]
async fn list(State(api): State<Api>, call: Call, Asked(page): Asked<PageQuery>) -> Result<Json<Page<View>>, Problem> {
    let mut all = api.store.members().await?;
    all.retain(|one| call.sees_any(&one.grants));
    Ok(Json(page.of(all, |one| one.id)?.map(View::from)))
}

/// Makes a member, who may then log in under this address.
#[utoipa::path(post, path = "/members", tag = "members", operation_id = "createMember", request_body = New,
    responses((status = 201, body = View)))]
async fn create(State(api): State<Api>, call: Call, Said(new): Said<New>) -> Result<Response, Problem> {
    let new = NewMember { email: new.email, name: new.name, grants: new.grants };
    Ok(created(Versioned(View::from(api.store.create_member(&call.actor, new).await?))))
}

#[utoipa::path(get, path = "/members/{member}", tag = "members", operation_id = "showMember",
    params(("member" = String, Path, description = "mem_…")), responses((status = 200, body = View)))]
async fn show(State(api): State<Api>, Path(id): Id) -> Result<Versioned<View>, Problem> {
    Ok(Versioned(api.store.member(&id.to_string()).await?.into()))
}

/// Changes name or roles.
#[utoipa::path(patch, path = "/members/{member}", tag = "members", operation_id = "editMember",
    params(("member" = String, Path, description = "mem_…")), request_body = Edit, responses((status = 200, body = View)))]
async fn edit(
    State(api): State<Api>,
    call: Call,
    Path(id): Id,
    version: IfMatch,
    Said(edit): Said<Edit>,
) -> Result<Versioned<View>, Problem> {
    let edit = MemberEdit { name: edit.name, grants: edit.grants };
    Ok(Versioned(api.store.edit_member_if(&call.actor, id, edit, version.expects(View::from)).await?.into()))
}

/// Deletes a member. Their tokens are revoked, their keys become nobody's in particular.
#[utoipa::path(delete, path = "/members/{member}", tag = "members", operation_id = "deleteMember",
    params(("member" = String, Path, description = "mem_…")), responses((status = 204)))]
async fn delete(State(api): State<Api>, call: Call, Path(id): Id, version: IfMatch) -> Result<StatusCode, Problem> {
    api.store.delete_member_if(&call.actor, id, version.expects(View::from)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets the member do nothing any more, by login or token. Their keys go on.
#[utoipa::path(post, path = "/members/{member}/suspend", tag = "members", operation_id = "suspendMember",
    params(("member" = String, Path, description = "mem_…")), responses((status = 200, body = View)))]
async fn suspend(State(api): State<Api>, call: Call, Path(id): Id) -> Result<Versioned<View>, Problem> {
    Ok(Versioned(api.store.suspend_member(&call.actor, id).await?.into()))
}

#[utoipa::path(post, path = "/members/{member}/resume", tag = "members", operation_id = "resumeMember",
    params(("member" = String, Path, description = "mem_…")), responses((status = 200, body = View)))]
async fn resume(State(api): State<Api>, call: Call, Path(id): Id) -> Result<Versioned<View>, Problem> {
    Ok(Versioned(api.store.resume_member(&call.actor, id).await?.into()))
}
