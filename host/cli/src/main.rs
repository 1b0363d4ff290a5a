//! The `portcullis` program.

mod audit;
mod budgets;
mod catalogue;
mod check;
mod checkpoints;
mod connections;
mod demo;
mod exports;
mod identity;
mod ledger;
mod logging;
mod plugins;
mod requests;
mod running;
mod serve;
mod stored;
mod table;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use identity::Action;

/// Fewer system calls than the C library's allocator for the many short-lived strings of a request.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "portcullis", version, about = "An LLM gateway whose every moving part is a WebAssembly component")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM.
    Serve {
        #[command(flatten)]
        config: ConfigArgument,
        /// Listen here instead of at `server.listen`.
        #[arg(long)]
        listen: Option<std::net::SocketAddr>,
    },
    /// Try it: a gateway with a demo provider on loopback, a key and a curl to paste.
    Demo(demo::DemoArguments),
    /// API keys: make, list, change, rotate, suspend, revoke.
    Key {
        #[command(flatten)]
        config: ConfigArgument,
        #[command(subcommand)]
        action: identity::KeyAction,
    },
    /// Organisations, and what their keys may do.
    Org {
        #[command(flatten)]
        config: ConfigArgument,
        #[command(subcommand)]
        action: identity::OrgAction,
    },
    /// Teams of organisations, and what their keys may do.
    Team {
        #[command(flatten)]
        config: ConfigArgument,
        #[command(subcommand)]
        action: identity::TeamAction,
    },
    /// People, and what they may do.
    Member {
        #[command(flatten)]
        config: ConfigArgument,
        #[command(subcommand)]
        action: identity::MemberAction,
    },
    /// Tokens for the admin API.
    Token {
        #[command(flatten)]
        config: ConfigArgument,
        #[command(subcommand)]
        action: identity::TokenAction,
    },
    /// The audit trail: who did what; and the proof of it and of the ledger.
    Audit {
        #[command(flatten)]
        config: ConfigArgument,
        #[command(subcommand)]
        action: audit::AuditAction,
    },
    /// The first superadmin, and the gateways that serve.
    Admin {
        #[command(flatten)]
        config: ConfigArgument,
        #[command(subcommand)]
        action: identity::AdminAction,
    },
    /// Make, list, change and delete budgets; top up credit.
    Budget {
        #[command(flatten)]
        config: ConfigArgument,
        #[command(subcommand)]
        action: budgets::BudgetAction,
    },
    /// Look at the ledger's entries, and decide about those in quarantine.
    Ledger {
        #[command(flatten)]
        config: ConfigArgument,
        #[command(subcommand)]
        action: ledger::LedgerAction,
    },
    /// Records of requests, and how long they live.
    Request {
        #[command(flatten)]
        config: ConfigArgument,
        #[command(subcommand)]
        action: requests::RequestAction,
    },
    /// Keep, list, test and change connections to providers.
    Connection {
        #[command(flatten)]
        config: ConfigArgument,
        #[command(subcommand)]
        action: connections::ConnectionAction,
    },
    /// Validate the configuration and the plugins it runs.
    Check {
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Inspect plugins.
    Plugin {
        #[command(subcommand)]
        action: plugins::PluginAction,
    },
    /// The operator's own catalogue of models.
    Catalogue {
        #[command(subcommand)]
        action: catalogue::CatalogueAction,
    },
    /// Who used what, and what it cost.
    Usage {
        #[command(flatten)]
        config: ConfigArgument,
        #[command(flatten)]
        arguments: usage::UsageArguments,
    },
    /// Scheduled exports: how far they are; run one now.
    Export {
        #[command(flatten)]
        config: ConfigArgument,
        #[command(subcommand)]
        action: exports::ExportAction,
    },
    /// Sinks of audit events: how far they are.
    Siem {
        #[command(flatten)]
        config: ConfigArgument,
        #[command(subcommand)]
        action: exports::SiemAction,
    },
    /// Compile a component from standard input to standard output: how the gateway compiles apart from itself.
    #[command(hide = true)]
    CompileComponent,
}

#[derive(clap::Args)]
struct ConfigArgument {
    /// The configuration file. Default: `portcullis.toml` where it is there, else the defaults.
    #[arg(long, short, env = "PORTCULLIS_CONFIG", global = true)]
    config: Option<PathBuf>,
}

impl ConfigArgument {
    fn path(&self) -> Option<PathBuf> {
        self.config.clone().or_else(portcullis_gateway::default_config_path)
    }

    fn load(&self) -> anyhow::Result<portcullis_gateway::config::Config> {
        let environment = portcullis_gateway::config::ProcessEnvironment;
        Ok(portcullis_gateway::config::Config::load(self.path().as_deref(), &environment)?)
    }
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::CompileComponent => return portcullis_runtime::compile_standard_input(),
        Command::Serve { config, listen } => serve::run(&config, listen),
        Command::Demo(arguments) => demo::run(arguments),
        Command::Key { config, action } => identity::run(&config, Action::Key(Box::new(action))),
        Command::Org { config, action } => identity::run(&config, Action::Org(action)),
        Command::Team { config, action } => identity::run(&config, Action::Team(action)),
        Command::Member { config, action } => identity::run(&config, Action::Member(action)),
        Command::Token { config, action } => identity::run(&config, Action::Token(action)),
        Command::Admin { config, action } => identity::run(&config, Action::Admin(action)),
        Command::Budget { config, action } => budgets::run(&config, action),
        Command::Ledger { config, action } => ledger::run(&config, action),
        Command::Request { config, action } => requests::run(&config, action),
        Command::Connection { config, action } => connections::run(&config, action),
        Command::Check { config } => check::run(&config),
        Command::Plugin { action } => plugins::run(action),
        Command::Catalogue { action } => catalogue::run(action),
        Command::Audit { config, action } => audit::run(&config, action),
        Command::Export { config, action } => exports::run(&config, action),
        Command::Siem { config, action } => exports::sinks(&config, &action),
        Command::Usage { config, arguments } => usage::run(&config, arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("portcullis: {error:#}");
            ExitCode::FAILURE
        }
    }
}
