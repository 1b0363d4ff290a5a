//! What was captured of requests, in PostgreSQL.

use portcullis_core::{OrganisationId, RequestId};
use sqlx::postgres::PgRow;
use sqlx::{Connection, Row};
use uuid::Uuid;

use super::row::{id, uuid};
use super::session::call;
use super::{LONG_CALL, Postgres, audit, within};
use crate::audit::NewEvent;
use crate::backend::{Answer, CaptureBackend};
use crate::captures::CaptureRow;
use crate::codec::{int, uint};
use crate::error::StoreError;

impl CaptureBackend for Postgres {
    fn insert_captures<'a>(&'a self, rows: &'a [CaptureRow]) -> Answer<'a, ()> {
        call!(self, |session| {
            sqlx::query(
                "INSERT INTO captures (request_id, organisation_id, expires_ms, master, content) \
                 SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::bytea[]) ON CONFLICT DO NOTHING",
            )
            .bind(rows.iter().map(|row| uuid(row.id.as_bytes())).collect::<Vec<Uuid>>())
            .bind(rows.iter().map(|row| uuid(row.organisation.as_bytes())).collect::<Vec<Uuid>>())
            .bind(rows.iter().map(|row| int(row.expires_ms)).collect::<Vec<i64>>())
            .bind(rows.iter().map(|row| row.master.as_str()).collect::<Vec<&str>>())
            .bind(rows.iter().map(|row| &row.content[..]).collect::<Vec<&[u8]>>())
            .execute(session)
            .await?;
            Ok(())
        })
    }

    fn capture(&self, organisation: OrganisationId, request: RequestId, now_ms: u64) -> Answer<'_, Option<CaptureRow>> {
        call!(self, |session| {
            let row = sqlx::query(
                "SELECT * FROM captures WHERE organisation_id = $1 AND request_id = $2 AND expires_ms > $3",
            )
            .bind(uuid(organisation.as_bytes()))
            .bind(uuid(request.as_bytes()))
            .bind(int(now_ms))
            .fetch_optional(session)
            .await?;
            row.as_ref().map(stored).transpose()
        })
    }

    fn delete_capture<'a>(
        &'a self,
        organisation: OrganisationId,
        request: RequestId,
        event: &'a NewEvent,
    ) -> Answer<'a, bool> {
        call!(self, |session| {
            let mut transaction = session.begin().await?;
            let deleted = sqlx::query("DELETE FROM captures WHERE organisation_id = $1 AND request_id = $2")
                .bind(uuid(organisation.as_bytes()))
                .bind(uuid(request.as_bytes()))
                .execute(&mut *transaction)
                .await?;
            if deleted.rows_affected() == 0 {
                transaction.rollback().await?;
                return Ok(false);
            }
            audit::append(&mut transaction, event).await?;
            transaction.commit().await?;
            Ok(true)
        })
    }

    fn expire_captures(&self, now_ms: u64, most: u32) -> Answer<'_, u64> {
        Box::pin(within(LONG_CALL, async move {
            let mut session = self.session().await?;
            let expired = sqlx::query(
                "DELETE FROM captures WHERE (organisation_id, request_id) IN (SELECT organisation_id, request_id FROM captures \
                 WHERE expires_ms <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
            )
            .bind(int(now_ms))
            .bind(i64::from(most))
            .execute(&mut *session)
            .await?;
            session.done();
            Ok(expired.rows_affected())
        }))
    }
}

fn stored(row: &PgRow) -> Result<CaptureRow, StoreError> {
    Ok(CaptureRow {
        id: RequestId::from_bytes(id(row, "request_id")?),
        organisation: OrganisationId::from_bytes(id(row, "organisation_id")?),
        expires_ms: uint(row.try_get("expires_ms")?, "time")?,
        master: row.try_get("master")?,
        content: row.try_get("content")?,
    })
}
