//! What was captured of requests, in SQLite.

use portcullis_core::{OrganisationId, RequestId};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Sqlite, audit, begin};
use crate::audit::NewEvent;
use crate::backend::{Answer, CaptureBackend};
use crate::captures::CaptureRow;
use crate::codec::{id, int, uint};
use crate::error::StoreError;

impl CaptureBackend for Sqlite {
    fn insert_captures<'a>(&'a self, rows: &'a [CaptureRow]) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut writer = self.writer.lock().await;
            let mut transaction = begin(&mut writer).await?;
            for row in rows {
                sqlx::query(
                    "INSERT INTO captures (request_id, organisation_id, expires_ms, master, content) VALUES (?, ?, ?, ?, ?) \
                     ON CONFLICT DO NOTHING",
                )
                .bind(&row.id.as_bytes()[..])
                .bind(&row.organisation.as_bytes()[..])
                .bind(int(row.expires_ms))
                .bind(&row.master)
                .bind(&row.content)
                .execute(&mut *transaction)
                .await?;
            }
            transaction.commit().await?;
            Ok(())
        })
    }

    fn capture(&self, organisation: OrganisationId, request: RequestId, now_ms: u64) -> Answer<'_, Option<CaptureRow>> {
        Box::pin(async move {
            let row =
                sqlx::query("SELECT * FROM captures WHERE organisation_id = ? AND request_id = ? AND expires_ms > ?")
                    .bind(organisation.as_bytes().to_vec())
                    .bind(request.as_bytes().to_vec())
                    .bind(int(now_ms))
                    .fetch_optional(&self.readers)
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
        Box::pin(async move {
            let mut writer = self.writer.lock().await;
            let mut transaction = begin(&mut writer).await?;
            let deleted = sqlx::query("DELETE FROM captures WHERE organisation_id = ? AND request_id = ?")
                .bind(organisation.as_bytes().to_vec())
                .bind(request.as_bytes().to_vec())
                .execute(&mut *transaction)
                .await?;
            if deleted.rows_affected() == 0 {
                return Ok(false);
            }
            audit::append(&mut transaction, event).await?;
            transaction.commit().await?;
            Ok(true)
        })
    }

    fn expire_captures(&self, now_ms: u64, most: u32) -> Answer<'_, u64> {
        Box::pin(async move {
            let mut writer = self.writer.lock().await;
            let expired = sqlx::query(
                "DELETE FROM captures WHERE rowid IN (SELECT rowid FROM captures WHERE expires_ms <= ? LIMIT ?)",
            )
            .bind(int(now_ms))
            .bind(i64::from(most))
            .execute(&mut *writer)
            .await?;
            Ok(expired.rows_affected())
        })
    }
}

fn stored(row: &SqliteRow) -> Result<CaptureRow, StoreError> {
    Ok(CaptureRow {
        id: RequestId::from_bytes(id(row.try_get("request_id")?, "request id")?),
        organisation: OrganisationId::from_bytes(id(row.try_get("organisation_id")?, "organisation id")?),
        expires_ms: uint(row.try_get("expires_ms")?, "time")?,
        master: row.try_get("master")?,
        content: row.try_get("content")?,
    })
}
