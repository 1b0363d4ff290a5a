//! Counting new entries in the budgets that they name, in the transaction that writes them: what is spent of each window, what
//! is used of each lease, and the alerts of thresholds that are passed.

use portcullis_core::BudgetId;
use rusqlite::{OptionalExtension, Transaction, params};

use crate::budgets::{Added, AlertKind, Alerting, Counts};
use crate::codec::int;
use crate::error::StoreError;

pub(super) fn write(counts: &Counts<'_>, transaction: &Transaction<'_>, epoch: [u8; 16]) -> Result<(), StoreError> {
    if counts.is_empty() {
        return Ok(());
    }
    let mut use_lease = transaction.prepare(
        "UPDATE budget_leases SET used_nano = used_nano + ?1 WHERE budget_id = ?2 AND start_ms = ?3 AND epoch = ?4",
    )?;
    let mut spend = transaction.prepare(
        "INSERT INTO budget_windows (budget_id, start_ms, spent_nano) VALUES (?1, ?2, ?3) \
             ON CONFLICT DO UPDATE SET spent_nano = spent_nano + excluded.spent_nano",
    )?;
    for (budget, start_ms, added) in counts.windows() {
        if added.used > 0 {
            use_lease.execute(params![int(added.used), budget.as_bytes(), int(start_ms), epoch])?;
        }
        if added.spent > 0 {
            spend.execute(params![budget.as_bytes(), int(start_ms), int(added.spent)])?;
            alert(transaction, budget, start_ms, &added)?;
        }
    }
    if !counts.quarantined.is_empty() {
        let mut keep = transaction.prepare(
            "INSERT INTO budget_quarantine (request_id, attempt, budget_id, start_ms) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT DO NOTHING",
        )?;
        for (entry, held) in &counts.quarantined {
            keep.execute(params![entry.request_id, entry.attempt, held.budget.as_bytes(), int(held.start_ms)])?;
        }
    }
    Ok(())
}

/// Raises what is passed by what was just added to a window.
fn alert(transaction: &Transaction<'_>, id: BudgetId, start_ms: u64, added: &Added) -> Result<(), StoreError> {
    let found = transaction
        .query_row(
            "SELECT organisation_id, name, period, rolling, limit_nano, thresholds FROM budgets \
             WHERE id = ?1 AND deleted_ms IS NULL",
            params![id.as_bytes()],
            |row| {
                Ok((
                    row.get::<_, [u8; 16]>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, String>(2)?,
                    row.get::<_, bool>(3)?,
                    row.get::<_, i64>(4)?,
                    row.get::<_, String>(5)?,
                ))
            },
        )
        .optional()?;
    let Some((organisation, name, period, rolling, limit, thresholds)) = found else { return Ok(()) };
    let budget = Alerting::read(&period, rolling, limit, &thresholds)?;
    let (from_ms, to_ms) = budget.counted(start_ms);
    let spent: i64 = transaction.query_row(
        "SELECT coalesce(sum(spent_nano), 0) FROM budget_windows WHERE budget_id = ?1 AND start_ms BETWEEN ?2 AND ?3",
        params![id.as_bytes(), int(from_ms), int(to_ms)],
        |row| row.get(0),
    )?;
    let spent = u64::try_from(spent).unwrap_or(0);
    for per_cent in budget.crossed(spent.saturating_sub(added.spent), spent) {
        let (kind, per_cent) = AlertKind::Threshold(per_cent).parts();
        transaction.execute(
            "INSERT INTO alerts (organisation_id, budget_id, name, start_ms, kind, per_cent, spent_nano, limit_nano, \
             time_ms, due_ms) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9 WHERE NOT EXISTS (SELECT 1 FROM alerts \
             WHERE budget_id = ?2 AND kind = ?5 AND per_cent = ?6 AND start_ms BETWEEN ?10 AND ?11)",
            params![
                organisation,
                id.as_bytes(),
                name,
                int(start_ms),
                kind,
                per_cent,
                int(spent),
                budget.limit.as_i64(),
                int(added.time_ms),
                int(from_ms),
                int(to_ms)
            ],
        )?;
    }
    Ok(())
}
