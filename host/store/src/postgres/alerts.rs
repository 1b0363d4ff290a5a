//! Alerts in PostgreSQL. Those of thresholds are raised with the entries that pass them ([`super::counts`]).

use portcullis_core::{BudgetId, OrganisationId};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use uuid::Uuid;

use crate::budgets::{Alert, AlertFilter, AlertKind};
use crate::codec::{int, nano, text, uint};
use crate::error::StoreError;

const USUAL: u32 = 100;

macro_rules! columns {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            " id, organisation_id, budget_id, name, start_ms, kind, per_cent, spent_nano, limit_nano, time_ms, \
             delivered_ms, attempts ",
            $after
        )
    };
}

pub(super) async fn raise(connection: &mut PgConnection, alert: &Alert) -> Result<bool, StoreError> {
    let (kind, per_cent) = alert.kind.parts();
    let raised = sqlx::query(
        "INSERT INTO alerts (organisation_id, budget_id, name, start_ms, kind, per_cent, spent_nano, limit_nano, time_ms, \
         due_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9) ON CONFLICT DO NOTHING",
    )
    .bind(Uuid::from_bytes(*alert.organisation.as_bytes()))
    .bind(Uuid::from_bytes(*alert.budget.as_bytes()))
    .bind(text(&alert.name))
    .bind(int(alert.start_ms))
    .bind(kind)
    .bind(i64::from(per_cent))
    .bind(alert.spent.as_i64())
    .bind(alert.limit.as_i64())
    .bind(int(alert.time_ms))
    .execute(connection)
    .await?
    .rows_affected();
    Ok(raised > 0)
}

pub(super) async fn list(connection: &mut PgConnection, filter: &AlertFilter) -> Result<Vec<Alert>, StoreError> {
    let rows = sqlx::query(columns!(
        "SELECT",
        "FROM alerts WHERE ($1::uuid IS NULL OR organisation_id = $1) AND ($2::uuid IS NULL OR budget_id = $2) \
         AND ($3::bigint IS NULL OR id < $3) \
         AND ($5::text IS NULL OR budget_id IN (SELECT id FROM budgets WHERE scope = 'team' AND value = $5)) \
         AND time_ms >= $6 AND time_ms < $7 AND ($8::boolean IS NULL OR (delivered_ms IS NOT NULL) = $8) ORDER BY id DESC LIMIT $4"
    ))
    .bind(filter.organisation.map(|organisation| Uuid::from_bytes(*organisation.as_bytes())))
    .bind(filter.budget.map(|budget| Uuid::from_bytes(*budget.as_bytes())))
    .bind(filter.before)
    .bind(i64::from(if filter.limit == 0 { USUAL } else { filter.limit }))
    .bind(filter.team.map(|team| team.to_string()))
    .bind(int(filter.since_ms.unwrap_or(0)))
    .bind(int(filter.until_ms.unwrap_or(u64::MAX)))
    .bind(filter.delivered)
    .fetch_all(connection)
    .await?;
    rows.iter().map(alert).collect()
}

pub(super) async fn take_due(
    connection: &mut PgConnection,
    now_ms: u64,
    again_ms: u64,
    limit: u32,
) -> Result<Vec<Alert>, StoreError> {
    let rows = sqlx::query(columns!(
        "UPDATE alerts SET due_ms = $2 WHERE id IN (SELECT id FROM alerts WHERE delivered_ms IS NULL AND due_ms <= $1 \
         AND time_ms >= $4 ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED) RETURNING",
        ""
    ))
    .bind(int(now_ms))
    .bind(int(again_ms))
    .bind(i64::from(limit))
    .bind(int(now_ms.saturating_sub(Alert::GIVEN_UP_MS)))
    .fetch_all(connection)
    .await?;
    let mut alerts: Vec<Alert> = rows.iter().map(alert).collect::<Result<_, _>>()?;
    alerts.sort_by_key(|alert| alert.id);
    Ok(alerts)
}

pub(super) async fn tried(
    connection: &mut PgConnection,
    id: i64,
    delivered_ms: Option<u64>,
    again_ms: u64,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE alerts SET delivered_ms = $2, due_ms = $3, attempts = attempts + ($2::bigint IS NULL)::int::bigint \
         WHERE id = $1 AND delivered_ms IS NULL",
    )
    .bind(id)
    .bind(delivered_ms.map(int))
    .bind(int(again_ms))
    .execute(connection)
    .await?;
    Ok(())
}

fn alert(row: &PgRow) -> Result<Alert, StoreError> {
    let corrupt = || StoreError::Corrupt { what: "alert" };
    let per_cent = u16::try_from(row.try_get::<i64, _>("per_cent")?).map_err(|_| corrupt())?;
    let delivered: Option<i64> = row.try_get("delivered_ms")?;
    Ok(Alert {
        id: row.try_get("id")?,
        kind: AlertKind::from_parts(row.try_get("kind")?, per_cent).ok_or_else(corrupt)?,
        organisation: OrganisationId::from_bytes(row.try_get::<Uuid, _>("organisation_id")?.into_bytes()),
        budget: BudgetId::from_bytes(row.try_get::<Uuid, _>("budget_id")?.into_bytes()),
        name: row.try_get("name")?,
        start_ms: uint(row.try_get("start_ms")?, "time")?,
        spent: nano(row.try_get("spent_nano")?)?,
        limit: nano(row.try_get("limit_nano")?)?,
        time_ms: uint(row.try_get("time_ms")?, "time")?,
        delivered_ms: delivered.map(|ms| uint(ms, "time")).transpose()?,
        attempts: u32::try_from(row.try_get::<i64, _>("attempts")?).map_err(|_| corrupt())?,
    })
}
