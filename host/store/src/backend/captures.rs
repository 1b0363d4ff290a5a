//! What was captured of requests.

use portcullis_core::{OrganisationId, RequestId};

use super::Answer;
use crate::audit::NewEvent;
use crate::captures::CaptureRow;

pub trait CaptureBackend: Send + Sync + 'static {
    /// In one transaction; what is there stays as it is.
    fn insert_captures<'a>(&'a self, rows: &'a [CaptureRow]) -> Answer<'a, ()>;

    /// That of an organisation's request, where it lives at `now_ms`.
    fn capture(&self, organisation: OrganisationId, request: RequestId, now_ms: u64) -> Answer<'_, Option<CaptureRow>>;

    /// Deletes it with its event; `false`, and no event, where there is none.
    fn delete_capture<'a>(
        &'a self,
        organisation: OrganisationId,
        request: RequestId,
        event: &'a NewEvent,
    ) -> Answer<'a, bool>;

    /// Deletes those that have expired, at most so many, and returns how many those were.
    fn expire_captures(&self, now_ms: u64, most: u32) -> Answer<'_, u64>;
}
