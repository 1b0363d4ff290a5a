//! How long request records live: what is older than its organisation wants is deleted, in small transactions that settling does not
//! feel, and the proof holds ([`crate::chain`]).

use std::collections::HashMap;
use std::time::Duration;

use portcullis_core::{OrganisationId, Permission, Scope};

use crate::actor::Actor;
use crate::chain::{Expired, ExpiryBatch};
use crate::error::StoreError;
use crate::requests::born;
use crate::store::Store;

/// Requests, and pages of receipts, in one transaction: some milliseconds.
const BATCH: u32 = 500;
/// Between two transactions, for whoever else writes.
const PAUSE: Duration = Duration::from_millis(10);
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// How long after the others a record may still be written: by whoever goes on with the journal of a process that died.
const LATE_MS: u64 = DAY_MS;

/// Keeps to the organisations' retention, again and again. What one round has looked through the next passes over.
pub struct Retention {
    store: Store,
    actor: Actor,
    /// Until when each organisation's records are gone, milliseconds since the Unix epoch.
    gone: HashMap<OrganisationId, u64>,
}

/// An organisation's records that a round deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retained {
    pub organisation: OrganisationId,
    /// Milliseconds since the Unix epoch: what was older is gone.
    pub before_ms: u64,
    pub expired: Expired,
}

impl Store {
    /// Deletes an organisation's requests and receipts from before `before_ms` (milliseconds since the Unix epoch). The audit trail says so
    /// first, in the transaction of the first of them; the others follow in transactions of their own. Money entries stay, and so do the
    /// digests of what was deleted: the proof holds at every moment.
    pub async fn expire_records(
        &self,
        actor: &Actor,
        organisation: OrganisationId,
        before_ms: u64,
    ) -> Result<Expired, StoreError> {
        self.expire_after(actor, organisation, before_ms, [0; 16]).await
    }

    /// Keeps to the organisations' retention in the name of `actor`.
    pub fn retention(&self, actor: Actor) -> Retention {
        Retention { store: self.clone(), actor, gone: HashMap::new() }
    }

    async fn expire_after(
        &self,
        actor: &Actor,
        organisation: OrganisationId,
        before_ms: u64,
        after: [u8; 16],
    ) -> Result<Expired, StoreError> {
        actor.require(Permission::RecordsWrite, &Scope::Organisation(organisation))?;
        let backend = self.backend();
        let mut expired = Expired::default();
        let found = backend.expirable(organisation, before_ms, after).await?;
        if found == expired {
            return Ok(expired);
        }
        let event = found.event(actor, self.clock().now_ms(), organisation, before_ms);
        let mut event = Some(&event);
        let mut batch = ExpiryBatch { organisation, before_ms, after, most: BATCH };
        loop {
            let step = backend.expire_records(&batch, event.take()).await?;
            expired += step.expired;
            let Some(next) = step.next else { return Ok(expired) };
            batch.after = next;
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Retention {
    /// Deletes what has expired of every organisation, or of one. `default_days` holds for those that say nothing themselves. `None`
    /// where another process is at it.
    pub async fn round(
        &mut self,
        default_days: u16,
        only: Option<OrganisationId>,
    ) -> Result<Option<Vec<Retained>>, StoreError> {
        let Some(_turn) = self.store.backend().expiry_turn().await? else { return Ok(None) };
        let now_ms = self.store.clock().now_ms();
        let mut done = Vec::new();
        for organisation in self.store.organisations().await? {
            if only.is_some_and(|only| only != organisation.id) {
                continue;
            }
            let days = organisation.retention_days.unwrap_or(default_days);
            let before_ms = now_ms.saturating_sub(u64::from(days) * DAY_MS);
            let gone = self.gone.get(&organisation.id).copied().unwrap_or(0);
            let after = born(gone.saturating_sub(LATE_MS), 0);
            let expired = self.store.expire_after(&self.actor, organisation.id, before_ms, after).await?;
            self.gone.insert(organisation.id, before_ms);
            if expired != Expired::default() {
                done.push(Retained { organisation: organisation.id, before_ms, expired });
            }
        }
        Ok(Some(done))
    }
}
