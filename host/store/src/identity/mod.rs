//! Organisations, their teams, the people in them, and admin tokens. Every change is checked against its actor's grants and written
//! with its audit event in one transaction; a change that meets another starts again from what that one left.

mod members;
mod organisations;
mod teams;
mod tokens;

pub use members::{Member, MemberEdit, NewMember};
pub use organisations::{CAPTURE_DAYS, NewOrganisation, Organisation, OrganisationEdit, RETENTION_DAYS};
pub use teams::{NewTeam, Team, TeamEdit};
pub use tokens::{CreatedToken, NewToken, TokenRecord, TokenRefusal};

use portcullis_core::Grant;

use crate::actor::Actor;
use crate::error::StoreError;
use crate::store::Store;

/// How often a change that meets another starts again.
pub(crate) const RETRIES: usize = 8;
/// Longest name, bytes.
const NAME: usize = 200;

/// A name that people give.
///
/// # Errors
/// [`StoreError::Invalid`] with a sentence.
pub(crate) fn checked_name(name: &str) -> Result<String, StoreError> {
    let name = name.trim();
    if name.is_empty() || name.len() > NAME || name.chars().any(char::is_control) {
        return Err(StoreError::Invalid(format!("a name has 1 to {NAME} bytes and no control characters")));
    }
    Ok(name.to_owned())
}

/// What is written down of a record: all of it, for none holds a secret.
pub(crate) fn told(record: &impl serde::Serialize) -> Option<serde_json::Value> {
    Some(serde_json::to_value(record).expect("records are plain data"))
}

impl Store {
    /// Whether an actor may give these grants, and whether they can be given at all.
    async fn check_grants(&self, actor: &Actor, grants: &[Grant]) -> Result<(), StoreError> {
        if grants.len() > 100 {
            return Err(StoreError::Invalid("more than 100 roles".to_owned()));
        }
        for (at, grant) in grants.iter().enumerate() {
            if !grant.role.fits(&grant.scope) {
                let place = match grant.scope {
                    portcullis_core::Scope::All => "the whole installation",
                    portcullis_core::Scope::Organisation(_) => "an organisation",
                    portcullis_core::Scope::Team(..) => "a team",
                };
                return Err(StoreError::Invalid(format!("{} is no role within {place}", grant.role)));
            }
            if grants[..at].contains(grant) {
                return Err(StoreError::Invalid("a role is named twice".to_owned()));
            }
            if !actor.may_give(grant) {
                return Err(StoreError::NotGiven { role: grant.role });
            }
            if let Some(team) = grant.scope.team() {
                let found = self.backend().team(team).await?;
                if found.map(|team| team.organisation) != grant.scope.organisation() {
                    return Err(StoreError::NoSuchOwner);
                }
            }
        }
        Ok(())
    }
}

/// Of whoever holds more than oneself, nothing may be changed.
fn require_over(actor: &Actor, grants: &[Grant]) -> Result<(), StoreError> {
    match grants.iter().find(|grant| !actor.may_give(grant)) {
        Some(grant) => Err(StoreError::NotGiven { role: grant.role }),
        None => Ok(()),
    }
}
