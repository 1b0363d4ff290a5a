//! `cargo xtask`: everything a contributor runs.

mod bench;
mod command;
mod demo;
mod plugins;
mod profile;
mod release;
mod sdks;
mod test;
mod toolchain;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, tests and measures Portcullis")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build every plugin under plugins/ into a component and check its imports.
    Plugins {
        /// Only these; all by default.
        names: Vec<String>,
    },
    /// Build everything and start a gateway on loopback, with a demo provider behind it.
    Demo {
        /// For `portcullis demo`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run every test.
    Test {
        /// The inner loop: without SDKs of other languages, load, faults and recordings.
        #[arg(long)]
        fast: bool,
    },
    /// Build what is shipped into target/dist: the gateway, optimised by a profile of the benchmark's work, and its plugins.
    Release {
        /// Make the profile anew, which else is kept: an old one costs speed, never correctness.
        #[arg(long)]
        retrain: bool,
        /// Build without a profile.
        #[arg(long, conflicts_with = "retrain")]
        plain: bool,
    },
    /// Measure the gateway as it is shipped against a bare proxy; with `--plain` the ordinary release build.
    Bench {
        /// For the benchmark; `-- --help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Plugins { names } => plugins::build(&names).map(drop),
        Task::Demo { arguments } => demo::run(&arguments),
        Task::Test { fast } => test::run(fast),
        Task::Release { retrain, plain } => release::run(retrain, plain),
        Task::Bench { arguments } => bench::run(&arguments),
    }
}
