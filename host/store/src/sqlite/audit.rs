//! The audit trail in SQLite.

use portcullis_core::OrganisationId;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{QueryBuilder, Row, SqliteConnection};

use super::codec::{id, int, uint};
use super::{Sqlite, begin, chain};
use crate::audit::{AuditEvent, AuditFilter, AuditPage, NewEvent};
use crate::backend::{Answer, AuditBackend};
use crate::chain::canonical::Event;
use crate::chain::{AUDIT, Linker};
use crate::error::StoreError;

impl AuditBackend for Sqlite {
    fn append_events<'a>(&'a self, events: &'a [NewEvent]) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut writer = self.writer.lock().await;
            let mut transaction = begin(&mut writer).await?;
            for event in events {
                append(&mut transaction, event).await?;
            }
            transaction.commit().await?;
            Ok(())
        })
    }

    fn audit_events<'a>(&'a self, filter: &'a AuditFilter, page: AuditPage) -> Answer<'a, Vec<AuditEvent>> {
        Box::pin(events(&self.readers, filter, page))
    }
}

/// Writes an event inside the transaction of the change that it tells of, as the next link of the trail's chain.
pub(super) async fn append(connection: &mut SqliteConnection, event: &NewEvent) -> Result<(), StoreError> {
    let (before, after) =
        (event.before.as_ref().map(ToString::to_string), event.after.as_ref().map(ToString::to_string));
    let mut linker = Linker::at(chain::head(connection, &AUDIT).await?);
    let head = linker.event(&Event {
        time_ms: int(event.time_ms),
        actor_kind: event.actor_kind.as_bytes(),
        actor_id: event.actor_id.as_deref().map(str::as_bytes),
        address: event.address.as_deref().map(str::as_bytes),
        organisation: event.organisation.as_ref().map(|organisation| organisation.as_bytes()),
        action: event.action.as_bytes(),
        target: event.target.as_bytes(),
        before: before.as_deref().map(str::as_bytes),
        after: after.as_deref().map(str::as_bytes),
    });
    sqlx::query(
        "INSERT INTO audit_events (seq, time_ms, actor_kind, actor_id, address, organisation_id, action, target, before, after, \
         hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(head.seq)
    .bind(int(event.time_ms))
    .bind(&event.actor_kind)
    .bind(event.actor_id.as_deref())
    .bind(event.address.as_deref())
    .bind(event.organisation.map(|organisation| organisation.as_bytes().to_vec()))
    .bind(&event.action)
    .bind(&event.target)
    .bind(before)
    .bind(after)
    .bind(&head.hash[..])
    .execute(&mut *connection)
    .await?;
    chain::set_head(connection, &AUDIT, head).await
}

async fn events(pool: &SqlitePool, filter: &AuditFilter, page: AuditPage) -> Result<Vec<AuditEvent>, StoreError> {
    let mut query = QueryBuilder::new(
        "SELECT seq, time_ms, actor_kind, actor_id, address, organisation_id, action, target, before, after \
         FROM audit_events WHERE true",
    );
    if let Some(organisation) = filter.organisation {
        query.push(" AND organisation_id = ").push_bind(organisation.as_bytes().to_vec());
    }
    for (column, value) in [
        (" AND actor_kind = ", &filter.actor_kind),
        (" AND actor_id = ", &filter.actor_id),
        (" AND target = ", &filter.target),
    ] {
        if let Some(value) = value {
            query.push(column).push_bind(value.clone());
        }
    }
    if let Some(action) = &filter.action {
        if action.ends_with('.') {
            let length = i64::try_from(action.chars().count()).unwrap_or(i64::MAX);
            query.push(" AND substr(action, 1, ").push_bind(length).push(") = ").push_bind(action.clone());
        } else {
            query.push(" AND action = ").push_bind(action.clone());
        }
    }
    if let Some(since) = filter.since_ms {
        query.push(" AND time_ms >= ").push_bind(int(since));
    }
    if let Some(until) = filter.until_ms {
        query.push(" AND time_ms < ").push_bind(int(until));
    }
    let limit = match page {
        AuditPage::Before(before, limit) => {
            if let Some(before) = before {
                query.push(" AND seq < ").push_bind(int(before));
            }
            query.push(" ORDER BY seq DESC");
            limit
        }
        AuditPage::After(after, limit) => {
            query.push(" AND seq > ").push_bind(int(after)).push(" ORDER BY seq");
            limit
        }
    };
    query.push(" LIMIT ").push_bind(i64::from(limit));
    query.build().fetch_all(pool).await?.iter().map(event).collect()
}

fn event(row: &SqliteRow) -> Result<AuditEvent, StoreError> {
    let json = |column: &str| -> Result<Option<serde_json::Value>, StoreError> {
        let text: Option<&str> = row.try_get(column)?;
        text.map(|text| serde_json::from_str(text).map_err(|_| StoreError::Corrupt { what: "audit event" })).transpose()
    };
    let organisation: Option<&[u8]> = row.try_get("organisation_id")?;
    Ok(AuditEvent {
        seq: uint(row.try_get("seq")?, "audit event")?,
        event: NewEvent {
            time_ms: uint(row.try_get("time_ms")?, "time")?,
            actor_kind: row.try_get("actor_kind")?,
            actor_id: row.try_get("actor_id")?,
            address: row.try_get("address")?,
            organisation: organisation
                .map(|bytes| id(bytes, "organisation id").map(OrganisationId::from_bytes))
                .transpose()?,
            action: row.try_get("action")?,
            target: row.try_get("target")?,
            before: json("before")?,
            after: json("after")?,
        },
    })
}
