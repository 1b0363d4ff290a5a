//! Who may do what: roles, the permissions each has, and the scope within which it has them.
//!
//! A role says what, a scope says where; a [`Grant`] is both. Nothing here knows a database: whoever acts holds grants, and
//! [`Grant::allows`] is the one place that decides.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{OrganisationId, TeamId};

macro_rules! named {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Stable; the database, the admin API and the command line hold it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, UnknownName> {
                Self::ALL.iter().copied().find(|one| one.as_str() == text).ok_or(UnknownName { what: $what, names: &[$($text),+] })
            }
        }
    };
}

/// A word that names no role or permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is one of {}", names.join(", "))]
pub struct UnknownName {
    what: &'static str,
    names: &'static [&'static str],
}

named!(
    /// What a member or a token is.
    Role, "a role" {
        /// Everything, everywhere.
        Superadmin = "superadmin",
        /// Everything within an organisation, but for making, suspending and deleting organisations.
        OrganisationAdmin = "organisation-admin",
        /// A team: its keys and its people.
        TeamAdmin = "team-admin",
        /// Money: budgets, prices, usage, exports.
        Billing = "billing",
        /// Reads everything but what people said, changes nothing.
        Auditor = "auditor",
        /// Reads what concerns their own work, and makes keys of their own.
        Developer = "developer",
    }
);

named!(
    /// One thing that may or may not be done.
    Permission, "a permission" {
        /// Organisations and their policies may be read.
        OrganisationsRead = "organisations.read",
        /// Name and policy of an organisation may be changed.
        OrganisationsEdit = "organisations.edit",
        /// Organisations may be made, suspended, restored and deleted.
        OrganisationsManage = "organisations.manage",
        TeamsRead = "teams.read",
        /// Name and policy of a team may be changed.
        TeamsEdit = "teams.edit",
        /// Teams may be made, suspended, restored and deleted.
        TeamsManage = "teams.manage",
        KeysRead = "keys.read",
        KeysWrite = "keys.write",
        /// Keys of one's own: made, rotated, revoked.
        KeysOwn = "keys.own",
        MembersRead = "members.read",
        MembersWrite = "members.write",
        TokensRead = "tokens.read",
        TokensWrite = "tokens.write",
        ConnectionsRead = "connections.read",
        ConnectionsWrite = "connections.write",
        BudgetsRead = "budgets.read",
        BudgetsWrite = "budgets.write",
        LimitsRead = "limits.read",
        LimitsWrite = "limits.write",
        /// Alerts and where they are sent.
        AlertsRead = "alerts.read",
        AlertsWrite = "alerts.write",
        UsageRead = "usage.read",
        /// Exports may be asked for and scheduled.
        ExportsWrite = "exports.write",
        LedgerRead = "ledger.read",
        /// What is in quarantine may be decided.
        LedgerDecide = "ledger.decide",
        AuditRead = "audit.read",
        /// Request records and receipts, which hold no prompts.
        RequestsRead = "requests.read",
        /// Captured prompts and answers.
        CapturesRead = "captures.read",
        /// Retention, capture and their deletion.
        RecordsWrite = "records.write",
        /// Health, metrics, plugins, configuration, replicas.
        SystemRead = "system.read",
        SystemWrite = "system.write",
    }
);

impl Role {
    /// Whether the role has a permission, within whatever scope it was granted.
    pub const fn allows(self, permission: Permission) -> bool {
        use Permission as P;
        match self {
            Self::Superadmin => true,
            Self::OrganisationAdmin => !matches!(permission, P::OrganisationsManage | P::SystemRead | P::SystemWrite),
            Self::TeamAdmin => matches!(
                permission,
                P::OrganisationsRead
                    | P::TeamsRead
                    | P::TeamsEdit
                    | P::KeysRead
                    | P::KeysWrite
                    | P::KeysOwn
                    | P::MembersRead
                    | P::MembersWrite
                    | P::TokensRead
                    | P::TokensWrite
                    | P::ConnectionsRead
                    | P::BudgetsRead
                    | P::LimitsRead
                    | P::AlertsRead
                    | P::UsageRead
                    | P::RequestsRead
            ),
            Self::Billing => matches!(
                permission,
                P::OrganisationsRead
                    | P::TeamsRead
                    | P::KeysRead
                    | P::BudgetsRead
                    | P::BudgetsWrite
                    | P::LimitsRead
                    | P::AlertsRead
                    | P::AlertsWrite
                    | P::UsageRead
                    | P::ExportsWrite
                    | P::LedgerRead
                    | P::LedgerDecide
            ),
            // Not what people said: that is for whoever runs the organisation.
            Self::Auditor => permission.reads() && !matches!(permission, P::CapturesRead | P::SystemRead),
            Self::Developer => matches!(
                permission,
                P::OrganisationsRead
                    | P::TeamsRead
                    | P::KeysOwn
                    | P::BudgetsRead
                    | P::LimitsRead
                    | P::UsageRead
                    | P::RequestsRead
            ),
        }
    }

    /// Whether a role can be granted within a scope: a superadmin is one everywhere, a team's admin of a team.
    pub const fn fits(self, scope: &Scope) -> bool {
        match self {
            Self::Superadmin => matches!(scope, Scope::All),
            Self::OrganisationAdmin => matches!(scope, Scope::Organisation(_)),
            Self::TeamAdmin => matches!(scope, Scope::Team(..)),
            Self::Billing | Self::Auditor => true,
            Self::Developer => !matches!(scope, Scope::All),
        }
    }

    /// Whether whoever has this role may give another: nobody gives more than they have.
    pub fn may_give(self, other: Self) -> bool {
        Permission::ALL.iter().all(|&permission| self.allows(permission) || !other.allows(permission))
    }
}

impl Permission {
    /// Whether it changes nothing.
    pub const fn reads(self) -> bool {
        use Permission as P;
        matches!(
            self,
            P::OrganisationsRead
                | P::TeamsRead
                | P::KeysRead
                | P::MembersRead
                | P::TokensRead
                | P::ConnectionsRead
                | P::BudgetsRead
                | P::LimitsRead
                | P::AlertsRead
                | P::UsageRead
                | P::LedgerRead
                | P::AuditRead
                | P::RequestsRead
                | P::CapturesRead
                | P::SystemRead
        )
    }
}

/// Where a role holds, and what something belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// The whole installation.
    All,
    Organisation(OrganisationId),
    Team(OrganisationId, TeamId),
}

impl Scope {
    /// The scope of something that belongs to an organisation and perhaps a team of it.
    pub const fn of(organisation: OrganisationId, team: Option<TeamId>) -> Self {
        match team {
            Some(team) => Self::Team(organisation, team),
            None => Self::Organisation(organisation),
        }
    }

    /// Whether all that belongs to `other` belongs to this.
    pub fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::Organisation(own), Self::Organisation(theirs) | Self::Team(theirs, _)) => own == theirs,
            (Self::Team(organisation, team), Self::Team(their_organisation, theirs)) => {
                organisation == their_organisation && team == theirs
            }
            (Self::Organisation(_) | Self::Team(..), _) => false,
        }
    }

    pub const fn organisation(&self) -> Option<OrganisationId> {
        match self {
            Self::All => None,
            Self::Organisation(organisation) | Self::Team(organisation, _) => Some(*organisation),
        }
    }

    pub const fn team(&self) -> Option<TeamId> {
        match self {
            Self::Team(_, team) => Some(*team),
            Self::All | Self::Organisation(_) => None,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Organisation(organisation) => fmt::Display::fmt(organisation, f),
            Self::Team(organisation, team) => write!(f, "{organisation}/{team}"),
        }
    }
}

/// A role within a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "WireGrant", into = "WireGrant")]
pub struct Grant {
    pub role: Role,
    pub scope: Scope,
}

impl Grant {
    /// What the operator's own command line and the gateway itself hold.
    pub const SUPERADMIN: Self = Self { role: Role::Superadmin, scope: Scope::All };

    /// Whether it lets its holder do something to what belongs to `target`.
    ///
    /// A team's people see the organisation that they are in: its name and its policy, for those bind them.
    pub fn allows(&self, permission: Permission, target: &Scope) -> bool {
        if !self.role.allows(permission) {
            return false;
        }
        self.scope.contains(target)
            || (permission == Permission::OrganisationsRead
                && target.team().is_none()
                && target.organisation().is_some()
                && target.organisation() == self.scope.organisation())
    }

    /// Whether its holder may give `other` to somebody.
    pub fn may_give(&self, other: &Self) -> bool {
        self.role.may_give(other.role) && self.scope.contains(&other.scope)
    }
}

#[derive(Serialize, Deserialize)]
struct WireGrant {
    role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    organisation: Option<OrganisationId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    team: Option<TeamId>,
}

impl From<Grant> for WireGrant {
    fn from(grant: Grant) -> Self {
        Self { role: grant.role, organisation: grant.scope.organisation(), team: grant.scope.team() }
    }
}

impl TryFrom<WireGrant> for Grant {
    type Error = &'static str;

    fn try_from(wire: WireGrant) -> Result<Self, Self::Error> {
        let scope = match (wire.organisation, wire.team) {
            (Some(organisation), team) => Scope::of(organisation, team),
            (None, None) => Scope::All,
            (None, Some(_)) => return Err("a team is named with its organisation"),
        };
        Ok(Self { role: wire.role, scope })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_role_may_do() {
        use Permission as P;
        // By role: superadmin, organisation-admin, team-admin, billing, auditor, developer.
        #[rustfmt::skip]
        let table: &[(Permission, [u8; 6])] = &[
            (P::OrganisationsRead,   [1, 1, 1, 1, 1, 1]),
            (P::OrganisationsEdit,   [1, 1, 0, 0, 0, 0]),
            (P::OrganisationsManage, [1, 0, 0, 0, 0, 0]),
            (P::TeamsRead,           [1, 1, 1, 1, 1, 1]),
            (P::TeamsEdit,           [1, 1, 1, 0, 0, 0]),
            (P::TeamsManage,         [1, 1, 0, 0, 0, 0]),
            (P::KeysRead,            [1, 1, 1, 1, 1, 0]),
            (P::KeysWrite,           [1, 1, 1, 0, 0, 0]),
            (P::KeysOwn,             [1, 1, 1, 0, 0, 1]),
            (P::MembersRead,         [1, 1, 1, 0, 1, 0]),
            (P::MembersWrite,        [1, 1, 1, 0, 0, 0]),
            (P::TokensRead,          [1, 1, 1, 0, 1, 0]),
            (P::TokensWrite,         [1, 1, 1, 0, 0, 0]),
            (P::ConnectionsRead,     [1, 1, 1, 0, 1, 0]),
            (P::ConnectionsWrite,    [1, 1, 0, 0, 0, 0]),
            (P::BudgetsRead,         [1, 1, 1, 1, 1, 1]),
            (P::BudgetsWrite,        [1, 1, 0, 1, 0, 0]),
            (P::LimitsRead,          [1, 1, 1, 1, 1, 1]),
            (P::LimitsWrite,         [1, 1, 0, 0, 0, 0]),
            (P::AlertsRead,          [1, 1, 1, 1, 1, 0]),
            (P::AlertsWrite,         [1, 1, 0, 1, 0, 0]),
            (P::UsageRead,           [1, 1, 1, 1, 1, 1]),
            (P::ExportsWrite,        [1, 1, 0, 1, 0, 0]),
            (P::LedgerRead,          [1, 1, 0, 1, 1, 0]),
            (P::LedgerDecide,        [1, 1, 0, 1, 0, 0]),
            (P::AuditRead,           [1, 1, 0, 0, 1, 0]),
            (P::RequestsRead,        [1, 1, 1, 0, 1, 1]),
            (P::CapturesRead,        [1, 1, 0, 0, 0, 0]),
            (P::RecordsWrite,        [1, 1, 0, 0, 0, 0]),
            (P::SystemRead,          [1, 0, 0, 0, 0, 0]),
            (P::SystemWrite,         [1, 0, 0, 0, 0, 0]),
        ];
        assert_eq!(table.iter().map(|(permission, _)| *permission).collect::<Vec<_>>(), Permission::ALL);
        for (permission, allowed) in table {
            for (&role, &expected) in Role::ALL.iter().zip(allowed) {
                assert_eq!(role.allows(*permission), expected == 1, "{role} {permission}");
            }
        }
    }

    #[test]
    fn scopes_contain_what_is_theirs() {
        let [a, b] = [1, 2].map(|byte| OrganisationId::from_bytes([byte; 16]));
        let [s, t] = [3, 4].map(|byte| TeamId::from_bytes([byte; 16]));
        let scopes = [
            Scope::All,
            Scope::Organisation(a),
            Scope::Organisation(b),
            Scope::Team(a, s),
            Scope::Team(a, t),
            Scope::Team(b, s),
        ];
        #[rustfmt::skip]
        let table = [
            [1, 1, 1, 1, 1, 1],
            [0, 1, 0, 1, 1, 0],
            [0, 0, 1, 0, 0, 1],
            [0, 0, 0, 1, 0, 0],
            [0, 0, 0, 0, 1, 0],
            [0, 0, 0, 0, 0, 1],
        ];
        for (wide, row) in scopes.iter().zip(table) {
            for (narrow, expected) in scopes.iter().zip(row) {
                assert_eq!(wide.contains(narrow), expected == 1, "{wide} {narrow}");
            }
        }
        let developer = Grant { role: Role::Developer, scope: Scope::Team(a, s) };
        assert!(developer.allows(Permission::OrganisationsRead, &Scope::Organisation(a)));
        assert!(!developer.allows(Permission::OrganisationsRead, &Scope::Organisation(b)));
        assert!(!developer.allows(Permission::OrganisationsRead, &Scope::Team(a, t)));
        assert!(!developer.allows(Permission::UsageRead, &Scope::Organisation(a)));
    }

    #[test]
    fn nobody_gives_more_than_they_have() {
        use Role as R;
        let given = |role: Role| R::ALL.iter().copied().filter(|&other| role.may_give(other)).collect::<Vec<_>>();
        assert_eq!(given(R::Superadmin), R::ALL);
        assert_eq!(
            given(R::OrganisationAdmin),
            [R::OrganisationAdmin, R::TeamAdmin, R::Billing, R::Auditor, R::Developer]
        );
        assert_eq!(given(R::TeamAdmin), [R::TeamAdmin, R::Developer]);
        assert_eq!(given(R::Developer), [R::Developer]);
        let organisation = OrganisationId::from_bytes([1; 16]);
        let admin = Grant { role: R::OrganisationAdmin, scope: Scope::Organisation(organisation) };
        assert!(!admin.may_give(&Grant { role: R::Billing, scope: Scope::All }));
        assert!(admin.may_give(&Grant { role: R::Billing, scope: Scope::Organisation(organisation) }));
    }

    #[test]
    fn names_read_back() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(*role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
        for permission in Permission::ALL {
            assert_eq!(permission.as_str().parse(), Ok(*permission));
            assert_eq!(permission.as_str().ends_with(".read"), permission.reads(), "{permission}");
        }
        let error = "root".parse::<Role>().unwrap_err().to_string();
        assert!(error.starts_with("a role is one of superadmin, organisation-admin"), "{error}");
    }

    #[test]
    fn a_grant_reads_back_and_a_team_alone_is_none() {
        let (organisation, team) = (OrganisationId::from_bytes([1; 16]), TeamId::from_bytes([2; 16]));
        for scope in [Scope::All, Scope::Organisation(organisation), Scope::Team(organisation, team)] {
            let grant = Grant { role: Role::Billing, scope };
            assert_eq!(serde_json::from_value::<Grant>(serde_json::to_value(grant).unwrap()).unwrap(), grant);
        }
        assert!(serde_json::from_str::<Grant>(&format!(r#"{{"role":"billing","team":"{team}"}}"#)).is_err());
    }
}
