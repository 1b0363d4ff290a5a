//! Organisations, teams, members, admin tokens. Each change writes its event in its own transaction.

use portcullis_core::{KeyHash, MemberId, OrganisationId, TeamId, TokenId};

use super::Answer;
use crate::audit::NewEvent;
use crate::identity::{Member, Organisation, Team, TokenRecord};

/// An `update_*` writes a record whose `version` is one above that which it was read with, and is `false` where the row has another
/// by now or is gone; a `delete_*` likewise with the version that was read. [`StoreError::Taken`] where a name is another's,
/// [`StoreError::NoSuchOwner`] where what a record belongs to does not exist, [`StoreError::InUse`] where something refers to what
/// shall be deleted.
///
/// [`StoreError::Taken`]: crate::StoreError::Taken
/// [`StoreError::NoSuchOwner`]: crate::StoreError::NoSuchOwner
/// [`StoreError::InUse`]: crate::StoreError::InUse
pub trait IdentityBackend: Send + Sync + 'static {
    fn insert_organisation<'a>(&'a self, organisation: &'a Organisation, event: &'a NewEvent) -> Answer<'a, ()>;

    /// With `touches_keys`, the organisation's keys get a new revision in the same transaction.
    fn update_organisation<'a>(
        &'a self,
        organisation: &'a Organisation,
        touches_keys: bool,
        event: &'a NewEvent,
    ) -> Answer<'a, bool>;

    fn delete_organisation<'a>(&'a self, id: OrganisationId, version: u64, event: &'a NewEvent) -> Answer<'a, bool>;

    fn organisation(&self, id: OrganisationId) -> Answer<'_, Option<Organisation>>;

    /// By name.
    fn organisations(&self) -> Answer<'_, Vec<Organisation>>;

    fn insert_team<'a>(&'a self, team: &'a Team, event: &'a NewEvent) -> Answer<'a, ()>;

    fn update_team<'a>(&'a self, team: &'a Team, touches_keys: bool, event: &'a NewEvent) -> Answer<'a, bool>;

    fn delete_team<'a>(&'a self, id: TeamId, version: u64, event: &'a NewEvent) -> Answer<'a, bool>;

    fn team(&self, id: TeamId) -> Answer<'_, Option<Team>>;

    /// By name.
    fn teams(&self, organisation: Option<OrganisationId>) -> Answer<'_, Vec<Team>>;

    fn insert_member<'a>(&'a self, member: &'a Member, event: &'a NewEvent) -> Answer<'a, ()>;

    fn update_member<'a>(&'a self, member: &'a Member, event: &'a NewEvent) -> Answer<'a, bool>;

    /// Revokes the member's tokens from `now_ms`, and lets the member's keys go on as nobody's.
    fn delete_member<'a>(&'a self, id: MemberId, version: u64, now_ms: u64, event: &'a NewEvent) -> Answer<'a, bool>;

    fn member(&self, id: MemberId) -> Answer<'_, Option<Member>>;

    /// The address in lower case.
    fn member_by_email<'a>(&'a self, email: &'a str) -> Answer<'a, Option<Member>>;

    fn member_by_subject<'a>(&'a self, issuer: &'a str, subject: &'a str) -> Answer<'a, Option<Member>>;

    /// By address.
    fn members(&self) -> Answer<'_, Vec<Member>>;

    /// With `first`, only where no token of a superadmin is there that holds at the time the new one is made; `false` else.
    fn insert_token<'a>(
        &'a self,
        hash: KeyHash,
        token: &'a TokenRecord,
        first: bool,
        event: &'a NewEvent,
    ) -> Answer<'a, bool>;

    /// Writes what changes of a token: its revocation.
    fn update_token<'a>(&'a self, token: &'a TokenRecord, event: &'a NewEvent) -> Answer<'a, bool>;

    fn token(&self, id: TokenId) -> Answer<'_, Option<TokenRecord>>;

    fn token_by_hash(&self, hash: KeyHash) -> Answer<'_, Option<TokenRecord>>;

    /// Oldest first.
    fn tokens(&self) -> Answer<'_, Vec<TokenRecord>>;

    /// Notes a token's use; it is no change.
    fn token_used(&self, id: TokenId, now_ms: u64) -> Answer<'_, ()>;
}
