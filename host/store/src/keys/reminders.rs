//! Keys that will expire soon, and that somebody is told of it once a day.

use portcullis_core::{KeyId, OrganisationId};
use serde_json::json;

use super::{ActiveKey, KeyFilter};
use crate::actor::Actor;
use crate::audit::NewEvent;
use crate::error::StoreError;
use crate::policy::PolicyOrigin;
use crate::store::Store;

const MS_PER_DAY: u64 = 24 * 60 * 60 * 1000;

/// A key that will expire.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpiringKey {
    pub key: ActiveKey,
    /// Milliseconds since the Unix epoch.
    pub expires_ms: u64,
    pub origin: PolicyOrigin,
}

impl ExpiringKey {
    pub fn id(&self) -> KeyId {
        self.key.id
    }

    /// Whole days from `now_ms`.
    pub fn days(&self, now_ms: u64) -> u64 {
        self.expires_ms.saturating_sub(now_ms) / MS_PER_DAY
    }
}

impl Store {
    /// Keys that hold now and expire within so many days, the soonest first.
    pub async fn expiring_keys(
        &self,
        organisation: Option<OrganisationId>,
        days: u64,
    ) -> Result<Vec<ExpiringKey>, StoreError> {
        let now_ms = self.clock().now_ms();
        let until = now_ms.saturating_add(days.saturating_mul(MS_PER_DAY));
        let filter = KeyFilter { organisation, unrevoked: true, ..KeyFilter::default() };
        let mut found: Vec<_> = self
            .active_keys(&filter)
            .await?
            .into_iter()
            .filter(|key| key.check(now_ms).is_ok())
            .filter_map(|key| {
                let (expires_ms, origin) = key.policy.expires_ms?;
                (expires_ms <= until).then_some(ExpiringKey { key, expires_ms, origin })
            })
            .collect();
        found.sort_by_key(|one| (one.expires_ms, one.id()));
        Ok(found)
    }

    /// Reminds of keys that expire within so many days: of each once a day, whichever process asks first, by an event
    /// `key.expiring` in the audit trail. Returns those it reminded of. To be called every hour or so.
    pub async fn remind_of_expiring_keys(&self, days: u64) -> Result<Vec<ExpiringKey>, StoreError> {
        let mut reminded = Vec::new();
        let now_ms = self.clock().now_ms();
        for one in self.expiring_keys(None, days).await? {
            let event = NewEvent::new(&Actor::system(), now_ms, Some(one.key.organisation), "key.expiring", one.id())
                .changed(
                    None,
                    Some(json!({
                        "name": one.key.name,
                        "prefix": one.key.prefix,
                        "expires_ms": one.expires_ms,
                        "days": one.days(now_ms),
                        "origin": one.origin,
                    })),
                );
            if self.backend().remind_key(one.id(), now_ms / MS_PER_DAY, &event).await? {
                reminded.push(one);
            }
        }
        Ok(reminded)
    }
}
