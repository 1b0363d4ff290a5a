//! What has expired is deleted, and the audit trail says so: else a deletion is a fault.

use portcullis_core::OrganisationId;
use serde::Deserialize;
use serde_json::json;

use super::canonical::Event;
use crate::actor::Actor;
use crate::audit::NewEvent;
use crate::error::StoreError;
use crate::store::Store;

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

impl Store {
    /// Deletes an organisation's requests and receipts from before `before_ms` (milliseconds since the Unix epoch), and says so in the audit
    /// trail, in one transaction. Money entries stay, and so do the digests of what was deleted: the proof holds.
    pub async fn expire_records(
        &self,
        actor: &Actor,
        organisation: OrganisationId,
        before_ms: u64,
    ) -> Result<Expired, StoreError> {
        let now_ms = self.clock().now_ms();
        let event = |expired: Expired| expired.event(actor, now_ms, organisation, before_ms);
        self.backend().expire_records(organisation, before_ms, &event).await
    }
}
