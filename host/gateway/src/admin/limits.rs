//! `/keys/{key}/limits`, and `/tiers`.

use std::net::{IpAddr, Ipv6Addr};

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use portcullis_core::{KeyId, Limits};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::problem::Problem;
use crate::limits::{Caller, Explained, Origin};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(of_key)).routes(routes!(tiers))
}

/// The limits that hold for a key's requests.
#[derive(Serialize, ToSchema)]
#[schema(as = KeyLimits)]
struct View {
    tier: Option<Named>,
    /// Tiers that no limit of the key's is above.
    max_tiers: Vec<Named>,
    /// All that are asked, whatever the model. Those of models are asked with each attempt, and are not here.
    limits: Vec<One>,
}

/// A tier, and whose word it is.
#[derive(Serialize, ToSchema)]
#[schema(as = NamedTier)]
struct Named {
    tier: String,
    /// `organisation`, `team` or `key`.
    origin: &'static str,
}

#[derive(Serialize, ToSchema)]
#[schema(as = LimitStanding)]
struct One {
    /// As refusals and headers name it.
    name: String,
    /// What has a count of its own: `key`, `team`, `organisation`, `address`. Empty: everybody counts together.
    by: Vec<&'static str>,
    /// `requests` or `tokens`.
    unit: &'static str,
    /// `minute`, `hour` or `day`, which end now; null for requests under way at once.
    window: Option<&'static str>,
    limit: u64,
    /// Whose word it is: `key`, `tier`, `max-tier`, or `configuration`.
    origin: &'static str,
    /// Which tier, where it is one's.
    origin_tier: Option<String>,
    /// What counts now in the process that answers; null where that depends on the address.
    used: Option<u64>,
    remaining: Option<u64>,
    /// When nothing counts any more, in milliseconds from now.
    reset_ms: Option<u64>,
}

impl From<Explained> for One {
    fn from(one: Explained) -> Self {
        let (origin, tier) = match one.origin {
            Origin::Key => ("key", None),
            Origin::Tier(tier) => ("tier", Some(tier)),
            Origin::MaxTier(tier) => ("max-tier", Some(tier)),
            Origin::Configuration => ("configuration", None),
        };
        One {
            name: one.name.to_string(),
            by: one.by.iter().map(|by| by.as_str()).collect(),
            unit: one.unit.as_str(),
            window: one.window.map(|window| window.as_str()),
            limit: one.limit,
            origin,
            origin_tier: tier,
            used: one.used,
            remaining: one.used.map(|used| one.limit.saturating_sub(used)),
            reset_ms: one.resets,
        }
    }
}

/// A tier of the operator's file.
#[derive(Serialize, ToSchema)]
#[schema(as = Tier)]
struct Tier {
    name: String,
    #[schema(value_type = BTreeMap<String, u64>, example = json!({"requests_per_minute": 120}))]
    limits: Limits,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Tiers)]
struct Tiers {
    data: Vec<Tier>,
}

/// What a key may ask for, whose word each limit is, and how it stands in the process that answers: each process counts for itself.
#[utoipa::path(get, path = "/keys/{key}/limits", tag = "keys", operation_id = "showKeyLimits",
    params(("key" = String, Path, description = "key_…")), responses((status = 200, body = View)))]
async fn of_key(State(api): State<Api>, Path(id): Path<KeyId>) -> Result<Json<View>, Problem> {
    let key = api.store.key(&id.to_string()).await?;
    let policy = api.store.effective_policy(id).await?;
    let caller = Caller {
        key: id,
        team: key.team,
        organisation: key.organisation,
        environment: key.environment,
        tier: policy.tier().map(|(tier, _)| tier),
        policy: Some(&policy),
        own: policy.limits(),
        address: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let (snapshot, now) = (api.gateway.snapshot(), api.gateway.clock.now_ms());
    let limits = api.gateway.limiter.explain(&snapshot.limits, &caller, now).map_err(|unknown| {
        let detail = format!("The key's requests are refused: {unknown}.");
        Problem::new(StatusCode::CONFLICT, "unknown_tier", detail)
    })?;
    let named = |(tier, origin): (&str, portcullis_store::PolicyOrigin)| Named {
        tier: tier.to_owned(),
        origin: origin.as_str(),
    };
    Ok(Json(View {
        tier: policy.tier().map(named),
        max_tiers: policy.max_tiers().map(named).collect(),
        limits: limits.into_iter().map(One::from).collect(),
    }))
}

/// The tiers of the operator's file and those there are by default.
#[utoipa::path(get, path = "/tiers", tag = "keys", operation_id = "listTiers", responses((status = 200, body = Tiers)))]
async fn tiers(State(api): State<Api>) -> Json<Tiers> {
    let snapshot = api.gateway.snapshot();
    let tiers = snapshot.config.tiers.0.iter();
    Json(Tiers { data: tiers.map(|(name, limits)| Tier { name: name.clone(), limits: *limits }).collect() })
}
