//! A reservation and its three ends. The type is the rule: no path leads past settle, refund or quarantine.

use portcullis_core::price::Cost;

use super::journal::Room;
use super::record::{Record, ReserveRecord};
use super::{KeyId, Ledger, LedgerError, Name, NanoUsd, OrganisationId, RequestId};
use crate::budgets::Hold;
use crate::fail::point;
use crate::rows::{EndKind, EntryRow};

/// What is to be reserved, for whom.
#[derive(Clone, Debug)]
pub struct ReserveRequest {
    pub request_id: RequestId,
    /// Counts from 1; a number is used once within a request.
    pub attempt: u32,
    pub key_id: KeyId,
    pub organisation: OrganisationId,
    /// The connection's name and the provider's model id.
    pub provider: Name,
    pub model: Name,
    /// The most the attempt can cost; zero where the price is unknown and the operator chose `alarm`.
    pub worst: NanoUsd,
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
}

/// The truth about an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Settlement {
    /// May exceed what was reserved: then the bound was wrong, which is logged, and the truth is written all the same.
    pub cost: Cost,
    /// A code: `ok`, `client-gone`, `estimated`, …
    pub reason: &'static str,
}

impl Settlement {
    pub fn of(cost: Cost) -> Self {
        Self { cost, reason: "ok" }
    }
}

/// Money held for one attempt. It ends by [`settle`](Self::settle), [`refund`](Self::refund) or
/// [`quarantine`](Self::quarantine); dropped without one of them (a cancelled future, a panic) it is quarantined.
///
/// An end is recorded when the call returns, and written to the database soon after. Where recording fails the reservation
/// counts as open, and the next start quarantines it.
#[must_use = "a reservation that is dropped is quarantined"]
pub struct Reservation {
    ledger: Ledger,
    request: ReserveRequest,
    /// The budgets' windows that it counts in.
    held: Vec<u8>,
    ended: bool,
}

impl Reservation {
    pub(super) fn begin(ledger: Ledger, request: ReserveRequest, hold: Hold) -> Result<Self, LedgerError> {
        debug_assert!(hold.held().is_empty() || hold.amount() == request.worst, "what is reserved is what is held");
        let record = ReserveRecord {
            request_id: *request.request_id.as_bytes(),
            attempt: request.attempt,
            key_id: *request.key_id.as_bytes(),
            organisation: *request.organisation.as_bytes(),
            provider: &request.provider,
            model: &request.model,
            worst_nano: request.worst.get(),
            reserved_ms: request.now_ms,
            held: hold.held(),
        };
        point("reserve.before");
        ledger.append(&Record::Reserve(record), Room::New)?;
        point("reserve.after");
        Ok(Self { ledger, request, held: hold.into_held(), ended: false })
    }

    /// nano-USD held.
    pub fn worst(&self) -> NanoUsd {
        self.request.worst
    }

    /// The attempt happened and its cost is known.
    pub fn settle(mut self, settlement: Settlement) -> Result<(), LedgerError> {
        if settlement.cost.total > self.request.worst && self.request.worst > NanoUsd::ZERO {
            tracing::warn!(
                request_id = %self.request.request_id,
                reserved = %self.request.worst,
                settled = %settlement.cost.total,
                "an attempt cost more than its worst case"
            );
        }
        self.end(EndKind::Settled, settlement.cost, settlement.reason)
    }

    /// The attempt certainly cost nothing: it was never sent, or the provider refused it before generating.
    pub fn refund(mut self, reason: &'static str) -> Result<(), LedgerError> {
        self.end(EndKind::Refunded, Cost::default(), reason)
    }

    /// Nobody knows what the attempt cost. All that was reserved counts as spent until somebody decides.
    pub fn quarantine(mut self, reason: &'static str) -> Result<(), LedgerError> {
        let held = Cost { total: self.request.worst, ..Cost::default() };
        self.end(EndKind::Quarantined, held, reason)
    }

    fn end(&mut self, kind: EndKind, cost: Cost, reason: &'static str) -> Result<(), LedgerError> {
        self.ended = true;
        let entry = EntryRow {
            request_id: *self.request.request_id.as_bytes(),
            attempt: self.request.attempt,
            kind,
            key_id: *self.request.key_id.as_bytes(),
            organisation: *self.request.organisation.as_bytes(),
            provider: &self.request.provider,
            model: &self.request.model,
            reserved_nano: self.request.worst.get(),
            amount_nano: cost.total.get(),
            input_nano: cost.input.get(),
            output_nano: cost.output.get(),
            reason,
            reserved_ms: self.request.now_ms,
            ended_ms: self.ledger.inner.clock.now_ms(),
            held: &self.held,
        };
        point("end.before");
        // What is not recorded stays held: it will count whole when the next start finds it open.
        self.ledger.append(&Record::End(entry), Room::End)?;
        point("end.after");
        self.ledger.inner.budgets.end(&self.held, self.request.worst, cost.total);
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let held = Cost { total: self.request.worst, ..Cost::default() };
        if let Err(error) = self.end(EndKind::Quarantined, held, "dropped") {
            tracing::error!(request_id = %self.request.request_id, %error, "a dropped reservation could not be recorded");
        }
    }
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reservation").field("request", &self.request).finish_non_exhaustive()
    }
}
