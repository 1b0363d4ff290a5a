//! `portcullis key`: keys are made, listed and revoked in the store; a running gateway follows within a fraction of a second.

use anyhow::Result;
use clap::Subcommand;
use portcullis_core::receipt::Tag;
use portcullis_core::{Clock, Environment, SystemClock};
use portcullis_store::{KeyRecord, NewKey, RequestDefaults, Store};
use serde_json::{Value, json};

use crate::{ConfigArgument, running, serve};

#[derive(Subcommand)]
pub enum KeyAction {
    /// Make a key. It is shown once.
    Create {
        /// What people call it.
        #[arg(long)]
        name: String,
        /// `production` or `development`.
        #[arg(long, default_value = "production")]
        environment: Environment,
        /// Days until it expires; never by default.
        #[arg(long)]
        expires_in_days: Option<u64>,
        /// A model it may use, `model` or `provider/model`; repeat for more. Any by default.
        #[arg(long = "model")]
        models: Vec<String>,
        /// A provider it may use, by the connection's name; repeat for more. Any by default.
        #[arg(long = "provider")]
        providers: Vec<String>,
        /// `name=value`, kept with its usage; repeat for more.
        #[arg(long = "tag", value_parser = tag)]
        tags: Vec<Tag>,
        /// The protocol that it speaks on paths which several share, such as `flat` on `/v1/chat/completions`. A request that has the
        /// header `x-portcullis-format` says it for itself.
        #[arg(long, value_parser = header_value)]
        format: Option<String>,
        /// `body`: answers tell their way through the gateway in their body too, and not in a header alone. A request that has the
        /// header `x-portcullis-metadata` says it for itself.
        #[arg(long, value_parser = header_value)]
        metadata: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List keys.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key, by its id or the part of it that `list` shows.
    Revoke {
        key: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

const MS_PER_DAY: u64 = 24 * 60 * 60 * 1000;

pub fn run(argument: &ConfigArgument, action: KeyAction) -> Result<()> {
    let config = argument.load()?.store;
    serve::async_runtime(1)?.block_on(async { act(&running::open(&config).await?, action).await })
}

async fn act(store: &Store, action: KeyAction) -> Result<()> {
    match action {
        KeyAction::Create { name, environment, expires_in_days, models, providers, tags, format, metadata, json } => {
            let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
            let expires_ms = expires_in_days.map(|days| SystemClock.now_ms() + days * MS_PER_DAY);
            let created = store
                .create_key(NewKey {
                    expires_ms,
                    allowed_models: some(models),
                    allowed_providers: some(providers),
                    tags,
                    defaults: RequestDefaults { format, metadata },
                    ..NewKey::new(name, environment)
                })
                .await?;
            if json {
                let mut line = as_json(&created.record);
                line["key"] = json!(created.secret.expose());
                println!("{line}");
            } else {
                println!("{}", created.secret.expose());
                eprintln!("This is the only time the key is shown. Its id is {}.", created.record.id);
            }
        }
        KeyAction::List { json } => {
            let keys = store.list_keys().await?;
            if json {
                println!("{}", Value::Array(keys.iter().map(as_json).collect()));
            } else {
                print_table(&keys);
            }
        }
        KeyAction::Revoke { key, json } => {
            let record = store.revoke_key(&key).await?;
            if json {
                println!("{}", as_json(&record));
            } else {
                println!("revoked {} ({})", record.id, record.name);
            }
        }
    }
    Ok(())
}

fn print_table(keys: &[KeyRecord]) {
    println!(
        "{:<40} {:<14} {:<12} {:<8} {:<8} {:<9} NAME",
        "ID", "PREFIX", "ENVIRONMENT", "STATE", "FORMAT", "METADATA"
    );
    let now = SystemClock.now_ms();
    for key in keys {
        println!(
            "{:<40} {:<14} {:<12} {:<8} {:<8} {:<9} {}",
            key.id.to_string(),
            key.prefix.to_string(),
            key.environment.to_string(),
            state(key, now),
            key.defaults.format.as_deref().unwrap_or("-"),
            key.defaults.metadata.as_deref().unwrap_or("-"),
            key.name
        );
    }
}

fn state(key: &KeyRecord, now: u64) -> &'static str {
    match key.check(now) {
        Ok(()) => "active",
        Err(portcullis_store::KeyRefusal::Revoked) => "revoked",
        Err(_) => "expired",
    }
}

fn as_json(key: &KeyRecord) -> Value {
    json!({
        "id": key.id.to_string(),
        "prefix": key.prefix.to_string(),
        "name": key.name,
        "environment": key.environment.as_str(),
        "organisation": key.organisation.to_string(),
        "created_ms": key.created_ms,
        "expires_ms": key.expires_ms,
        "revoked_ms": key.revoked_ms,
        "state": state(key, SystemClock.now_ms()),
        "allowed_models": key.allowed_models,
        "allowed_providers": key.allowed_providers,
        "format": key.defaults.format,
        "metadata": key.defaults.metadata,
    })
}

/// A word that a header may hold.
fn header_value(text: &str) -> Result<String, String> {
    match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err("a word of letters, digits and signs".to_owned()),
    }
}

fn tag(text: &str) -> Result<Tag, String> {
    let (name, value) = text.split_once('=').ok_or("a tag is name=value")?;
    Ok(Tag { name: name.to_owned(), value: value.to_owned() })
}
