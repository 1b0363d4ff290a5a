//! `GET /v1/receipts/{id}`: the whole receipt, to the key it belongs to (invariant 11).

use http::{Response, StatusCode};
use portcullis_runtime::contract::types::{Failure, FailureKind};
use portcullis_store::{ActiveKey, ReceiptScope};

use crate::Gateway;
use crate::answer::{self, AnswerBody};

pub(crate) async fn answer(gateway: &Gateway, key: &ActiveKey, id: &str) -> Result<Response<AnswerBody>, Failure> {
    // A receipt of another's looks like none at all.
    let absent = || Failure {
        kind: FailureKind::NotFound,
        message: "There is no such receipt.".to_owned(),
        code: Some("receipt_not_found".to_owned()),
        param: None,
        retry_after: None,
    };
    let id = id.parse().map_err(|_| absent())?;
    match gateway.ledger.receipt(id, ReceiptScope::Key(key.id)).await {
        Ok(Some(receipt)) => Ok(answer::json(StatusCode::OK, receipt)),
        Ok(None) => Err(absent()),
        Err(error) => {
            tracing::error!(%error, "a receipt cannot be read");
            Err(Failure {
                kind: FailureKind::Unavailable,
                message: "The gateway cannot read receipts at the moment.".to_owned(),
                code: Some("receipts_unavailable".to_owned()),
                param: None,
                retry_after: Some(1_000),
            })
        }
    }
}
