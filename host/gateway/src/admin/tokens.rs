//! `/tokens` and `/self`

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use portcullis_core::{Grant, MemberId, TokenId};
use portcullis_store::{NewToken, TokenRecord};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Call;
use super::extract::{Asked, Page, PageQuery, Said, Versioned};
use super::problem::Problem;
use super::shapes::RoleGrant;
use super::{Api, created};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(oneself))
        .routes(routes!(list, create))
        .routes(routes!(show))
        .routes(routes!(revoke))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
struct View {
    id: String,
    /// What may be shown of the secret.
    prefix: String,
    name: String,
    #[schema(value_type = Vec<RoleGrant>)]
    grants: Vec<Grant>,
    /// Whose it is. It then allows no more than the member may do at the time.
    member: Option<String>,
    created_ms: u64,
    expires_ms: Option<u64>,
    revoked_ms: Option<u64>,
    /// To the minute.
    last_used_ms: Option<u64>,
}

impl From<TokenRecord> for View {
    fn from(one: TokenRecord) -> Self {
        View {
            id: one.id.to_string(),
            prefix: one.prefix,
            name: one.name,
            grants: one.grants,
            member: one.member.map(|member| member.to_string()),
            created_ms: one.created_ms,
            expires_ms: one.expires_ms,
            revoked_ms: one.revoked_ms,
            last_used_ms: one.last_used_ms,
        }
    }
}

/// A token with its secret, which is shown this once.
#[derive(Serialize, ToSchema)]
#[schema(as = TokenWithSecret)]
struct WithSecret {
    secret: String,
    #[serde(flatten)]
    token: View,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewToken)]
struct New {
    name: String,
    /// At least one, and none that the caller could not have.
    #[schema(value_type = Vec<RoleGrant>)]
    grants: Vec<Grant>,
    /// Whose it is to be, where it is a person's.
    #[schema(value_type = Option<String>)]
    member: Option<MemberId>,
    expires_ms: Option<u64>,
}

/// Who calls, and what they may do.
#[derive(Serialize, ToSchema)]
#[schema(as = Oneself)]
struct Oneself {
    /// `token` or `member`.
    kind: &'static str,
    id: Option<String>,
    #[schema(value_type = Vec<RoleGrant>)]
    grants: Vec<Grant>,
}

/// Who calls, and what they may do.
#[utoipa::path(get, path = "/self", tag = "tokens", operation_id = "showSelf", responses((status = 200, body = Oneself)))]
async fn oneself(call: Call) -> Json<Oneself> {
    let actor = call.actor;
    Json(Oneself { kind: actor.kind.name(), id: actor.kind.id(), grants: actor.grants })
}

fn is_own(call: &Call, token: &TokenRecord) -> bool {
    let of_member = token.member.is_some() && token.member == call.actor.member_id();
    of_member || call.actor.kind.id().is_some_and(|id| id == token.id.to_string())
}

/// The tokens whose roles the caller may see, and the caller's own.
#[utoipa::path(get, path = "/tokens", tag = "tokens", operation_id = "listTokens", params(PageQuery),
    responses((status = 200, body = Page<View>)))]
async fn list(State(api): State<Api>, call: Call, Asked(page): Asked<PageQuery>) -> Result<Json<Page<View>>, Problem> {
    let mut all = api.store.tokens().await?;
    all.retain(|one| is_own(&call, one) || call.sees_any(&one.grants));
    Ok(Json(page.of(all, |one| one.id)?.map(View::from)))
}

/// Makes a token. Its secret is in this answer and nowhere else.
#[utoipa::path(post, path = "/tokens", tag = "tokens", operation_id = "createToken", request_body = New,
    responses((status = 201, body = WithSecret)))]
async fn create(State(api): State<Api>, call: Call, Said(new): Said<New>) -> Result<Response, Problem> {
    let New { name, grants, member, expires_ms } = new;
    let token = api.store.create_token(&call.actor, NewToken { name, grants, member, expires_ms }).await?;
    let secret = token.secret.expose().to_owned();
    Ok(created(Json(WithSecret { secret, token: token.record.into() })))
}

#[utoipa::path(get, path = "/tokens/{token}", tag = "tokens", operation_id = "showToken",
    params(("token" = String, Path, description = "tok_…")), responses((status = 200, body = View)))]
async fn show(State(api): State<Api>, call: Call, Path(id): Path<TokenId>) -> Result<Versioned<View>, Problem> {
    visible(&api, &call, id).await.map(|token| Versioned(token.into()))
}

/// Refuses a token from now on, for good.
#[utoipa::path(post, path = "/tokens/{token}/revoke", tag = "tokens", operation_id = "revokeToken",
    params(("token" = String, Path, description = "tok_…")), responses((status = 200, body = View)))]
async fn revoke(State(api): State<Api>, call: Call, Path(id): Path<TokenId>) -> Result<Versioned<View>, Problem> {
    visible(&api, &call, id).await?;
    Ok(Versioned(api.store.revoke_token(&call.actor, id).await?.into()))
}

async fn visible(api: &Api, call: &Call, id: TokenId) -> Result<TokenRecord, Problem> {
    let token = api.store.token(&id.to_string()).await?;
    if is_own(call, &token) || call.sees_any(&token.grants) { Ok(token) } else { Err(Problem::not_found("token")) }
}
