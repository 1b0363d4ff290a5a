//! Who changes something. Every change takes an [`Actor`], is refused where the actor's grants do not allow it, and stands in the
//! audit trail under the actor's name.

use std::net::IpAddr;

use portcullis_core::{Grant, MemberId, Permission, Scope, TokenId};

use crate::error::StoreError;
use crate::identity::Member;

/// Who acts, from where, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    pub kind: ActorKind,
    /// Where they act from; `None` on the machine itself.
    pub address: Option<IpAddr>,
    pub grants: Vec<Grant>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActorKind {
    /// An admin token that is nobody's in particular.
    Token(TokenId),
    /// A person, by login or by a token of their own.
    Member(MemberId),
    /// The command line beside the database: who can open that may do anything. The operating system's name of the user.
    Cli { user: String },
    /// The gateway itself.
    System,
    /// Whoever sends requests with a key, or tries to: the shown part of it where it had one. They change nothing.
    Caller { prefix: Option<String> },
}

impl ActorKind {
    /// As the audit trail has it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::Member(_) => "member",
            Self::Cli { .. } => "cli",
            Self::System => "system",
            Self::Caller { .. } => "caller",
        }
    }

    /// Which of that kind.
    pub fn id(&self) -> Option<String> {
        match self {
            Self::Token(id) => Some(id.to_string()),
            Self::Member(id) => Some(id.to_string()),
            Self::Cli { user } => Some(user.clone()),
            Self::System => None,
            Self::Caller { prefix } => prefix.clone(),
        }
    }
}

impl Actor {
    pub fn cli(user: impl Into<String>) -> Self {
        Self { kind: ActorKind::Cli { user: user.into() }, address: None, grants: vec![Grant::SUPERADMIN] }
    }

    pub fn system() -> Self {
        Self { kind: ActorKind::System, address: None, grants: vec![Grant::SUPERADMIN] }
    }

    /// Whoever sends requests. They are granted nothing.
    pub fn caller(prefix: Option<String>, address: Option<IpAddr>) -> Self {
        Self { kind: ActorKind::Caller { prefix }, address, grants: vec![] }
    }

    /// A person who logged in.
    pub fn member(member: &Member, address: Option<IpAddr>) -> Self {
        Self { kind: ActorKind::Member(member.id), address, grants: member.grants.clone() }
    }

    /// Which person it is, where it is one.
    pub const fn member_id(&self) -> Option<MemberId> {
        match self.kind {
            ActorKind::Member(id) => Some(id),
            _ => None,
        }
    }

    pub fn allows(&self, permission: Permission, target: &Scope) -> bool {
        self.grants.iter().any(|grant| grant.allows(permission, target))
    }

    /// # Errors
    /// [`StoreError::Forbidden`] where no grant allows it.
    pub fn require(&self, permission: Permission, target: &Scope) -> Result<(), StoreError> {
        if self.allows(permission, target) { Ok(()) } else { Err(StoreError::Forbidden { permission }) }
    }

    /// Whether the actor may give a role to somebody.
    pub fn may_give(&self, grant: &Grant) -> bool {
        self.grants.iter().any(|own| own.may_give(grant))
    }
}
