//! `/keys`

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderValue, header};
use portcullis_core::receipt::Tag;
use portcullis_core::{Environment, KeyId, MemberId, OrganisationId, TeamId};
use portcullis_store::{AccessPolicy, CreatedKey, KeyEdit, KeyFilter, KeyRecord, NewKey, PolicyLine, RequestDefaults};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Call;
use super::extract::{Asked, IfMatch, Page, PageQuery, Said, Versioned, cursor, patched};
use super::problem::Problem;
use super::shapes::{NameValue, Policy};
use super::{Api, PREFIX, created};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, edit))
        .routes(routes!(policy))
        .routes(routes!(rotate))
        .routes(routes!(suspend))
        .routes(routes!(resume))
        .routes(routes!(revoke))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Key)]
struct View {
    id: String,
    /// What may be shown of the secret.
    prefix: String,
    name: String,
    /// `production` or `development`.
    environment: &'static str,
    organisation: String,
    team: Option<String>,
    /// Whose it is, where it is a person's.
    member: Option<String>,
    created_ms: u64,
    /// From when on it is refused.
    expires_ms: Option<u64>,
    revoked_ms: Option<u64>,
    suspended_ms: Option<u64>,
    rotated_ms: Option<u64>,
    /// Until when the secret before the last rotation goes on.
    previous_until_ms: Option<u64>,
    /// What the key itself says: see `/keys/{key}/policy` for what holds.
    #[schema(value_type = Policy)]
    policy: AccessPolicy,
    /// What its requests are marked with.
    #[schema(value_type = Vec<NameValue>)]
    tags: Vec<Tag>,
    #[schema(value_type = Defaults)]
    defaults: RequestDefaults,
}

/// What a key's requests ask for where they do not say it themselves.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = RequestDefaults)]
#[allow(dead_code)]
struct Defaults {
    /// `x-portcullis-format`
    format: Option<String>,
    /// `x-portcullis-metadata`
    metadata: Option<String>,
}

impl From<KeyRecord> for View {
    fn from(one: KeyRecord) -> Self {
        View {
            id: one.id.to_string(),
            prefix: one.prefix.to_string(),
            name: one.name,
            environment: one.environment.as_str(),
            organisation: one.organisation.to_string(),
            team: one.team.map(|team| team.to_string()),
            member: one.member.map(|member| member.to_string()),
            created_ms: one.created_ms,
            expires_ms: one.expires_ms,
            revoked_ms: one.revoked_ms,
            suspended_ms: one.suspended_ms,
            rotated_ms: one.rotated_ms,
            previous_until_ms: one.previous_until_ms,
            policy: one.policy,
            tags: one.tags,
            defaults: one.defaults,
        }
    }
}

/// A key with its secret, which is shown this once.
#[derive(Serialize, ToSchema)]
#[schema(as = KeyWithSecret)]
struct WithSecret {
    secret: String,
    #[serde(flatten)]
    key: View,
}

fn with_secret(key: CreatedKey) -> WithSecret {
    WithSecret { secret: key.secret.expose().to_owned(), key: key.record.into() }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewKey)]
struct New {
    name: String,
    /// `production` or `development`.
    #[schema(value_type = String)]
    environment: Environment,
    /// By default the one that every installation has.
    #[schema(value_type = Option<String>)]
    organisation: Option<OrganisationId>,
    #[schema(value_type = Option<String>)]
    team: Option<TeamId>,
    /// Whose it is to be, where it is a person's.
    #[schema(value_type = Option<String>)]
    member: Option<MemberId>,
    expires_ms: Option<u64>,
    #[serde(default)]
    #[schema(value_type = Option<Policy>)]
    policy: AccessPolicy,
    #[serde(default)]
    #[schema(value_type = Option<Vec<NameValue>>)]
    tags: Vec<Tag>,
    #[serde(default)]
    #[schema(value_type = Option<Defaults>)]
    defaults: RequestDefaults,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyEdit)]
struct Edit {
    name: Option<String>,
    /// Null for never.
    #[serde(default, deserialize_with = "patched")]
    #[schema(value_type = Option<u64>)]
    expires_ms: Option<Option<u64>>,
    /// The whole policy anew.
    #[schema(value_type = Option<Policy>)]
    policy: Option<AccessPolicy>,
    #[schema(value_type = Option<Vec<NameValue>>)]
    tags: Option<Vec<Tag>>,
    #[schema(value_type = Option<Defaults>)]
    defaults: Option<RequestDefaults>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyRotation)]
struct Rotation {
    /// Seconds for which the old secret goes on, 30 days at most. 0 ends it at once.
    #[serde(default)]
    grace_seconds: u64,
    /// By default the new secret lives as long as the old one was made to.
    expires_ms: Option<u64>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)]
struct Query {
    /// Only this organisation's.
    organisation: Option<String>,
    /// Only this team's.
    team: Option<String>,
    /// Only this person's.
    #[param(value_type = Option<String>)]
    member: Option<MemberId>,
    /// `production` or `development`.
    #[param(value_type = Option<String>)]
    environment: Option<Environment>,
    /// Whether revoked ones are listed too. Default false.
    #[serde(default)]
    revoked: bool,
    /// Items at most, 1 to 500. Default 50.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// One line of what a key may do.
#[derive(Serialize, ToSchema)]
#[schema(as = PolicyLine)]
struct Line {
    /// `models`, `providers`, `regions`, `cidrs`, `origins`, `referrers`, `tier`, `max_tier`, `expires_ms`.
    field: String,
    value: serde_json::Value,
    /// Whose word it is: `organisation`, `team`, `key`, `default`.
    origin: &'static str,
}

/// What a key may do, all things considered. Where several have a word on one field, a request must pass them all.
#[derive(Serialize, ToSchema)]
#[schema(as = EffectivePolicy)]
struct Effective {
    lines: Vec<Line>,
}

type Id = Path<KeyId>;

/// Keys, oldest first. Without `organisation`, those within what the caller has the permission for.
#[utoipa::path(get, path = "/keys", tag = "keys", operation_id = "listKeys", params(Query),
    responses((status = 200, body = Page<View>)))]
async fn list(State(api): State<Api>, call: Call, Asked(asked): Asked<Query>) -> Result<Json<Page<View>>, Problem> {
    let page = PageQuery { limit: asked.limit, cursor: asked.cursor };
    let limit = page.limit()?;
    let (organisation, team) = call.within();
    if let (Some(only), Some(member)) = (call.only(), asked.member)
        && only != member
    {
        return Ok(Json(Page { data: Vec::new(), next: None }));
    }
    let filter = KeyFilter {
        organisation,
        team,
        member: call.only().or(asked.member),
        environment: asked.environment,
        unrevoked: !asked.revoked,
        after: page.after()?,
        limit: Some(limit + 1),
    };
    let mut keys = api.store.keys(&filter).await?;
    let more = keys.len() > limit as usize;
    keys.truncate(limit as usize);
    let next = keys.last().filter(|_| more).map(|last| cursor(&last.id));
    Ok(Json(Page { data: keys.into_iter().map(View::from).collect(), next }))
}

/// Makes a key. Its secret is in this answer and nowhere else.
#[utoipa::path(post, path = "/keys", tag = "keys", operation_id = "createKey", request_body = New,
    responses((status = 201, body = WithSecret)))]
async fn create(State(api): State<Api>, call: Call, Said(new): Said<New>) -> Result<Response, Problem> {
    let new = NewKey {
        name: new.name,
        environment: new.environment,
        organisation: new.organisation.unwrap_or(OrganisationId::DEFAULT),
        team: new.team,
        member: new.member,
        expires_ms: new.expires_ms,
        policy: new.policy,
        tags: new.tags,
        defaults: new.defaults,
    };
    let key = api.store.create_key(&call.actor, new).await?;
    let location = HeaderValue::from_str(&format!("{PREFIX}/keys/{}", key.record.id));
    let mut answer = created(Json(with_secret(key)));
    answer.headers_mut().extend(location.ok().map(|location| (header::LOCATION, location)));
    Ok(answer)
}

#[utoipa::path(get, path = "/keys/{key}", tag = "keys", operation_id = "showKey",
    params(("key" = String, Path, description = "key_…")), responses((status = 200, body = View)))]
async fn show(State(api): State<Api>, Path(id): Id) -> Result<Versioned<View>, Problem> {
    Ok(Versioned(api.store.key(&id.to_string()).await?.into()))
}

/// What a key may do, and whose word each part of it is.
#[utoipa::path(get, path = "/keys/{key}/policy", tag = "keys", operation_id = "showKeyPolicy",
    params(("key" = String, Path, description = "key_…")), responses((status = 200, body = Effective)))]
async fn policy(State(api): State<Api>, Path(id): Id) -> Result<Json<Effective>, Problem> {
    let lines = api.store.effective_policy(id).await?.explain().into_iter();
    let line = |PolicyLine { field, value, origin }| Line { field, value, origin: origin.as_str() };
    Ok(Json(Effective { lines: lines.map(line).collect() }))
}

#[utoipa::path(patch, path = "/keys/{key}", tag = "keys", operation_id = "editKey",
    params(("key" = String, Path, description = "key_…")), request_body = Edit, responses((status = 200, body = View)))]
async fn edit(
    State(api): State<Api>,
    call: Call,
    Path(id): Id,
    version: IfMatch,
    Said(edit): Said<Edit>,
) -> Result<Versioned<View>, Problem> {
    let Edit { name, expires_ms, policy, tags, defaults } = edit;
    let edit = KeyEdit { name, expires_ms, policy, tags, defaults };
    Ok(Versioned(api.store.edit_key_if(&call.actor, id, edit, version.expects(View::from)).await?.into()))
}

/// Gives a key a new secret, which is in this answer and nowhere else.
#[utoipa::path(post, path = "/keys/{key}/rotate", tag = "keys", operation_id = "rotateKey",
    params(("key" = String, Path, description = "key_…")), request_body = Rotation, responses((status = 200, body = WithSecret)))]
async fn rotate(
    State(api): State<Api>,
    call: Call,
    Path(id): Id,
    version: IfMatch,
    Said(rotation): Said<Rotation>,
) -> Result<Json<WithSecret>, Problem> {
    let grace = Duration::from_secs(rotation.grace_seconds);
    let expected = version.expects(View::from);
    Ok(Json(with_secret(api.store.rotate_key_if(&call.actor, id, grace, rotation.expires_ms, expected).await?)))
}

/// Refuses a key until it is resumed. Answers when every process that serves knows.
#[utoipa::path(post, path = "/keys/{key}/suspend", tag = "keys", operation_id = "suspendKey",
    params(("key" = String, Path, description = "key_…")), responses((status = 200, body = View)))]
async fn suspend(State(api): State<Api>, call: Call, Path(id): Id) -> Result<Versioned<View>, Problem> {
    Ok(Versioned(api.store.suspend_key(&call.actor, id).await?.into()))
}

#[utoipa::path(post, path = "/keys/{key}/resume", tag = "keys", operation_id = "resumeKey",
    params(("key" = String, Path, description = "key_…")), responses((status = 200, body = View)))]
async fn resume(State(api): State<Api>, call: Call, Path(id): Id) -> Result<Versioned<View>, Problem> {
    Ok(Versioned(api.store.resume_key(&call.actor, id).await?.into()))
}

/// Refuses a key for good. Answers when every process that serves knows.
#[utoipa::path(post, path = "/keys/{key}/revoke", tag = "keys", operation_id = "revokeKey",
    params(("key" = String, Path, description = "key_…")), responses((status = 200, body = View)))]
async fn revoke(State(api): State<Api>, call: Call, Path(id): Id) -> Result<Versioned<View>, Problem> {
    Ok(Versioned(api.store.revoke_key(&call.actor, id).await?.into()))
}
