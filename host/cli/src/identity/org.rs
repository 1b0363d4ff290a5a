//! `portcullis org`

use anyhow::Result;
use clap::Subcommand;
use portcullis_store::{NewOrganisation, Organisation, OrganisationEdit};
use serde_json::Value;

use super::arguments::{CapArguments, PolicyArguments, PolicyName, open};
use super::{Desk, cell, done, list, show, state, value};

#[derive(Subcommand)]
pub enum OrgAction {
    /// Make an organisation.
    Create {
        #[arg(long)]
        name: String,
        #[command(flatten)]
        policy: PolicyArguments,
        #[command(flatten)]
        caps: CapArguments,
        /// Days that its requests and receipts are kept, 7 to 365. Default: as the configuration says.
        #[arg(long, value_name = "DAYS")]
        retention_days: Option<u16>,
        /// Keep what its requests ask and are answered for so many days, 1 to 365, encrypted and after the guards. Default: not at all.
        #[arg(long, value_name = "DAYS")]
        capture_days: Option<u16>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List organisations.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show an organisation, by its id or name.
    Show {
        org: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Rename an organisation, or change what its keys may do: its word stands above theirs.
    Edit {
        org: String,
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        policy: PolicyArguments,
        #[command(flatten)]
        caps: CapArguments,
        /// Say nothing any more of this; repeat for more.
        #[arg(long, value_enum, value_name = "WHAT")]
        any: Vec<PolicyName>,
        /// Days that its requests and receipts are kept, 7 to 365, or `default` for as long as the configuration says.
        #[arg(long, value_name = "DAYS", value_parser = days)]
        retention_days: Option<Days>,
        /// Keep what its requests ask and are answered for so many days, 1 to 365, encrypted and after the guards; `off` to keep no
        /// more of it.
        #[arg(long, value_name = "DAYS", value_parser = capture)]
        capture_days: Option<Days>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Refuse all its keys for the time being.
    Suspend {
        org: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Serve its keys again.
    Resume {
        org: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Delete an organisation that nothing refers to. One that ever had a key stays.
    Delete {
        org: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Days, or a word for none.
#[derive(Clone, Copy)]
pub struct Days(Option<u16>);

fn days(text: &str) -> Result<Days, String> {
    match text {
        "default" => Ok(Days(None)),
        text => text.parse().map(|days| Days(Some(days))).map_err(|_| "a number of days, or `default`".to_owned()),
    }
}

fn capture(text: &str) -> Result<Days, String> {
    match text {
        "off" => Ok(Days(None)),
        text => text.parse().map(|days| Days(Some(days))).map_err(|_| "a number of days, or `off`".to_owned()),
    }
}

pub async fn act(Desk { store, actor }: &Desk, action: OrgAction) -> Result<()> {
    match action {
        OrgAction::Create { name, policy, caps, retention_days, capture_days, json } => {
            let mut policy = policy.policy();
            caps.apply(&mut policy);
            let made = store
                .create_organisation(actor, NewOrganisation { name, policy, retention_days, capture_days })
                .await?;
            done("created", made.id, &made.name, &as_json(&made), json);
        }
        OrgAction::List { json } => {
            let records = store.organisations().await?.iter().map(as_json).collect();
            list(records, json, &["ID", "STATE", "CREATED", "NAME"], |one| {
                ["id", "state", "created_ms", "name"].map(|name| cell(one, name)).to_vec()
            });
        }
        OrgAction::Show { org, json } => show(&as_json(&store.organisation(&org).await?), json),
        OrgAction::Edit { org, name, policy, caps, any, retention_days, capture_days, json } => {
            let found = store.organisation(&org).await?;
            let mut changed = found.policy.clone();
            policy.apply(&mut changed);
            caps.apply(&mut changed);
            open(&mut changed, &any);
            let edit = OrganisationEdit {
                name,
                policy: (changed != found.policy).then_some(changed),
                retention_days: retention_days.map(|Days(days)| days),
                capture_days: capture_days.map(|Days(days)| days),
            };
            let edited = store.edit_organisation(actor, found.id, edit).await?;
            done("edited", edited.id, &edited.name, &as_json(&edited), json);
        }
        OrgAction::Suspend { org, json } => {
            let changed = store.suspend_organisation(actor, store.organisation(&org).await?.id).await?;
            done("suspended", changed.id, &changed.name, &as_json(&changed), json);
        }
        OrgAction::Resume { org, json } => {
            let changed = store.resume_organisation(actor, store.organisation(&org).await?.id).await?;
            done("resumed", changed.id, &changed.name, &as_json(&changed), json);
        }
        OrgAction::Delete { org, json } => {
            let gone = store.delete_organisation(actor, store.organisation(&org).await?.id).await?;
            done("deleted", gone.id, &gone.name, &as_json(&gone), json);
        }
    }
    Ok(())
}

fn as_json(organisation: &Organisation) -> Value {
    let mut record = value(organisation);
    record["state"] = state(organisation.suspended_ms).into();
    record
}
