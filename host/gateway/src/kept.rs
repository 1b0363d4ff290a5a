//! `GET` and `DELETE` of an answer by its name, below the path of the route that it came by: `/v1/responses/{id}`. It answers to
//! the key that asked for it (invariant 11), and only where its organisation opted in (invariant 9).

use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use portcullis_runtime::contract::types::{Failure, FailureKind};
use portcullis_store::{ActiveKey, StoreError, TurnOwner};
use serde_json::{Value, json};

use crate::Gateway;
use crate::answer::{self, AnswerBody};
use crate::inbound::Refusal;
use crate::pipeline::unavailable;
use crate::snapshot::Snapshot;

/// Why a request is not for a kept answer to be read or forgotten. The gateway does nothing else with one: it runs none in the background
/// that could be cancelled, and keeps what was said as the next turn needs it and not as a list.
pub(crate) fn refusal(parts: &Parts, further: bool) -> Option<Refusal> {
    let (method, path) = (&parts.method, parts.uri.path());
    if further {
        return Some(Refusal::from(Failure {
            kind: FailureKind::NotFound,
            message: format!(
                "{method} {path} is not supported. An answer that this gateway keeps can be read by GET and forgotten by DELETE, both at \
                 its own path."
            ),
            code: Some("unsupported_operation".to_owned()),
            param: None,
            retry_after: None,
        }));
    }
    if !matches!(*method, Method::GET | Method::DELETE) {
        return Some(Refusal {
            status: Some(StatusCode::METHOD_NOT_ALLOWED),
            allow: Some(HeaderValue::from_static("GET, DELETE")),
            ..Refusal::invalid("method_not_allowed", format!("{path} takes GET and DELETE, not {method}."))
        });
    }
    let pairs = parts.uri.query().map(|query| form_urlencoded::parse(query.as_bytes()));
    let streams = pairs.into_iter().flatten().any(|(name, value)| name == "stream" && value == "true");
    streams.then(|| {
        let message = "An answer that this gateway keeps is not streamed again: leave out `stream`.";
        let mut refusal = Refusal::invalid("unsupported_feature", message.to_owned());
        refusal.failure.param = Some("stream".to_owned());
        refusal
    })
}

pub(crate) async fn answer(
    gateway: &Gateway,
    snapshot: &Snapshot,
    key: &ActiveKey,
    method: &Method,
    name: &str,
) -> Result<Response<AnswerBody>, Failure> {
    // Another's looks like none at all.
    let absent = || Failure {
        kind: FailureKind::NotFound,
        message: format!("Response with id '{name}' not found."),
        code: Some("response_not_found".to_owned()),
        param: None,
        retry_after: None,
    };
    if !snapshot.config.conversations.keeps(&key.organisation.to_string()) {
        return Err(absent());
    }
    let owner = TurnOwner { organisation: key.organisation, key: key.id };
    let turn = match gateway.conversations.answer(owner, name).await {
        Ok(Some(turn)) => turn,
        Ok(None) => return Err(absent()),
        // It can be deleted all the same.
        Err(StoreError::Sealed | StoreError::Corrupt { .. }) if *method == Method::DELETE => Default::default(),
        Err(error) => return Err(unreadable(&error)),
    };
    if *method != Method::DELETE {
        return Ok(answer::json(StatusCode::OK, turn.answer));
    }
    if !gateway.conversations.forget(owner, name).await.map_err(|error| unreadable(&error))? {
        return Err(absent());
    }
    // As OpenAI says it, for any protocol that says what its objects are
    // (<https://platform.openai.com/docs/api-reference/responses/delete>).
    let document: Value = serde_json::from_str(&turn.answer).unwrap_or_default();
    let deleted = json!({"id": name, "object": document["object"], "deleted": true});
    Ok(answer::json(StatusCode::OK, deleted.to_string()))
}

fn unreadable(error: &StoreError) -> Failure {
    tracing::error!(%error, "a conversation cannot be read");
    unavailable()
}
