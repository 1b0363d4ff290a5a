//! `portcullis budget`: budgets are made and changed in the store; running gateways follow within a fraction of a second.

use anyhow::Result;
use clap::Subcommand;
use portcullis_core::{BudgetId, NanoUsd, OrganisationId};
use portcullis_store::budgets::{
    Alert, AlertFilter, AlertKind, Budget, BudgetChange, BudgetUse, Mode, NewBudget, Period, Scope, THRESHOLDS,
};
use portcullis_store::{Actor, Store};
use serde_json::Value;

use crate::{ConfigArgument, identity, running, serve, table};

#[derive(Subcommand)]
pub enum BudgetAction {
    /// Make a budget.
    Create {
        /// What people call it; refusals name it.
        #[arg(long)]
        name: String,
        /// USD, as `12.50`.
        #[arg(long)]
        limit: NanoUsd,
        /// `request`, `day`, `week`, `month`, or `total` for prepaid credit.
        #[arg(long)]
        period: String,
        /// Of the period: the last day, 7 days or 30 at any moment, instead of the calendar's.
        #[arg(long)]
        rolling: bool,
        /// In which the calendar's days begin, as `Europe/Berlin`. UTC by default.
        #[arg(long)]
        time_zone: Option<String>,
        /// Whose requests it counts: `organisation`, `team`, `key`, `user`, `model`, `provider` or `tag`.
        #[arg(long, default_value = "organisation")]
        scope: String,
        /// Which team or key (by id), user, model (`model` or `provider/model`), provider or tag (`name` or `name=value`).
        #[arg(long)]
        value: Option<String>,
        /// The organisation, by id; the default one by default.
        #[arg(long)]
        organisation: Option<OrganisationId>,
        /// Only alert, refuse nothing.
        #[arg(long)]
        soft: bool,
        /// Per cent of the limit at which to alert; repeat for more. 50, 80 and 100 by default.
        #[arg(long = "threshold")]
        thresholds: Vec<u16>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List budgets, with what is spent of them.
    List {
        /// Only this organisation's, by id.
        #[arg(long)]
        organisation: Option<OrganisationId>,
        /// Only those that count by this: `organisation`, `team`, `key`, `user`, `model`, `provider` or `tag`.
        #[arg(long)]
        scope: Option<String>,
        /// Only those for this team, key, user, model, provider or tag.
        #[arg(long)]
        value: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List alerts, newest first: thresholds that were passed, and first refusals.
    Alerts {
        /// Only this organisation's, by id.
        #[arg(long)]
        organisation: Option<OrganisationId>,
        /// Only this budget's, by id.
        #[arg(long)]
        budget: Option<BudgetId>,
        /// Only those that nobody took delivery of.
        #[arg(long)]
        undelivered: bool,
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one budget.
    Show {
        budget: BudgetId,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Change a budget's name, limit, mode or thresholds.
    Edit {
        budget: BudgetId,
        #[arg(long)]
        name: Option<String>,
        /// USD.
        #[arg(long)]
        limit: Option<NanoUsd>,
        /// `hard` or `soft`.
        #[arg(long, value_parser = mode)]
        mode: Option<Mode>,
        /// Per cent; repeat for more. They take the place of those there are.
        #[arg(long = "threshold")]
        thresholds: Vec<u16>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Add credit to a budget of the period `total`.
    TopUp {
        budget: BudgetId,
        /// USD.
        amount: NanoUsd,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Delete a budget. What was counted by it stays in the ledger.
    Delete {
        budget: BudgetId,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

fn mode(name: &str) -> Result<Mode, String> {
    Mode::parse(name).ok_or_else(|| "neither `hard` nor `soft`".to_owned())
}

/// Whoever runs this program.
pub fn actor() -> Actor {
    Actor::cli(identity::user())
}

pub fn run(argument: &ConfigArgument, action: BudgetAction) -> Result<()> {
    let config = argument.load()?;
    serve::async_runtime(1)?.block_on(async {
        let store = running::open(&config.store).await?;
        act(&store, action).await
    })
}

async fn act(store: &Store, action: BudgetAction) -> Result<()> {
    let actor = actor();
    let (budget, json) = match action {
        BudgetAction::Create {
            name,
            limit,
            period,
            rolling,
            time_zone,
            scope,
            value,
            organisation,
            soft,
            thresholds,
            json,
        } => {
            let new = NewBudget {
                organisation: organisation.unwrap_or(OrganisationId::DEFAULT),
                name,
                scope: Scope::from_parts(&scope, value.as_deref())?,
                period: Period::from_parts(&period, rolling, time_zone.as_deref())?,
                limit,
                mode: if soft { Mode::Soft } else { Mode::Hard },
                thresholds: if thresholds.is_empty() { THRESHOLDS.to_vec() } else { thresholds },
            };
            (store.create_budget(&actor, new).await?, json)
        }
        BudgetAction::List { organisation, scope, value, json } => {
            let mut budgets = store.budgets(organisation).await?;
            budgets.retain(|one| {
                scope.as_deref().is_none_or(|kind| one.scope.kind() == kind)
                    && value.as_ref().is_none_or(|value| one.scope.value().as_ref() == Some(value))
            });
            let uses = store.budget_uses(&budgets).await?;
            if json {
                let shown = budgets.iter().zip(&uses).map(|(budget, used)| budget.shown(Some(used)));
                println!("{}", Value::Array(shown.collect()));
            } else {
                print_table(&budgets, &uses);
            }
            return Ok(());
        }
        BudgetAction::Alerts { organisation, budget, undelivered, limit, json } => {
            let delivered = undelivered.then_some(false);
            let filter = AlertFilter { organisation, budget, delivered, limit, ..AlertFilter::default() };
            let alerts = store.alerts(&filter).await?;
            if json {
                println!("{}", serde_json::to_string(&alerts)?);
            } else {
                print_alerts(&alerts);
            }
            return Ok(());
        }
        BudgetAction::Show { budget, json } => (store.budget(budget).await?, json),
        BudgetAction::Edit { budget, name, limit, mode, thresholds, json } => {
            let thresholds = (!thresholds.is_empty()).then_some(thresholds);
            let change = BudgetChange { name, limit, mode, thresholds };
            (store.change_budget(&actor, budget, &change).await?, json)
        }
        BudgetAction::TopUp { budget, amount, json } => (store.top_up_budget(&actor, budget, amount).await?, json),
        BudgetAction::Delete { budget, json } => {
            let budget = store.delete_budget(&actor, budget).await?;
            if json {
                println!("{}", budget.shown(None));
            } else {
                println!("deleted {} ({})", budget.id, budget.name);
            }
            return Ok(());
        }
    };
    let used = store.budget_uses(std::slice::from_ref(&budget)).await?;
    if json {
        println!("{}", budget.shown(used.first()));
    } else {
        print_table(&[budget], &used);
    }
    Ok(())
}

fn print_alerts(alerts: &[Alert]) {
    let row = |alert: &Alert| {
        let what = match alert.kind {
            AlertKind::Threshold(per_cent) => format!("{per_cent} %"),
            AlertKind::Refused => "refused".to_owned(),
        };
        vec![
            table::time(Some(alert.time_ms)),
            what,
            alert.spent.to_string(),
            alert.limit.to_string(),
            table::time(alert.delivered_ms),
            alert.attempts.to_string(),
            alert.budget.to_string(),
            alert.name.clone(),
        ]
    };
    let columns = ["TIME", "WHAT", "SPENT", "LIMIT", "DELIVERED", "FAILED", "BUDGET", "NAME"];
    table::print(&columns, &alerts.iter().map(row).collect::<Vec<_>>());
}

fn print_table(budgets: &[Budget], uses: &[BudgetUse]) {
    println!(
        "{:<36} {:<28} {:<24} {:<5} {:>14} {:>14} {:>14} NAME",
        "ID", "FOR", "PERIOD", "MODE", "LIMIT", "SPENT", "LEASED"
    );
    for (budget, used) in budgets.iter().zip(uses) {
        let period = match (budget.period.is_rolling(), budget.period.zone()) {
            (true, _) => format!("{}, rolling", budget.period.name()),
            (false, Some(zone)) => format!("{}, {zone}", budget.period.name()),
            (false, None) => budget.period.name().to_owned(),
        };
        println!(
            "{:<36} {:<28} {:<24} {:<5} {:>14} {:>14} {:>14} {}",
            budget.id.to_string(),
            budget.scope.to_string(),
            period,
            budget.mode.as_str(),
            budget.limit.to_string(),
            used.spent.to_string(),
            used.leased.to_string(),
            budget.name
        );
    }
}
