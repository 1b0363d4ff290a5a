//! Keys are made, changed, rotated, suspended and revoked.

use std::time::Duration;

use portcullis_core::receipt::Tag;
use portcullis_core::{Environment, KeyId, MemberId, OrganisationId, Permission, Scope, SecretKey, TeamId};

use super::{ActiveKey, KeyRecord, RequestDefaults};
use crate::actor::Actor;
use crate::audit::NewEvent;
use crate::backend::StoredKey;
use crate::error::StoreError;
use crate::identity::{RETRIES, checked_name, told};
use crate::policy::{AccessPolicy, PolicyOrigin};
use crate::store::Store;

/// Longest time for which a rotated secret goes on: 30 days.
const LONGEST_GRACE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Tags of one key.
const TAGS: usize = 64;

/// What a new key shall be.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// For people.
    pub name: String,
    pub environment: Environment,
    pub organisation: OrganisationId,
    pub team: Option<TeamId>,
    pub member: Option<MemberId>,
    /// Milliseconds since the Unix epoch from which on it is refused.
    pub expires_ms: Option<u64>,
    pub policy: AccessPolicy,
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
            member: None,
            expires_ms: None,
            policy: AccessPolicy::default(),
            tags: Vec::new(),
            defaults: RequestDefaults::default(),
        }
    }
}

/// What shall change; `None` stays.
#[derive(Clone, Debug, Default)]
pub struct KeyEdit {
    pub name: Option<String>,
    /// `Some(None)`: it expires no more by its own word.
    pub expires_ms: Option<Option<u64>>,
    pub policy: Option<AccessPolicy>,
    pub tags: Option<Vec<Tag>>,
    pub defaults: Option<RequestDefaults>,
}

/// A key just made, or one with a new secret. The secret is not to be had again.
#[derive(Debug)]
pub struct CreatedKey {
    pub record: KeyRecord,
    pub secret: SecretKey,
}

fn check_tags(tags: &[Tag]) -> Result<(), StoreError> {
    let sound = |text: &str| !text.is_empty() && text.len() <= 256 && !text.chars().any(char::is_control);
    if tags.len() > TAGS || !tags.iter().all(|tag| sound(&tag.name) && sound(&tag.value)) {
        return Err(StoreError::Invalid(format!(
            "a key has up to {TAGS} tags, each a name and a value of visible text"
        )));
    }
    Ok(())
}

/// Whether an actor may change keys there, or this one as their own.
fn require(actor: &Actor, scope: &Scope, member: Option<MemberId>) -> Result<(), StoreError> {
    let own = member.is_some() && member == actor.member_id();
    if own && actor.allows(Permission::KeysOwn, scope) {
        return Ok(());
    }
    actor.require(Permission::KeysWrite, scope)
}

impl Store {
    /// Makes a key.
    ///
    /// # Errors
    /// [`StoreError::NoSuchOwner`] where organisation, team or member do not exist, or the team is another organisation's.
    pub async fn create_key(&self, actor: &Actor, new: NewKey) -> Result<CreatedKey, StoreError> {
        require(actor, &Scope::of(new.organisation, new.team), new.member)?;
        new.policy.check(PolicyOrigin::Key)?;
        check_tags(&new.tags)?;
        let now_ms = self.clock().now_ms();
        let (id, secret) = {
            let mut rng = rand::rng();
            (KeyId::new(now_ms, &mut rng), SecretKey::generate(new.environment, &mut rng))
        };
        let record = KeyRecord {
            id,
            prefix: secret.prefix(),
            name: checked_name(&new.name)?,
            environment: new.environment,
            organisation: new.organisation,
            team: new.team,
            member: new.member,
            created_ms: now_ms,
            expires_ms: new.expires_ms,
            revoked_ms: None,
            suspended_ms: None,
            rotated_ms: None,
            previous_until_ms: None,
            policy: new.policy,
            tags: new.tags,
            defaults: new.defaults,
        };
        let event =
            NewEvent::new(actor, now_ms, Some(record.organisation), "key.create", id).changed(None, told(&record));
        self.backend().insert_key(secret.hash(), &record, &event).await?;
        self.keys_changed(true);
        Ok(CreatedKey { record, secret })
    }

    /// Changes what a key says of itself, and what it may do.
    pub async fn edit_key(&self, actor: &Actor, id: KeyId, edit: KeyEdit) -> Result<KeyRecord, StoreError> {
        self.edit_key_if(actor, id, edit, |_| true).await
    }

    /// The same, where the key is as expected when it is written.
    ///
    /// # Errors
    /// [`StoreError::Changed`] where it is not.
    pub async fn edit_key_if(
        &self,
        actor: &Actor,
        id: KeyId,
        edit: KeyEdit,
        expected: impl Fn(&KeyRecord) -> bool,
    ) -> Result<KeyRecord, StoreError> {
        let name = edit.name.as_deref().map(checked_name).transpose()?;
        if let Some(policy) = &edit.policy {
            policy.check(PolicyOrigin::Key)?;
        }
        check_tags(edit.tags.as_deref().unwrap_or_default())?;
        self.change_key(actor, id, "key.edit", expected, |key, _| {
            let record = &mut key.record;
            if let Some(name) = &name {
                record.name.clone_from(name);
            }
            if let Some(expires_ms) = edit.expires_ms {
                record.expires_ms = expires_ms;
            }
            if let Some(policy) = &edit.policy {
                record.policy.clone_from(policy);
            }
            if let Some(tags) = &edit.tags {
                record.tags.clone_from(tags);
            }
            if let Some(defaults) = &edit.defaults {
                record.defaults.clone_from(defaults);
            }
        })
        .await
    }

    /// Gives a key a new secret. The one before goes on for `grace` (30 days at most), the one before that ends now. A time to
    /// live that the key was made with begins anew: `expires_ms`, where the key has one and none is given, moves on by as much as
    /// passed since its secret was made.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a key that was revoked or a grace too long.
    pub async fn rotate_key(
        &self,
        actor: &Actor,
        id: KeyId,
        grace: Duration,
        expires_ms: Option<u64>,
    ) -> Result<CreatedKey, StoreError> {
        self.rotate_key_if(actor, id, grace, expires_ms, |_| true).await
    }

    /// The same, where the key is as expected when it is written.
    ///
    /// # Errors
    /// [`StoreError::Changed`] where it is not.
    pub async fn rotate_key_if(
        &self,
        actor: &Actor,
        id: KeyId,
        grace: Duration,
        expires_ms: Option<u64>,
        expected: impl Fn(&KeyRecord) -> bool,
    ) -> Result<CreatedKey, StoreError> {
        if grace > LONGEST_GRACE {
            return Err(StoreError::Invalid("a rotated secret goes on for 30 days at most".to_owned()));
        }
        let key = self.backend().key_by_id(id).await?.ok_or(StoreError::NotFound { what: "key" })?;
        if key.record.revoked_ms.is_some() {
            return Err(StoreError::Invalid("the key was revoked: make another".to_owned()));
        }
        let secret = SecretKey::generate(key.record.environment, &mut rand::rng());
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let record = self
            .change_key(actor, id, "key.rotate", expected, |key, now_ms| {
                let since = key.record.since_ms();
                // What has expired does not come back by a grace.
                let ends = ActiveKey::from(key.clone()).policy.expires_ms.map_or(u64::MAX, |(expires, _)| expires);
                let until = ends.min(now_ms.saturating_add(grace_ms));
                let record = &mut key.record;
                let holds = until > now_ms && record.revoked_ms.is_none();
                key.previous_hash = holds.then_some(key.hash);
                record.previous_until_ms = holds.then_some(until);
                key.hash = secret.hash();
                record.prefix = secret.prefix();
                record.rotated_ms = Some(now_ms);
                record.expires_ms = expires_ms
                    .or(record.expires_ms.map(|expires| expires.saturating_add(now_ms.saturating_sub(since))));
            })
            .await?;
        if grace.is_zero() {
            self.await_replicas().await?;
        }
        Ok(CreatedKey { record, secret })
    }

    /// Refuses a key for the time being. Returns when every process that serves knows.
    pub async fn suspend_key(&self, actor: &Actor, id: KeyId) -> Result<KeyRecord, StoreError> {
        let suspended = self
            .change_key(
                actor,
                id,
                "key.suspend",
                |_| true,
                |key, now_ms| {
                    key.record.suspended_ms.get_or_insert(now_ms);
                },
            )
            .await?;
        self.await_replicas().await?;
        Ok(suspended)
    }

    pub async fn resume_key(&self, actor: &Actor, id: KeyId) -> Result<KeyRecord, StoreError> {
        self.change_key(actor, id, "key.resume", |_| true, |key, _| key.record.suspended_ms = None).await
    }

    /// Revokes a key for good; once revoked it keeps its first time. Returns when every process that serves has read it, or its
    /// lease ([`crate::LEASE`]) has ended.
    pub async fn revoke_key(&self, actor: &Actor, id: KeyId) -> Result<KeyRecord, StoreError> {
        let revoked = self
            .change_key(
                actor,
                id,
                "key.revoke",
                |_| true,
                |key, now_ms| {
                    key.record.revoked_ms.get_or_insert(now_ms);
                },
            )
            .await?;
        self.await_replicas().await?;
        Ok(revoked)
    }

    async fn change_key(
        &self,
        actor: &Actor,
        id: KeyId,
        action: &str,
        expected: impl Fn(&KeyRecord) -> bool,
        change: impl Fn(&mut StoredKey, u64),
    ) -> Result<KeyRecord, StoreError> {
        for _ in 0..RETRIES {
            let before = self.backend().key_by_id(id).await?.ok_or(StoreError::NotFound { what: "key" })?;
            require(actor, &before.record.scope(), before.record.member)?;
            if !expected(&before.record) {
                return Err(StoreError::Changed { what: "key" });
            }
            let now_ms = self.clock().now_ms();
            let mut after = before.clone();
            change(&mut after, now_ms);
            if after == before {
                return Ok(before.record);
            }
            let event = NewEvent::new(actor, now_ms, Some(before.record.organisation), action, id)
                .changed(told(&before.record), told(&after.record));
            if self.backend().update_key(&after, &event).await? {
                self.keys_changed(true);
                return Ok(after.record);
            }
        }
        Err(StoreError::Contended { what: "key" })
    }
}
