//! Budgets and leases in SQLite.

use portcullis_core::{BudgetId, NanoUsd, OrganisationId};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{ConnectOptions, Row, SqliteConnection};

use super::audit::append;
use super::{Sqlite, begin};
use crate::audit::NewEvent;
use crate::backend::{Answer, BudgetBackend, BudgetNews, BudgetWatch};
use crate::budgets::{
    Alert, AlertFilter, Budget, BudgetUse, DecidedEntry, EntryFilter, EpochId, GivenBack, LeaseWant, Leased,
    LedgerEntry, Mode, Period, QuarantinedEntry, QuarantinedLease, Scope, Short, Window, sized,
};
use crate::codec::{id, int, uint};
use crate::error::StoreError;

impl BudgetBackend for Sqlite {
    fn budgets(&self, organisation: Option<OrganisationId>) -> Answer<'_, Vec<Budget>> {
        Box::pin(list(&self.readers, organisation))
    }

    fn budget(&self, id: BudgetId) -> Answer<'_, Option<Budget>> {
        Box::pin(one(&self.readers, id))
    }

    fn insert_budget<'a>(&'a self, budget: &'a Budget, event: &'a NewEvent) -> Answer<'a, ()> {
        Box::pin(async move { insert(&mut *self.writer.lock().await, budget, event).await })
    }

    fn update_budget<'a>(&'a self, budget: &'a Budget, event: &'a NewEvent) -> Answer<'a, bool> {
        Box::pin(async move { update(&mut *self.writer.lock().await, budget, None, event).await })
    }

    fn delete_budget<'a>(&'a self, budget: &'a Budget, now_ms: u64, event: &'a NewEvent) -> Answer<'a, bool> {
        Box::pin(async move { update(&mut *self.writer.lock().await, budget, Some(now_ms), event).await })
    }

    fn watch_budgets(&self) -> Answer<'_, Box<dyn BudgetWatch>> {
        Box::pin(async move {
            let connection = self.options.clone().connect().await?;
            Ok(Box::new(Watch { connection, seen: None }) as Box<dyn BudgetWatch>)
        })
    }

    fn budget_uses<'a>(&'a self, of: &'a [(BudgetId, Window)]) -> Answer<'a, Vec<BudgetUse>> {
        Box::pin(async move {
            let mut uses = Vec::with_capacity(of.len());
            for (budget, window) in of {
                uses.push(used(&self.readers, *budget, window).await?);
            }
            Ok(uses)
        })
    }

    fn lease<'a>(&'a self, epoch: EpochId, wants: &'a [LeaseWant]) -> Answer<'a, Leased> {
        Box::pin(async move { lease(&mut *self.writer.lock().await, epoch, wants).await })
    }

    fn give_back<'a>(&'a self, epoch: EpochId, slices: &'a [GivenBack]) -> Answer<'a, ()> {
        Box::pin(async move { give_back(&mut *self.writer.lock().await, epoch, slices).await })
    }

    fn recall(&self, budget: BudgetId) -> Answer<'_, ()> {
        Box::pin(async move { recall(&mut *self.writer.lock().await, budget).await })
    }

    fn close_epoch(&self, epoch: EpochId, proven: bool, now_ms: u64) -> Answer<'_, ()> {
        Box::pin(async move { close_epoch(&mut *self.writer.lock().await, epoch, proven, now_ms).await })
    }

    fn still_here(&self, _: EpochId) -> Answer<'_, ()> {
        // A lease is its process's as long as that holds its journal.
        Box::pin(async { Ok(()) })
    }

    fn quarantine_lost<'a>(&'a self, known: &'a [EpochId], now_ms: u64) -> Answer<'a, u64> {
        Box::pin(async move {
            let mut writer = self.writer.lock().await;
            let epochs: Vec<Vec<u8>> =
                sqlx::query_scalar("SELECT DISTINCT epoch FROM budget_leases WHERE quarantined_ms IS NULL")
                    .fetch_all(&mut *writer)
                    .await?;
            let mut lost = 0;
            for epoch in epochs {
                let epoch = id(&epoch, "epoch")?;
                if !known.contains(&epoch) {
                    close_epoch(&mut writer, epoch, false, now_ms).await?;
                    lost += 1;
                }
            }
            Ok(lost)
        })
    }

    fn quarantined_leases(&self, organisation: Option<OrganisationId>) -> Answer<'_, Vec<QuarantinedLease>> {
        Box::pin(super::quarantine::leases(&self.readers, organisation))
    }

    fn decide_lease<'a>(&'a self, lease: &'a QuarantinedLease, spent: u64, event: &'a NewEvent) -> Answer<'a, bool> {
        Box::pin(
            async move { super::quarantine::decide_lease(&mut *self.writer.lock().await, lease, spent, event).await },
        )
    }

    fn quarantined_entries(
        &self,
        organisation: Option<OrganisationId>,
        limit: u32,
    ) -> Answer<'_, Vec<QuarantinedEntry>> {
        Box::pin(super::quarantine::entries(&self.readers, organisation, limit))
    }

    fn quarantined_entry(
        &self,
        request: portcullis_core::RequestId,
        attempt: u32,
    ) -> Answer<'_, Option<QuarantinedEntry>> {
        Box::pin(super::quarantine::entry(&self.readers, request, attempt))
    }

    fn entries<'a>(&'a self, filter: &'a EntryFilter) -> Answer<'a, Vec<LedgerEntry>> {
        Box::pin(super::quarantine::all(&self.readers, filter))
    }

    fn decide_entry<'a>(&'a self, entry: &'a DecidedEntry, event: &'a NewEvent) -> Answer<'a, bool> {
        Box::pin(async move { super::quarantine::decide_entry(&mut *self.writer.lock().await, entry, event).await })
    }

    fn raise_alert<'a>(&'a self, alert: &'a Alert) -> Answer<'a, bool> {
        Box::pin(async move { super::alerts::raise(&mut *self.writer.lock().await, alert).await })
    }

    fn alerts<'a>(&'a self, filter: &'a AlertFilter) -> Answer<'a, Vec<Alert>> {
        Box::pin(super::alerts::list(&self.readers, filter))
    }

    fn take_due_alerts(&self, now_ms: u64, again_ms: u64, limit: u32) -> Answer<'_, Vec<Alert>> {
        Box::pin(async move {
            // Mostly there are none, and a look disturbs no writer.
            if !super::alerts::any_due(&self.readers, now_ms).await? {
                return Ok(Vec::new());
            }
            super::alerts::take_due(&mut *self.writer.lock().await, now_ms, again_ms, limit).await
        })
    }

    fn alert_tried(&self, id: i64, delivered_ms: Option<u64>, again_ms: u64) -> Answer<'_, ()> {
        Box::pin(async move { super::alerts::tried(&mut *self.writer.lock().await, id, delivered_ms, again_ms).await })
    }
}

/// `PRAGMA data_version` tells, without touching a page, whether another connection has committed since; most commits are the
/// ledger's, so the revisions are then looked at.
struct Watch {
    connection: SqliteConnection,
    /// The version, the budgets' revision, the recalls'.
    seen: Option<(i64, i64, i64)>,
}

impl BudgetWatch for Watch {
    fn news(&mut self) -> Answer<'_, BudgetNews> {
        Box::pin(async move {
            let version: i64 = sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut self.connection).await?;
            if self.seen.is_some_and(|(seen, ..)| seen == version) {
                return Ok(BudgetNews::default());
            }
            let row = sqlx::query(
                "SELECT (SELECT value FROM revisions WHERE name = 'budgets') AS budgets, \
                 (SELECT value FROM revisions WHERE name = 'recalls') AS recalls",
            )
            .fetch_one(&mut self.connection)
            .await?;
            let (budgets, recalls): (i64, i64) = (row.try_get("budgets")?, row.try_get("recalls")?);
            let (_, seen, heard) = self.seen.unwrap_or((0, 0, recalls));
            let mut news = BudgetNews { changed: seen != budgets, recalled: Vec::new() };
            if recalls != heard {
                let recalled: Vec<Vec<u8>> = sqlx::query_scalar("SELECT id FROM budgets WHERE recalled > ?")
                    .bind(heard)
                    .fetch_all(&mut self.connection)
                    .await?;
                for bytes in recalled {
                    news.recalled.push(BudgetId::from_bytes(id(&bytes, "budget id")?));
                }
            }
            self.seen = Some((version, budgets, recalls));
            Ok(news)
        })
    }
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

async fn list(pool: &SqlitePool, organisation: Option<OrganisationId>) -> Result<Vec<Budget>, StoreError> {
    let rows = sqlx::query(select!("AND (?1 IS NULL OR organisation_id = ?1) ORDER BY created_ms, id"))
        .bind(organisation.map(|organisation| organisation.as_bytes().to_vec()))
        .fetch_all(pool)
        .await?;
    rows.iter().map(budget).collect()
}

async fn one(pool: &SqlitePool, id: BudgetId) -> Result<Option<Budget>, StoreError> {
    let row = sqlx::query(select!("AND id = ?")).bind(&id.as_bytes()[..]).fetch_optional(pool).await?;
    row.as_ref().map(budget).transpose()
}

fn budget(row: &SqliteRow) -> Result<Budget, StoreError> {
    let corrupt = |_| StoreError::Corrupt { what: "budget" };
    let scope = Scope::from_parts(row.try_get("scope")?, row.try_get("value")?);
    let period = Period::from_parts(row.try_get("period")?, row.try_get("rolling")?, row.try_get("time_zone")?);
    let mode = Mode::parse(row.try_get("mode")?).ok_or(StoreError::Corrupt { what: "budget" })?;
    Ok(Budget {
        id: BudgetId::from_bytes(id(row.try_get("id")?, "budget id")?),
        organisation: OrganisationId::from_bytes(id(row.try_get("organisation_id")?, "organisation id")?),
        name: row.try_get("name")?,
        scope: scope.map_err(|_| StoreError::Corrupt { what: "budget" })?,
        // Also where this system does not know its time zone: a budget that cannot be counted must not be passed over.
        period: period.map_err(|error| StoreError::Invalid(format!("a budget's period: {error}")))?,
        limit: NanoUsd::try_from(row.try_get::<i64, _>("limit_nano")?)
            .map_err(|_| StoreError::Corrupt { what: "budget" })?,
        mode,
        thresholds: serde_json::from_str(row.try_get("thresholds")?).map_err(corrupt)?,
        created_ms: uint(row.try_get("created_ms")?, "time")?,
        revision: row.try_get("revision")?,
    })
}

async fn next_revision(connection: &mut SqliteConnection, name: &str) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar("UPDATE revisions SET value = value + 1 WHERE name = ? RETURNING value")
        .bind(name)
        .fetch_one(connection)
        .await?)
}

async fn insert(connection: &mut SqliteConnection, budget: &Budget, event: &NewEvent) -> Result<(), StoreError> {
    let mut transaction = begin(connection).await?;
    let organisation = budget.organisation.as_bytes().to_vec();
    let owners: i64 = match &budget.scope {
        Scope::Team(team) => {
            sqlx::query_scalar("SELECT count(*) FROM teams WHERE organisation_id = ? AND id = ?")
                .bind(organisation.clone())
                .bind(team.as_bytes().to_vec())
                .fetch_one(&mut *transaction)
                .await?
        }
        Scope::Key(key) => {
            sqlx::query_scalar("SELECT count(*) FROM keys WHERE organisation_id = ? AND id = ?")
                .bind(organisation.clone())
                .bind(key.as_bytes().to_vec())
                .fetch_one(&mut *transaction)
                .await?
        }
        _ => {
            sqlx::query_scalar("SELECT count(*) FROM organisations WHERE id = ?")
                .bind(organisation.clone())
                .fetch_one(&mut *transaction)
                .await?
        }
    };
    if owners == 0 {
        return Err(StoreError::NoSuchOwner);
    }
    let revision = next_revision(&mut transaction, "budgets").await?;
    sqlx::query(
        "INSERT INTO budgets (id, organisation_id, name, scope, value, period, rolling, time_zone, limit_nano, mode, \
         thresholds, created_ms, revision) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&budget.id.as_bytes()[..])
    .bind(organisation)
    .bind(&budget.name)
    .bind(budget.scope.kind())
    .bind(budget.scope.value())
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
    connection: &mut SqliteConnection,
    budget: &Budget,
    deleted_ms: Option<u64>,
    event: &NewEvent,
) -> Result<bool, StoreError> {
    let mut transaction = begin(connection).await?;
    let revision = next_revision(&mut transaction, "budgets").await?;
    let changed = sqlx::query(
        "UPDATE budgets SET name = ?, limit_nano = ?, mode = ?, thresholds = ?, deleted_ms = ?, revision = ? \
         WHERE id = ? AND revision = ? AND deleted_ms IS NULL",
    )
    .bind(&budget.name)
    .bind(budget.limit.as_i64())
    .bind(budget.mode.as_str())
    .bind(serde_json::to_string(&budget.thresholds).expect("numbers are plain data"))
    .bind(deleted_ms.map(int))
    .bind(revision)
    .bind(&budget.id.as_bytes()[..])
    .bind(budget.revision)
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    if changed == 0 {
        return Ok(false);
    }
    append(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Neither spent nor leased: what is spent, what `epoch` has leased of the window apart, and what the others have that count.
const STATE: &str = "SELECT limit_nano, mode, \
     (SELECT coalesce(sum(spent_nano), 0) FROM budget_windows WHERE budget_id = ?1 AND start_ms BETWEEN ?2 AND ?5) AS spent, \
     (SELECT coalesce(sum(used_nano), 0) FROM budget_leases WHERE budget_id = ?1 AND start_ms = ?3 AND epoch = ?4) AS own, \
     (SELECT coalesce(sum(max(granted_nano - used_nano, 0)), 0) FROM budget_leases \
      WHERE budget_id = ?1 AND start_ms BETWEEN ?2 AND ?5 AND NOT (start_ms = ?3 AND epoch = ?4)) AS others, \
     (SELECT coalesce(sum(max(granted_nano - used_nano, 0)), 0) FROM budget_leases \
      WHERE budget_id = ?1 AND start_ms BETWEEN ?2 AND ?5 AND epoch != ?4 AND quarantined_ms IS NULL) AS elsewhere \
     FROM budgets WHERE id = ?1 AND deleted_ms IS NULL";

async fn lease(connection: &mut SqliteConnection, epoch: EpochId, wants: &[LeaseWant]) -> Result<Leased, StoreError> {
    let mut transaction = begin(connection).await?;
    let mut granted = Vec::with_capacity(wants.len());
    for (at, want) in wants.iter().enumerate() {
        let row = sqlx::query(STATE)
            .bind(&want.budget.as_bytes()[..])
            .bind(int(want.window.from_ms))
            .bind(int(want.window.start_ms))
            .bind(&epoch[..])
            .bind(int(want.window.to_ms()))
            .fetch_optional(&mut *transaction)
            .await?;
        let Some(row) = row.filter(|row| row.try_get("mode").is_ok_and(|mode: &str| mode == Mode::Hard.as_str()))
        else {
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
                return Ok(Leased::Short(Short { at, available, elsewhere, spent, limit }));
            }
        }
    }
    for (want, granted) in wants.iter().zip(&granted) {
        sqlx::query(
            "INSERT INTO budget_leases (budget_id, start_ms, epoch, granted_nano) VALUES (?, ?, ?, ?) \
             ON CONFLICT DO UPDATE SET granted_nano = excluded.granted_nano",
        )
        .bind(&want.budget.as_bytes()[..])
        .bind(int(want.window.start_ms))
        .bind(&epoch[..])
        .bind(int(want.granted.saturating_add(*granted)))
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(Leased::Granted(granted))
}

async fn give_back(connection: &mut SqliteConnection, epoch: EpochId, slices: &[GivenBack]) -> Result<(), StoreError> {
    let mut transaction = begin(connection).await?;
    for slice in slices {
        let key = |sql| {
            let query = sqlx::query(sql).bind(int(slice.granted));
            query.bind(slice.budget.as_bytes().to_vec()).bind(int(slice.start_ms)).bind(epoch.to_vec())
        };
        key("UPDATE budget_leases SET granted_nano = ? WHERE budget_id = ? AND start_ms = ? AND epoch = ?")
            .execute(&mut *transaction)
            .await?;
        if slice.done {
            key("DELETE FROM budget_leases WHERE used_nano >= ? AND budget_id = ? AND start_ms = ? AND epoch = ?")
                .execute(&mut *transaction)
                .await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}

async fn recall(connection: &mut SqliteConnection, budget: BudgetId) -> Result<(), StoreError> {
    let mut transaction = begin(connection).await?;
    let revision = next_revision(&mut transaction, "recalls").await?;
    sqlx::query("UPDATE budgets SET recalled = ? WHERE id = ?")
        .bind(revision)
        .bind(&budget.as_bytes()[..])
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
}

async fn close_epoch(
    connection: &mut SqliteConnection,
    epoch: EpochId,
    proven: bool,
    now_ms: u64,
) -> Result<(), StoreError> {
    let mut transaction = begin(connection).await?;
    sqlx::query("DELETE FROM budget_leases WHERE epoch = ?1 AND (?2 OR used_nano >= granted_nano)")
        .bind(&epoch[..])
        .bind(proven)
        .execute(&mut *transaction)
        .await?;
    sqlx::query("UPDATE budget_leases SET quarantined_ms = coalesce(quarantined_ms, ?) WHERE epoch = ?")
        .bind(int(now_ms))
        .bind(&epoch[..])
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
}

async fn used(pool: &SqlitePool, budget: BudgetId, window: &Window) -> Result<BudgetUse, StoreError> {
    let row = sqlx::query(
        "SELECT (SELECT coalesce(sum(spent_nano), 0) FROM budget_windows WHERE budget_id = ?1 AND start_ms BETWEEN ?2 AND ?3) AS spent, \
         coalesce(sum(max(granted_nano - used_nano, 0)), 0) AS leased, \
         coalesce(sum(CASE WHEN quarantined_ms IS NULL THEN 0 ELSE max(granted_nano - used_nano, 0) END), 0) AS quarantined \
         FROM budget_leases WHERE budget_id = ?1 AND start_ms BETWEEN ?2 AND ?3",
    )
    .bind(&budget.as_bytes()[..])
    .bind(int(window.from_ms))
    .bind(int(window.to_ms()))
    .fetch_one(pool)
    .await?;
    let amount = |column: &str| -> Result<NanoUsd, StoreError> {
        NanoUsd::try_from(row.try_get::<i64, _>(column)?).map_err(|_| StoreError::Corrupt { what: "amount" })
    };
    Ok(BudgetUse { spent: amount("spent")?, leased: amount("leased")?, quarantined: amount("quarantined")? })
}
