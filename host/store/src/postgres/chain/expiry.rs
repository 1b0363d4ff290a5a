//! Records that have expired, in PostgreSQL.

use portcullis_core::OrganisationId;
use sqlx::Connection;
use uuid::Uuid;

use super::super::{Postgres, audit};
use crate::audit::NewEvent;
use crate::chain::{Expired, ExpiryBatch, ExpiryStep};
use crate::codec::{int, uint};
use crate::error::StoreError;
use crate::requests::born;

impl Postgres {
    pub(super) async fn count_expirable(
        &self,
        organisation: OrganisationId,
        before_ms: u64,
        after: [u8; 16],
    ) -> Result<Expired, StoreError> {
        let mut session = self.session().await?;
        // As in SQLite: what is older is a span of the primary key.
        let (requests, pages): (i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM requests WHERE request_id > $1 AND request_id < $2 AND organisation_id = $3 \
             AND time_ms < $4), (SELECT count(*) FROM receipt_pages WHERE organisation_id = $3 AND youngest_ms < $4)",
        )
        .bind(Uuid::from_bytes(after))
        .bind(Uuid::from_bytes(born(before_ms, 0)))
        .bind(Uuid::from_bytes(*organisation.as_bytes()))
        .bind(int(before_ms))
        .fetch_one(&mut *session)
        .await?;
        session.done();
        Ok(Expired { requests: uint(requests, "count")?, pages: uint(pages, "count")? })
    }

    pub(super) async fn expire(&self, batch: &ExpiryBatch, event: Option<&NewEvent>) -> Result<ExpiryStep, StoreError> {
        let organisation = Uuid::from_bytes(*batch.organisation.as_bytes());
        let (before, most) = (int(batch.before_ms), i64::from(batch.most));
        let mut session = self.session().await?;
        let mut transaction = session.begin().await?;
        let found: Vec<Uuid> = sqlx::query_scalar(
            "SELECT request_id FROM requests WHERE request_id > $1 AND request_id < $2 AND organisation_id = $3 AND time_ms < $4 \
             ORDER BY request_id LIMIT $5",
        )
        .bind(Uuid::from_bytes(batch.after))
        .bind(Uuid::from_bytes(born(batch.before_ms, 0)))
        .bind(organisation)
        .bind(before)
        .bind(most)
        .fetch_all(&mut *transaction)
        .await?;
        let mut expired = Expired::default();
        if !found.is_empty() {
            sqlx::query("DELETE FROM captures WHERE organisation_id = $1 AND request_id = ANY($2)")
                .bind(organisation)
                .bind(&found)
                .execute(&mut *transaction)
                .await?;
            let requests = sqlx::query("DELETE FROM requests WHERE request_id = ANY($1)").bind(&found);
            expired.requests = requests.execute(&mut *transaction).await?.rows_affected();
        }
        expired.pages = sqlx::query(
            "DELETE FROM receipt_pages WHERE id = ANY(ARRAY(SELECT id FROM receipt_pages WHERE organisation_id = $1 \
             AND youngest_ms < $2 LIMIT $3))",
        )
        .bind(organisation)
        .bind(before)
        .bind(most)
        .execute(&mut *transaction)
        .await?
        .rows_affected();
        // The trail's end last, which is locked from then on.
        if let Some(event) = event {
            audit::append(&mut transaction, event).await?;
        }
        transaction.commit().await?;
        session.done();
        let full = found.len() as u64 == u64::from(batch.most) || expired.pages == u64::from(batch.most);
        Ok(ExpiryStep { expired, next: full.then(|| found.last().map_or(batch.after, |last| last.into_bytes())) })
    }
}
