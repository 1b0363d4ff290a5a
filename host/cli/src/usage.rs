//! `portcullis usage`: sums over what was recorded, shown or as a file.

use std::io::{Seek, SeekFrom};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand, ValueEnum};
use portcullis_core::{Clock, SystemClock};
use portcullis_export::{Destination, Format, S3Options, Sheet, usage_columns, usage_row};
use portcullis_store::{UsageFilter, UsageGroup, UsageRow};
use serde_json::{Value, json};

use crate::{ConfigArgument, running, serve};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct UsageArguments {
    #[command(subcommand)]
    action: Option<UsageAction>,
    #[command(flatten)]
    which: Which,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
pub enum UsageAction {
    /// Write the sums as a file: to standard output, into a folder, or to S3-compatible storage.
    Export {
        #[command(flatten)]
        which: Which,
        /// csv, jsonl or parquet.
        #[arg(long, default_value = "csv")]
        format: Format,
        /// A folder, or `s3://BUCKET/PREFIX`; the credentials are looked for where AWS's own tools look. Standard output by default.
        #[arg(long)]
        to: Option<String>,
        /// The server of storage that is not Amazon's.
        #[arg(long, requires = "to")]
        s3_endpoint: Option<String>,
        /// The file's name; by default `usage.` and the format.
        #[arg(long, requires = "to")]
        name: Option<String>,
    },
}

/// Which requests are summed, and how.
#[derive(Args)]
pub struct Which {
    /// What to group by.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "day,model")]
    by: Vec<Group>,
    /// The tag whose values are meant by `--by tag`.
    #[arg(long)]
    tag: Option<String>,
    /// Only the last so many days.
    #[arg(long, conflicts_with_all = ["since", "until"])]
    days: Option<u64>,
    /// Only from this day on (UTC, as 2026-01-31).
    #[arg(long, value_parser = day)]
    since: Option<u64>,
    /// Only until the end of this day (UTC).
    #[arg(long, value_parser = day)]
    until: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    Day,
    Organisation,
    Team,
    Key,
    User,
    Environment,
    Provider,
    Model,
    Tag,
}

const MS_PER_DAY: u64 = 24 * 60 * 60 * 1000;

impl Which {
    fn filter(&self) -> Result<UsageFilter> {
        ensure!(self.by.contains(&Group::Tag) == self.tag.is_some(), "`--by tag` and `--tag NAME` go together");
        let last = self.days.map(|days| SystemClock.now_ms().saturating_sub(days * MS_PER_DAY));
        Ok(UsageFilter {
            since_ms: self.since.or(last),
            until_ms: self.until.map(|start| start + MS_PER_DAY),
            groups: self.by.iter().map(group).collect(),
            tag: self.tag.clone(),
            ..UsageFilter::default()
        })
    }
}

pub fn run(argument: &ConfigArgument, arguments: UsageArguments) -> Result<()> {
    let config = argument.load()?.store;
    let which = match &arguments.action {
        Some(UsageAction::Export { which, .. }) => which,
        None => &arguments.which,
    };
    let filter = which.filter()?;
    serve::async_runtime(1)?.block_on(async {
        let rows = running::open(&config).await?.usage(&filter).await?;
        match arguments.action {
            Some(UsageAction::Export { format, to: None, .. }) => {
                write(format, &filter, rows, std::io::stdout()).map(|_| ())
            }
            Some(UsageAction::Export { format, to: Some(address), s3_endpoint, name, .. }) => {
                let s3 = S3Options { endpoint: s3_endpoint, ..S3Options::default() };
                let destination = Destination::open(&address, &s3)?;
                let mut file = write(format, &filter, rows, tempfile::tempfile().context("a temporary file")?)?;
                file.seek(SeekFrom::Start(0))?;
                let name = name.unwrap_or_else(|| format!("usage.{format}"));
                destination.put(&name, file).await?;
                eprintln!("wrote {name} to {destination}");
                Ok(())
            }
            None if arguments.json => {
                println!("{}", Value::Array(rows.iter().map(as_json).collect()));
                Ok(())
            }
            None => {
                print_table(&rows);
                Ok(())
            }
        }
    })
}

fn write<W: std::io::Write + Send>(format: Format, filter: &UsageFilter, rows: Vec<UsageRow>, out: W) -> Result<W> {
    let mut sheet = Sheet::new(format, usage_columns(&filter.groups, filter.tag.as_deref()), out)?;
    for row in rows {
        sheet.row(usage_row(&filter.groups, row))?;
    }
    Ok(sheet.finish()?)
}

fn group(group: &Group) -> UsageGroup {
    match group {
        Group::Day => UsageGroup::Day,
        Group::Organisation => UsageGroup::Organisation,
        Group::Team => UsageGroup::Team,
        Group::Key => UsageGroup::Key,
        Group::User => UsageGroup::User,
        Group::Environment => UsageGroup::Environment,
        Group::Provider => UsageGroup::Provider,
        Group::Model => UsageGroup::Model,
        Group::Tag => UsageGroup::Tag,
    }
}

/// The first millisecond of a day.
fn day(text: &str) -> Result<u64, String> {
    let day = portcullis_core::price::parse_day(text).map_err(|_| "a day is like 2026-01-31".to_owned())?;
    u64::try_from(day.midnight().assume_utc().unix_timestamp() * 1000).map_err(|_| "a day is one since 1970".to_owned())
}

fn as_json(row: &UsageRow) -> Value {
    json!({
        "day": row.day,
        "organisation": row.organisation,
        "team": row.team,
        "key": row.key,
        "user": row.user,
        "environment": row.environment,
        "provider": row.provider,
        "model": row.model,
        "tag": row.tag,
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
        let organisation = row.organisation.map(|id| id.to_string());
        let team = row.team.map(|id| id.to_string());
        let key = row.key.map(|id| id.to_string());
        let labels =
            [&row.day, &organisation, &team, &key, &row.user, &row.environment, &row.provider, &row.model, &row.tag];
        let names: Vec<&str> = labels.into_iter().flatten().map(String::as_str).collect();
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
