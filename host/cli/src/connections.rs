//! `portcullis connection`: connections to providers that the database keeps. A running gateway follows within a second or so. The
//! credential comes by standard input or from the environment, never as an argument, and is not shown again.

use std::io::Read;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use portcullis_core::{ConnectionId, OrganisationId};
use portcullis_gateway::StoredProvider;
use portcullis_gateway::config::Config;
use portcullis_store::{Actor, ConnectionEdit, ConnectionRecord, ConnectionSecret, NewConnection, Store};
use serde_json::{Map, Value, json};

use crate::running::{self, Running};
use crate::{ConfigArgument, serve, stored};

#[derive(Subcommand)]
pub enum ConnectionAction {
    /// Keep a connection. Its credential is read from standard input: the key itself, or a JSON object for `aws-sigv4`
    /// (access_key_id, secret_access_key, session_token) and `azure-entra` (tenant, client_id, client_secret).
    Create {
        /// What models are asked for by, as `openai` in `openai/gpt-4o`. Several connections of one provider share its requests.
        #[arg(long)]
        provider: String,
        /// What people call it; by default as its provider.
        #[arg(long)]
        name: Option<String>,
        /// Whose it is alone, by id; everybody's by default.
        #[arg(long)]
        organisation: Option<OrganisationId>,
        #[command(flatten)]
        settings: SettingsArguments,
        /// Its part of the requests beside others of its provider; 0 for none while another can be asked.
        #[arg(long, default_value_t = 1)]
        weight: u32,
        #[command(flatten)]
        secret: SecretArguments,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List connections.
    List {
        /// Those that an organisation can use, by its id.
        #[arg(long)]
        organisation: Option<OrganisationId>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a connection, by its id or name.
    Show {
        connection: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Change a connection.
    Edit {
        connection: String,
        #[arg(long)]
        provider: Option<String>,
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        settings: SettingsArguments,
        #[arg(long)]
        weight: Option<u32>,
        /// Send it no requests until it is resumed.
        #[arg(long, conflicts_with = "resume")]
        suspend: bool,
        #[arg(long)]
        resume: bool,
        /// Read the credential anew, as for `create`: needed where requests will lead elsewhere.
        #[arg(long)]
        secret: bool,
        #[command(flatten)]
        from: SecretArguments,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Ask one of its models for a few tokens, which its account pays for, and say how that went.
    Test {
        /// Its id or name, or that of a section `[providers.NAME]`.
        connection: String,
        /// The model; by default the one with the cheapest input.
        #[arg(long)]
        model: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Delete a connection with its credential.
    Delete {
        connection: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Replace a connection's credential, read as for `create`.
    Rotate {
        connection: String,
        #[command(flatten)]
        secret: SecretArguments,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// After a change of the master key: wrap every credential's key by the new one. `connections.previous_keys` holds the old.
    Rewrap {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
pub struct SettingsArguments {
    /// The provider plugin that speaks for it.
    #[arg(long)]
    plugin: Option<String>,
    /// Where requests go: `https://api.openai.com/v1`.
    #[arg(long)]
    base_url: Option<String>,
    /// `bearer`, `header:NAME`, `query:NAME`, `aws-sigv4`, `azure-entra`.
    #[arg(long)]
    auth: Option<String>,
    /// A model besides the plugin's catalogue, `*` for any; repeat for more.
    #[arg(long = "model")]
    models: Vec<String>,
    /// Only this model of the catalogue; repeat for more.
    #[arg(long = "only")]
    only: Vec<String>,
    #[arg(long)]
    region: Option<String>,
    /// Any other member of a section `[providers.NAME]`: `stream_usage=false`; repeat for more.
    #[arg(long = "set", value_parser = member)]
    set: Vec<(String, Value)>,
}

#[derive(Args)]
pub struct SecretArguments {
    /// Read the credential from this environment variable and not from standard input.
    #[arg(long)]
    secret_env: Option<String>,
}

impl SettingsArguments {
    fn over(self, mut settings: Map<String, Value>) -> Map<String, Value> {
        let words =
            [("plugin", self.plugin), ("base_url", self.base_url), ("auth", self.auth), ("region", self.region)];
        for (name, word) in words {
            settings.extend(word.map(|word| (name.to_owned(), Value::from(word))));
        }
        for (name, list) in [("models", self.models), ("only", self.only)] {
            if !list.is_empty() {
                settings.insert(name.to_owned(), Value::from(list));
            }
        }
        settings.extend(self.set);
        settings
    }
}

impl SecretArguments {
    fn read(&self) -> Result<ConnectionSecret> {
        let text = match &self.secret_env {
            Some(name) => std::env::var(name).with_context(|| format!("the environment variable {name}"))?,
            None => {
                let mut text = String::new();
                std::io::stdin().take(64 << 10).read_to_string(&mut text).context("standard input")?;
                text
            }
        };
        let text = text.trim();
        ensure!(!text.is_empty(), "there is no credential on standard input");
        Ok(ConnectionSecret::new(text))
    }
}

pub fn run(argument: &ConfigArgument, action: ConnectionAction) -> Result<()> {
    let config = argument.load()?;
    serve::async_runtime(1)?.block_on(async {
        if let ConnectionAction::Test { connection, model, json } = action {
            return test(config, &connection, model.as_deref(), json).await;
        }
        act(&running::open(&config.store).await?, &config, action).await
    })
}

/// Whoever has the database's file and the master key may do anything.
fn actor() -> Actor {
    let user = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    Actor::cli(user.unwrap_or_else(|| "unknown".to_owned()))
}

async fn act(store: &Store, config: &Config, action: ConnectionAction) -> Result<()> {
    let (actor, keys) = (actor(), stored::keyring(config)?);
    match action {
        ConnectionAction::Create { provider, name, organisation, settings, weight, secret, json } => {
            let new = NewConnection {
                organisation,
                name: name.unwrap_or_else(|| provider.clone()),
                provider,
                settings: settings.over(Map::new()),
                weight,
                secret: secret.read()?,
            };
            check(config, &new.record(ConnectionId::from_bytes([0; 16]), 0), &new.secret)?;
            let record = store.create_connection(&actor, &keys, new).await?;
            said(&record, json, "kept");
        }
        ConnectionAction::List { organisation, json } => {
            let records = store.connections(&actor, organisation).await?;
            if json {
                println!("{}", Value::Array(records.iter().map(ConnectionRecord::to_json).collect()));
            } else {
                print_table(&records);
            }
        }
        ConnectionAction::Show { connection, json } => {
            let record = store.connection(&actor, &connection).await?;
            if json {
                println!("{}", record.to_json());
            } else {
                println!("{:#}", record.to_json());
            }
        }
        ConnectionAction::Edit {
            connection,
            provider,
            name,
            settings,
            weight,
            suspend,
            resume,
            secret,
            from,
            json,
        } => {
            let before = store.open_connection(&actor, &keys, &connection).await?;
            let settings = settings.over(before.record.settings.clone());
            let edit = ConnectionEdit {
                name,
                provider,
                settings: (settings != before.record.settings).then_some(settings),
                weight,
                suspended: (suspend || resume).then_some(suspend),
                secret: if secret || from.secret_env.is_some() { Some(from.read()?) } else { None },
            };
            check(config, &edit.over(&before.record, 0), edit.secret.as_ref().unwrap_or(&before.secret))?;
            let record = store.edit_connection(&actor, &keys, &before.record.id.to_string(), &edit).await?;
            said(&record, json, "changed");
        }
        ConnectionAction::Delete { connection, json } => {
            said(&store.delete_connection(&actor, &connection).await?, json, "deleted");
        }
        ConnectionAction::Rotate { connection, secret, json } => {
            let secret = secret.read()?;
            check(config, &store.connection(&actor, &connection).await?, &secret)?;
            said(&store.rotate_connection(&actor, &keys, &connection, &secret).await?, json, "rotated");
        }
        ConnectionAction::Rewrap { json } => {
            let rewrapped = store.rewrap_connections(&actor, &keys).await?;
            let master = keys.name()?;
            if json {
                println!("{}", json!({"rewrapped": rewrapped, "master": master}));
            } else {
                println!("{rewrapped} rewrapped by the master key {master}");
            }
        }
        ConnectionAction::Test { .. } => unreachable!("it is done before"),
    }
    Ok(())
}

/// Refuses what the gateway would not use.
fn check(config: &Config, record: &ConnectionRecord, secret: &ConnectionSecret) -> Result<()> {
    let provider = StoredProvider::of(record, secret).map_err(anyhow::Error::msg)?;
    provider.check(&config.connections).map_err(anyhow::Error::msg)?;
    if config.providers.contains_key(&record.provider) {
        eprintln!("The configuration has `[providers.{}]`, which goes before this connection.", record.provider);
    }
    Ok(())
}

fn said(record: &ConnectionRecord, json: bool, what: &str) {
    if json {
        println!("{}", record.to_json());
    } else {
        println!("{what} {} ({})", record.id, record.name);
    }
}

fn print_table(records: &[ConnectionRecord]) {
    println!("{:<40} {:<16} {:<16} {:<6} {:<10} {:<40} BASE URL", "ID", "NAME", "PROVIDER", "WEIGHT", "STATE", "OWNER");
    for record in records {
        let owner = record.organisation.map_or_else(|| "everybody".to_owned(), |owner| owner.to_string());
        let url = record.settings.get("base_url").and_then(Value::as_str).unwrap_or_default();
        let state = if record.suspended_ms.is_some() { "suspended" } else { "active" };
        println!(
            "{:<40} {:<16} {:<16} {:<6} {state:<10} {owner:<40} {url}",
            record.id.to_string(),
            record.name,
            record.provider,
            record.weight
        );
    }
}

/// A gateway of its own with the same plugins, for a moment and on loopback.
async fn test(config: Config, connection: &str, model: Option<&str>, json: bool) -> Result<()> {
    let keys = stored::keyring(&config)?;
    // The operator's file goes before the database.
    let of_file = config.providers.get(connection).cloned();
    let running = Running::start(config, Some(([127, 0, 0, 1], 0).into())).await?;
    let probed = async {
        let provider = match &of_file {
            Some(provider) => StoredProvider::of_file(connection, provider),
            None => {
                let open = running.store.open_connection(&actor(), &keys, connection).await?;
                StoredProvider::of(&open.record, &open.secret).map_err(anyhow::Error::msg)?
            }
        };
        running.gateway.probe(provider, model).await.map_err(anyhow::Error::msg)
    }
    .await;
    running.stop(Duration::from_secs(1)).await;
    let probe = probed?;
    if json {
        let failure = probe.failure.as_ref().map(|(kind, why)| json!({"kind": kind, "message": why}));
        println!(
            "{}",
            json!({"model": probe.model, "status": probe.status, "milliseconds": probe.milliseconds, "failure": failure})
        );
    }
    match probe.failure {
        None if json => Ok(()),
        None => {
            println!("ok: {} answered within {} ms", probe.model, probe.milliseconds);
            Ok(())
        }
        Some((kind, why)) => bail!("{}: {kind}: {why}", probe.model),
    }
}

fn member(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("a member is name=value")?;
    // What is no JSON is a word.
    Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| Value::from(value))))
}
