//! `GET /v1/models`: what this key may use, in the shape of the dialect that was asked; and one of them, where the route has the model's
//! name in its path: what would stand for it in the list, of which a dialect writes one.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{Response, StatusCode};
use portcullis_runtime::contract::dialect::ModelEntry;
use portcullis_runtime::contract::types::{Failure, FailureKind};
use portcullis_store::ActiveKey;
use serde_json::value::RawValue;

use crate::answer::{self, AnswerBody};
use crate::catalog::Offer;
use crate::route::{Place, Route};
use crate::service::Head;

/// Seconds since the Unix epoch that stand for "not known": clients want a number.
const UNKNOWN_CREATION: u64 = 0;

pub(crate) fn answer(
    head: &Head,
    route: &Arc<Route>,
    parameters: &[(String, String)],
    key: &ActiveKey,
) -> Result<Response<AnswerBody>, Failure> {
    let one = match &route.model {
        Place::Path(name) => parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()),
        _ => None,
    };
    let catalog = &head.snapshot.catalog;
    let offers = catalog.open_to(catalog.offers().to_vec(), key.organisation);
    let mut entries: Vec<ModelEntry> = offers
        .iter()
        .filter(|offer| {
            key.policy.allows(&offer.connection.name, &offer.model.id, offer.connection.region.as_deref()).is_ok()
        })
        .filter(|offer| one.is_none_or(|name| is_named(offer, name)))
        .map(|offer| {
            let rates = offer.model.prices.in_force(head.now).ok().map(|price| &price.rates);
            ModelEntry {
                id: format!("{}/{}", offer.connection.name, offer.model.id),
                provider: offer.connection.name.to_string(),
                created: UNKNOWN_CREATION,
                context: offer.model.context,
                max_output: offer.model.max_output,
                operations: offer.model.operations.clone(),
                capabilities: offer.model.capabilities.clone(),
                input_price: rates.and_then(|rates| rates.input),
                output_price: rates.and_then(|rates| rates.output),
                extra: Vec::new(),
            }
        })
        .collect();
    entries.sort_by(|one, two| one.id.cmp(&two.id));
    // Connections that share a provider's requests offer the same.
    entries.dedup_by(|one, two| one.id == two.id);
    if let Some(name) = one {
        entries.truncate(1);
        if entries.is_empty() {
            return Err(unknown(name));
        }
    }
    let context = head.context();
    let mut session = route.plugin.session(&key.organisation.to_string(), &key.id.to_string(), &context.request_id);
    let body = session.encode_models(&context, &entries).map_err(|error| {
        tracing::error!(request_id = %context.request_id, plugin = %route.plugin.name(), %error, "a plugin failed");
        broken()
    })?;
    let body = match one {
        Some(_) => only(&body).ok_or_else(|| {
            tracing::error!(request_id = %context.request_id, plugin = %route.plugin.name(), "a list of models is no list");
            broken()
        })?,
        None => body,
    };
    Ok(answer::json(StatusCode::OK, body))
}

/// Whether a client can mean this offer by the name.
fn is_named(offer: &Offer, name: &str) -> bool {
    let bare = match name.split_once('/') {
        Some((connection, model)) if *offer.connection.name == *connection => model,
        _ => name,
    };
    offer.model.names().any(|name| name == bare)
}

/// The first item of the list that stands in a document.
fn only(body: &str) -> Option<String> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(body).ok()?;
    let list = members.values().find(|value| value.get().starts_with('['))?;
    let items: Vec<&RawValue> = serde_json::from_str(list.get()).ok()?;
    items.first().map(|item| item.get().to_owned())
}

fn unknown(name: &str) -> Failure {
    Failure {
        kind: FailureKind::NotFound,
        message: format!("The model `{name}` does not exist here. GET /v1/models lists those that do."),
        code: Some("model_not_found".to_owned()),
        param: Some("model".to_owned()),
        retry_after: None,
    }
}

fn broken() -> Failure {
    Failure {
        kind: FailureKind::Internal,
        message: "The gateway could not process the request.".to_owned(),
        code: Some("plugin_failed".to_owned()),
        param: None,
        retry_after: None,
    }
}
