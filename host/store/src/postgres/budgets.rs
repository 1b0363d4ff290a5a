//! Budgets and leases in PostgreSQL.
//!
//! Whoever leases takes the lock of the budgets' rows first, in the order of their ids: what it then reads of them is all that
//! was leased before. A lease holds as long as its process gives a sign of life; after that it is in quarantine, and still counts.

use std::time::Duration;

use portcullis_core::{BudgetId, OrganisationId, RequestId};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Row};
use uuid::Uuid;

use super::audit::append;
use super::keys::Watch as Listening;
use super::{CALL, Postgres, alerts, quarantine, within};
use crate::audit::NewEvent;
use crate::backend::{Answer, BoxFuture, BudgetBackend, BudgetNews, BudgetWatch, KeyWatch};
use crate::budgets::{
    Alert, AlertFilter, Budget, BudgetUse, DecidedEntry, EntryFilter, EpochId, GivenBack, LeaseWant, Leased,
    LedgerEntry, Mode, Period, QuarantinedEntry, QuarantinedLease, Scope, Short, Window, sized,
};
use crate::codec::{int, nano, text, uint};
use crate::error::StoreError;

/// How long a lease holds after its process's last sign of life, in the database's own time.
const LEASE_MS: i64 = 10_000;
/// How long a watch that hears of changes waits before it asks all the same.
const ASK: Duration = Duration::from_secs(1);

/// One call on a connection of its own.
macro_rules! call {
    ($self:ident, |$connection:ident| $call:expr) => {
        Box::pin(within(CALL, async move {
            let mut session = $self.session().await?;
            let $connection: &mut PgConnection = &mut session;
            let outcome = $call.await?;
            session.done();
            Ok(outcome)
        }))
    };
}

impl BudgetBackend for Postgres {
    fn budgets(&self, organisation: Option<OrganisationId>) -> Answer<'_, Vec<Budget>> {
        call!(self, |connection| list(connection, organisation))
    }

    fn budget(&self, id: BudgetId) -> Answer<'_, Option<Budget>> {
        call!(self, |connection| one(connection, id))
    }

    fn insert_budget<'a>(&'a self, budget: &'a Budget, event: &'a NewEvent) -> Answer<'a, ()> {
        call!(self, |connection| insert(connection, budget, event))
    }

    fn update_budget<'a>(&'a self, budget: &'a Budget, event: &'a NewEvent) -> Answer<'a, bool> {
        call!(self, |connection| update(connection, budget, None, event))
    }

    fn delete_budget<'a>(&'a self, budget: &'a Budget, now_ms: u64, event: &'a NewEvent) -> Answer<'a, bool> {
        call!(self, |connection| update(connection, budget, Some(now_ms), event))
    }

    fn watch_budgets(&self) -> Answer<'_, Box<dyn BudgetWatch>> {
        Box::pin(async move {
            let mut listening = Listening::new(self.options.clone());
            within(CALL, listening.connect()).await?;
            Ok(Box::new(Watch { listening, seen: None }) as Box<dyn BudgetWatch>)
        })
    }

    fn budget_uses<'a>(&'a self, of: &'a [(BudgetId, Window)]) -> Answer<'a, Vec<BudgetUse>> {
        call!(self, |connection| uses(connection, of))
    }

    fn lease<'a>(&'a self, epoch: EpochId, wants: &'a [LeaseWant]) -> Answer<'a, Leased> {
        call!(self, |connection| lease(connection, epoch, wants))
    }

    fn give_back<'a>(&'a self, epoch: EpochId, slices: &'a [GivenBack]) -> Answer<'a, ()> {
        call!(self, |connection| give_back(connection, epoch, slices))
    }

    fn recall(&self, budget: BudgetId) -> Answer<'_, ()> {
        call!(self, |connection| recall(connection, budget))
    }

    fn close_epoch(&self, epoch: EpochId, proven: bool, now_ms: u64) -> Answer<'_, ()> {
        call!(self, |connection| close_epoch(connection, epoch, proven, now_ms))
    }

    fn still_here(&self, epoch: EpochId) -> Answer<'_, ()> {
        call!(self, |connection| still_here(connection, epoch))
    }

    fn quarantine_lost<'a>(&'a self, known: &'a [EpochId], now_ms: u64) -> Answer<'a, u64> {
        call!(self, |connection| quarantine_lost(connection, known, now_ms))
    }

    fn quarantined_leases(&self, organisation: Option<OrganisationId>) -> Answer<'_, Vec<QuarantinedLease>> {
        call!(self, |connection| quarantine::leases(connection, organisation))
    }

    fn decide_lease<'a>(&'a self, lease: &'a QuarantinedLease, spent: u64, event: &'a NewEvent) -> Answer<'a, bool> {
        call!(self, |connection| quarantine::decide_lease(connection, lease, spent, event))
    }

    fn quarantined_entries(
        &self,
        organisation: Option<OrganisationId>,
        limit: u32,
    ) -> Answer<'_, Vec<QuarantinedEntry>> {
        call!(self, |connection| quarantine::entries(connection, organisation, limit))
    }

    fn quarantined_entry(&self, request: RequestId, attempt: u32) -> Answer<'_, Option<QuarantinedEntry>> {
        call!(self, |connection| quarantine::entry(connection, request, attempt))
    }

    fn entries<'a>(&'a self, filter: &'a EntryFilter) -> Answer<'a, Vec<LedgerEntry>> {
        call!(self, |connection| quarantine::all(connection, filter))
    }

    fn decide_entry<'a>(&'a self, entry: &'a DecidedEntry, event: &'a NewEvent) -> Answer<'a, bool> {
        call!(self, |connection| quarantine::decide_entry(connection, entry, event))
    }

    fn raise_alert<'a>(&'a self, alert: &'a Alert) -> Answer<'a, bool> {
        call!(self, |connection| alerts::raise(connection, alert))
    }

    fn alerts<'a>(&'a self, filter: &'a AlertFilter) -> Answer<'a, Vec<Alert>> {
        call!(self, |connection| alerts::list(connection, filter))
    }

    fn take_due_alerts(&self, now_ms: u64, again_ms: u64, limit: u32) -> Answer<'_, Vec<Alert>> {
        call!(self, |connection| alerts::take_due(connection, now_ms, again_ms, limit))
    }

    fn alert_tried(&self, id: i64, delivered_ms: Option<u64>, again_ms: u64) -> Answer<'_, ()> {
        call!(self, |connection| alerts::tried(connection, id, delivered_ms, again_ms))
    }
}

/// Hears of changes as the keys' watch does, and reads the revisions.
struct Watch {
    listening: Listening,
    /// The budgets' revision and the recalls'.
    seen: Option<(i64, i64)>,
}

impl Watch {
    async fn read(&mut self) -> Result<BudgetNews, StoreError> {
        let connection = self.listening.connect().await?;
        let row = sqlx::query(
            "SELECT (SELECT value FROM revisions WHERE name = 'budgets') AS budgets, \
             (SELECT value FROM revisions WHERE name = 'recalls') AS recalls",
        )
        .fetch_one(&mut *connection)
        .await?;
        let (budgets, recalls): (i64, i64) = (row.try_get("budgets")?, row.try_get("recalls")?);
        let (seen, heard) = self.seen.unwrap_or((0, recalls));
        let mut news = BudgetNews { changed: seen != budgets, recalled: Vec::new() };
        if recalls != heard {
            let recalled: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM budgets WHERE recalled > $1")
                .bind(heard)
                .fetch_all(connection)
                .await?;
            news.recalled = recalled.into_iter().map(|id| BudgetId::from_bytes(id.into_bytes())).collect();
        }
        self.seen = Some((budgets, recalls));
        Ok(news)
    }
}

impl BudgetWatch for Watch {
    fn news(&mut self) -> Answer<'_, BudgetNews> {
        Box::pin(async move {
            let news = within(CALL, self.read()).await;
            if news.is_err() {
                self.listening.hang_up();
            }
            news
        })
    }

    fn wait(&mut self, poll: Duration) -> BoxFuture<'_, ()> {
        self.listening.wait(poll.max(ASK))
    }
}

fn uuid(id: BudgetId) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, organisation_id, name, scope, value, period, rolling, time_zone, limit_nano, mode, thresholds, \
             created_ms, revision FROM budgets WHERE deleted_ms IS NULL ",
            $rest
        )
    };
}

async fn list(connection: &mut PgConnection, organisation: Option<OrganisationId>) -> Result<Vec<Budget>, StoreError> {
    let rows = sqlx::query(select!("AND ($1::uuid IS NULL OR organisation_id = $1) ORDER BY created_ms, id"))
        .bind(organisation.map(|organisation| Uuid::from_bytes(*organisation.as_bytes())))
        .fetch_all(connection)
        .await?;
    rows.iter().map(budget).collect()
}

async fn one(connection: &mut PgConnection, id: BudgetId) -> Result<Option<Budget>, StoreError> {
    let row = sqlx::query(select!("AND id = $1")).bind(uuid(id)).fetch_optional(connection).await?;
    row.as_ref().map(budget).transpose()
}

fn budget(row: &PgRow) -> Result<Budget, StoreError> {
    let corrupt = || StoreError::Corrupt { what: "budget" };
    let scope = Scope::from_parts(row.try_get("scope")?, row.try_get("value")?);
    let period = Period::from_parts(row.try_get("period")?, row.try_get("rolling")?, row.try_get("time_zone")?);
    Ok(Budget {
        id: BudgetId::from_bytes(row.try_get::<Uuid, _>("id")?.into_bytes()),
        organisation: OrganisationId::from_bytes(row.try_get::<Uuid, _>("organisation_id")?.into_bytes()),
        name: row.try_get("name")?,
        scope: scope.map_err(|_| corrupt())?,
        // Also where this system does not know its time zone: a budget that cannot be counted must not be passed over.
        period: period.map_err(|error| StoreError::Invalid(format!("a budget's period: {error}")))?,
        limit: nano(row.try_get("limit_nano")?)?,
        mode: Mode::parse(row.try_get("mode")?).ok_or_else(corrupt)?,
        thresholds: serde_json::from_str(row.try_get("thresholds")?).map_err(|_| corrupt())?,
        created_ms: uint(row.try_get("created_ms")?, "time")?,
        revision: row.try_get("revision")?,
    })
}

async fn next_revision(connection: &mut PgConnection, name: &str) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar("UPDATE revisions SET value = value + 1 WHERE name = $1 RETURNING value")
        .bind(name)
        .fetch_one(connection)
        .await?)
}

async fn insert(connection: &mut PgConnection, budget: &Budget, event: &NewEvent) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await?;
    let organisation = Uuid::from_bytes(*budget.organisation.as_bytes());
    let (team, key) = match &budget.scope {
        Scope::Team(team) => (Some(Uuid::from_bytes(*team.as_bytes())), None),
        Scope::Key(key) => (None, Some(Uuid::from_bytes(*key.as_bytes()))),
        _ => (None, None),
    };
    let owned: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM organisations WHERE id = $1) \
         AND ($2::uuid IS NULL OR EXISTS (SELECT FROM teams WHERE organisation_id = $1 AND id = $2)) \
         AND ($3::uuid IS NULL OR EXISTS (SELECT FROM keys WHERE organisation_id = $1 AND id = $3))",
    )
    .bind(organisation)
    .bind(team)
    .bind(key)
    .fetch_one(&mut *transaction)
    .await?;
    if !owned {
        return Err(StoreError::NoSuchOwner);
    }
    let revision = next_revision(&mut transaction, "budgets").await?;
    sqlx::query(
        "INSERT INTO budgets (id, organisation_id, name, scope, value, period, rolling, time_zone, limit_nano, mode, \
         thresholds, created_ms, revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(uuid(budget.id))
    .bind(organisation)
    .bind(text(&budget.name))
    .bind(budget.scope.kind())
    .bind(budget.scope.value().map(|value| text(&value).into_owned()))
    .bind(budget.period.name())
    .bind(budget.period.is_rolling())
    .bind(budget.period.zone())
    .bind(budget.limit.as_i64())
    .bind(budget.mode.as_str())
    .bind(serde_json::to_string(&budget.thresholds).expect("numbers are plain data"))
    .bind(int(budget.created_ms))
    .bind(revision)
    .execute(&mut *transaction)
    .await?;
    append(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(())
}

async fn update(
    connection: &mut PgConnection,
    budget: &Budget,
    deleted_ms: Option<u64>,
    event: &NewEvent,
) -> Result<bool, StoreError> {
    let mut transaction = connection.begin().await?;
    let revision = next_revision(&mut transaction, "budgets").await?;
    let changed = sqlx::query(
        "UPDATE budgets SET name = $1, limit_nano = $2, mode = $3, thresholds = $4, deleted_ms = $5, revision = $6 \
         WHERE id = $7 AND revision = $8 AND deleted_ms IS NULL",
    )
    .bind(text(&budget.name))
    .bind(budget.limit.as_i64())
    .bind(budget.mode.as_str())
    .bind(serde_json::to_string(&budget.thresholds).expect("numbers are plain data"))
    .bind(deleted_ms.map(int))
    .bind(revision)
    .bind(uuid(budget.id))
    .bind(budget.revision)
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    if changed == 0 {
        transaction.rollback().await?;
        return Ok(false);
    }
    append(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Neither spent nor leased: what is spent, what `epoch` has leased of the window apart, and what the others have that count.
const STATE: &str = "SELECT limit_nano, mode, \
     (SELECT coalesce(sum(spent_nano), 0)::bigint FROM budget_windows \
      WHERE budget_id = $1 AND start_ms BETWEEN $2 AND $5) AS spent, \
     (SELECT coalesce(sum(used_nano), 0)::bigint FROM budget_leases \
      WHERE budget_id = $1 AND start_ms = $3 AND epoch = $4) AS own, \
     (SELECT coalesce(sum(greatest(granted_nano - used_nano, 0)), 0)::bigint FROM budget_leases \
      WHERE budget_id = $1 AND start_ms BETWEEN $2 AND $5 AND NOT (start_ms = $3 AND epoch = $4)) AS others, \
     (SELECT coalesce(sum(greatest(granted_nano - used_nano, 0)), 0)::bigint FROM budget_leases \
      WHERE budget_id = $1 AND start_ms BETWEEN $2 AND $5 AND epoch <> $4 AND quarantined_ms IS NULL) AS elsewhere \
     FROM budgets WHERE id = $1 AND deleted_ms IS NULL";

/// The database's own time: replicas' clocks need not agree.
macro_rules! now {
    ($before:literal, $after:literal) => {
        concat!($before, "(extract(epoch FROM clock_timestamp()) * 1000)::bigint", $after)
    };
}

async fn lease(connection: &mut PgConnection, epoch: EpochId, wants: &[LeaseWant]) -> Result<Leased, StoreError> {
    let epoch = Uuid::from_bytes(epoch);
    let mut transaction = connection.begin().await?;
    let mut ids: Vec<Uuid> = wants.iter().map(|want| uuid(want.budget)).collect();
    ids.sort_unstable();
    sqlx::query("SELECT FROM budgets WHERE id = ANY($1) ORDER BY id FOR UPDATE")
        .bind(&ids)
        .execute(&mut *transaction)
        .await?;
    let mut granted = Vec::with_capacity(wants.len());
    for (at, want) in wants.iter().enumerate() {
        let row = sqlx::query(STATE)
            .bind(uuid(want.budget))
            .bind(int(want.window.from_ms))
            .bind(int(want.window.start_ms))
            .bind(epoch)
            .bind(int(want.window.to_ms()))
            .fetch_optional(&mut *transaction)
            .await?;
        let Some(row) = row.filter(|row| row.try_get("mode").is_ok_and(|mode: &str| mode == Mode::Hard.as_str()))
        else {
            transaction.rollback().await?;
            return Ok(Leased::Stale);
        };
        let amount = |column: &str| uint(row.try_get(column)?, "amount");
        let (limit, spent) = (amount("limit_nano")?, amount("spent")?);
        // What the epoch says it has, and not what was written: it knows better.
        let own = want.granted.saturating_sub(amount("own")?);
        let taken = spent.saturating_add(amount("others")?).saturating_add(own);
        let available = limit.saturating_sub(taken);
        match sized(want.need, want.want, available) {
            Some(size) => granted.push(size),
            None => {
                let elsewhere = amount("elsewhere")?;
                transaction.rollback().await?;
                return Ok(Leased::Short(Short { at, available, elsewhere, spent, limit }));
            }
        }
    }
    let mut given: Vec<(&LeaseWant, u64)> = wants.iter().zip(granted.iter().copied()).collect();
    given.sort_unstable_by_key(|(want, _)| (want.budget, want.window.start_ms));
    for (want, granted) in given {
        sqlx::query(now!(
            "INSERT INTO budget_leases (budget_id, start_ms, epoch, granted_nano, expires_ms) VALUES ($1, $2, $3, $4, ",
            " + $5) ON CONFLICT (budget_id, start_ms, epoch) DO UPDATE SET granted_nano = excluded.granted_nano, \
             expires_ms = excluded.expires_ms, quarantined_ms = NULL"
        ))
        .bind(uuid(want.budget))
        .bind(int(want.window.start_ms))
        .bind(epoch)
        .bind(int(want.granted.saturating_add(granted)))
        .bind(LEASE_MS)
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(Leased::Granted(granted))
}

async fn give_back(connection: &mut PgConnection, epoch: EpochId, slices: &[GivenBack]) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await?;
    let mut slices: Vec<&GivenBack> = slices.iter().collect();
    slices.sort_unstable_by_key(|slice| (slice.budget, slice.start_ms));
    for slice in slices {
        let key = |sql| {
            let query = sqlx::query(sql).bind(int(slice.granted));
            query.bind(uuid(slice.budget)).bind(int(slice.start_ms)).bind(Uuid::from_bytes(epoch))
        };
        key("UPDATE budget_leases SET granted_nano = $1 WHERE budget_id = $2 AND start_ms = $3 AND epoch = $4")
            .execute(&mut *transaction)
            .await?;
        if slice.done {
            key("DELETE FROM budget_leases WHERE used_nano >= $1 AND budget_id = $2 AND start_ms = $3 AND epoch = $4")
                .execute(&mut *transaction)
                .await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}

async fn recall(connection: &mut PgConnection, budget: BudgetId) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await?;
    let revision = next_revision(&mut transaction, "recalls").await?;
    sqlx::query("UPDATE budgets SET recalled = $1 WHERE id = $2")
        .bind(revision)
        .bind(uuid(budget))
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
}

async fn close_epoch(
    connection: &mut PgConnection,
    epoch: EpochId,
    proven: bool,
    now_ms: u64,
) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await?;
    let epoch = Uuid::from_bytes(epoch);
    sqlx::query("DELETE FROM budget_leases WHERE epoch = $1 AND ($2 OR used_nano >= granted_nano)")
        .bind(epoch)
        .bind(proven)
        .execute(&mut *transaction)
        .await?;
    sqlx::query("UPDATE budget_leases SET quarantined_ms = coalesce(quarantined_ms, $1) WHERE epoch = $2")
        .bind(int(now_ms))
        .bind(epoch)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
}

async fn still_here(connection: &mut PgConnection, epoch: EpochId) -> Result<(), StoreError> {
    let epoch = Uuid::from_bytes(epoch);
    sqlx::query(now!("UPDATE budget_leases SET quarantined_ms = NULL, expires_ms = ", " + $2 WHERE epoch = $1"))
        .bind(epoch)
        .bind(LEASE_MS)
        .execute(&mut *connection)
        .await?;
    sqlx::query(now!(
        "UPDATE budget_leases SET quarantined_ms = expires_ms WHERE quarantined_ms IS NULL AND epoch <> $1 AND expires_ms < ",
        ""
    ))
    .bind(epoch)
    .execute(connection)
    .await?;
    Ok(())
}

/// Of epochs that are not known here others may have the journals: only those count as lost that give no sign of life.
async fn quarantine_lost(connection: &mut PgConnection, known: &[EpochId], now_ms: u64) -> Result<u64, StoreError> {
    let known: Vec<Uuid> = known.iter().map(|epoch| Uuid::from_bytes(*epoch)).collect();
    let lost: Vec<Uuid> = sqlx::query_scalar(now!(
        "SELECT DISTINCT epoch FROM budget_leases WHERE quarantined_ms IS NULL AND epoch <> ALL($1) AND expires_ms < ",
        ""
    ))
    .bind(known)
    .fetch_all(&mut *connection)
    .await?;
    for epoch in &lost {
        close_epoch(connection, epoch.into_bytes(), false, now_ms).await?;
    }
    Ok(lost.len() as u64)
}

async fn uses(connection: &mut PgConnection, of: &[(BudgetId, Window)]) -> Result<Vec<BudgetUse>, StoreError> {
    let mut uses = Vec::with_capacity(of.len());
    for (budget, window) in of {
        let row = sqlx::query(
            "SELECT (SELECT coalesce(sum(spent_nano), 0)::bigint FROM budget_windows \
             WHERE budget_id = $1 AND start_ms BETWEEN $2 AND $3) AS spent, \
             coalesce(sum(greatest(granted_nano - used_nano, 0)), 0)::bigint AS leased, \
             coalesce(sum(greatest(granted_nano - used_nano, 0)) FILTER (WHERE quarantined_ms IS NOT NULL), 0)::bigint \
             AS quarantined FROM budget_leases WHERE budget_id = $1 AND start_ms BETWEEN $2 AND $3",
        )
        .bind(uuid(*budget))
        .bind(int(window.from_ms))
        .bind(int(window.to_ms()))
        .fetch_one(&mut *connection)
        .await?;
        uses.push(BudgetUse {
            spent: nano(row.try_get("spent")?)?,
            leased: nano(row.try_get("leased")?)?,
            quarantined: nano(row.try_get("quarantined")?)?,
        });
    }
    Ok(uses)
}
