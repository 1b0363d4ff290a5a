//! `cargo xtask bench` builds everything and runs this.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use portcullis_bench::cpus::{self, Cores};
use portcullis_bench::gateway::Installation;
use portcullis_bench::run::{Plan, Runner};
use portcullis_bench::{pairs, report, train, upstream};

/// Measures the gateway against a bare hyper reverse proxy.
#[derive(Parser)]
#[command(args_override_self = true)]
struct Arguments {
    /// Only the rows that have a number to hold, in short windows.
    #[arg(long)]
    quick: bool,
    /// Only rows whose name contains this: "same dialect, content plugins, 1 KB".
    #[arg(long)]
    only: Option<String>,
    /// Rounds of every measurement; by default 5, or 3 where it is quick.
    #[arg(long)]
    rounds: Option<u32>,
    /// Milliseconds of one window.
    #[arg(long)]
    window: Option<u64>,
    /// Also write the rows here.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Measure nothing: load the gateway with everything there is for one window each, so that an instrumented build writes what
    /// `cargo xtask release` learns from.
    #[arg(long, conflicts_with_all = ["quick", "only", "rounds", "json", "against_itself"])]
    train: bool,
    /// Instead of the rows, every client protocol against every provider's format, in a table.
    #[arg(long, conflicts_with_all = ["quick", "train", "against_itself"])]
    pairs: bool,
    /// What build the gateway is, for the first line.
    #[arg(long)]
    build: Option<String>,
    /// Measure the bare proxy in the gateway's place, to see how far from 1.00 chance leads.
    #[arg(long)]
    against_itself: bool,
    /// The gateway.
    #[arg(long, default_value = "target/release/portcullis")]
    gateway: PathBuf,
    /// The folder of components.
    #[arg(long, default_value = "target/plugins")]
    plugins: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let scratch = tempfile::tempdir()?;
    let installation = Installation {
        program: std::path::absolute(&arguments.gateway)?,
        plugins: std::path::absolute(&arguments.plugins)?,
        scratch: scratch.path().to_owned(),
        certificate: None,
    };
    let window = Duration::from_millis(arguments.window.unwrap_or(if arguments.quick { 500 } else { 1000 }));
    if arguments.train {
        let upstream = upstream::start(Vec::new()).context("the upstream does not start")?;
        return train::run(&installation, &upstream, window);
    }
    let cores = Cores::divide()?;
    cpus::confine(&cores.others)?;
    let upstream = upstream::start(cores.others.clone()).context("the upstream does not start")?;
    let plan = Plan {
        rounds: arguments.rounds.unwrap_or(if arguments.quick { 3 } else { 5 }).max(1),
        window,
        quick: arguments.quick,
        only: arguments.only,
        against_itself: arguments.against_itself,
    };
    if let Some(build) = &arguments.build {
        println!("{build}");
    }
    println!(
        "core {} measured, {:?} for upstream and load; {} rounds of {:?}",
        cores.measured, cores.others, plan.rounds, plan.window
    );
    println!("{}", report::head());
    let runner = Runner { plan, cores, upstream, installation };
    let rows = if arguments.pairs {
        let measured = pairs::run(&runner, |row| println!("{}", row.line()))?;
        println!("\n{}", pairs::table(&measured));
        measured.into_iter().map(|measured| measured.row).collect()
    } else {
        let rows = runner.run(|row| println!("{}", row.line()))?;
        println!("{}", report::summary(&rows));
        rows
    };
    if let Some(path) = arguments.json {
        std::fs::write(&path, serde_json::to_string_pretty(&report::json(&rows))?)
            .with_context(|| path.display().to_string())?;
    }
    Ok(())
}
