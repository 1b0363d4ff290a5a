//! What is in quarantine, in SQLite, and what is decided about it.

use portcullis_core::{BudgetId, KeyId, NanoUsd, OrganisationId, RequestId};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Row, SqliteConnection};

use super::audit::append;
use super::begin;
use crate::audit::NewEvent;
use crate::budgets::{DecidedEntry, EntryFilter, LedgerEntry, QuarantinedEntry, QuarantinedLease};
use crate::chain::Head;
use crate::codec::{id, int, uint};
use crate::error::StoreError;
use crate::rows::EndKind;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT request_id, attempt, organisation_id, key_id, provider, model, reserved_nano, reason, reserved_ms, \
             ended_ms FROM ledger_entries AS entry WHERE kind = 'quarantined' AND step = 0 AND NOT EXISTS \
             (SELECT 1 FROM ledger_entries AS later WHERE later.request_id = entry.request_id \
              AND later.attempt = entry.attempt AND later.step > 0) ",
            $rest
        )
    };
}

pub(super) async fn entries(
    pool: &SqlitePool,
    organisation: Option<OrganisationId>,
    limit: u32,
) -> Result<Vec<QuarantinedEntry>, StoreError> {
    let rows = sqlx::query(select!(
        "AND (?1 IS NULL OR organisation_id = ?1) ORDER BY reserved_ms, request_id, attempt LIMIT ?2"
    ))
    .bind(organisation.map(|organisation| organisation.as_bytes().to_vec()))
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    rows.iter().map(read).collect()
}

pub(super) async fn entry(
    pool: &SqlitePool,
    request: RequestId,
    attempt: u32,
) -> Result<Option<QuarantinedEntry>, StoreError> {
    let row = sqlx::query(select!("AND request_id = ? AND attempt = ?"))
        .bind(&request.as_bytes()[..])
        .bind(i64::from(attempt))
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(read).transpose()
}

fn read(row: &SqliteRow) -> Result<QuarantinedEntry, StoreError> {
    let amount = |column: &str| -> Result<NanoUsd, StoreError> {
        NanoUsd::try_from(row.try_get::<i64, _>(column)?).map_err(|_| StoreError::Corrupt { what: "amount" })
    };
    Ok(QuarantinedEntry {
        request_id: RequestId::from_bytes(id(row.try_get("request_id")?, "request id")?),
        attempt: row.try_get("attempt")?,
        organisation: OrganisationId::from_bytes(id(row.try_get("organisation_id")?, "organisation id")?),
        key_id: KeyId::from_bytes(id(row.try_get("key_id")?, "key id")?),
        provider: row.try_get("provider")?,
        model: row.try_get("model")?,
        reserved: amount("reserved_nano")?,
        reason: row.try_get("reason")?,
        reserved_ms: uint(row.try_get("reserved_ms")?, "time")?,
        ended_ms: uint(row.try_get("ended_ms")?, "time")?,
    })
}

pub(super) async fn all(pool: &SqlitePool, filter: &EntryFilter) -> Result<Vec<LedgerEntry>, StoreError> {
    // Ids are born with the request's time, and order by it.
    let rows = sqlx::query(
        "SELECT request_id, attempt, step, kind, key_id, organisation_id, provider, model, reserved_nano, amount_nano, reason, \
         reserved_ms, ended_ms FROM ledger_entries WHERE (?1 IS NULL OR organisation_id = ?1) AND (?2 IS NULL OR key_id = ?2) \
         AND (?3 IS NULL OR kind = ?3) AND request_id >= ?4 AND request_id < ?5 \
         AND (?7 IS NULL OR key_id IN (SELECT id FROM keys WHERE team_id = ?7)) AND (?8 IS NULL OR request_id = ?8) \
         AND (NOT ?9 OR (kind = 'quarantined' AND step = 0 AND NOT EXISTS (SELECT 1 FROM ledger_entries AS later \
          WHERE later.request_id = ledger_entries.request_id AND later.attempt = ledger_entries.attempt AND later.step > 0))) \
         AND (?10 IS NULL OR (request_id, attempt, step) < (?10, ?11, ?12)) \
         ORDER BY request_id DESC, attempt DESC, step DESC LIMIT ?6",
    )
    .bind(filter.organisation.map(|organisation| organisation.as_bytes().to_vec()))
    .bind(filter.key.map(|key| key.as_bytes().to_vec()))
    .bind(filter.kind.map(EndKind::as_str))
    .bind(EntryFilter::first_id(filter.since_ms.unwrap_or(0)).to_vec())
    .bind(EntryFilter::first_id(filter.until_ms.unwrap_or(u64::MAX)).to_vec())
    .bind(i64::from(if filter.limit == 0 { 100 } else { filter.limit }))
    .bind(filter.team.map(|team| team.as_bytes().to_vec()))
    .bind(filter.request.map(|request| request.as_bytes().to_vec()))
    .bind(filter.undecided)
    .bind(filter.before.map(|at| at.request.as_bytes().to_vec()))
    .bind(filter.before.map(|at| i64::from(at.attempt)))
    .bind(filter.before.map(|at| i64::from(at.step)))
    .fetch_all(pool)
    .await?;
    rows.iter().map(ledger_entry).collect()
}

/// A row with all columns of an entry that are shown.
pub(super) fn ledger_entry(row: &SqliteRow) -> Result<LedgerEntry, StoreError> {
    let amount = |column: &str| -> Result<NanoUsd, StoreError> {
        NanoUsd::try_from(row.try_get::<i64, _>(column)?).map_err(|_| StoreError::Corrupt { what: "amount" })
    };
    Ok(LedgerEntry {
        request_id: RequestId::from_bytes(id(row.try_get("request_id")?, "request id")?),
        attempt: row.try_get("attempt")?,
        step: row.try_get("step")?,
        kind: EndKind::parse(row.try_get("kind")?).ok_or(StoreError::Corrupt { what: "entry" })?,
        key_id: KeyId::from_bytes(id(row.try_get("key_id")?, "key id")?),
        organisation: OrganisationId::from_bytes(id(row.try_get("organisation_id")?, "organisation id")?),
        provider: row.try_get("provider")?,
        model: row.try_get("model")?,
        reserved: amount("reserved_nano")?,
        amount: amount("amount_nano")?,
        reason: row.try_get("reason")?,
        reserved_ms: uint(row.try_get("reserved_ms")?, "time")?,
        ended_ms: uint(row.try_get("ended_ms")?, "time")?,
    })
}

pub(super) async fn decide_entry(
    connection: &mut SqliteConnection,
    decided: &DecidedEntry,
    event: &NewEvent,
) -> Result<bool, StoreError> {
    let mut transaction = begin(connection).await?;
    let DecidedEntry { entry, decision, decided_ms, writer } = decided;
    let (amount, Head { seq, hash }) = (decision.amount(), decided.link());
    let request = entry.request_id.as_bytes().to_vec();
    let new = sqlx::query(
        "INSERT INTO ledger_entries (request_id, attempt, step, kind, key_id, organisation_id, provider, model, reserved_nano, \
         amount_nano, input_nano, output_nano, reason, reserved_ms, ended_ms, writer, seq, hash) \
         VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, 0, 0, 'decided', ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(request.clone())
    .bind(i64::from(entry.attempt))
    .bind(decision.kind().as_str())
    .bind(&entry.key_id.as_bytes()[..])
    .bind(&entry.organisation.as_bytes()[..])
    .bind(&entry.provider)
    .bind(&entry.model)
    .bind(entry.reserved.as_i64())
    .bind(amount.as_i64())
    .bind(int(entry.reserved_ms))
    .bind(int(*decided_ms))
    .bind(&writer[..])
    .bind(seq)
    .bind(&hash[..])
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    if new == 0 {
        return Ok(false);
    }
    sqlx::query("INSERT INTO chains (chain, seq, hash) VALUES (?, ?, ?)")
        .bind(&writer[..])
        .bind(seq)
        .bind(&hash[..])
        .execute(&mut *transaction)
        .await?;
    // What was reserved counted as spent. Never below zero: it was counted in this very window.
    sqlx::query(
        "UPDATE budget_windows SET spent_nano = spent_nano + ?3 - ?4 WHERE (budget_id, start_ms) IN \
         (SELECT budget_id, start_ms FROM budget_quarantine WHERE request_id = ?1 AND attempt = ?2)",
    )
    .bind(request.clone())
    .bind(i64::from(entry.attempt))
    .bind(amount.as_i64())
    .bind(entry.reserved.as_i64())
    .execute(&mut *transaction)
    .await?;
    sqlx::query("DELETE FROM budget_quarantine WHERE request_id = ? AND attempt = ?")
        .bind(request)
        .bind(i64::from(entry.attempt))
        .execute(&mut *transaction)
        .await?;
    append(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(true)
}

pub(super) async fn leases(
    pool: &SqlitePool,
    organisation: Option<OrganisationId>,
) -> Result<Vec<QuarantinedLease>, StoreError> {
    let rows = sqlx::query(
        "SELECT budget_id, organisation_id, start_ms, epoch, granted_nano - used_nano AS rest, quarantined_ms \
         FROM budget_leases JOIN budgets ON budgets.id = budget_id WHERE quarantined_ms IS NOT NULL \
         AND (?1 IS NULL OR organisation_id = ?1) ORDER BY quarantined_ms, budget_id, start_ms",
    )
    .bind(organisation.map(|organisation| organisation.as_bytes().to_vec()))
    .fetch_all(pool)
    .await?;
    let read = |row: &SqliteRow| {
        let rest: i64 = row.try_get("rest")?;
        Ok(QuarantinedLease {
            budget: BudgetId::from_bytes(id(row.try_get("budget_id")?, "budget id")?),
            organisation: OrganisationId::from_bytes(id(row.try_get("organisation_id")?, "organisation id")?),
            start_ms: uint(row.try_get("start_ms")?, "time")?,
            epoch: id(row.try_get("epoch")?, "epoch")?,
            rest: NanoUsd::try_from(rest.max(0)).map_err(|_| StoreError::Corrupt { what: "amount" })?,
            quarantined_ms: uint(row.try_get("quarantined_ms")?, "time")?,
        })
    };
    rows.iter().map(read).collect()
}

pub(super) async fn decide_lease(
    connection: &mut SqliteConnection,
    lease: &QuarantinedLease,
    spent: u64,
    event: &NewEvent,
) -> Result<bool, StoreError> {
    let mut transaction = begin(connection).await?;
    let ended = sqlx::query(
        "DELETE FROM budget_leases WHERE budget_id = ? AND start_ms = ? AND epoch = ? AND quarantined_ms IS NOT NULL \
         AND granted_nano - used_nano = ?",
    )
    .bind(&lease.budget.as_bytes()[..])
    .bind(int(lease.start_ms))
    .bind(&lease.epoch[..])
    .bind(lease.rest.as_i64())
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    if ended == 0 {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO budget_windows (budget_id, start_ms, spent_nano) VALUES (?, ?, ?) \
         ON CONFLICT DO UPDATE SET spent_nano = spent_nano + excluded.spent_nano",
    )
    .bind(&lease.budget.as_bytes()[..])
    .bind(int(lease.start_ms))
    .bind(int(spent))
    .execute(&mut *transaction)
    .await?;
    append(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(true)
}
