//! `/models`: the catalogue as it serves.

use axum::Json;
use axum::extract::State;
use portcullis_core::price::format_day;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::extract::{Asked, Page, PageQuery};
use super::problem::Problem;
use crate::catalog::Offer;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list))
}

/// One model of one connection.
#[derive(Serialize, ToSchema)]
#[schema(as = Model)]
struct View {
    /// As it can be asked for: `connection/model`.
    id: String,
    connection: String,
    model: String,
    aliases: Vec<String>,
    operations: Vec<String>,
    /// Tokens of input and output together; absent where unknown.
    context: Option<u32>,
    /// Tokens; absent where unknown.
    max_output: Option<u32>,
    capabilities: Vec<String>,
    quality: Option<f32>,
    /// The price that is in force; absent where it is unknown.
    price: Option<Price>,
}

/// Of the lowest tier.
#[derive(Serialize, ToSchema)]
#[schema(as = ModelPrice)]
struct Price {
    /// pico-USD per token.
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    /// Since which day it is in force: `YYYY-MM-DD`.
    effective: String,
    source: String,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Query {
    /// Only this connection's.
    connection: Option<String>,
    /// Only models that can do this: `chat`, `embeddings`, …
    operation: Option<String>,
    /// Items at most, 1 to 500. Default 50.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

fn view(offer: &Offer, now: u64) -> View {
    let (connection, model) = (&offer.connection.name, &offer.model);
    let price = model.prices.in_force(now).ok().map(|price| Price {
        input: price.rates.input,
        output: price.rates.output,
        cache_read: price.rates.cache_read,
        effective: format_day(price.effective),
        source: price.source.clone(),
    });
    View {
        id: format!("{connection}/{}", model.id),
        connection: connection.to_string(),
        model: model.id.to_string(),
        aliases: model.aliases.clone(),
        operations: model.operations.clone(),
        context: Some(model.context).filter(|&context| context > 0),
        max_output: Some(model.max_output).filter(|&most| most > 0),
        capabilities: model.capabilities.clone(),
        quality: model.quality,
        price,
    }
}

/// Every model on offer, with its price.
#[utoipa::path(get, path = "/models", tag = "models", operation_id = "listModels", params(Query),
    responses((status = 200, body = Page<View>)))]
async fn list(State(api): State<Api>, Asked(asked): Asked<Query>) -> Result<Json<Page<View>>, Problem> {
    let (snapshot, now) = (api.gateway.snapshot(), api.gateway.clock.now_ms());
    let wanted = |offer: &&Offer| {
        asked.connection.as_ref().is_none_or(|name| *offer.connection.name == **name)
            && asked.operation.as_ref().is_none_or(|operation| offer.model.operations.contains(operation))
    };
    let models = snapshot.catalog.offers().iter().filter(wanted).map(|offer| view(offer, now)).collect();
    let page = PageQuery { limit: asked.limit, cursor: asked.cursor };
    Ok(Json(page.of(models, |model: &View| model.id.clone())?))
}
