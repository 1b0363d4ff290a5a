//! `portcullis usage`: sums over what was recorded.

use anyhow::Result;
use clap::{Args, ValueEnum};
use portcullis_core::{Clock, SystemClock};
use portcullis_store::{UsageFilter, UsageGroup, UsageRow};
use serde_json::{Value, json};

use crate::{ConfigArgument, running, serve};

#[derive(Args)]
pub struct UsageArguments {
    /// What to group by.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "day,model")]
    by: Vec<Group>,
    /// Only the last so many days.
    #[arg(long)]
    days: Option<u64>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Group {
    Day,
    Provider,
    Model,
    Key,
}

const MS_PER_DAY: u64 = 24 * 60 * 60 * 1000;

pub fn run(argument: &ConfigArgument, arguments: UsageArguments) -> Result<()> {
    let config = argument.load()?.store;
    let filter = UsageFilter {
        since_ms: arguments.days.map(|days| SystemClock.now_ms().saturating_sub(days * MS_PER_DAY)),
        groups: arguments.by.iter().map(group).collect(),
        ..UsageFilter::default()
    };
    let rows =
        serve::async_runtime(1)?.block_on(async { anyhow::Ok(running::open(&config).await?.usage(&filter).await?) })?;
    if arguments.json {
        println!("{}", Value::Array(rows.iter().map(as_json).collect()));
    } else {
        print_table(&rows);
    }
    Ok(())
}

fn group(group: &Group) -> UsageGroup {
    match group {
        Group::Day => UsageGroup::Day,
        Group::Provider => UsageGroup::Provider,
        Group::Model => UsageGroup::Model,
        Group::Key => UsageGroup::Key,
    }
}

fn as_json(row: &UsageRow) -> Value {
    json!({
        "day": row.day,
        "provider": row.provider,
        "model": row.model,
        "key": row.key.map(|key| key.to_string()),
        "requests": row.requests,
        "failed": row.failed,
        "input_tokens": row.usage.total_input(),
        "output_tokens": row.usage.output,
        "cost_nano_usd": row.cost.get(),
        "cost_usd": row.cost.to_string(),
        "unpriced": row.unpriced,
    })
}

fn print_table(rows: &[UsageRow]) {
    println!(
        "{:<44} {:>9} {:>7} {:>12} {:>12} {:>16} {:>8}",
        "", "REQUESTS", "FAILED", "INPUT", "OUTPUT", "USD", "UNPRICED"
    );
    for row in rows {
        let key = row.key.map(|key| key.to_string());
        let names: Vec<&str> =
            [&row.day, &row.provider, &row.model, &key].into_iter().flatten().map(String::as_str).collect();
        println!(
            "{:<44} {:>9} {:>7} {:>12} {:>12} {:>16} {:>8}",
            names.join(" "),
            row.requests,
            row.failed,
            row.usage.total_input(),
            row.usage.output,
            row.cost.to_string(),
            row.unpriced
        );
    }
}
