//! `portcullis export` and `portcullis siem`: how far what goes outside is, and an export run by hand.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use portcullis_core::SystemClock;
use portcullis_gateway::config::{Config, ExportConfig};
use portcullis_gateway::exports::{self, EXPORT, Exported};
use portcullis_gateway::feeds::Desk;
use portcullis_gateway::siem::SIEM;
use portcullis_store::{AuditFilter, AuditPage, Feed, NewEvent, Store};
use serde_json::{Value, json};

use crate::budgets::actor;
use crate::identity::time_ms;
use crate::{ConfigArgument, running, serve, table};

#[derive(Subcommand)]
pub enum ExportAction {
    /// List the exports of the configuration and how far each is.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write the files of an export that are due, without waiting for the next try; or one period's file.
    Run {
        /// Its name in the configuration.
        name: String,
        /// Write the file of the period that this moment is in, as far as it goes: `2026-05-28` or `2026-05-28T20:26:40Z`. The schedule
        /// goes on as if nothing had been written.
        #[arg(long, value_parser = time_ms)]
        at: Option<u64>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
pub enum SiemAction {
    /// List the sinks of the configuration and how far each is.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub fn run(argument: &ConfigArgument, action: ExportAction) -> Result<()> {
    let config = argument.load()?;
    serve::async_runtime(1)?.block_on(async {
        let store = running::open(&config.store).await?;
        match action {
            ExportAction::List { json } => list(&store, &config, json).await,
            ExportAction::Run { name, at, json } => {
                let export = config.export.iter().find(|export| export.name == name);
                let export = export.with_context(|| format!("there is no [[export]] named {name}"))?;
                run_one(store, export, at, json).await
            }
        }
    })
}

async fn list(store: &Store, config: &Config, json: bool) -> Result<()> {
    let feeds = store.feeds().await?;
    let rows: Vec<Value> = config
        .export
        .iter()
        .map(|export| {
            let feed = named(&feeds, EXPORT, &export.name);
            let next = feed.map(|feed| export.period(feed.position));
            let mut row = state(feed);
            row["name"] = json!(export.name);
            row["what"] = json!(export.what.as_str());
            row["format"] = json!(export.format.as_str());
            row["to"] = json!(export.to);
            row["done_until_ms"] = json!(feed.map(|feed| feed.position));
            row["files"] = json!(feed.map_or(0, |feed| feed.pieces));
            row["next"] = json!(next.as_ref().map(|next| export.file(next)));
            row["next_ms"] = json!(next.map(|next| export.due_ms(&next)));
            row
        })
        .collect();
    let columns = ["NAME", "WHAT", "TO", "FILES", "LAST", "NEXT", "DUE", "FAILURES", "ERROR"];
    show(rows, json, &columns, |row| {
        vec![
            cell(&row["name"]),
            cell(&row["what"]),
            cell(&row["to"]),
            cell(&row["files"]),
            table::time(row["done_ms"].as_u64()),
            cell(&row["next"]),
            table::time(row["next_ms"].as_u64()),
            cell(&row["failures"]),
            cell(&row["error"]),
        ]
    });
    Ok(())
}

async fn run_one(store: Store, export: &ExportConfig, at: Option<u64>, json: bool) -> Result<()> {
    let clock = Arc::new(SystemClock);
    let (written, failed) = match at {
        Some(at) => {
            let period = export.period(at);
            (vec![exports::write(&store, export, &period).await?], None)
        }
        None => {
            let ran = exports::run(&Desk::new(store.clone(), clock.clone()), export).await?;
            if ran.elsewhere {
                bail!("{}: a gateway is at it; see `portcullis export list`", export.name);
            }
            (ran.written, ran.failed)
        }
    };
    // What left the house stands in the trail under the name of who sent it.
    for Exported { file, rows } in &written {
        let now = portcullis_core::Clock::now_ms(&*clock);
        let event = NewEvent::new(&actor(), now, export.organisation, "export.run", &export.name);
        let after = json!({ "file": file, "to": export.to, "rows": rows });
        store.record_event(&event.changed(None, Some(after))).await?;
    }
    if json {
        let files = written.iter().map(|one| json!({ "file": one.file, "rows": one.rows }));
        println!("{}", Value::Array(files.collect()));
    } else if written.is_empty() && failed.is_none() {
        println!("nothing is due");
    } else {
        for one in &written {
            println!("wrote {} to {}, {} rows", one.file, export.to, one.rows);
        }
    }
    match failed {
        Some(error) => Err(error).context(export.name.clone()),
        None => Ok(()),
    }
}

pub fn sinks(argument: &ConfigArgument, action: &SiemAction) -> Result<()> {
    let SiemAction::List { json } = action;
    let config = argument.load()?;
    serve::async_runtime(1)?.block_on(async {
        let store = running::open(&config.store).await?;
        let feeds = store.feeds().await?;
        let newest = store.audit_events(&AuditFilter::default(), AuditPage::Before(None, 1)).await?;
        let newest = newest.first().map_or(0, |event| event.seq);
        let rows: Vec<Value> = config
            .siem
            .iter()
            .map(|sink| {
                let feed = named(&feeds, SIEM, &sink.name);
                let mut row = state(feed);
                row["name"] = json!(sink.name);
                row["url"] = json!(sink.webhook.url);
                row["delivered"] = json!(feed.map_or(0, |feed| feed.pieces));
                row["last_seq"] = json!(feed.map(|feed| feed.position));
                row["behind"] = json!(feed.map(|feed| newest.saturating_sub(feed.position)));
                row
            })
            .collect();
        let columns = ["NAME", "URL", "DELIVERED", "LAST SEQ", "BEHIND", "LAST", "FAILURES", "ERROR"];
        show(rows, *json, &columns, |row| {
            vec![
                cell(&row["name"]),
                cell(&row["url"]),
                cell(&row["delivered"]),
                cell(&row["last_seq"]),
                cell(&row["behind"]),
                table::time(row["done_ms"].as_u64()),
                cell(&row["failures"]),
                cell(&row["error"]),
            ]
        });
        Ok(())
    })
}

fn named<'a>(feeds: &'a [Feed], kind: &str, name: &str) -> Option<&'a Feed> {
    feeds.iter().find(|feed| feed.name.strip_prefix(kind) == Some(name))
}

/// What is the same of all that goes outside.
fn state(feed: Option<&Feed>) -> Value {
    json!({
        "done_ms": feed.and_then(|feed| feed.done_ms),
        "failures": feed.map_or(0, |feed| feed.failures),
        "error": feed.and_then(|feed| feed.error.clone()),
        "again_ms": feed.filter(|feed| feed.failures > 0).map(|feed| feed.due_ms),
    })
}

fn show(rows: Vec<Value>, json: bool, columns: &[&str], cells: impl Fn(&Value) -> Vec<String>) {
    if json {
        println!("{}", Value::Array(rows));
    } else {
        table::print(columns, &rows.iter().map(cells).collect::<Vec<_>>());
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
