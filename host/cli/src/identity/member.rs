//! `portcullis member`

use anyhow::Result;
use clap::{Args, Subcommand};
use portcullis_store::{Member, MemberEdit, NewMember};
use serde_json::Value;

use super::arguments::grants;
use super::{Desk, cell, done, list, show, state, value};

/// Which member.
#[derive(Args)]
pub struct Named {
    /// Their id or e-mail address.
    member: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
pub enum MemberAction {
    /// Make a member.
    Create {
        #[arg(long)]
        email: String,
        #[arg(long)]
        name: String,
        /// A role and where: `superadmin`, `auditor`, `organisation-admin@ORG`, `billing@ORG`, `team-admin@ORG/TEAM`,
        /// `developer@ORG/TEAM`; repeat for more.
        #[arg(long = "role", required = true, value_name = "ROLE")]
        roles: Vec<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List members.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a member.
    Show(Named),
    /// Change a member's name or roles.
    Edit {
        #[command(flatten)]
        named: Named,
        #[arg(long)]
        name: Option<String>,
        /// A role and where, as in `create`; those named take the place of all there are.
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
    },
    /// Let them do nothing for the time being. Their keys go on.
    Suspend(Named),
    /// Let them act again.
    Resume(Named),
    /// Delete a member; their tokens are revoked, their keys go on as nobody's.
    Delete(Named),
}

pub async fn act(Desk { store, actor }: &Desk, action: MemberAction) -> Result<()> {
    let find = async |named: &Named| store.member(&named.member).await.map(|member| member.id);
    let (what, member, json) = match action {
        MemberAction::Create { email, name, roles, json } => {
            let grants = grants(store, &roles).await?;
            ("created", store.create_member(actor, NewMember { email, name, grants }).await?, json)
        }
        MemberAction::List { json } => {
            let records = store.members().await?.iter().map(as_json).collect();
            list(records, json, &["ID", "EMAIL", "STATE", "LAST SEEN", "ROLES", "NAME"], |one| {
                ["id", "email", "state", "last_seen_ms", "roles", "name"].map(|name| cell(one, name)).to_vec()
            });
            return Ok(());
        }
        MemberAction::Show(named) => {
            show(&as_json(&store.member(&named.member).await?), named.json);
            return Ok(());
        }
        MemberAction::Edit { named, name, roles } => {
            let grants = if roles.is_empty() { None } else { Some(grants(store, &roles).await?) };
            let id = find(&named).await?;
            ("edited", store.edit_member(actor, id, MemberEdit { name, grants }).await?, named.json)
        }
        MemberAction::Suspend(named) => {
            ("suspended", store.suspend_member(actor, find(&named).await?).await?, named.json)
        }
        MemberAction::Resume(named) => ("resumed", store.resume_member(actor, find(&named).await?).await?, named.json),
        MemberAction::Delete(named) => ("deleted", store.delete_member(actor, find(&named).await?).await?, named.json),
    };
    done(what, member.id, &member.email, &as_json(&member), json);
    Ok(())
}

fn as_json(member: &Member) -> Value {
    let mut record = value(member);
    record["state"] = state(member.suspended_ms).into();
    record["roles"] = roles(&member.grants).into();
    record
}

/// Roles as they are named in arguments.
pub fn roles(grants: &[portcullis_core::Grant]) -> String {
    let shown = grants.iter().map(|grant| match grant.scope {
        portcullis_core::Scope::All => grant.role.to_string(),
        scope => format!("{}@{scope}", grant.role),
    });
    shown.collect::<Vec<_>>().join(" ")
}
