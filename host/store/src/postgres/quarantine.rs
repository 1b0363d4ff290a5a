//! Entries in PostgreSQL, what of them is in quarantine, and what is decided about it.

use portcullis_core::{BudgetId, KeyId, OrganisationId, RequestId};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Row};
use uuid::Uuid;

use super::audit::append;
use crate::audit::NewEvent;
use crate::budgets::{DecidedEntry, EntryFilter, LedgerEntry, QuarantinedEntry, QuarantinedLease};
use crate::chain::Head;
use crate::codec::{int, nano, uint};
use crate::error::StoreError;
use crate::rows::EndKind;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT request_id, attempt, organisation_id, key_id, provider, model, reserved_nano, reason, reserved_ms, \
             ended_ms FROM ledger_entries AS entry WHERE kind = 'quarantined' AND step = 0 AND NOT EXISTS \
             (SELECT FROM ledger_entries AS later WHERE later.request_id = entry.request_id \
              AND later.attempt = entry.attempt AND later.step > 0) ",
            $rest
        )
    };
}

fn uuid(row: &PgRow, column: &str) -> Result<[u8; 16], StoreError> {
    Ok(row.try_get::<Uuid, _>(column)?.into_bytes())
}

fn attempt(row: &PgRow) -> Result<u32, StoreError> {
    u32::try_from(row.try_get::<i64, _>("attempt")?).map_err(|_| StoreError::Corrupt { what: "entry" })
}

fn of(organisation: Option<OrganisationId>) -> Option<Uuid> {
    organisation.map(|organisation| Uuid::from_bytes(*organisation.as_bytes()))
}

pub(super) async fn entries(
    connection: &mut PgConnection,
    organisation: Option<OrganisationId>,
    limit: u32,
) -> Result<Vec<QuarantinedEntry>, StoreError> {
    let rows = sqlx::query(select!(
        "AND ($1::uuid IS NULL OR organisation_id = $1) ORDER BY reserved_ms, request_id, attempt LIMIT $2"
    ))
    .bind(of(organisation))
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    rows.iter().map(read).collect()
}

pub(super) async fn entry(
    connection: &mut PgConnection,
    request: RequestId,
    attempt: u32,
) -> Result<Option<QuarantinedEntry>, StoreError> {
    let row = sqlx::query(select!("AND request_id = $1 AND attempt = $2"))
        .bind(Uuid::from_bytes(*request.as_bytes()))
        .bind(i64::from(attempt))
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(read).transpose()
}

fn read(row: &PgRow) -> Result<QuarantinedEntry, StoreError> {
    Ok(QuarantinedEntry {
        request_id: RequestId::from_bytes(uuid(row, "request_id")?),
        attempt: attempt(row)?,
        organisation: OrganisationId::from_bytes(uuid(row, "organisation_id")?),
        key_id: KeyId::from_bytes(uuid(row, "key_id")?),
        provider: row.try_get("provider")?,
        model: row.try_get("model")?,
        reserved: nano(row.try_get("reserved_nano")?)?,
        reason: row.try_get("reason")?,
        reserved_ms: uint(row.try_get("reserved_ms")?, "time")?,
        ended_ms: uint(row.try_get("ended_ms")?, "time")?,
    })
}

pub(super) async fn all(connection: &mut PgConnection, filter: &EntryFilter) -> Result<Vec<LedgerEntry>, StoreError> {
    // Ids are born with the request's time, and order by it.
    let rows = sqlx::query(
        "SELECT request_id, attempt, step, kind, key_id, organisation_id, provider, model, reserved_nano, amount_nano, reason, \
         reserved_ms, ended_ms FROM ledger_entries WHERE ($1::uuid IS NULL OR organisation_id = $1) \
         AND ($2::uuid IS NULL OR key_id = $2) AND ($3::text IS NULL OR kind = $3) AND request_id >= $4 AND request_id < $5 \
         AND ($7::uuid IS NULL OR key_id IN (SELECT id FROM keys WHERE team_id = $7)) AND ($8::uuid IS NULL OR request_id = $8) \
         AND (NOT $9 OR (kind = 'quarantined' AND step = 0 AND NOT EXISTS (SELECT FROM ledger_entries AS later \
          WHERE later.request_id = ledger_entries.request_id AND later.attempt = ledger_entries.attempt AND later.step > 0))) \
         AND ($10::uuid IS NULL OR (request_id, attempt, step) < ($10, $11::bigint, $12::bigint)) \
         ORDER BY request_id DESC, attempt DESC, step DESC LIMIT $6",
    )
    .bind(of(filter.organisation))
    .bind(filter.key.map(|key| Uuid::from_bytes(*key.as_bytes())))
    .bind(filter.kind.map(EndKind::as_str))
    .bind(Uuid::from_bytes(EntryFilter::first_id(filter.since_ms.unwrap_or(0))))
    .bind(Uuid::from_bytes(EntryFilter::first_id(filter.until_ms.unwrap_or(u64::MAX))))
    .bind(i64::from(if filter.limit == 0 { 100 } else { filter.limit }))
    .bind(filter.team.map(|team| Uuid::from_bytes(*team.as_bytes())))
    .bind(filter.request.map(|request| Uuid::from_bytes(*request.as_bytes())))
    .bind(filter.undecided)
    .bind(filter.before.map(|at| Uuid::from_bytes(*at.request.as_bytes())))
    .bind(filter.before.map(|at| i64::from(at.attempt)))
    .bind(filter.before.map(|at| i64::from(at.step)))
    .fetch_all(connection)
    .await?;
    rows.iter().map(ledger_entry).collect()
}

/// A row with all columns of an entry that are shown.
pub(super) fn ledger_entry(row: &PgRow) -> Result<LedgerEntry, StoreError> {
    let corrupt = || StoreError::Corrupt { what: "entry" };
    Ok(LedgerEntry {
        request_id: RequestId::from_bytes(uuid(row, "request_id")?),
        attempt: attempt(row)?,
        step: u32::try_from(row.try_get::<i32, _>("step")?).map_err(|_| corrupt())?,
        kind: EndKind::parse(row.try_get("kind")?).ok_or_else(corrupt)?,
        key_id: KeyId::from_bytes(uuid(row, "key_id")?),
        organisation: OrganisationId::from_bytes(uuid(row, "organisation_id")?),
        provider: row.try_get("provider")?,
        model: row.try_get("model")?,
        reserved: nano(row.try_get("reserved_nano")?)?,
        amount: nano(row.try_get("amount_nano")?)?,
        reason: row.try_get("reason")?,
        reserved_ms: uint(row.try_get("reserved_ms")?, "time")?,
        ended_ms: uint(row.try_get("ended_ms")?, "time")?,
    })
}

pub(super) async fn decide_entry(
    connection: &mut PgConnection,
    decided: &DecidedEntry,
    event: &NewEvent,
) -> Result<bool, StoreError> {
    let mut transaction = connection.begin().await?;
    let DecidedEntry { entry, decision, decided_ms, writer } = decided;
    let (amount, Head { seq, hash }) = (decision.amount(), decided.link());
    let request = Uuid::from_bytes(*entry.request_id.as_bytes());
    let new = sqlx::query(
        "INSERT INTO ledger_entries (request_id, attempt, step, kind, key_id, organisation_id, provider, model, reserved_nano, \
         amount_nano, input_nano, output_nano, reason, reserved_ms, ended_ms, writer, seq, hash) \
         VALUES ($1, $2, 1, $3, $4, $5, $6, $7, $8, $9, 0, 0, 'decided', $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING",
    )
    .bind(request)
    .bind(i64::from(entry.attempt))
    .bind(decision.kind().as_str())
    .bind(Uuid::from_bytes(*entry.key_id.as_bytes()))
    .bind(Uuid::from_bytes(*entry.organisation.as_bytes()))
    .bind(&entry.provider)
    .bind(&entry.model)
    .bind(entry.reserved.as_i64())
    .bind(amount.as_i64())
    .bind(int(entry.reserved_ms))
    .bind(int(*decided_ms))
    .bind(Uuid::from_bytes(*writer))
    .bind(seq)
    .bind(&hash[..])
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    if new == 0 {
        transaction.rollback().await?;
        return Ok(false);
    }
    sqlx::query("INSERT INTO chains (chain, seq, hash) VALUES ($1, $2, $3)")
        .bind(Uuid::from_bytes(*writer))
        .bind(seq)
        .bind(&hash[..])
        .execute(&mut *transaction)
        .await?;
    // What was reserved counted as spent. Never below zero: it was counted in this very window.
    sqlx::query(
        "UPDATE budget_windows SET spent_nano = spent_nano + $3 - $4 WHERE (budget_id, start_ms) IN \
         (SELECT budget_id, start_ms FROM budget_quarantine WHERE request_id = $1 AND attempt = $2)",
    )
    .bind(request)
    .bind(i64::from(entry.attempt))
    .bind(amount.as_i64())
    .bind(entry.reserved.as_i64())
    .execute(&mut *transaction)
    .await?;
    sqlx::query("DELETE FROM budget_quarantine WHERE request_id = $1 AND attempt = $2")
        .bind(request)
        .bind(i64::from(entry.attempt))
        .execute(&mut *transaction)
        .await?;
    append(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(true)
}

pub(super) async fn leases(
    connection: &mut PgConnection,
    organisation: Option<OrganisationId>,
) -> Result<Vec<QuarantinedLease>, StoreError> {
    let rows = sqlx::query(
        "SELECT budget_id, organisation_id, start_ms, epoch, greatest(granted_nano - used_nano, 0) AS rest, quarantined_ms \
         FROM budget_leases JOIN budgets ON budgets.id = budget_id WHERE quarantined_ms IS NOT NULL \
         AND ($1::uuid IS NULL OR organisation_id = $1) ORDER BY quarantined_ms, budget_id, start_ms",
    )
    .bind(of(organisation))
    .fetch_all(connection)
    .await?;
    let read = |row: &PgRow| {
        Ok(QuarantinedLease {
            budget: BudgetId::from_bytes(uuid(row, "budget_id")?),
            organisation: OrganisationId::from_bytes(uuid(row, "organisation_id")?),
            start_ms: uint(row.try_get("start_ms")?, "time")?,
            epoch: uuid(row, "epoch")?,
            rest: nano(row.try_get("rest")?)?,
            quarantined_ms: uint(row.try_get("quarantined_ms")?, "time")?,
        })
    };
    rows.iter().map(read).collect()
}

pub(super) async fn decide_lease(
    connection: &mut PgConnection,
    lease: &QuarantinedLease,
    spent: u64,
    event: &NewEvent,
) -> Result<bool, StoreError> {
    let mut transaction = connection.begin().await?;
    let ended = sqlx::query(
        "DELETE FROM budget_leases WHERE budget_id = $1 AND start_ms = $2 AND epoch = $3 AND quarantined_ms IS NOT NULL \
         AND greatest(granted_nano - used_nano, 0) = $4",
    )
    .bind(Uuid::from_bytes(*lease.budget.as_bytes()))
    .bind(int(lease.start_ms))
    .bind(Uuid::from_bytes(lease.epoch))
    .bind(lease.rest.as_i64())
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    if ended == 0 {
        transaction.rollback().await?;
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO budget_windows AS counted (budget_id, start_ms, spent_nano) VALUES ($1, $2, $3) \
         ON CONFLICT (budget_id, start_ms) DO UPDATE SET spent_nano = counted.spent_nano + excluded.spent_nano",
    )
    .bind(Uuid::from_bytes(*lease.budget.as_bytes()))
    .bind(int(lease.start_ms))
    .bind(int(spent))
    .execute(&mut *transaction)
    .await?;
    append(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(true)
}
