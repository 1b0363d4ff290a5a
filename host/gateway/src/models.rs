//! `GET /v1/models`: what this key may use, in the shape of the dialect that was asked.

use std::sync::Arc;

use http::{Response, StatusCode};
use portcullis_runtime::contract::dialect::ModelEntry;
use portcullis_runtime::contract::types::{Failure, FailureKind};
use portcullis_store::KeyRecord;

use crate::answer::{self, AnswerBody};
use crate::route::Route;
use crate::service::Head;

/// Seconds since the Unix epoch that stand for "not known": clients want a number.
const UNKNOWN_CREATION: u64 = 0;

pub(crate) fn answer(head: &Head, route: &Arc<Route>, key: &KeyRecord) -> Result<Response<AnswerBody>, Failure> {
    let offers = head.snapshot.catalog.offers().iter();
    let mut entries: Vec<ModelEntry> = offers
        .filter(|offer| key.allows(&offer.connection.name, &offer.model.id))
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
            }
        })
        .collect();
    entries.sort_by(|one, two| one.id.cmp(&two.id));
    let context = head.context();
    let mut session = route.plugin.session(&key.organisation.to_string(), &key.id.to_string(), &context.request_id);
    let body = session.encode_models(&context, &entries).map_err(|error| {
        tracing::error!(request_id = %context.request_id, plugin = %route.plugin.name(), %error, "a plugin failed");
        Failure {
            kind: FailureKind::Internal,
            message: "The gateway could not process the request.".to_owned(),
            code: Some("plugin_failed".to_owned()),
            param: None,
            retry_after: None,
        }
    })?;
    Ok(answer::json(StatusCode::OK, body))
}
