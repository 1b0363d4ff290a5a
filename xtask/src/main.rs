//! `cargo xtask`: everything a contributor runs.

mod bench;
mod command;
mod demo;
mod plugins;
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
    /// Measure the gateway against a bare proxy.
    Bench {
        /// For the benchmark; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Plugins { names } => plugins::build(&names),
        Task::Demo { arguments } => demo::run(&arguments),
        Task::Test { fast } => test::run(fast),
        Task::Bench { arguments } => bench::run(&arguments),
    }
}
