//! Organisations.

use std::ops::RangeInclusive;

use portcullis_core::{OrganisationId, Permission, Scope};
use serde::{Deserialize, Serialize};

use super::{RETRIES, checked_name, told};
use crate::actor::Actor;
use crate::audit::NewEvent;
use crate::error::StoreError;
use crate::policy::{AccessPolicy, PolicyOrigin};
use crate::store::Store;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Organisation {
    pub id: OrganisationId,
    /// Unlike every other organisation's.
    pub name: String,
    /// What no key of it may pass.
    pub policy: AccessPolicy,
    /// Milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Since when its keys are refused.
    pub suspended_ms: Option<u64>,
    /// Grows with every change.
    pub version: u64,
    /// How long its requests and receipts are kept; `None` for as long as the configuration says.
    #[serde(default)]
    pub retention_days: Option<u16>,
    /// For how long what its requests ask and are answered is kept, but no longer than their records; `None`, as it begins: not at
    /// all.
    #[serde(default)]
    pub capture_days: Option<u16>,
}

#[derive(Clone, Debug, Default)]
pub struct NewOrganisation {
    pub name: String,
    pub policy: AccessPolicy,
    pub retention_days: Option<u16>,
    pub capture_days: Option<u16>,
}

/// What shall change; `None` stays.
#[derive(Clone, Debug, Default)]
pub struct OrganisationEdit {
    pub name: Option<String>,
    pub policy: Option<AccessPolicy>,
    /// It takes [`Permission::RecordsWrite`]. `Some(None)` for what the configuration says.
    pub retention_days: Option<Option<u16>>,
    /// It takes [`Permission::RecordsWrite`]. What was captured stays for its time; `Some(None)` captures no more.
    pub capture_days: Option<Option<u16>>,
}

/// Days that records may be kept.
pub const RETENTION_DAYS: RangeInclusive<u16> = 7..=365;

/// Days that prompts and answers may be kept.
pub const CAPTURE_DAYS: RangeInclusive<u16> = 1..=365;

/// # Errors
/// [`StoreError::Invalid`] with a sentence.
fn checked_days(days: Option<u16>, range: RangeInclusive<u16>, what: &str) -> Result<Option<u16>, StoreError> {
    let (least, most) = (*range.start(), *range.end());
    match days {
        Some(days) if !range.contains(&days) => {
            Err(StoreError::Invalid(format!("{what} are kept for {least} to {most} days")))
        }
        days => Ok(days),
    }
}

fn checked_retention(days: Option<u16>) -> Result<Option<u16>, StoreError> {
    checked_days(days, RETENTION_DAYS, "records")
}

fn checked_capture(days: Option<u16>) -> Result<Option<u16>, StoreError> {
    checked_days(days, CAPTURE_DAYS, "prompts and answers")
}

impl Store {
    /// Makes an organisation.
    ///
    /// # Errors
    /// [`StoreError::Taken`] where another has its name.
    pub async fn create_organisation(&self, actor: &Actor, new: NewOrganisation) -> Result<Organisation, StoreError> {
        actor.require(Permission::OrganisationsManage, &Scope::All)?;
        new.policy.check(PolicyOrigin::Organisation)?;
        let now_ms = self.clock().now_ms();
        let organisation = Organisation {
            id: OrganisationId::new(now_ms, &mut rand::rng()),
            name: checked_name(&new.name)?,
            policy: new.policy,
            created_ms: now_ms,
            suspended_ms: None,
            version: 1,
            retention_days: checked_retention(new.retention_days)?,
            capture_days: checked_capture(new.capture_days)?,
        };
        let event = NewEvent::new(actor, now_ms, Some(organisation.id), "organisation.create", organisation.id)
            .changed(None, told(&organisation));
        self.backend().insert_organisation(&organisation, &event).await?;
        Ok(organisation)
    }

    /// Every organisation, by name.
    pub async fn organisations(&self) -> Result<Vec<Organisation>, StoreError> {
        self.backend().organisations().await
    }

    /// The organisation with this id (`org_…`) or name.
    pub async fn organisation(&self, id_or_name: &str) -> Result<Organisation, StoreError> {
        let found = match id_or_name.parse::<OrganisationId>() {
            Ok(id) => self.backend().organisation(id).await?,
            Err(_) => self.organisations().await?.into_iter().find(|one| one.name == id_or_name),
        };
        found.ok_or(StoreError::NotFound { what: "organisation" })
    }

    /// Changes name, policy, how long records are kept, or whether prompts and answers are. Keys follow a policy as they follow their own changes.
    pub async fn edit_organisation(
        &self,
        actor: &Actor,
        id: OrganisationId,
        edit: OrganisationEdit,
    ) -> Result<Organisation, StoreError> {
        self.edit_organisation_if(actor, id, edit, |_| true).await
    }

    /// The same, where the organisation is as expected when it is written.
    ///
    /// # Errors
    /// [`StoreError::Changed`] where it is not.
    pub async fn edit_organisation_if(
        &self,
        actor: &Actor,
        id: OrganisationId,
        edit: OrganisationEdit,
        expected: impl Fn(&Organisation) -> bool,
    ) -> Result<Organisation, StoreError> {
        if let Some(policy) = &edit.policy {
            policy.check(PolicyOrigin::Organisation)?;
        }
        let name = edit.name.as_deref().map(checked_name).transpose()?;
        let retention_days = edit.retention_days.map(checked_retention).transpose()?;
        let capture_days = edit.capture_days.map(checked_capture).transpose()?;
        if retention_days.is_some() || capture_days.is_some() {
            actor.require(Permission::RecordsWrite, &Scope::Organisation(id))?;
        }
        let what = (Permission::OrganisationsEdit, "organisation.edit");
        self.change_organisation(actor, id, what, expected, |organisation, _| {
            if let Some(name) = &name {
                organisation.name.clone_from(name);
            }
            if let Some(policy) = &edit.policy {
                organisation.policy.clone_from(policy);
            }
            if let Some(days) = retention_days {
                organisation.retention_days = days;
            }
            if let Some(days) = capture_days {
                organisation.capture_days = days;
            }
        })
        .await
    }

    /// Refuses all its keys from now on, until [`Store::resume_organisation`]. Returns when every process that serves knows.
    pub async fn suspend_organisation(&self, actor: &Actor, id: OrganisationId) -> Result<Organisation, StoreError> {
        let what = (Permission::OrganisationsManage, "organisation.suspend");
        let suspended = self
            .change_organisation(
                actor,
                id,
                what,
                |_| true,
                |organisation, now_ms| {
                    organisation.suspended_ms.get_or_insert(now_ms);
                },
            )
            .await?;
        self.await_replicas().await?;
        Ok(suspended)
    }

    pub async fn resume_organisation(&self, actor: &Actor, id: OrganisationId) -> Result<Organisation, StoreError> {
        let what = (Permission::OrganisationsManage, "organisation.resume");
        self.change_organisation(actor, id, what, |_| true, |organisation, _| organisation.suspended_ms = None).await
    }

    /// Deletes an organisation that nothing refers to.
    ///
    /// # Errors
    /// [`StoreError::InUse`]; a key is never deleted, so an organisation that ever had one stays.
    pub async fn delete_organisation(&self, actor: &Actor, id: OrganisationId) -> Result<Organisation, StoreError> {
        self.delete_organisation_if(actor, id, |_| true).await
    }

    /// The same, where the organisation is as expected when it is deleted.
    ///
    /// # Errors
    /// [`StoreError::Changed`] where it is not.
    pub async fn delete_organisation_if(
        &self,
        actor: &Actor,
        id: OrganisationId,
        expected: impl Fn(&Organisation) -> bool,
    ) -> Result<Organisation, StoreError> {
        actor.require(Permission::OrganisationsManage, &Scope::All)?;
        if id == OrganisationId::DEFAULT {
            return Err(StoreError::Invalid("the default organisation cannot be deleted".to_owned()));
        }
        for _ in 0..RETRIES {
            let before = self.organisation(&id.to_string()).await?;
            if !expected(&before) {
                return Err(StoreError::Changed { what: "organisation" });
            }
            let event = NewEvent::new(actor, self.clock().now_ms(), Some(id), "organisation.delete", id)
                .changed(told(&before), None);
            if self.backend().delete_organisation(id, before.version, &event).await? {
                return Ok(before);
            }
        }
        Err(StoreError::Contended { what: "organisation" })
    }

    async fn change_organisation(
        &self,
        actor: &Actor,
        id: OrganisationId,
        (permission, action): (Permission, &str),
        expected: impl Fn(&Organisation) -> bool,
        change: impl Fn(&mut Organisation, u64),
    ) -> Result<Organisation, StoreError> {
        actor.require(permission, &Scope::Organisation(id))?;
        for _ in 0..RETRIES {
            let before = self.organisation(&id.to_string()).await?;
            if !expected(&before) {
                return Err(StoreError::Changed { what: "organisation" });
            }
            let now_ms = self.clock().now_ms();
            let mut after = before.clone();
            change(&mut after, now_ms);
            if after == before {
                return Ok(before);
            }
            after.version += 1;
            let event = NewEvent::new(actor, now_ms, Some(id), action, id).changed(told(&before), told(&after));
            let records = |one: &Organisation| (one.retention_days, one.capture_days);
            let touches = before.policy != after.policy
                || before.suspended_ms != after.suspended_ms
                || records(&before) != records(&after);
            if self.backend().update_organisation(&after, touches, &event).await? {
                self.keys_changed(touches);
                return Ok(after);
            }
        }
        Err(StoreError::Contended { what: "organisation" })
    }
}
