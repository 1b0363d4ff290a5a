//! `portcullis request`: records of requests, and how long they live.

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use portcullis_core::receipt::Tag;
use portcullis_core::{Clock, Environment, NanoUsd, RequestId, SystemClock};
use portcullis_store::{CapturedContent, CapturedPart, RequestFilter, RequestRecord, Retained, Store};
use serde_json::{Value, json};

use crate::budgets::actor;
use crate::{ConfigArgument, running, serve, table};

#[derive(Subcommand)]
pub enum RequestAction {
    /// List requests, the newest first, denied ones too.
    List {
        #[command(flatten)]
        which: Box<Which>,
        /// Only those older than this one: the last of the page before.
        #[arg(long, value_name = "REQUEST")]
        before: Option<RequestId>,
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a request and its receipt, as JSON.
    Show { request: RequestId },
    /// Show what a request said and was answered, where its organisation has that kept. The audit trail says who read it.
    Content {
        request: RequestId,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Delete what was kept of what a request said and was answered. Its record stays.
    Forget { request: RequestId },
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

/// Which requests. What is not said matches everything.
#[derive(Args)]
pub struct Which {
    /// Only this organisation's, by its id or name.
    #[arg(long)]
    org: Option<String>,
    /// Only this team's, by its id or name.
    #[arg(long)]
    team: Option<String>,
    /// Only this key's, by its id or the part of it that is shown.
    #[arg(long)]
    key: Option<String>,
    /// Only this end user's.
    #[arg(long)]
    user: Option<String>,
    /// production or development.
    #[arg(long)]
    environment: Option<Environment>,
    #[arg(long)]
    provider: Option<String>,
    /// The model that answered, else the one asked for.
    #[arg(long)]
    model: Option<String>,
    #[arg(long, value_name = "NAME:VALUE", value_parser = tag)]
    tag: Option<Tag>,
    /// One HTTP status, or from one to another: `200`, `400-499`.
    #[arg(long, value_parser = status)]
    status: Option<(u16, u16)>,
    /// ok, denied, blocked, failed, client-gone or cut.
    #[arg(long)]
    outcome: Option<String>,
    /// The code of a refusal or failure: budget_exceeded, …
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// What policies said: allow (also where none was asked), constrain, or a denial's code.
    #[arg(long, value_name = "VERDICT")]
    policy: Option<String>,
    /// The client's own `x-request-id`.
    #[arg(long, value_name = "ID")]
    correlation: Option<String>,
    /// USD that it cost at least.
    #[arg(long, value_name = "USD")]
    cost_from: Option<NanoUsd>,
    /// USD at most.
    #[arg(long, value_name = "USD")]
    cost_to: Option<NanoUsd>,
    /// Milliseconds that it took at least.
    #[arg(long, value_name = "MS")]
    ms_from: Option<u64>,
    /// Milliseconds at most.
    #[arg(long, value_name = "MS")]
    ms_to: Option<u64>,
    /// Only the last so many days.
    #[arg(long, conflicts_with_all = ["since_ms", "until_ms"])]
    days: Option<u64>,
    /// From this time on, milliseconds since the Unix epoch.
    #[arg(long)]
    since_ms: Option<u64>,
    /// Before this time.
    #[arg(long)]
    until_ms: Option<u64>,
}

const MS_PER_DAY: u64 = 24 * 60 * 60 * 1000;

fn tag(text: &str) -> Result<Tag, &'static str> {
    let (name, value) = text.split_once(':').ok_or("a tag is NAME:VALUE")?;
    Ok(Tag { name: name.to_owned(), value: value.to_owned() })
}

fn status(text: &str) -> Result<(u16, u16), &'static str> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse().map_err(|_| "a status, or two with a `-` between them");
    Ok((number(from)?, number(to)?))
}

impl Which {
    async fn filter(self, store: &Store) -> Result<RequestFilter> {
        let organisation = match &self.org {
            Some(org) => Some(store.organisation(org).await?.id),
            None => None,
        };
        let team = match &self.team {
            Some(team) => Some(store.team(organisation, team).await?.id),
            None => None,
        };
        let key = match &self.key {
            Some(key) => Some(store.key(key).await?.id),
            None => None,
        };
        let us = |ms: Option<u64>| ms.map(|ms| ms.saturating_mul(1_000));
        Ok(RequestFilter {
            since_ms: self.since_ms.or(self.days.map(|days| SystemClock.now_ms().saturating_sub(days * MS_PER_DAY))),
            until_ms: self.until_ms,
            organisation,
            team,
            key,
            user: self.user,
            environment: self.environment,
            provider: self.provider,
            model: self.model,
            outcome: self.outcome,
            status_from: self.status.map(|(from, _)| from),
            status_to: self.status.map(|(_, to)| to),
            tag: self.tag,
            reason: self.reason,
            policy: self.policy,
            correlation: self.correlation,
            cost_from: self.cost_from,
            cost_to: self.cost_to,
            us_from: us(self.ms_from),
            us_to: us(self.ms_to),
            before: None,
        })
    }
}

pub fn run(argument: &ConfigArgument, action: RequestAction) -> Result<()> {
    let config = argument.load()?;
    serve::async_runtime(1)?.block_on(async {
        let store = running::open(&config.store).await?;
        match action {
            RequestAction::List { which, before, limit, json } => {
                let filter = RequestFilter { before, ..which.filter(&store).await? };
                list(&store.requests(&filter, limit).await?, json);
            }
            RequestAction::Show { request } => {
                let found = record(&store, request).await?;
                let receipt = store.receipt_of(&found).await?;
                let mut shown = as_json(&found);
                shown["receipt"] = receipt.and_then(|receipt| serde_json::from_str::<Value>(&receipt).ok()).into();
                println!("{shown:#}");
            }
            RequestAction::Content { request, json } => {
                let captures = running::captures(&store, &config)?;
                let found = captures.read(&actor(), &record(&store, request).await?).await?;
                let Some(found) = found else { bail!("nothing was kept of it") };
                content(found, json);
            }
            RequestAction::Forget { request } => {
                let captures = running::captures(&store, &config)?;
                ensure!(captures.delete(&actor(), &record(&store, request).await?).await?, "nothing was kept of it");
                println!("forgot what {request} said");
            }
            RequestAction::Expire { org, json } => {
                let only = match org {
                    Some(org) => Some(store.organisation(&org).await?.id),
                    None => None,
                };
                let done = store.retention(actor()).round(config.records.retention_days, only).await?;
                let Some(done) = done else { bail!("another process is at it") };
                running::captures(&store, &config)?.sweep().await?;
                expired(&done, json);
            }
        }
        Ok(())
    })
}

async fn record(store: &Store, request: RequestId) -> Result<RequestRecord> {
    store.request(request).await?.context("no request with this id")
}

fn content(CapturedContent { request, answer }: CapturedContent, json: bool) {
    if json {
        let part = |part: CapturedPart| {
            let (length, cut) = (part.length, part.is_cut());
            match part.into_text() {
                Ok(text) => json!({"text": text, "length": length, "cut": cut}),
                Err(bytes) => json!({"base64": STANDARD.encode(bytes), "length": length, "cut": cut}),
            }
        };
        println!("{}", json!({"request": part(request), "answer": answer.map(part)}));
        return;
    }
    let show = |what: &str, part: CapturedPart| {
        let cut = if part.is_cut() { format!(", the first {}", part.bytes.len()) } else { String::new() };
        println!("--- {what}: {} bytes{cut}", part.length);
        // What a model wrote may hold what would move the cursor.
        let text = part.into_text().unwrap_or_else(|bytes| STANDARD.encode(bytes));
        println!("{}", text.replace(|c: char| c.is_control() && !matches!(c, '\n' | '\t'), "\u{fffd}"));
    };
    show("request", request);
    match answer {
        Some(answer) => show("answer", answer),
        None => println!("--- no answer"),
    }
}

fn list(found: &[RequestRecord], json: bool) {
    if json {
        println!("{}", Value::Array(found.iter().map(as_json).collect()));
        return;
    }
    let row = |one: &RequestRecord| {
        let target = match (&one.provider, &one.model) {
            (Some(provider), Some(model)) => format!("{provider}/{model}"),
            _ => one.requested_model.clone(),
        };
        vec![
            one.id.to_string(),
            table::time(Some(one.time_ms)),
            one.status.to_string(),
            one.reason.clone().unwrap_or_else(|| one.outcome.clone()),
            one.cost.map_or_else(|| "-".to_owned(), |cost| cost.to_string()),
            (one.total_us / 1_000).to_string(),
            one.key.to_string(),
            target,
        ]
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    table::print(&["REQUEST", "TIME", "STATUS", "OUTCOME", "USD", "MS", "KEY", "MODEL"], &rows);
}

/// As the admin API shows it.
fn as_json(one: &RequestRecord) -> Value {
    json!({
        "id": one.id,
        "time_ms": one.time_ms,
        "key": one.key,
        "organisation": one.organisation,
        "team": one.team,
        "environment": one.environment.as_str(),
        "user": one.user,
        "requested_model": one.requested_model,
        "provider": one.provider,
        "model": one.model,
        "status": one.status,
        "outcome": one.outcome,
        "reason": one.reason,
        "policy": one.policy,
        "correlation": one.correlation,
        "tokens": {
            "input": one.usage.input,
            "cache_read": one.usage.cache_read,
            "cache_write": one.usage.cache_write_short.saturating_add(one.usage.cache_write_long),
            "output": one.usage.output,
            "reasoning": one.usage.reasoning,
            "audio_input": one.usage.audio_input,
            "audio_output": one.usage.audio_output,
            "images": one.usage.images,
            "searches": one.usage.searches,
        },
        "cost_nano_usd": one.cost.map(|cost| cost.get()),
        "total_us": one.total_us,
        "tags": one.tags,
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
