//! `portcullis token`

use anyhow::Result;
use clap::Subcommand;
use portcullis_core::{Clock, SystemClock};
use portcullis_store::{CreatedToken, NewToken, TokenRecord};
use serde_json::{Value, json};

use super::arguments::{grants, in_days, member};
use super::member::roles as shown_roles;
use super::{Desk, cell, done, list, show, value};

#[derive(Subcommand)]
pub enum TokenAction {
    /// Make a token for the admin API. It is shown once.
    Create {
        #[arg(long)]
        name: String,
        /// A role and where: `superadmin`, `auditor`, `organisation-admin@ORG`, `billing@ORG`, `team-admin@ORG/TEAM`; repeat for
        /// more.
        #[arg(long = "role", required = true, value_name = "ROLE")]
        roles: Vec<String>,
        /// Whose it is, by id or e-mail address: it then allows no more than they may.
        #[arg(long)]
        member: Option<String>,
        /// Days until it expires; never by default.
        #[arg(long)]
        expires_in_days: Option<u64>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List tokens.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a token, by its id or the part of it that `list` shows.
    Show {
        token: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a token, at once and for good.
    Revoke {
        token: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub async fn act(Desk { store, actor }: &Desk, action: TokenAction) -> Result<()> {
    match action {
        TokenAction::Create { name, roles, member: whose, expires_in_days, json } => {
            let new = NewToken {
                name,
                grants: grants(store, &roles).await?,
                member: member(store, whose.as_deref()).await?,
                expires_ms: expires_in_days.map(in_days),
            };
            show_secret(&store.create_token(actor, new).await?, json);
        }
        TokenAction::List { json } => {
            let records = store.tokens().await?.iter().map(as_json).collect();
            list(records, json, &["ID", "PREFIX", "STATE", "EXPIRES", "LAST USED", "ROLES", "NAME"], |one| {
                let names = ["id", "prefix", "state", "expires_ms", "last_used_ms", "roles", "name"];
                names.map(|name| cell(one, name)).to_vec()
            });
        }
        TokenAction::Show { token, json } => show(&as_json(&store.token(&token).await?), json),
        TokenAction::Revoke { token, json } => {
            let revoked = store.revoke_token(actor, store.token(&token).await?.id).await?;
            done("revoked", revoked.id, &revoked.name, &as_json(&revoked), json);
        }
    }
    Ok(())
}

pub fn show_secret(created: &CreatedToken, json: bool) {
    if json {
        let mut line = as_json(&created.record);
        line["token"] = json!(created.secret.expose());
        println!("{line}");
    } else {
        println!("{}", created.secret.expose());
        eprintln!("This is the only time the token is shown. Its id is {}.", created.record.id);
    }
}

fn as_json(token: &TokenRecord) -> Value {
    let mut record = value(token);
    record["state"] = token.state(SystemClock.now_ms()).into();
    record["roles"] = shown_roles(&token.grants).into();
    record
}
