//! Alerts in SQLite. Those of thresholds are raised with the entries that pass them ([`super::counts`]).

use portcullis_core::{BudgetId, NanoUsd, OrganisationId};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Row, SqliteConnection};

use crate::budgets::{Alert, AlertFilter, AlertKind};
use crate::codec::{id, int, uint};
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

pub(super) async fn raise(connection: &mut SqliteConnection, alert: &Alert) -> Result<bool, StoreError> {
    let (kind, per_cent) = alert.kind.parts();
    let raised = sqlx::query(
        "INSERT INTO alerts (organisation_id, budget_id, name, start_ms, kind, per_cent, spent_nano, limit_nano, time_ms, \
         due_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9) ON CONFLICT DO NOTHING",
    )
    .bind(&alert.organisation.as_bytes()[..])
    .bind(&alert.budget.as_bytes()[..])
    .bind(&alert.name)
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

pub(super) async fn list(pool: &SqlitePool, filter: &AlertFilter) -> Result<Vec<Alert>, StoreError> {
    let rows = sqlx::query(columns!(
        "SELECT",
        "FROM alerts WHERE (?1 IS NULL OR organisation_id = ?1) AND (?2 IS NULL OR budget_id = ?2) \
         AND (?3 IS NULL OR id < ?3) AND (?5 IS NULL OR budget_id IN (SELECT id FROM budgets WHERE scope = 'team' AND value = ?5)) \
         AND time_ms >= ?6 AND time_ms < ?7 AND (?8 IS NULL OR (delivered_ms IS NOT NULL) = ?8) ORDER BY id DESC LIMIT ?4"
    ))
    .bind(filter.organisation.map(|organisation| organisation.as_bytes().to_vec()))
    .bind(filter.budget.map(|budget| budget.as_bytes().to_vec()))
    .bind(filter.before)
    .bind(i64::from(if filter.limit == 0 { USUAL } else { filter.limit }))
    .bind(filter.team.map(|team| team.to_string()))
    .bind(int(filter.since_ms.unwrap_or(0)))
    .bind(int(filter.until_ms.unwrap_or(u64::MAX)))
    .bind(filter.delivered)
    .fetch_all(pool)
    .await?;
    rows.iter().map(alert).collect()
}

pub(super) async fn any_due(pool: &SqlitePool, now_ms: u64) -> Result<bool, StoreError> {
    let due: i64 = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM alerts WHERE delivered_ms IS NULL AND due_ms <= ? AND time_ms >= ?)",
    )
    .bind(int(now_ms))
    .bind(int(now_ms.saturating_sub(Alert::GIVEN_UP_MS)))
    .fetch_one(pool)
    .await?;
    Ok(due != 0)
}

pub(super) async fn take_due(
    connection: &mut SqliteConnection,
    now_ms: u64,
    again_ms: u64,
    limit: u32,
) -> Result<Vec<Alert>, StoreError> {
    let rows = sqlx::query(columns!(
        "UPDATE alerts SET due_ms = ?2 WHERE id IN (SELECT id FROM alerts WHERE delivered_ms IS NULL AND due_ms <= ?1 \
         AND time_ms >= ?4 ORDER BY id LIMIT ?3) RETURNING",
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
    connection: &mut SqliteConnection,
    id: i64,
    delivered_ms: Option<u64>,
    again_ms: u64,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE alerts SET delivered_ms = ?2, due_ms = ?3, attempts = attempts + (?2 IS NULL) \
         WHERE id = ?1 AND delivered_ms IS NULL",
    )
    .bind(id)
    .bind(delivered_ms.map(int))
    .bind(int(again_ms))
    .execute(connection)
    .await?;
    Ok(())
}

fn alert(row: &SqliteRow) -> Result<Alert, StoreError> {
    let corrupt = StoreError::Corrupt { what: "alert" };
    let amount = |column: &str| -> Result<NanoUsd, StoreError> {
        NanoUsd::try_from(row.try_get::<i64, _>(column)?).map_err(|_| StoreError::Corrupt { what: "alert" })
    };
    let delivered: Option<i64> = row.try_get("delivered_ms")?;
    Ok(Alert {
        id: row.try_get("id")?,
        kind: AlertKind::from_parts(row.try_get("kind")?, row.try_get("per_cent")?).ok_or(corrupt)?,
        organisation: OrganisationId::from_bytes(id(row.try_get("organisation_id")?, "organisation id")?),
        budget: BudgetId::from_bytes(id(row.try_get("budget_id")?, "budget id")?),
        name: row.try_get("name")?,
        start_ms: uint(row.try_get("start_ms")?, "time")?,
        spent: amount("spent_nano")?,
        limit: amount("limit_nano")?,
        time_ms: uint(row.try_get("time_ms")?, "time")?,
        delivered_ms: delivered.map(|ms| uint(ms, "time")).transpose()?,
        attempts: row.try_get("attempts")?,
    })
}
