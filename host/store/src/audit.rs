//! The audit trail: who did what to what, and what it was before. An event is written in the transaction that makes the change, so
//! that there is neither a change without its event nor an event without its change.

use portcullis_core::OrganisationId;
use serde_json::Value;

use crate::actor::Actor;
use crate::error::StoreError;
use crate::store::Store;

/// An event as it is written. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// Milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// As [`crate::ActorKind::name`] and [`crate::ActorKind::id`] have it.
    pub actor_kind: String,
    pub actor_id: Option<String>,
    pub address: Option<String>,
    /// Whose it is; `None` for what concerns the whole installation.
    pub organisation: Option<OrganisationId>,
    /// What was done: `key.revoke`, `team.create`. Stable.
    pub action: String,
    /// To what: mostly an id.
    pub target: String,
    /// What it was; `None` for what is new.
    pub before: Option<Value>,
    /// What it is; `None` for what is gone.
    pub after: Option<Value>,
}

impl NewEvent {
    pub fn new(
        actor: &Actor,
        time_ms: u64,
        organisation: Option<OrganisationId>,
        action: impl Into<String>,
        target: impl ToString,
    ) -> Self {
        Self {
            time_ms,
            actor_kind: actor.kind.name().to_owned(),
            actor_id: actor.kind.id(),
            address: actor.address.map(|address| address.to_string()),
            organisation,
            action: action.into(),
            target: target.to_string(),
            before: None,
            after: None,
        }
    }

    /// What changed: of two objects the fields that differ.
    #[must_use]
    pub fn changed(mut self, before: Option<Value>, after: Option<Value>) -> Self {
        (self.before, self.after) = match (before, after) {
            (Some(Value::Object(mut before)), Some(Value::Object(mut after))) => {
                before.retain(|name, value| {
                    let differs = after.get(name) != Some(value);
                    if !differs {
                        after.remove(name);
                    }
                    differs
                });
                (Some(Value::Object(before)), Some(Value::Object(after)))
            }
            other => other,
        };
        self
    }
}

/// An event as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEvent {
    /// Its place in the trail, from 1.
    pub seq: u64,
    pub event: NewEvent,
}

/// Which events. Everything absent matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    pub organisation: Option<OrganisationId>,
    pub actor_kind: Option<String>,
    pub actor_id: Option<String>,
    /// An action, or with a `.` at its end all that begin so: `key.revoke`, `key.`.
    pub action: Option<String>,
    pub target: Option<String>,
    /// Milliseconds since the Unix epoch, inclusive.
    pub since_ms: Option<u64>,
    /// Exclusive.
    pub until_ms: Option<u64>,
}

/// Which of the events that match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditPage {
    /// The newest first, those before this place in the trail (`None`: from its end), at most so many.
    Before(Option<u64>, u32),
    /// The oldest first, those after this place (0: from its beginning), at most so many.
    After(u64, u32),
}

impl Store {
    /// A page of the audit trail.
    pub async fn audit_events(&self, filter: &AuditFilter, page: AuditPage) -> Result<Vec<AuditEvent>, StoreError> {
        self.backend().audit_events(filter, page).await
    }

    /// Writes an event of something that changes nothing in the database (a backup, a login that failed); what does change
    /// something writes its event in its own transaction.
    pub async fn record_event(&self, event: &NewEvent) -> Result<(), StoreError> {
        self.backend().append_events(std::slice::from_ref(event)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_a_change_what_differs_is_told() {
        let event = NewEvent::new(&Actor::cli("ada"), 1, None, "key.edit", "key_1");
        let before = json!({"name": "a", "tier": "free", "gone": 1});
        let after = json!({"name": "b", "tier": "free", "new": [2]});
        let told = event.clone().changed(Some(before.clone()), Some(after));
        assert_eq!(
            (told.before, told.after),
            (Some(json!({"name": "a", "gone": 1})), Some(json!({"name": "b", "new": [2]})))
        );
        let told = event.changed(Some(before.clone()), None);
        assert_eq!((told.before, told.after), (Some(before), None));
    }
}
