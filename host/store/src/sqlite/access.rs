//! Lock-outs in SQLite.

use sqlx::Row;

use super::{Sqlite, begin};
use crate::backend::{AccessBackend, Answer};
use crate::codec::{int, uint};
use crate::error::StoreError;
use crate::lockout::{LockoutKind, LockoutRow};

impl AccessBackend for Sqlite {
    fn save_lockouts<'a>(&'a self, rows: &'a [LockoutRow]) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut writer = self.writer.lock().await;
            let mut transaction = begin(&mut writer).await?;
            for row in rows {
                // What is later is newer; of one time, what locks out for longer.
                sqlx::query(
                    "INSERT INTO lockouts (kind, subject, failures, last_ms, until_ms) VALUES (?, ?, ?, ?, ?) \
                     ON CONFLICT (kind, subject) DO UPDATE SET failures = excluded.failures, last_ms = excluded.last_ms, \
                     until_ms = max(lockouts.until_ms, excluded.until_ms) WHERE excluded.last_ms >= lockouts.last_ms",
                )
                .bind(row.kind.as_str())
                .bind(&row.subject)
                .bind(i64::from(row.failures))
                .bind(int(row.last_ms))
                .bind(int(row.until_ms))
                .execute(&mut *transaction)
                .await?;
            }
            transaction.commit().await?;
            Ok(())
        })
    }

    fn lockouts(&self, since_ms: u64) -> Answer<'_, Vec<LockoutRow>> {
        Box::pin(async move {
            let rows = sqlx::query("SELECT * FROM lockouts WHERE last_ms >= ? ORDER BY kind, subject")
                .bind(int(since_ms))
                .fetch_all(&self.readers)
                .await?;
            rows.iter()
                .map(|row| {
                    Ok(LockoutRow {
                        kind: match row.try_get("kind")? {
                            "prefix" => LockoutKind::Prefix,
                            "address" => LockoutKind::Address,
                            _ => return Err(StoreError::Corrupt { what: "lock-out" }),
                        },
                        subject: row.try_get("subject")?,
                        failures: u32::try_from(row.try_get::<i64, _>("failures")?)
                            .map_err(|_| StoreError::Corrupt { what: "lock-out" })?,
                        last_ms: uint(row.try_get("last_ms")?, "time")?,
                        until_ms: uint(row.try_get("until_ms")?, "time")?,
                    })
                })
                .collect()
        })
    }

    fn expire_lockouts(&self, before_ms: u64) -> Answer<'_, ()> {
        Box::pin(async move {
            sqlx::query("DELETE FROM lockouts WHERE last_ms < ?")
                .bind(int(before_ms))
                .execute(&mut *self.writer.lock().await)
                .await?;
            Ok(())
        })
    }
}
