//! What nobody knows the end of, and what is decided about it. Until then all of it counts as spent.

use std::fmt;
use std::str::FromStr;

use portcullis_core::{BudgetId, KeyId, NanoUsd, OrganisationId, RequestId, TeamId};
use serde::{Deserialize, Serialize};

use super::lease::EpochId;
use crate::actor::Actor;
use crate::audit::NewEvent;
use crate::chain::{AsIs, Head, Linker};
use crate::error::StoreError;
use crate::rows::{EndKind, EntryRow};
use crate::store::Store;
use portcullis_core::{Permission, Scope};

/// A reservation whose end nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantinedEntry {
    pub request_id: RequestId,
    pub attempt: u32,
    pub organisation: OrganisationId,
    pub key_id: KeyId,
    pub provider: String,
    pub model: String,
    /// What was reserved, and counts as spent.
    pub reserved: NanoUsd,
    /// A code.
    pub reason: String,
    pub reserved_ms: u64,
    pub ended_ms: u64,
}

/// An entry of the ledger as it stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    pub request_id: RequestId,
    pub attempt: u32,
    /// 0 where a reservation ended; 1 where somebody decided about one in quarantine.
    pub step: u32,
    pub kind: EndKind,
    pub key_id: KeyId,
    pub organisation: OrganisationId,
    pub provider: String,
    pub model: String,
    pub reserved: NanoUsd,
    pub amount: NanoUsd,
    pub reason: String,
    pub reserved_ms: u64,
    pub ended_ms: u64,
}

/// Which entries. Everything absent matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryFilter {
    pub organisation: Option<OrganisationId>,
    /// Of keys that belong to this team.
    pub team: Option<TeamId>,
    pub key: Option<KeyId>,
    pub request: Option<RequestId>,
    pub kind: Option<EndKind>,
    /// Only what is in quarantine still.
    pub undecided: bool,
    /// Of requests that began in this millisecond since the Unix epoch or later.
    pub since_ms: Option<u64>,
    /// Exclusive.
    pub until_ms: Option<u64>,
    /// Those that come after this one: older ones.
    pub before: Option<EntryAt>,
    /// At most so many; 0 for the usual 100.
    pub limit: u32,
}

/// An entry's place among all: `req_…-ATTEMPT-STEP`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryAt {
    pub request: RequestId,
    pub attempt: u32,
    pub step: u32,
}

impl EntryAt {
    pub const fn of(entry: &LedgerEntry) -> Self {
        Self { request: entry.request_id, attempt: entry.attempt, step: entry.step }
    }
}

impl fmt::Display for EntryAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.request, self.attempt, self.step)
    }
}

/// Not of the form `req_…-ATTEMPT-STEP`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no place among the ledger's entries")]
pub struct NoEntryAt;

impl FromStr for EntryAt {
    type Err = NoEntryAt;

    fn from_str(text: &str) -> Result<Self, NoEntryAt> {
        let mut parts = text.splitn(3, '-');
        let mut part = || parts.next().ok_or(NoEntryAt);
        Ok(Self {
            request: part()?.parse().map_err(|_| NoEntryAt)?,
            attempt: part()?.parse().map_err(|_| NoEntryAt)?,
            step: part()?.parse().map_err(|_| NoEntryAt)?,
        })
    }
}

impl EntryFilter {
    /// Where the ids of a millisecond begin.
    pub(crate) fn first_id(at_ms: u64) -> [u8; 16] {
        if at_ms < 1 << 48 { (u128::from(at_ms) << 80).to_be_bytes() } else { [0xff; 16] }
    }
}

/// What a process that is gone had leased, and did not prove unspent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantinedLease {
    pub budget: BudgetId,
    pub organisation: OrganisationId,
    pub start_ms: u64,
    pub epoch: EpochId,
    /// Leased and not spent by any entry.
    pub rest: NanoUsd,
    pub quarantined_ms: u64,
}

/// What a quarantined reservation is found to have cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Spent(NanoUsd),
    Refunded,
}

impl Decision {
    pub fn amount(self) -> NanoUsd {
        match self {
            Self::Spent(amount) => amount,
            Self::Refunded => NanoUsd::ZERO,
        }
    }

    pub fn kind(self) -> EndKind {
        match self {
            Self::Spent(_) => EndKind::Settled,
            Self::Refunded => EndKind::Refunded,
        }
    }
}

/// The further entry that ends a quarantine: the next step of its reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecidedEntry {
    pub entry: QuarantinedEntry,
    pub decision: Decision,
    pub decided_ms: u64,
    /// Who writes it: an epoch of its own.
    pub writer: EpochId,
}

/// The entry as it stands in the ledger.
impl From<DecidedEntry> for LedgerEntry {
    fn from(decided: DecidedEntry) -> Self {
        let DecidedEntry { entry, decision, decided_ms, .. } = decided;
        Self {
            request_id: entry.request_id,
            attempt: entry.attempt,
            step: DecidedEntry::STEP as u32,
            kind: decision.kind(),
            key_id: entry.key_id,
            organisation: entry.organisation,
            provider: entry.provider,
            model: entry.model,
            reserved: entry.reserved,
            amount: decision.amount(),
            reason: DecidedEntry::REASON.to_owned(),
            reserved_ms: entry.reserved_ms,
            ended_ms: decided_ms,
        }
    }
}

impl DecidedEntry {
    const REASON: &'static str = "decided";
    pub(crate) const STEP: i64 = 1;

    pub(crate) fn row(&self) -> EntryRow<'_> {
        let amount = self.decision.amount().get();
        EntryRow {
            request_id: *self.entry.request_id.as_bytes(),
            attempt: self.entry.attempt,
            kind: self.decision.kind(),
            key_id: *self.entry.key_id.as_bytes(),
            organisation: *self.entry.organisation.as_bytes(),
            provider: &self.entry.provider,
            model: &self.entry.model,
            reserved_nano: self.entry.reserved.get(),
            amount_nano: amount,
            input_nano: 0,
            output_nano: 0,
            reason: Self::REASON,
            reserved_ms: self.entry.reserved_ms,
            ended_ms: self.decided_ms,
            held: &[],
        }
    }

    /// The one link of its writer's chain.
    pub(crate) fn link(&self) -> Head {
        Linker::at(Head::start(&self.writer)).step::<AsIs>(&self.writer, &self.row(), Self::STEP)
    }
}

impl Store {
    /// Entries of the ledger, those of the newest requests first.
    pub async fn entries(&self, filter: &EntryFilter) -> Result<Vec<LedgerEntry>, StoreError> {
        self.backend().entries(filter).await
    }

    /// Reservations in quarantine, all or an organisation's, oldest first, at most `limit`.
    pub async fn quarantined_entries(
        &self,
        organisation: Option<OrganisationId>,
        limit: u32,
    ) -> Result<Vec<QuarantinedEntry>, StoreError> {
        self.backend().quarantined_entries(organisation, limit).await
    }

    /// Leases in quarantine, all or an organisation's.
    pub async fn quarantined_leases(
        &self,
        organisation: Option<OrganisationId>,
    ) -> Result<Vec<QuarantinedLease>, StoreError> {
        self.backend().quarantined_leases(organisation).await
    }

    /// Decides a quarantined reservation: what it cost is a further entry of the ledger, and counts from now on instead of what
    /// was reserved.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where there is no such reservation in quarantine.
    pub async fn decide_quarantined(
        &self,
        actor: &Actor,
        request: RequestId,
        attempt: u32,
        decision: Decision,
    ) -> Result<DecidedEntry, StoreError> {
        let missing = StoreError::NotFound { what: "reservation in quarantine" };
        let Some(entry) = self.backend().quarantined_entry(request, attempt).await? else { return Err(missing) };
        actor.require(Permission::LedgerDecide, &Scope::Organisation(entry.organisation))?;
        let now_ms = self.clock().now_ms();
        let event =
            NewEvent::new(actor, now_ms, Some(entry.organisation), "ledger.decide", format!("{request}/{attempt}"))
                .changed(
                    Some(serde_json::json!({ "kind": "quarantined", "amount_nano": entry.reserved })),
                    Some(serde_json::json!({ "kind": decision.kind().as_str(), "amount_nano": decision.amount() })),
                );
        let decided = DecidedEntry { entry, decision, decided_ms: now_ms, writer: *uuid::Uuid::now_v7().as_bytes() };
        if self.backend().decide_entry(&decided, &event).await? { Ok(decided) } else { Err(missing) }
    }

    /// Decides a quarantined lease: of its rest `spent` counts as spent, and what is left is free again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where it was decided before; [`StoreError::Invalid`] where it has not so much left.
    pub async fn decide_lease(
        &self,
        actor: &Actor,
        lease: &QuarantinedLease,
        spent: NanoUsd,
    ) -> Result<(), StoreError> {
        actor.require(Permission::LedgerDecide, &Scope::Organisation(lease.organisation))?;
        if spent > lease.rest {
            return Err(StoreError::Invalid(format!("of this lease no more than {} can have been spent", lease.rest)));
        }
        let event =
            NewEvent::new(actor, self.clock().now_ms(), Some(lease.organisation), "ledger.decide-lease", lease.budget)
                .changed(
                    Some(serde_json::json!({ "quarantined_nano": lease.rest, "window_ms": lease.start_ms })),
                    Some(serde_json::json!({ "spent_nano": spent })),
                );
        let decided = self.backend().decide_lease(lease, spent.get(), &event).await?;
        if decided { Ok(()) } else { Err(StoreError::NotFound { what: "lease in quarantine" }) }
    }
}
