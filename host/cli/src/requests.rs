//! `portcullis request`: records of requests, and how long they live.

use anyhow::{Result, bail};
use clap::Subcommand;
use portcullis_store::Retained;
use serde_json::{Value, json};

use crate::budgets::actor;
use crate::{ConfigArgument, running, serve, table};

#[derive(Subcommand)]
pub enum RequestAction {
    /// Delete what has expired now, as the gateway does every hour: requests and receipts older than their organisation's retention.
    Expire {
        /// Only this organisation's, by its id or name.
        #[arg(long)]
        org: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub fn run(argument: &ConfigArgument, action: RequestAction) -> Result<()> {
    let config = argument.load()?;
    serve::async_runtime(1)?.block_on(async {
        let store = running::open(&config.store).await?;
        match action {
            RequestAction::Expire { org, json } => {
                let only = match org {
                    Some(org) => Some(store.organisation(&org).await?.id),
                    None => None,
                };
                let done = store.retention(actor()).round(config.records.retention_days, only).await?;
                let Some(done) = done else { bail!("another process is at it") };
                expired(&done, json);
            }
        }
        Ok(())
    })
}

fn expired(done: &[Retained], json: bool) {
    let as_json = |one: &Retained| {
        json!({
            "organisation": one.organisation,
            "before_ms": one.before_ms,
            "requests": one.expired.requests,
            "receipt_pages": one.expired.pages,
        })
    };
    if json {
        println!("{}", Value::Array(done.iter().map(as_json).collect()));
        return;
    }
    let row = |one: &Retained| {
        vec![
            one.organisation.to_string(),
            table::time(Some(one.before_ms)),
            one.expired.requests.to_string(),
            one.expired.pages.to_string(),
        ]
    };
    let rows: Vec<_> = done.iter().map(row).collect();
    table::print(&["ORGANISATION", "OLDER THAN", "REQUESTS", "RECEIPT PAGES"], &rows);
}
