//! The audit trail.

use super::Answer;
use crate::audit::{AuditEvent, AuditFilter, AuditPage, NewEvent};

pub trait AuditBackend: Send + Sync + 'static {
    /// Writes events that come with no change of their own, in one transaction. A change writes its event itself.
    fn append_events<'a>(&'a self, events: &'a [NewEvent]) -> Answer<'a, ()>;

    fn audit_events<'a>(&'a self, filter: &'a AuditFilter, page: AuditPage) -> Answer<'a, Vec<AuditEvent>>;
}
