//! `GET` and `DELETE` of an answer by its name, below the path of the route that it came by: `/v1/responses/{id}`. It answers to
//! the key that asked for it (invariant 11), and only where its organisation opted in (invariant 9).

use http::{Method, Response, StatusCode};
use portcullis_runtime::contract::types::{Failure, FailureKind};
use portcullis_store::{KeyRecord, StoreError, TurnOwner};
use serde_json::{Value, json};

use crate::Gateway;
use crate::answer::{self, AnswerBody};
use crate::pipeline::unavailable;
use crate::snapshot::Snapshot;

pub(crate) async fn answer(
    gateway: &Gateway,
    snapshot: &Snapshot,
    key: &KeyRecord,
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
