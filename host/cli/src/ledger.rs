//! `portcullis ledger`: entries, and what is decided about those in quarantine.

use anyhow::{Result, bail};
use clap::Subcommand;
use portcullis_core::{BudgetId, Clock, KeyId, NanoUsd, OrganisationId, RequestId, SystemClock, TeamId};
use portcullis_store::budgets::{Decision, EntryFilter, LedgerEntry, QuarantinedEntry, QuarantinedLease};
use portcullis_store::{EndKind, Store};
use serde_json::{Value, json};

use crate::budgets::actor;
use crate::{ConfigArgument, running, serve};

#[derive(Subcommand)]
pub enum LedgerAction {
    /// List entries, those of the newest requests first.
    List {
        /// Only this organisation's, by id.
        #[arg(long)]
        organisation: Option<OrganisationId>,
        /// Only this key's, by id.
        #[arg(long)]
        key: Option<KeyId>,
        /// Only those of this team's keys, by id.
        #[arg(long)]
        team: Option<TeamId>,
        /// Only this request's.
        #[arg(long)]
        request: Option<RequestId>,
        /// `settled`, `refunded` or `quarantined`.
        #[arg(long, value_parser = kind)]
        kind: Option<EndKind>,
        /// Only of the last so many days.
        #[arg(long)]
        days: Option<u64>,
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// What nobody knows the end of, and counts as spent until somebody decides.
    Quarantine {
        #[command(subcommand)]
        action: QuarantineAction,
    },
    /// Say what a reservation in quarantine has cost. This is an entry of its own, and stands in the audit trail.
    Decide {
        request: RequestId,
        #[arg(long, default_value_t = 1)]
        attempt: u32,
        /// What it has cost, USD.
        #[arg(long, conflicts_with = "refund")]
        cost: Option<NanoUsd>,
        /// It has cost nothing.
        #[arg(long)]
        refund: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say how much of the leases of a budget in quarantine was spent; the rest is free again.
    DecideLease {
        budget: BudgetId,
        /// USD, of the one lease that is meant; see `quarantine list`.
        #[arg(long, default_value = "0")]
        spent: NanoUsd,
        /// The lease's window, as `quarantine list` shows it; needed where there are several.
        #[arg(long)]
        window_ms: Option<u64>,
    },
}

#[derive(Subcommand)]
pub enum QuarantineAction {
    /// List reservations and leases in quarantine.
    List {
        /// Only this organisation's, by id.
        #[arg(long)]
        organisation: Option<OrganisationId>,
        #[arg(long, default_value_t = 1000)]
        limit: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

const MS_PER_DAY: u64 = 24 * 60 * 60 * 1000;

fn kind(name: &str) -> Result<EndKind, String> {
    EndKind::parse(name).ok_or_else(|| "no kind of entry".to_owned())
}

pub fn run(argument: &ConfigArgument, action: LedgerAction) -> Result<()> {
    let config = argument.load()?;
    serve::async_runtime(1)?.block_on(async {
        let store = running::open(&config.store).await?;
        act(&store, action).await
    })
}

async fn act(store: &Store, action: LedgerAction) -> Result<()> {
    match action {
        LedgerAction::List { organisation, key, team, request, kind, days, limit, json } => {
            let since_ms = days.map(|days| SystemClock.now_ms().saturating_sub(days.saturating_mul(MS_PER_DAY)));
            let filter =
                EntryFilter { organisation, key, team, request, kind, since_ms, limit, ..EntryFilter::default() };
            let entries = store.entries(&filter).await?;
            if json {
                println!("{}", Value::Array(entries.iter().map(entry_json).collect()));
            } else {
                print_entries(&entries);
            }
        }
        LedgerAction::Quarantine { action: QuarantineAction::List { organisation, limit, json } } => {
            let entries = store.quarantined_entries(organisation, limit).await?;
            let leases = store.quarantined_leases(organisation).await?;
            if json {
                let leases: Vec<Value> = leases.iter().map(lease_json).collect();
                println!("{}", json!({ "reservations": entries, "leases": leases }));
            } else {
                print_quarantine(&entries, &leases);
            }
        }
        LedgerAction::Decide { request, attempt, cost, refund, json } => {
            let decision = match (cost, refund) {
                (Some(cost), false) => Decision::Spent(cost),
                (None, true) => Decision::Refunded,
                _ => bail!("say --cost USD or --refund"),
            };
            let decided = store.decide_quarantined(&actor(), request, attempt, decision).await?;
            if json {
                let (kind, amount) = (decision.kind().as_str(), decision.amount());
                let was = decided.entry.reserved;
                println!(
                    "{}",
                    json!({ "request": request, "attempt": attempt, "kind": kind, "amount_nano": amount, "was_nano": was })
                );
            } else {
                println!("{request} attempt {attempt}: {} instead of {}", decision.amount(), decided.entry.reserved);
            }
        }
        LedgerAction::DecideLease { budget, spent, window_ms } => {
            let leases = store.quarantined_leases(None).await?;
            let meant = leases
                .into_iter()
                .filter(|lease| lease.budget == budget && window_ms.is_none_or(|window| lease.start_ms == window));
            let meant: Vec<QuarantinedLease> = meant.collect();
            let [lease] = &meant[..] else {
                bail!("{} leases are meant, and it must be one; see `portcullis ledger quarantine list`", meant.len());
            };
            store.decide_lease(&actor(), lease, spent).await?;
            println!("{budget}: {spent} spent, {} free again", lease.rest.saturating_sub(spent));
        }
    }
    Ok(())
}

fn entry_json(entry: &LedgerEntry) -> Value {
    json!({
        "request": entry.request_id,
        "attempt": entry.attempt,
        "step": entry.step,
        "kind": entry.kind.as_str(),
        "key": entry.key_id,
        "organisation": entry.organisation,
        "provider": entry.provider,
        "model": entry.model,
        "reserved_nano": entry.reserved,
        "amount_nano": entry.amount,
        "reason": entry.reason,
        "reserved_ms": entry.reserved_ms,
        "ended_ms": entry.ended_ms,
    })
}

fn lease_json(lease: &QuarantinedLease) -> Value {
    json!({
        "budget": lease.budget,
        "organisation": lease.organisation,
        "window_ms": lease.start_ms,
        "rest_nano": lease.rest,
        "quarantined_ms": lease.quarantined_ms,
    })
}

fn print_entries(entries: &[LedgerEntry]) {
    println!(
        "{:<36} {:>3} {:>4} {:<11} {:>14} {:>14} {:<16} TARGET",
        "REQUEST", "TRY", "STEP", "KIND", "RESERVED", "AMOUNT", "REASON"
    );
    for entry in entries {
        println!(
            "{:<36} {:>3} {:>4} {:<11} {:>14} {:>14} {:<16} {}/{}",
            entry.request_id.to_string(),
            entry.attempt,
            entry.step,
            entry.kind.as_str(),
            entry.reserved.to_string(),
            entry.amount.to_string(),
            entry.reason,
            entry.provider,
            entry.model
        );
    }
}

fn print_quarantine(entries: &[QuarantinedEntry], leases: &[QuarantinedLease]) {
    println!("{:<36} {:>3} {:>14} {:<16} TARGET", "REQUEST", "TRY", "RESERVED", "REASON");
    for entry in entries {
        println!(
            "{:<36} {:>3} {:>14} {:<16} {}/{}",
            entry.request_id.to_string(),
            entry.attempt,
            entry.reserved.to_string(),
            entry.reason,
            entry.provider,
            entry.model
        );
    }
    if !leases.is_empty() {
        println!("\n{:<36} {:>14} {:>14}", "LEASE OF BUDGET", "REST", "WINDOW");
        for lease in leases {
            println!("{:<36} {:>14} {:>14}", lease.budget.to_string(), lease.rest.to_string(), lease.start_ms);
        }
    }
}
