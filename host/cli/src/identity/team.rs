//! `portcullis team`

use anyhow::Result;
use clap::{Args, Subcommand};
use portcullis_store::{NewTeam, Team, TeamEdit};
use serde_json::Value;

use super::arguments::{CapArguments, PolicyArguments, PolicyName, open, organisation};
use super::{Desk, cell, done, list, show, state, value};

/// Which team.
#[derive(Args)]
pub struct Named {
    /// Its id or name.
    team: String,
    /// The organisation, by its id or name, where several have a team of this name.
    #[arg(long)]
    org: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Named {
    async fn find(&self, desk: &Desk) -> Result<Team> {
        let within = match &self.org {
            Some(org) => Some(organisation(&desk.store, Some(org)).await?),
            None => None,
        };
        Ok(desk.store.team(within, &self.team).await?)
    }
}

#[derive(Subcommand)]
pub enum TeamAction {
    /// Make a team.
    Create {
        #[arg(long)]
        name: String,
        /// The organisation, by its id or name; the default one where none is named.
        #[arg(long)]
        org: Option<String>,
        #[command(flatten)]
        policy: PolicyArguments,
        #[command(flatten)]
        caps: CapArguments,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List teams.
    List {
        /// Only those of this organisation.
        #[arg(long)]
        org: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a team.
    Show(Named),
    /// Rename a team, or change what its keys may do: its word stands above theirs.
    Edit {
        #[command(flatten)]
        named: Named,
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        policy: PolicyArguments,
        #[command(flatten)]
        caps: CapArguments,
        /// Say nothing any more of this; repeat for more.
        #[arg(long, value_enum, value_name = "WHAT")]
        any: Vec<PolicyName>,
    },
    /// Refuse all its keys for the time being.
    Suspend(Named),
    /// Serve its keys again.
    Resume(Named),
    /// Delete a team that nothing refers to. One that ever had a key stays.
    Delete(Named),
}

pub async fn act(desk: &Desk, action: TeamAction) -> Result<()> {
    let Desk { store, actor } = desk;
    let (what, team, json) = match action {
        TeamAction::Create { name, org, policy, caps, json } => {
            let mut policy = policy.policy();
            caps.apply(&mut policy);
            let organisation = organisation(store, org.as_deref()).await?;
            ("created", store.create_team(actor, NewTeam { organisation, name, policy }).await?, json)
        }
        TeamAction::List { org, json } => {
            let within = match &org {
                Some(org) => Some(organisation(store, Some(org)).await?),
                None => None,
            };
            let records = store.teams(within).await?.iter().map(as_json).collect();
            list(records, json, &["ID", "ORGANISATION", "STATE", "CREATED", "NAME"], |one| {
                ["id", "organisation", "state", "created_ms", "name"].map(|name| cell(one, name)).to_vec()
            });
            return Ok(());
        }
        TeamAction::Show(named) => {
            show(&as_json(&named.find(desk).await?), named.json);
            return Ok(());
        }
        TeamAction::Edit { named, name, policy, caps, any } => {
            let found = named.find(desk).await?;
            let mut changed = found.policy.clone();
            policy.apply(&mut changed);
            caps.apply(&mut changed);
            open(&mut changed, &any);
            let edit = TeamEdit { name, policy: (changed != found.policy).then_some(changed) };
            ("edited", store.edit_team(actor, found.id, edit).await?, named.json)
        }
        TeamAction::Suspend(named) => {
            ("suspended", store.suspend_team(actor, named.find(desk).await?.id).await?, named.json)
        }
        TeamAction::Resume(named) => {
            ("resumed", store.resume_team(actor, named.find(desk).await?.id).await?, named.json)
        }
        TeamAction::Delete(named) => {
            ("deleted", store.delete_team(actor, named.find(desk).await?.id).await?, named.json)
        }
    };
    done(what, team.id, &team.name, &as_json(&team), json);
    Ok(())
}

fn as_json(team: &Team) -> Value {
    let mut record = value(team);
    record["state"] = state(team.suspended_ms).into();
    record
}
