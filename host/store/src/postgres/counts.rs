//! Counting new entries in the budgets that they name, in the transaction that writes them: what is spent of each window, what
//! is used of each lease, and the alerts of thresholds that are passed.

use portcullis_core::BudgetId;
use sqlx::Row;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::budgets::{Added, AlertKind, Alerting, Counts};
use crate::codec::int;
use crate::error::StoreError;

pub(super) async fn write(
    connection: &mut PgConnection,
    counts: &Counts<'_>,
    epoch: [u8; 16],
) -> Result<(), StoreError> {
    for (budget, start_ms, added) in counts.windows() {
        let id = Uuid::from_bytes(*budget.as_bytes());
        if added.used > 0 {
            sqlx::query(
                "UPDATE budget_leases SET used_nano = used_nano + $1 \
                 WHERE budget_id = $2 AND start_ms = $3 AND epoch = $4",
            )
            .bind(int(added.used))
            .bind(id)
            .bind(int(start_ms))
            .bind(Uuid::from_bytes(epoch))
            .execute(&mut *connection)
            .await?;
        }
        if added.spent > 0 {
            sqlx::query(
                "INSERT INTO budget_windows AS counted (budget_id, start_ms, spent_nano) VALUES ($1, $2, $3) \
                 ON CONFLICT (budget_id, start_ms) DO UPDATE SET spent_nano = counted.spent_nano + excluded.spent_nano",
            )
            .bind(id)
            .bind(int(start_ms))
            .bind(int(added.spent))
            .execute(&mut *connection)
            .await?;
            alert(connection, budget, start_ms, &added).await?;
        }
    }
    for (entry, held) in &counts.quarantined {
        sqlx::query(
            "INSERT INTO budget_quarantine (request_id, attempt, budget_id, start_ms) VALUES ($1, $2, $3, $4) \
             ON CONFLICT DO NOTHING",
        )
        .bind(Uuid::from_bytes(entry.request_id))
        .bind(i64::from(entry.attempt))
        .bind(Uuid::from_bytes(*held.budget.as_bytes()))
        .bind(int(held.start_ms))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Raises what is passed by what was just added to a window.
async fn alert(
    connection: &mut PgConnection,
    budget: BudgetId,
    start_ms: u64,
    added: &Added,
) -> Result<(), StoreError> {
    let id = Uuid::from_bytes(*budget.as_bytes());
    let row = sqlx::query(
        "SELECT organisation_id, name, period, rolling, limit_nano, thresholds FROM budgets \
         WHERE id = $1 AND deleted_ms IS NULL",
    )
    .bind(id)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(()) };
    let alerting = Alerting::read(
        row.try_get("period")?,
        row.try_get("rolling")?,
        row.try_get("limit_nano")?,
        row.try_get("thresholds")?,
    )?;
    let (from_ms, to_ms) = alerting.counted(start_ms);
    // What others have added and not committed yet they tell of themselves, by what they see.
    let spent: i64 = sqlx::query_scalar(
        "SELECT coalesce(sum(spent_nano), 0)::bigint FROM budget_windows WHERE budget_id = $1 AND start_ms BETWEEN $2 AND $3",
    )
    .bind(id)
    .bind(int(from_ms))
    .bind(int(to_ms))
    .fetch_one(&mut *connection)
    .await?;
    let spent = u64::try_from(spent).unwrap_or(0);
    for per_cent in alerting.crossed(spent.saturating_sub(added.spent), spent) {
        let (kind, per_cent) = AlertKind::Threshold(per_cent).parts();
        sqlx::query(
            "INSERT INTO alerts (organisation_id, budget_id, name, start_ms, kind, per_cent, spent_nano, limit_nano, \
             time_ms, due_ms) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $9 WHERE NOT EXISTS (SELECT FROM alerts \
             WHERE budget_id = $2 AND kind = $5 AND per_cent = $6 AND start_ms BETWEEN $10 AND $11) ON CONFLICT DO NOTHING",
        )
        .bind(row.try_get::<Uuid, _>("organisation_id")?)
        .bind(id)
        .bind(row.try_get::<&str, _>("name")?)
        .bind(int(start_ms))
        .bind(kind)
        .bind(i64::from(per_cent))
        .bind(int(spent))
        .bind(alerting.limit.as_i64())
        .bind(int(added.time_ms))
        .bind(int(from_ms))
        .bind(int(to_ms))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
