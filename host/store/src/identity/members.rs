//! Members: people, and what they may do. A member may hold roles in several organisations; whoever manages one of them sees
//! the member, and may change only what they could have given.

use portcullis_core::{Grant, MemberId, OrganisationId, Permission};
use serde::{Deserialize, Serialize};

use super::{RETRIES, checked_name, require_over, told};
use crate::actor::Actor;
use crate::audit::NewEvent;
use crate::error::StoreError;
use crate::store::Store;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    pub id: MemberId,
    /// In lower case; unlike every other member's.
    pub email: String,
    pub name: String,
    pub grants: Vec<Grant>,
    /// Who vouches for them at login, and under what name there.
    pub issuer: Option<String>,
    pub subject: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Since when they may do nothing.
    pub suspended_ms: Option<u64>,
    /// Their last login.
    pub last_seen_ms: Option<u64>,
    /// Grows with every change.
    pub version: u64,
}

impl Member {
    /// The organisation that their events belong to: the one that all their roles are in.
    pub fn organisation(&self) -> Option<OrganisationId> {
        one_organisation(&self.grants)
    }
}

pub(super) fn one_organisation(grants: &[Grant]) -> Option<OrganisationId> {
    let first = grants.first()?.scope.organisation();
    grants.iter().all(|grant| grant.scope.organisation() == first).then_some(first).flatten()
}

#[derive(Clone, Debug, Default)]
pub struct NewMember {
    pub email: String,
    pub name: String,
    pub grants: Vec<Grant>,
}

/// What shall change; `None` stays.
#[derive(Clone, Debug, Default)]
pub struct MemberEdit {
    pub name: Option<String>,
    pub grants: Option<Vec<Grant>>,
}

fn checked_email(email: &str) -> Result<String, StoreError> {
    let email = email.trim().to_lowercase();
    let shaped = email
        .rsplit_once('@')
        .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.starts_with('.'));
    if !shaped || email.len() > 254 || email.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(StoreError::Invalid(format!("{email:?} is no e-mail address")));
    }
    Ok(email)
}

impl Store {
    /// Makes a member. They need a role at least, and no more than the actor could give.
    ///
    /// # Errors
    /// [`StoreError::Taken`] where another has the address; [`StoreError::NotGiven`].
    pub async fn create_member(&self, actor: &Actor, new: NewMember) -> Result<Member, StoreError> {
        if new.grants.is_empty() {
            return Err(StoreError::Invalid("a member has a role at least".to_owned()));
        }
        for grant in &new.grants {
            actor.require(Permission::MembersWrite, &grant.scope)?;
        }
        self.check_grants(actor, &new.grants).await?;
        let now_ms = self.clock().now_ms();
        let member = Member {
            id: MemberId::new(now_ms, &mut rand::rng()),
            email: checked_email(&new.email)?,
            name: checked_name(&new.name)?,
            grants: new.grants,
            issuer: None,
            subject: None,
            created_ms: now_ms,
            suspended_ms: None,
            last_seen_ms: None,
            version: 1,
        };
        let event = NewEvent::new(actor, now_ms, member.organisation(), "member.create", member.id)
            .changed(None, told(&member));
        self.backend().insert_member(&member, &event).await?;
        Ok(member)
    }

    /// Every member, by address.
    pub async fn members(&self) -> Result<Vec<Member>, StoreError> {
        self.backend().members().await
    }

    /// The member with this id (`mem_…`) or e-mail address.
    pub async fn member(&self, id_or_email: &str) -> Result<Member, StoreError> {
        let found = match id_or_email.parse::<MemberId>() {
            Ok(id) => self.backend().member(id).await?,
            Err(_) => self.backend().member_by_email(&id_or_email.trim().to_lowercase()).await?,
        };
        found.ok_or(StoreError::NotFound { what: "member" })
    }

    /// Changes name or roles. The actor must be able to give what the member holds before and after.
    pub async fn edit_member(&self, actor: &Actor, id: MemberId, edit: MemberEdit) -> Result<Member, StoreError> {
        self.edit_member_if(actor, id, edit, |_| true).await
    }

    /// The same, where the member is as expected when it is written.
    ///
    /// # Errors
    /// [`StoreError::Changed`] where it is not.
    pub async fn edit_member_if(
        &self,
        actor: &Actor,
        id: MemberId,
        edit: MemberEdit,
        expected: impl Fn(&Member) -> bool,
    ) -> Result<Member, StoreError> {
        let name = edit.name.as_deref().map(checked_name).transpose()?;
        if let Some(grants) = &edit.grants {
            if grants.is_empty() {
                return Err(StoreError::Invalid("a member has a role at least: suspend or delete them".to_owned()));
            }
            for grant in grants {
                actor.require(Permission::MembersWrite, &grant.scope)?;
            }
            self.check_grants(actor, grants).await?;
        }
        self.change_member(actor, id, "member.edit", expected, |member, _| {
            if let Some(name) = &name {
                member.name.clone_from(name);
            }
            if let Some(grants) = &edit.grants {
                member.grants.clone_from(grants);
            }
        })
        .await
    }

    /// Lets the member do nothing any more, by login or token. Their keys go on: suspend those too where they must not.
    pub async fn suspend_member(&self, actor: &Actor, id: MemberId) -> Result<Member, StoreError> {
        self.change_member(
            actor,
            id,
            "member.suspend",
            |_| true,
            |member, now_ms| {
                member.suspended_ms.get_or_insert(now_ms);
            },
        )
        .await
    }

    pub async fn resume_member(&self, actor: &Actor, id: MemberId) -> Result<Member, StoreError> {
        self.change_member(actor, id, "member.resume", |_| true, |member, _| member.suspended_ms = None).await
    }

    /// Deletes a member; their tokens are revoked, their keys become nobody's in particular.
    pub async fn delete_member(&self, actor: &Actor, id: MemberId) -> Result<Member, StoreError> {
        self.delete_member_if(actor, id, |_| true).await
    }

    /// The same, where the member is as expected when it is deleted.
    ///
    /// # Errors
    /// [`StoreError::Changed`] where it is not.
    pub async fn delete_member_if(
        &self,
        actor: &Actor,
        id: MemberId,
        expected: impl Fn(&Member) -> bool,
    ) -> Result<Member, StoreError> {
        for _ in 0..RETRIES {
            let before = self.member(&id.to_string()).await?;
            require_writes(actor, &before)?;
            if !expected(&before) {
                return Err(StoreError::Changed { what: "member" });
            }
            let now_ms = self.clock().now_ms();
            let event =
                NewEvent::new(actor, now_ms, before.organisation(), "member.delete", id).changed(told(&before), None);
            if self.backend().delete_member(id, before.version, now_ms, &event).await? {
                return Ok(before);
            }
        }
        Err(StoreError::Contended { what: "member" })
    }

    /// The member whom an issuer vouches for, and notes the login. Who logs in first under an address that is a member's is that
    /// member from then on; so the issuer must have verified the address. `None` where there is no such member, or they are suspended.
    pub async fn member_login(
        &self,
        issuer: &str,
        subject: &str,
        verified_email: Option<&str>,
        address: Option<std::net::IpAddr>,
    ) -> Result<Option<Member>, StoreError> {
        for _ in 0..RETRIES {
            let bound = self.backend().member_by_subject(issuer, subject).await?;
            let found = match (bound, verified_email) {
                (Some(member), _) => Some(member),
                (None, Some(email)) => self
                    .backend()
                    .member_by_email(&email.trim().to_lowercase())
                    .await?
                    .filter(|member| member.issuer.is_none()),
                (None, None) => None,
            };
            let Some(before) = found.filter(|member| member.suspended_ms.is_none()) else { return Ok(None) };
            let now_ms = self.clock().now_ms();
            let mut after = before.clone();
            (after.issuer, after.subject) = (Some(issuer.to_owned()), Some(subject.to_owned()));
            after.last_seen_ms = Some(now_ms);
            after.version += 1;
            let actor = Actor::member(&before, address);
            let event = NewEvent::new(&actor, now_ms, before.organisation(), "member.login", before.id)
                .changed(told(&before), told(&after));
            if self.backend().update_member(&after, &event).await? {
                return Ok(Some(after));
            }
        }
        Err(StoreError::Contended { what: "member" })
    }

    async fn change_member(
        &self,
        actor: &Actor,
        id: MemberId,
        action: &str,
        expected: impl Fn(&Member) -> bool,
        change: impl Fn(&mut Member, u64),
    ) -> Result<Member, StoreError> {
        for _ in 0..RETRIES {
            let before = self.member(&id.to_string()).await?;
            require_writes(actor, &before)?;
            if !expected(&before) {
                return Err(StoreError::Changed { what: "member" });
            }
            let now_ms = self.clock().now_ms();
            let mut after = before.clone();
            change(&mut after, now_ms);
            if after == before {
                return Ok(before);
            }
            after.version += 1;
            let event =
                NewEvent::new(actor, now_ms, after.organisation(), action, id).changed(told(&before), told(&after));
            if self.backend().update_member(&after, &event).await? {
                return Ok(after);
            }
        }
        Err(StoreError::Contended { what: "member" })
    }
}

fn require_writes(actor: &Actor, member: &Member) -> Result<(), StoreError> {
    for grant in &member.grants {
        actor.require(Permission::MembersWrite, &grant.scope)?;
    }
    require_over(actor, &member.grants)
}
