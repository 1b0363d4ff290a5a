//! What has expired is deleted, and the audit trail says so: else a deletion is a fault.

use std::ops::AddAssign;

use portcullis_core::OrganisationId;
use serde::Deserialize;
use serde_json::json;

use super::canonical::Event;
use crate::actor::Actor;
use crate::audit::NewEvent;

/// The action of such an event.
pub const ACTION: &str = "records.expire";

/// What the event says.
#[derive(Deserialize)]
struct After {
    /// Milliseconds since the Unix epoch: what is older is gone.
    before_ms: u64,
}

/// Whose records the event says to be gone, and until when.
pub(crate) fn of(event: &Event<'_>) -> Option<([u8; 16], u64)> {
    if event.action != ACTION.as_bytes() {
        return None;
    }
    let After { before_ms } = serde_json::from_slice(event.after?).ok()?;
    Some((*event.organisation?, before_ms))
}

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    pub requests: u64,
    /// Pages of receipts: one goes with the youngest of its requests.
    pub pages: u64,
}

impl AddAssign for Expired {
    fn add_assign(&mut self, more: Self) {
        self.requests += more.requests;
        self.pages += more.pages;
    }
}

/// A part of an organisation's records that have expired, small enough for one transaction.
#[derive(Clone, Copy, Debug)]
pub struct ExpiryBatch {
    pub organisation: OrganisationId,
    /// Milliseconds since the Unix epoch: what is older goes.
    pub before_ms: u64,
    /// Requests are looked for after this one.
    pub after: [u8; 16],
    /// Requests and pages at most, of each.
    pub most: u32,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug)]
pub struct ExpiryStep {
    pub expired: Expired,
    /// Where the next batch goes on; `None` where nothing is left.
    pub next: Option<[u8; 16]>,
}

impl Expired {
    pub(crate) fn event(self, actor: &Actor, now_ms: u64, organisation: OrganisationId, before_ms: u64) -> NewEvent {
        let mut event = NewEvent::new(actor, now_ms, Some(organisation), ACTION, organisation);
        event.after = Some(json!({
            "before_ms": before_ms,
            "requests": self.requests,
            "receipt_pages": self.pages,
        }));
        event
    }
}
