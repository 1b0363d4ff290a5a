//! The audit trail in PostgreSQL.

use portcullis_core::OrganisationId;
use sqlx::postgres::{PgConnection, PgRow, Postgres as Dialect};
use sqlx::{Connection, QueryBuilder, Row};
use uuid::Uuid;

use super::{CALL, Lock, Postgres, chain, lock, within};
use crate::audit::{AuditEvent, AuditFilter, AuditPage, NewEvent};
use crate::backend::{Answer, AuditBackend};
use crate::chain::canonical::Event;
use crate::chain::{AUDIT, Head, Linker};
use crate::codec::{int, json, text, uint};
use crate::error::StoreError;

impl AuditBackend for Postgres {
    fn append_events<'a>(&'a self, events: &'a [NewEvent]) -> Answer<'a, ()> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            let mut transaction = session.begin().await?;
            for event in events {
                append(&mut transaction, event).await?;
            }
            transaction.commit().await?;
            session.done();
            Ok(())
        }))
    }

    fn audit_events<'a>(&'a self, filter: &'a AuditFilter, page: AuditPage) -> Answer<'a, Vec<AuditEvent>> {
        Box::pin(within(CALL, async move {
            let mut session = self.session().await?;
            let rows = query(filter, page).build().fetch_all(&mut *session).await?;
            session.done();
            rows.iter().map(event).collect()
        }))
    }
}

/// Writes an event inside the transaction of the change that it tells of, as the last thing it does: until that ends no other
/// event is written. So events appear in the order of their places, and no place is left out.
pub(super) async fn append(connection: &mut PgConnection, event: &NewEvent) -> Result<(), StoreError> {
    lock(connection, Lock::Audit).await?;
    let (actor_kind, action, target) = (text(&event.actor_kind), text(&event.action), text(&event.target));
    let actor_id = event.actor_id.as_deref().map(text);
    let shown = |value: &Option<serde_json::Value>| value.as_ref().map(|value| json(&value.to_string()).into_owned());
    let (before, after) = (shown(&event.before), shown(&event.after));
    let mut linker = Linker::at(chain::head(connection, &AUDIT).await?.unwrap_or_else(|| Head::start(&AUDIT)));
    let head = linker.event(&Event {
        time_ms: int(event.time_ms),
        actor_kind: actor_kind.as_bytes(),
        actor_id: actor_id.as_deref().map(str::as_bytes),
        address: event.address.as_deref().map(str::as_bytes),
        organisation: event.organisation.as_ref().map(|organisation| organisation.as_bytes()),
        action: action.as_bytes(),
        target: target.as_bytes(),
        before: before.as_deref().map(str::as_bytes),
        after: after.as_deref().map(str::as_bytes),
    });
    sqlx::query(
        "INSERT INTO audit_events (seq, time_ms, actor_kind, actor_id, address, organisation_id, action, target, before, after, \
         hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(head.seq)
    .bind(int(event.time_ms))
    .bind(actor_kind)
    .bind(actor_id)
    .bind(event.address.as_deref())
    .bind(event.organisation.map(|organisation| Uuid::from_bytes(*organisation.as_bytes())))
    .bind(action)
    .bind(target)
    .bind(before)
    .bind(after)
    .bind(&head.hash[..])
    .execute(&mut *connection)
    .await?;
    chain::set_head(connection, &AUDIT, head).await
}

fn query(filter: &AuditFilter, page: AuditPage) -> QueryBuilder<Dialect> {
    let mut query = QueryBuilder::new(
        "SELECT seq, time_ms, actor_kind, actor_id, address, organisation_id, action, target, before, after \
         FROM audit_events WHERE true",
    );
    if let Some(organisation) = filter.organisation {
        query.push(" AND organisation_id = ").push_bind(Uuid::from_bytes(*organisation.as_bytes()));
    }
    for (column, value) in [
        (" AND actor_kind = ", &filter.actor_kind),
        (" AND actor_id = ", &filter.actor_id),
        (" AND target = ", &filter.target),
    ] {
        if let Some(value) = value {
            query.push(column).push_bind(text(value).into_owned());
        }
    }
    if let Some(action) = &filter.action {
        let value = text(action).into_owned();
        if action.ends_with('.') {
            query.push(" AND starts_with(action, ").push_bind(value).push(")");
        } else {
            query.push(" AND action = ").push_bind(value);
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
    query
}

fn event(row: &PgRow) -> Result<AuditEvent, StoreError> {
    let json = |column: &str| -> Result<Option<serde_json::Value>, StoreError> {
        let text: Option<&str> = row.try_get(column)?;
        text.map(|text| serde_json::from_str(text).map_err(|_| StoreError::Corrupt { what: "audit event" })).transpose()
    };
    let organisation: Option<Uuid> = row.try_get("organisation_id")?;
    Ok(AuditEvent {
        seq: uint(row.try_get("seq")?, "audit event")?,
        event: NewEvent {
            time_ms: uint(row.try_get("time_ms")?, "time")?,
            actor_kind: row.try_get("actor_kind")?,
            actor_id: row.try_get("actor_id")?,
            address: row.try_get("address")?,
            organisation: organisation.map(|id| OrganisationId::from_bytes(id.into_bytes())),
            action: row.try_get("action")?,
            target: row.try_get("target")?,
            before: json("before")?,
            after: json("after")?,
        },
    })
}
