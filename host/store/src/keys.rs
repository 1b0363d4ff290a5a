//! API keys as the store keeps them: everything but the secret, of which there is a hash (invariant 1).

use portcullis_core::receipt::Tag;
use portcullis_core::{Environment, KeyHash, KeyId, KeyPrefix, OrganisationId, SecretKey, TeamId};

use crate::error::{KeySelectError, StoreError};
use crate::store::Store;

/// What a new key shall be.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// For people.
    pub name: String,
    pub environment: Environment,
    pub organisation: OrganisationId,
    pub team: Option<TeamId>,
    /// Milliseconds since the Unix epoch from which on it is refused.
    pub expires_ms: Option<u64>,
    /// `model` or `provider/model`; `None` allows any, an empty list none.
    pub allowed_models: Option<Vec<String>>,
    pub allowed_providers: Option<Vec<String>>,
    pub tags: Vec<Tag>,
    pub defaults: RequestDefaults,
}

impl NewKey {
    /// A key of the default organisation that may do anything and does not expire.
    pub fn new(name: impl Into<String>, environment: Environment) -> Self {
        Self {
            name: name.into(),
            environment,
            organisation: OrganisationId::DEFAULT,
            team: None,
            expires_ms: None,
            allowed_models: None,
            allowed_providers: None,
            tags: Vec::new(),
            defaults: RequestDefaults::default(),
        }
    }
}

/// What a key's requests ask for where they do not say it themselves, by a header of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestDefaults {
    /// `x-portcullis-format`: the protocol of paths that several share (`flat`).
    pub format: Option<String>,
    /// `x-portcullis-metadata`: where an answer tells its way through the gateway (`body`).
    pub metadata: Option<String>,
}

/// A key as it may be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyRecord {
    pub id: KeyId,
    pub prefix: KeyPrefix,
    pub name: String,
    pub environment: Environment,
    pub organisation: OrganisationId,
    pub team: Option<TeamId>,
    pub created_ms: u64,
    pub expires_ms: Option<u64>,
    pub revoked_ms: Option<u64>,
    pub allowed_models: Option<Vec<String>>,
    pub allowed_providers: Option<Vec<String>>,
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
}

impl KeyRefusal {
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unknown => "key.unknown",
            Self::Revoked => "key.revoked",
            Self::Expired => "key.expired",
        }
    }
}

impl KeyRecord {
    /// Whether the key holds at `now_ms`. Revocation goes before expiry.
    pub fn check(&self, now_ms: u64) -> Result<(), KeyRefusal> {
        if self.revoked_ms.is_some() {
            Err(KeyRefusal::Revoked)
        } else if self.expires_ms.is_some_and(|expires| now_ms >= expires) {
            Err(KeyRefusal::Expired)
        } else {
            Ok(())
        }
    }

    /// Whether the key's lists let it use `model` of `provider`.
    pub fn allows(&self, provider: &str, model: &str) -> bool {
        let named = |allowed: &String| match allowed.strip_prefix(provider).and_then(|rest| rest.strip_prefix('/')) {
            Some(rest) => rest == model || allowed == model,
            None => allowed == model,
        };
        self.allowed_providers.as_ref().is_none_or(|list| list.iter().any(|allowed| allowed == provider))
            && self.allowed_models.as_ref().is_none_or(|list| list.iter().any(named))
    }
}

/// A key just made. The secret is not to be had again.
#[derive(Debug)]
pub struct CreatedKey {
    pub record: KeyRecord,
    pub secret: SecretKey,
}

impl Store {
    /// Makes a key.
    ///
    /// # Errors
    /// [`StoreError::NoSuchOwner`] where organisation or team do not exist, or the team is another organisation's.
    pub async fn create_key(&self, new: NewKey) -> Result<CreatedKey, StoreError> {
        let now_ms = self.clock().now_ms();
        let (id, secret) = {
            let mut rng = rand::rng();
            (KeyId::new(now_ms, &mut rng), SecretKey::generate(new.environment, &mut rng))
        };
        let record = KeyRecord {
            id,
            prefix: secret.prefix(),
            name: new.name,
            environment: new.environment,
            organisation: new.organisation,
            team: new.team,
            created_ms: now_ms,
            expires_ms: new.expires_ms,
            revoked_ms: None,
            allowed_models: new.allowed_models,
            allowed_providers: new.allowed_providers,
            tags: new.tags,
            defaults: new.defaults,
        };
        self.backend().insert_key(secret.hash(), &record).await?;
        Ok(CreatedKey { record, secret })
    }

    /// Every key, revoked ones too, oldest first.
    pub async fn list_keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        self.backend().keys_by_prefix("").await
    }

    /// The key with this id (`key_…`) or, where it names one alone, this beginning of a key (`pc_prod_Ab12`; more of the key
    /// may be given, only what is shown of it counts).
    pub async fn key(&self, id_or_prefix: &str) -> Result<KeyRecord, KeySelectError> {
        if let Ok(id) = id_or_prefix.parse::<KeyId>() {
            return self.backend().key_by_id(id).await?.ok_or(KeySelectError::NotFound);
        }
        let prefix = KeyPrefix::of_presented(id_or_prefix);
        let prefix = prefix.as_ref().map_or(id_or_prefix, KeyPrefix::as_str);
        if prefix.is_empty() {
            return Err(KeySelectError::NotFound);
        }
        let mut found = self.backend().keys_by_prefix(prefix).await?;
        match found.len() {
            0 => Err(KeySelectError::NotFound),
            1 => Ok(found.remove(0)),
            several => Err(KeySelectError::Ambiguous(several)),
        }
    }

    /// Revokes a key, picked as in [`Store::key`]; once revoked it stays so, with its first time. Processes with a
    /// [`crate::KeyCache`] follow within its interval.
    pub async fn revoke_key(&self, id_or_prefix: &str) -> Result<KeyRecord, KeySelectError> {
        let id = self.key(id_or_prefix).await?.id;
        if !self.backend().revoke_key(id, self.clock().now_ms()).await? {
            return Err(KeySelectError::NotFound);
        }
        self.backend().key_by_id(id).await?.ok_or(KeySelectError::NotFound)
    }

    /// The key of this hash, whether or not it still holds.
    pub async fn key_by_hash(&self, hash: KeyHash) -> Result<Option<KeyRecord>, StoreError> {
        Ok(self.backend().key_by_hash(hash).await?.map(|stored| stored.record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> KeyRecord {
        KeyRecord {
            id: KeyId::from_bytes([1; 16]),
            prefix: KeyPrefix::from_stored("pc_dev_abcde".into()),
            name: "test".into(),
            environment: Environment::Development,
            organisation: OrganisationId::DEFAULT,
            team: None,
            created_ms: 0,
            expires_ms: None,
            revoked_ms: None,
            allowed_models: None,
            allowed_providers: None,
            tags: vec![],
            defaults: RequestDefaults::default(),
        }
    }

    #[test]
    fn lists_narrow() {
        let mut key = record();
        assert!(key.allows("openai", "gpt"));
        key.allowed_models = Some(vec!["gpt".into(), "anthropic/claude".into(), "meta/llama".into()]);
        assert!(key.allows("openai", "gpt") && key.allows("anthropic", "claude"));
        assert!(key.allows("openrouter", "meta/llama"));
        assert!(
            !key.allows("openai", "claude") && !key.allows("openai", "gpt-2") && !key.allows("anthro", "pic/claude")
        );
        key.allowed_providers = Some(vec!["anthropic".into()]);
        assert!(!key.allows("openai", "gpt") && key.allows("anthropic", "claude"));
        key.allowed_models = Some(vec![]);
        assert!(!key.allows("anthropic", "claude"));
    }

    #[test]
    fn a_key_holds_until_the_millisecond_it_expires() {
        let mut key = record();
        key.expires_ms = Some(1_000);
        assert_eq!(key.check(999), Ok(()));
        assert_eq!(key.check(1_000), Err(KeyRefusal::Expired));
        key.revoked_ms = Some(500);
        assert_eq!(key.check(2_000), Err(KeyRefusal::Revoked));
    }
}
