//! Teams of organisations.

use portcullis_core::{OrganisationId, Permission, Scope, TeamId};
use serde::{Deserialize, Serialize};

use super::{RETRIES, checked_name, told};
use crate::actor::Actor;
use crate::audit::NewEvent;
use crate::error::StoreError;
use crate::policy::{AccessPolicy, PolicyOrigin};
use crate::store::Store;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Team {
    pub id: TeamId,
    pub organisation: OrganisationId,
    /// Unlike every other team's of the organisation.
    pub name: String,
    /// What no key of it may pass.
    pub policy: AccessPolicy,
    /// Milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Since when its keys are refused.
    pub suspended_ms: Option<u64>,
    /// Grows with every change.
    pub version: u64,
}

impl Team {
    pub const fn scope(&self) -> Scope {
        Scope::Team(self.organisation, self.id)
    }
}

#[derive(Clone, Debug)]
pub struct NewTeam {
    pub organisation: OrganisationId,
    pub name: String,
    pub policy: AccessPolicy,
}

/// What shall change; `None` stays.
#[derive(Clone, Debug, Default)]
pub struct TeamEdit {
    pub name: Option<String>,
    pub policy: Option<AccessPolicy>,
}

impl Store {
    /// Makes a team.
    ///
    /// # Errors
    /// [`StoreError::Taken`] where another of the organisation has its name; [`StoreError::NoSuchOwner`].
    pub async fn create_team(&self, actor: &Actor, new: NewTeam) -> Result<Team, StoreError> {
        actor.require(Permission::TeamsManage, &Scope::Organisation(new.organisation))?;
        new.policy.check(PolicyOrigin::Team)?;
        let now_ms = self.clock().now_ms();
        let team = Team {
            id: TeamId::new(now_ms, &mut rand::rng()),
            organisation: new.organisation,
            name: checked_name(&new.name)?,
            policy: new.policy,
            created_ms: now_ms,
            suspended_ms: None,
            version: 1,
        };
        let event =
            NewEvent::new(actor, now_ms, Some(team.organisation), "team.create", team.id).changed(None, told(&team));
        self.backend().insert_team(&team, &event).await?;
        Ok(team)
    }

    /// The teams of an organisation, or of all, by name.
    pub async fn teams(&self, organisation: Option<OrganisationId>) -> Result<Vec<Team>, StoreError> {
        self.backend().teams(organisation).await
    }

    /// The team with this id (`team_…`), or of this name in an organisation.
    pub async fn team(&self, organisation: Option<OrganisationId>, id_or_name: &str) -> Result<Team, StoreError> {
        let not_found = StoreError::NotFound { what: "team" };
        if let Ok(id) = id_or_name.parse::<TeamId>() {
            let found = self.backend().team(id).await?;
            let found = found.filter(|team| organisation.is_none_or(|organisation| organisation == team.organisation));
            return found.ok_or(not_found);
        }
        let mut named = self.teams(organisation).await?;
        named.retain(|team| team.name == id_or_name);
        match named.len() {
            0 => Err(not_found),
            1 => Ok(named.remove(0)),
            found => Err(StoreError::Ambiguous { what: "team", found }),
        }
    }

    /// Changes name or policy. Keys follow a policy as they follow their own changes.
    pub async fn edit_team(&self, actor: &Actor, id: TeamId, edit: TeamEdit) -> Result<Team, StoreError> {
        self.edit_team_if(actor, id, edit, |_| true).await
    }

    /// The same, where the team is as expected when it is written.
    ///
    /// # Errors
    /// [`StoreError::Changed`] where it is not.
    pub async fn edit_team_if(
        &self,
        actor: &Actor,
        id: TeamId,
        edit: TeamEdit,
        expected: impl Fn(&Team) -> bool,
    ) -> Result<Team, StoreError> {
        if let Some(policy) = &edit.policy {
            policy.check(PolicyOrigin::Team)?;
        }
        let name = edit.name.as_deref().map(checked_name).transpose()?;
        self.change_team(actor, id, (Permission::TeamsEdit, "team.edit"), expected, |team, _| {
            if let Some(name) = &name {
                team.name.clone_from(name);
            }
            if let Some(policy) = &edit.policy {
                team.policy.clone_from(policy);
            }
        })
        .await
    }

    /// Refuses all its keys from now on, until [`Store::resume_team`]. Returns when every process that serves knows.
    pub async fn suspend_team(&self, actor: &Actor, id: TeamId) -> Result<Team, StoreError> {
        let what = (Permission::TeamsManage, "team.suspend");
        let suspended = self
            .change_team(
                actor,
                id,
                what,
                |_| true,
                |team, now_ms| {
                    team.suspended_ms.get_or_insert(now_ms);
                },
            )
            .await?;
        self.await_replicas().await?;
        Ok(suspended)
    }

    pub async fn resume_team(&self, actor: &Actor, id: TeamId) -> Result<Team, StoreError> {
        let what = (Permission::TeamsManage, "team.resume");
        self.change_team(actor, id, what, |_| true, |team, _| team.suspended_ms = None).await
    }

    /// Deletes a team that nothing refers to.
    ///
    /// # Errors
    /// [`StoreError::InUse`]; a key is never deleted, so a team that ever had one stays.
    pub async fn delete_team(&self, actor: &Actor, id: TeamId) -> Result<Team, StoreError> {
        self.delete_team_if(actor, id, |_| true).await
    }

    /// The same, where the team is as expected when it is deleted.
    ///
    /// # Errors
    /// [`StoreError::Changed`] where it is not.
    pub async fn delete_team_if(
        &self,
        actor: &Actor,
        id: TeamId,
        expected: impl Fn(&Team) -> bool,
    ) -> Result<Team, StoreError> {
        for _ in 0..RETRIES {
            let before = self.team(None, &id.to_string()).await?;
            actor.require(Permission::TeamsManage, &before.scope())?;
            if !expected(&before) {
                return Err(StoreError::Changed { what: "team" });
            }
            let event = NewEvent::new(actor, self.clock().now_ms(), Some(before.organisation), "team.delete", id)
                .changed(told(&before), None);
            if self.backend().delete_team(id, before.version, &event).await? {
                return Ok(before);
            }
        }
        Err(StoreError::Contended { what: "team" })
    }

    async fn change_team(
        &self,
        actor: &Actor,
        id: TeamId,
        (permission, action): (Permission, &str),
        expected: impl Fn(&Team) -> bool,
        change: impl Fn(&mut Team, u64),
    ) -> Result<Team, StoreError> {
        for _ in 0..RETRIES {
            let before = self.team(None, &id.to_string()).await?;
            actor.require(permission, &before.scope())?;
            if !expected(&before) {
                return Err(StoreError::Changed { what: "team" });
            }
            let now_ms = self.clock().now_ms();
            let mut after = before.clone();
            change(&mut after, now_ms);
            if after == before {
                return Ok(before);
            }
            after.version += 1;
            let event = NewEvent::new(actor, now_ms, Some(before.organisation), action, id)
                .changed(told(&before), told(&after));
            let touches = before.policy != after.policy || before.suspended_ms != after.suspended_ms;
            if self.backend().update_team(&after, touches, &event).await? {
                self.keys_changed(touches);
                return Ok(after);
            }
        }
        Err(StoreError::Contended { what: "team" })
    }
}
