//! Admin tokens: what programs, and people at a terminal, show to the admin API. Kept as a hash, shown once.

use std::net::IpAddr;

use portcullis_core::{AdminSecret, Grant, KeyHash, MemberId, OrganisationId, Permission, TokenId};
use serde::{Deserialize, Serialize};

use super::members::one_organisation;
use super::{RETRIES, checked_name, require_over, told};
use crate::actor::{Actor, ActorKind};
use crate::audit::NewEvent;
use crate::error::StoreError;
use crate::store::Store;

/// How often a token's last use is written down.
const USED_EVERY_MS: u64 = 60_000;

/// A token as it may be shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenRecord {
    pub id: TokenId,
    /// Its first twelve characters.
    pub prefix: String,
    pub name: String,
    pub grants: Vec<Grant>,
    /// Whose it is. It then allows no more than the member may do at the time.
    pub member: Option<MemberId>,
    /// Milliseconds since the Unix epoch.
    pub created_ms: u64,
    pub expires_ms: Option<u64>,
    pub revoked_ms: Option<u64>,
    /// To the minute.
    pub last_used_ms: Option<u64>,
    /// Grows with every change.
    pub version: u64,
}

impl TokenRecord {
    /// The organisation that all its roles are in.
    pub fn organisation(&self) -> Option<OrganisationId> {
        one_organisation(&self.grants)
    }

    /// `active`, `revoked` or `expired`.
    pub fn state(&self, now_ms: u64) -> &'static str {
        match self.check(now_ms) {
            Ok(()) => "active",
            Err(TokenRefusal::Revoked) => "revoked",
            Err(_) => "expired",
        }
    }

    fn check(&self, now_ms: u64) -> Result<(), TokenRefusal> {
        if self.revoked_ms.is_some() {
            Err(TokenRefusal::Revoked)
        } else if self.expires_ms.is_some_and(|expires| now_ms >= expires) {
            Err(TokenRefusal::Expired)
        } else {
            Ok(())
        }
    }
}

/// Why a presented token is not accepted. Its bearer is told no more than that it is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    #[error("no such token")]
    Unknown,
    #[error("the token was revoked")]
    Revoked,
    #[error("the token has expired")]
    Expired,
    #[error("the member whose token it is is suspended")]
    Suspended,
}

impl TokenRefusal {
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unknown => "token.unknown",
            Self::Revoked => "token.revoked",
            Self::Expired => "token.expired",
            Self::Suspended => "token.suspended",
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct NewToken {
    pub name: String,
    pub grants: Vec<Grant>,
    pub member: Option<MemberId>,
    pub expires_ms: Option<u64>,
}

/// A token just made. The secret is not to be had again.
#[derive(Debug)]
pub struct CreatedToken {
    pub record: TokenRecord,
    pub secret: AdminSecret,
}

impl Store {
    /// Makes a token. People may make their own, with no more than they have; others need the permission.
    pub async fn create_token(&self, actor: &Actor, new: NewToken) -> Result<CreatedToken, StoreError> {
        if new.grants.is_empty() {
            return Err(StoreError::Invalid("a token has a role at least".to_owned()));
        }
        if new.member.is_none() || new.member != actor.member_id() {
            for grant in &new.grants {
                actor.require(Permission::TokensWrite, &grant.scope)?;
            }
        }
        self.check_grants(actor, &new.grants).await?;
        if let Some(member) = new.member {
            let member = self.member(&member.to_string()).await?;
            if let Some(grant) = new.grants.iter().find(|grant| !member.grants.iter().any(|own| own.may_give(grant))) {
                return Err(StoreError::Invalid(format!("the member has not the role {}", grant.role)));
            }
            if Some(member.id) != actor.member_id() {
                require_over(actor, &member.grants)?;
            }
        }
        Ok(self.insert_token(actor, new, "token.create", false).await?.expect("it depends on nothing"))
    }

    /// Makes the first token of a superadmin.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] where a superadmin's token is there already, unless `force`: whoever lost it must get in again.
    pub async fn bootstrap(&self, actor: &Actor, force: bool) -> Result<CreatedToken, StoreError> {
        actor.require(Permission::SystemWrite, &portcullis_core::Scope::All)?;
        let new = NewToken { name: "bootstrap".to_owned(), grants: vec![Grant::SUPERADMIN], ..NewToken::default() };
        let action = if force { "admin.recover" } else { "admin.bootstrap" };
        let created = self.insert_token(actor, new, action, !force).await?;
        created.ok_or_else(|| StoreError::Invalid("there is a superadmin's token already".to_owned()))
    }

    async fn insert_token(
        &self,
        actor: &Actor,
        new: NewToken,
        action: &str,
        first: bool,
    ) -> Result<Option<CreatedToken>, StoreError> {
        let now_ms = self.clock().now_ms();
        if new.expires_ms.is_some_and(|expires| expires <= now_ms) {
            return Err(StoreError::Invalid("it would have expired already".to_owned()));
        }
        let (id, secret) = {
            let mut rng = rand::rng();
            (TokenId::new(now_ms, &mut rng), AdminSecret::generate(&mut rng))
        };
        let record = TokenRecord {
            id,
            prefix: secret.prefix().to_owned(),
            name: checked_name(&new.name)?,
            grants: new.grants,
            member: new.member,
            created_ms: now_ms,
            expires_ms: new.expires_ms,
            revoked_ms: None,
            last_used_ms: None,
            version: 1,
        };
        let event = NewEvent::new(actor, now_ms, record.organisation(), action, id).changed(None, told(&record));
        let written = self.backend().insert_token(secret.hash(), &record, first, &event).await?;
        Ok(written.then_some(CreatedToken { record, secret }))
    }

    /// Every token, revoked ones too, oldest first.
    pub async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        self.backend().tokens().await
    }

    /// The token with this id (`tok_…`) or this beginning (`pca_Ab12`).
    pub async fn token(&self, id_or_prefix: &str) -> Result<TokenRecord, StoreError> {
        let not_found = StoreError::NotFound { what: "token" };
        if let Ok(id) = id_or_prefix.parse::<TokenId>() {
            return self.backend().token(id).await?.ok_or(not_found);
        }
        let prefix = AdminSecret::shown(id_or_prefix).unwrap_or(id_or_prefix);
        if prefix.is_empty() {
            return Err(not_found);
        }
        let mut found = self.tokens().await?;
        found.retain(|token| token.prefix.starts_with(prefix));
        match found.len() {
            0 => Err(not_found),
            1 => Ok(found.remove(0)),
            found => Err(StoreError::Ambiguous { what: "token", found }),
        }
    }

    /// Revokes a token, at once and for good.
    pub async fn revoke_token(&self, actor: &Actor, id: TokenId) -> Result<TokenRecord, StoreError> {
        for _ in 0..RETRIES {
            let before = self.token(&id.to_string()).await?;
            if before.member.is_none() || before.member != actor.member_id() {
                for grant in &before.grants {
                    actor.require(Permission::TokensWrite, &grant.scope)?;
                }
                require_over(actor, &before.grants)?;
            }
            if before.revoked_ms.is_some() {
                return Ok(before);
            }
            let now_ms = self.clock().now_ms();
            let after = TokenRecord { revoked_ms: Some(now_ms), version: before.version + 1, ..before.clone() };
            let event = NewEvent::new(actor, now_ms, before.organisation(), "token.revoke", id)
                .changed(told(&before), told(&after));
            if self.backend().update_token(&after, &event).await? {
                return Ok(after);
            }
        }
        Err(StoreError::Contended { what: "token" })
    }

    /// Revokes the token of this secret, where there is one: its bearer needs it no more.
    pub async fn end_token(&self, actor: &Actor, presented: &str) -> Result<(), StoreError> {
        if AdminSecret::has_shape(presented)
            && let Some(record) = self.backend().token_by_hash(KeyHash::of(presented)).await?
        {
            self.revoke_token(actor, record.id).await?;
        }
        Ok(())
    }

    /// Who shows this token, with what they may do now. One read of the database: a revocation holds at once, everywhere.
    pub async fn authenticate_token(
        &self,
        presented: &str,
        address: Option<IpAddr>,
    ) -> Result<Result<Actor, TokenRefusal>, StoreError> {
        if !AdminSecret::has_shape(presented) {
            return Ok(Err(TokenRefusal::Unknown));
        }
        let Some(record) = self.backend().token_by_hash(KeyHash::of(presented)).await? else {
            return Ok(Err(TokenRefusal::Unknown));
        };
        let now_ms = self.clock().now_ms();
        if let Err(refusal) = record.check(now_ms) {
            return Ok(Err(refusal));
        }
        let mut grants = record.grants;
        let kind = match record.member {
            None => ActorKind::Token(record.id),
            Some(id) => {
                let Some(member) = self.backend().member(id).await? else { return Ok(Err(TokenRefusal::Revoked)) };
                if member.suspended_ms.is_some() {
                    return Ok(Err(TokenRefusal::Suspended));
                }
                grants.retain(|grant| member.grants.iter().any(|own| own.may_give(grant)));
                ActorKind::Member(id)
            }
        };
        if record.last_used_ms.is_none_or(|last| now_ms.saturating_sub(last) >= USED_EVERY_MS) {
            self.backend().token_used(record.id, now_ms).await?;
        }
        Ok(Ok(Actor { kind, address, grants }))
    }
}
