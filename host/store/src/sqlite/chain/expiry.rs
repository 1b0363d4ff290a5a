//! Records that have expired, in SQLite.

use portcullis_core::OrganisationId;
use sqlx::sqlite::SqlitePool;

use super::super::{Sqlite, audit, begin};
use crate::audit::NewEvent;
use crate::chain::{Expired, ExpiryBatch, ExpiryStep};
use crate::codec::{id, int, uint};
use crate::error::StoreError;
use crate::requests::born;

pub(super) async fn expirable(
    pool: &SqlitePool,
    organisation: OrganisationId,
    before_ms: u64,
    after: [u8; 16],
) -> Result<Expired, StoreError> {
    // A request's id begins with its time: what is older is a span of the primary key.
    let (requests, pages): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM requests WHERE request_id > ?1 AND request_id < ?2 AND organisation_id = ?3 AND time_ms < ?4), \
         (SELECT count(*) FROM receipt_pages WHERE organisation_id = ?3 AND youngest_ms < ?4)",
    )
    .bind(after.to_vec())
    .bind(born(before_ms, 0).to_vec())
    .bind(organisation.as_bytes().to_vec())
    .bind(int(before_ms))
    .fetch_one(pool)
    .await?;
    Ok(Expired { requests: uint(requests, "count")?, pages: uint(pages, "count")? })
}

impl Sqlite {
    pub(super) async fn expire(&self, batch: &ExpiryBatch, event: Option<&NewEvent>) -> Result<ExpiryStep, StoreError> {
        let organisation = batch.organisation.as_bytes().to_vec();
        let before = int(batch.before_ms);
        // They are looked for outside of the transaction, which others wait for.
        let found: Vec<Vec<u8>> = sqlx::query_scalar(
            "SELECT request_id FROM requests WHERE request_id > ? AND request_id < ? AND organisation_id = ? AND time_ms < ? \
             ORDER BY request_id LIMIT ?",
        )
        .bind(batch.after.to_vec())
        .bind(born(batch.before_ms, 0).to_vec())
        .bind(&organisation)
        .bind(before)
        .bind(i64::from(batch.most))
        .fetch_all(&self.readers)
        .await?;
        let mut writer = self.writer.lock().await;
        let mut transaction = begin(&mut writer).await?;
        if let Some(event) = event {
            audit::append(&mut transaction, event).await?;
        }
        let mut expired = Expired::default();
        if let (Some(first), Some(last)) = (found.first(), found.last()) {
            sqlx::query("DELETE FROM captures WHERE organisation_id = ? AND request_id >= ? AND request_id <= ?")
                .bind(&organisation)
                .bind(first)
                .bind(last)
                .execute(&mut *transaction)
                .await?;
            expired.requests = sqlx::query(
                "DELETE FROM requests WHERE request_id >= ? AND request_id <= ? AND organisation_id = ? AND time_ms < ?",
            )
            .bind(first)
            .bind(last)
            .bind(&organisation)
            .bind(before)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        }
        expired.pages = sqlx::query(
            "DELETE FROM receipt_pages WHERE id IN (SELECT id FROM receipt_pages WHERE organisation_id = ? AND youngest_ms < ? LIMIT ?)",
        )
        .bind(&organisation)
        .bind(before)
        .bind(i64::from(batch.most))
        .execute(&mut *transaction)
        .await?
        .rows_affected();
        transaction.commit().await?;
        let full = found.len() as u64 == u64::from(batch.most) || expired.pages == u64::from(batch.most);
        let last = found.last().map(|last| id(last, "request id")).transpose()?;
        Ok(ExpiryStep { expired, next: full.then(|| last.unwrap_or(batch.after)) })
    }
}
