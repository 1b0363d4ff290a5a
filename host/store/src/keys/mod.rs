//! API keys as the store keeps them: everything but the secret, of which there is a hash (invariant 1).

mod active;
mod change;
mod reminders;

pub use active::{ActiveKey, Suspension};
pub use change::{CreatedKey, KeyEdit, NewKey};
pub use reminders::ExpiringKey;

use portcullis_core::receipt::Tag;
use portcullis_core::{Environment, KeyHash, KeyId, KeyPrefix, MemberId, OrganisationId, Scope, TeamId};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::policy::{AccessPolicy, EffectivePolicy};
use crate::store::Store;

/// What a key's requests ask for where they do not say it themselves, by a header of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestDefaults {
    /// `x-portcullis-format`: the protocol of paths that several share (`flat`).
    pub format: Option<String>,
    /// `x-portcullis-metadata`: where an answer tells its way through the gateway (`body`).
    pub metadata: Option<String>,
}

/// A key as it may be shown. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyRecord {
    pub id: KeyId,
    pub prefix: KeyPrefix,
    pub name: String,
    pub environment: Environment,
    pub organisation: OrganisationId,
    pub team: Option<TeamId>,
    /// Whose it is, where it is a person's.
    pub member: Option<MemberId>,
    pub created_ms: u64,
    /// From when on it is refused; organisation and team may say an earlier time.
    pub expires_ms: Option<u64>,
    pub revoked_ms: Option<u64>,
    /// Since when it is refused for the time being.
    pub suspended_ms: Option<u64>,
    /// When its secret was last made anew.
    pub rotated_ms: Option<u64>,
    /// Until when the secret before this one holds.
    pub previous_until_ms: Option<u64>,
    pub policy: AccessPolicy,
    pub tags: Vec<Tag>,
    pub defaults: RequestDefaults,
}

/// Why a presented key is not accepted. A client is told no more than "authentication"; the log has the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    #[error("no such key")]
    Unknown,
    #[error("the key was revoked")]
    Revoked,
    #[error("the key has expired")]
    Expired,
    #[error("the key has another secret by now")]
    Rotated,
}

impl KeyRefusal {
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unknown => "key.unknown",
            Self::Revoked => "key.revoked",
            Self::Expired => "key.expired",
            Self::Rotated => "key.rotated",
        }
    }
}

impl KeyRecord {
    pub const fn scope(&self) -> Scope {
        Scope::of(self.organisation, self.team)
    }

    /// When its secret was made.
    pub fn since_ms(&self) -> u64 {
        self.rotated_ms.unwrap_or(self.created_ms)
    }
}

/// Which keys. Everything absent matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFilter {
    pub organisation: Option<OrganisationId>,
    pub team: Option<TeamId>,
    pub member: Option<MemberId>,
    pub environment: Option<Environment>,
    /// Only those that were not revoked.
    pub unrevoked: bool,
    /// Only those behind this one, for the next page.
    pub after: Option<KeyId>,
    /// At most so many.
    pub limit: Option<u32>,
}

impl Store {
    /// The keys that match, revoked ones too, oldest first.
    pub async fn keys(&self, filter: &KeyFilter) -> Result<Vec<KeyRecord>, StoreError> {
        Ok(self.backend().keys(filter).await?.into_iter().map(|stored| stored.record).collect())
    }

    /// As [`Store::keys`], with what binds them: states and expiry are then what the gateway goes by.
    pub async fn active_keys(&self, filter: &KeyFilter) -> Result<Vec<ActiveKey>, StoreError> {
        Ok(self.backend().keys(filter).await?.into_iter().map(ActiveKey::from).collect())
    }

    /// The key with this id (`key_…`) or, where it names one alone, this beginning of a key (`pc_prod_Ab12`; more of the key
    /// may be given, only what is shown of it counts).
    pub async fn key(&self, id_or_prefix: &str) -> Result<KeyRecord, StoreError> {
        let not_found = StoreError::NotFound { what: "key" };
        if let Ok(id) = id_or_prefix.parse::<KeyId>() {
            return Ok(self.backend().key_by_id(id).await?.ok_or(not_found)?.record);
        }
        let prefix = KeyPrefix::of_presented(id_or_prefix);
        let prefix = prefix.as_ref().map_or(id_or_prefix, KeyPrefix::as_str);
        if prefix.is_empty() {
            return Err(not_found);
        }
        let mut found = self.backend().keys_by_prefix(prefix).await?;
        match found.len() {
            0 => Err(not_found),
            1 => Ok(found.remove(0)),
            found => Err(StoreError::Ambiguous { what: "key", found }),
        }
    }

    /// The key of this hash, whether or not it still holds.
    pub async fn key_by_hash(&self, hash: KeyHash) -> Result<Option<KeyRecord>, StoreError> {
        Ok(self.backend().key_by_hash(hash).await?.map(|stored| stored.record))
    }

    /// A key with all that binds it.
    pub async fn active_key(&self, id: KeyId) -> Result<ActiveKey, StoreError> {
        let stored = self.backend().key_by_id(id).await?;
        stored.map(ActiveKey::from).ok_or(StoreError::NotFound { what: "key" })
    }

    /// What a key may do, with organisation and team; [`EffectivePolicy::explain`] says whose word each field is.
    pub async fn effective_policy(&self, id: KeyId) -> Result<EffectivePolicy, StoreError> {
        Ok(self.active_key(id).await?.policy)
    }
}
