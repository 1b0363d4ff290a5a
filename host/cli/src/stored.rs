//! The database's connections in a running gateway: opened at the start, and again when they change.

use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Context, Result};
use portcullis_gateway::config::Config;
use portcullis_gateway::{Gateway, StoredProvider};
use portcullis_store::{Keyring, MasterKey, Store};

/// How often it is asked whether connections changed.
const POLL: Duration = Duration::from_secs(1);

/// The master keys that the configuration names.
pub fn keyring(config: &Config) -> Result<Keyring> {
    let connections = &config.connections;
    let current = match (&connections.key, &connections.key_file, &connections.key_command) {
        (Some(key), ..) => MasterKey::given(key.expose()).context("connections.key")?,
        (_, Some(path), _) => MasterKey::in_file(path),
        (.., Some(command)) => MasterKey::told_by(command.clone()).context("connections.key_command")?,
        _ => {
            let mut path = config.store.path.clone().into_os_string();
            path.push(".connections.key");
            MasterKey::in_file(path)
        }
    };
    let previous = connections.previous_keys.iter().map(|key| MasterKey::given(key.expose()));
    let previous = previous.collect::<Result<_, _>>().context("connections.previous_keys")?;
    Ok(Keyring::new(current, previous))
}

/// Puts the database's connections in service, and follows their changes from then on. Without any, no master key is asked for.
pub async fn follow(gateway: &Arc<Gateway>, store: Store, keys: Arc<Keyring>) -> Result<()> {
    let mut known = store.connections_revision().await.context("the connections")?;
    load(gateway, &store, &keys).await?;
    let gateway = Arc::downgrade(gateway);
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(POLL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let Some(gateway) = Weak::upgrade(&gateway) else { return };
            let revision = match store.connections_revision().await {
                Ok(revision) => revision,
                Err(error) => {
                    tracing::warn!(%error, "changes of connections could not be read");
                    continue;
                }
            };
            if revision == known {
                continue;
            }
            match load(&gateway, &store, &keys).await {
                Ok(connections) => {
                    known = revision;
                    tracing::info!(connections, "the connections changed");
                }
                Err(error) => tracing::error!(error = format!("{error:#}"), "the connections cannot be read"),
            }
        }
    });
    Ok(())
}

async fn load(gateway: &Gateway, store: &Store, keys: &Arc<Keyring>) -> Result<usize> {
    if !store.has_connections().await? {
        gateway.connect(Vec::new()).map_err(anyhow::Error::msg)?;
        return Ok(0);
    }
    // A command may be asked for the key.
    let unlocked = Arc::clone(keys);
    tokio::task::spawn_blocking(move || unlocked.unlock()).await?.context("the key for connections")?;
    let mut stored = Vec::new();
    for (record, secret) in store.open_connections(keys).await? {
        let opened = secret.map_err(|error| error.to_string());
        match opened.and_then(|secret| StoredProvider::of(&record, &secret)) {
            Ok(provider) => stored.push(provider),
            Err(why) => {
                tracing::error!(connection = %record.id, name = %record.name, why, "a connection is not used");
            }
        }
    }
    let count = stored.len();
    gateway.connect(stored).map_err(anyhow::Error::msg)?;
    Ok(count)
}
