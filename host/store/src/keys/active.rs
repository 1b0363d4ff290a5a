//! A key as the gateway holds it: what it says itself, and what binds it.

use std::ops::Deref;

use super::{KeyRecord, KeyRefusal};
use crate::backend::{Bounds, StoredKey};
use crate::policy::EffectivePolicy;

/// What is suspended, and with it the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suspension {
    Key,
    Team,
    Organisation,
}

impl Suspension {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Team => "team",
            Self::Organisation => "organisation",
        }
    }
}

/// A key with all that a request must be asked about: one look-up gives both. It reads as its record does; `policy` is that of
/// all layers together, the key's own word alone is `record.policy`.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveKey {
    pub record: KeyRecord,
    pub policy: EffectivePolicy,
    pub suspension: Option<Suspension>,
    /// Its organisation's; `None` where it says nothing.
    pub retention_days: Option<u16>,
    /// Its organisation's; `None` where nothing is captured.
    pub capture_days: Option<u16>,
    pub revision: i64,
}

impl Deref for ActiveKey {
    type Target = KeyRecord;

    fn deref(&self) -> &KeyRecord {
        &self.record
    }
}

impl From<StoredKey> for ActiveKey {
    fn from(StoredKey { record, revision, bounds, .. }: StoredKey) -> Self {
        let policy = EffectivePolicy::of(
            &bounds.organisation,
            bounds.team.as_ref(),
            &record.policy,
            record.since_ms(),
            record.expires_ms,
        );
        let suspension = if bounds.organisation_suspended_ms.is_some() {
            Some(Suspension::Organisation)
        } else if bounds.team_suspended_ms.is_some() {
            Some(Suspension::Team)
        } else {
            record.suspended_ms.map(|_| Suspension::Key)
        };
        let Bounds { retention_days, capture_days, .. } = bounds;
        Self { record, policy, suspension, retention_days, capture_days, revision }
    }
}

impl ActiveKey {
    /// Whether the key is one at `now_ms`. Revocation goes before expiry; a suspended key is one.
    pub fn check(&self, now_ms: u64) -> Result<(), KeyRefusal> {
        if self.revoked_ms.is_some() {
            Err(KeyRefusal::Revoked)
        } else if self.policy.expires_ms.is_some_and(|(expires, _)| now_ms >= expires) {
            Err(KeyRefusal::Expired)
        } else {
            Ok(())
        }
    }

    /// `active`, `suspended`, `revoked` or `expired`.
    pub fn state(&self, now_ms: u64) -> &'static str {
        match (self.check(now_ms), self.suspension) {
            (Err(KeyRefusal::Revoked), _) => "revoked",
            (Err(_), _) => "expired",
            (Ok(()), Some(_)) => "suspended",
            (Ok(()), None) => "active",
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::{Environment, KeyHash, KeyId, KeyPrefix, OrganisationId};

    use super::*;
    use crate::keys::RequestDefaults;
    use crate::policy::{AccessPolicy, PolicyOrigin};

    fn stored() -> StoredKey {
        StoredKey {
            hash: KeyHash::of("a"),
            previous_hash: None,
            record: KeyRecord {
                id: KeyId::from_bytes([1; 16]),
                prefix: KeyPrefix::from_stored("pc_dev_abcde".into()),
                name: "test".into(),
                environment: Environment::Development,
                organisation: OrganisationId::DEFAULT,
                team: None,
                member: None,
                created_ms: 0,
                expires_ms: None,
                revoked_ms: None,
                suspended_ms: None,
                rotated_ms: None,
                previous_until_ms: None,
                policy: AccessPolicy::default(),
                tags: vec![],
                defaults: RequestDefaults::default(),
            },
            revision: 1,
            bounds: Bounds::default(),
        }
    }

    #[test]
    fn a_key_holds_until_the_millisecond_it_expires() {
        let mut key = stored();
        key.record.expires_ms = Some(1_000);
        let active = ActiveKey::from(key.clone());
        assert_eq!((active.check(999), active.check(1_000)), (Ok(()), Err(KeyRefusal::Expired)));
        key.record.revoked_ms = Some(500);
        assert_eq!(ActiveKey::from(key).check(2_000), Err(KeyRefusal::Revoked));
    }

    #[test]
    fn an_organisation_ends_a_key_sooner_and_a_new_secret_begins_anew() {
        const DAY: u64 = 24 * 60 * 60 * 1000;
        let mut key = stored();
        key.bounds.organisation.max_key_days = Some(1);
        let active = ActiveKey::from(key.clone());
        assert_eq!(active.policy.expires_ms, Some((DAY, PolicyOrigin::Organisation)));
        assert_eq!((active.state(DAY - 1), active.state(DAY)), ("active", "expired"));
        key.record.rotated_ms = Some(DAY - 1);
        assert_eq!(ActiveKey::from(key).state(DAY), "active");
    }

    #[test]
    fn whatever_is_suspended_suspends_the_key() {
        type Change = fn(&mut StoredKey);
        let cases: [(Change, Option<Suspension>); 5] = [
            (|_| {}, None),
            (|key| key.record.suspended_ms = Some(1), Some(Suspension::Key)),
            (|key| key.bounds.team_suspended_ms = Some(1), Some(Suspension::Team)),
            (|key| key.bounds.organisation_suspended_ms = Some(1), Some(Suspension::Organisation)),
            (
                |key| {
                    key.record.suspended_ms = Some(1);
                    key.bounds.organisation_suspended_ms = Some(1);
                },
                Some(Suspension::Organisation),
            ),
        ];
        for (change, expected) in cases {
            let mut key = stored();
            change(&mut key);
            let active = ActiveKey::from(key);
            assert_eq!(active.suspension, expected);
            assert_eq!(active.state(0), if expected.is_some() { "suspended" } else { "active" });
        }
    }
}
