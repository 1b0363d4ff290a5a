//! `portcullis admin`

use anyhow::{Context, Result};
use clap::Subcommand;
use serde_json::Value;

use super::{Desk, cell, list, token};

#[derive(Subcommand)]
pub enum AdminAction {
    /// Make the first superadmin's token. It is shown once, and refused where there is one already.
    Bootstrap {
        /// Make another all the same: whoever lost theirs must get in again. The audit trail says so.
        #[arg(long)]
        force: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the gateways that serve from this store.
    Replicas {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub async fn act(Desk { store, actor }: &Desk, action: AdminAction) -> Result<()> {
    match action {
        AdminAction::Bootstrap { force, json } => {
            let created = store.bootstrap(actor, force).await;
            token::show_secret(&created.context("`--force` makes another")?, json);
        }
        AdminAction::Replicas { json } => {
            let records = store
                .replicas()
                .await?
                .into_iter()
                .map(|replica| {
                    serde_json::json!({
                        "id": replica.id,
                        "name": replica.name,
                        "started_ms": replica.started_ms,
                        "silent": replica.age_ms,
                        "live": replica.is_live(),
                        "keys_revision": replica.keys_revision,
                    })
                })
                .collect();
            list(records, json, &["ID", "NAME", "STARTED", "SILENT FOR (MS)", "LIVE", "REVISION"], |one: &Value| {
                let names = ["id", "name", "started_ms", "silent", "live", "keys_revision"];
                names.map(|name| cell(one, name)).to_vec()
            });
        }
    }
    Ok(())
}
