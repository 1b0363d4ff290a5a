//! A gateway put together from its parts: store, ledger, runtime, plugins, listener.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portcullis_core::{Clock, SystemClock};
use portcullis_gateway::config::{Config, Secret, StoreConfig};
use portcullis_gateway::server::{self, Server, Surface};
use portcullis_gateway::{Admin, Gateway, Observing, Parts};
use portcullis_runtime::{Compiler, FailureMode, PluginManager, PluginSettings, PluginState, Runtime, RuntimeOptions};
use portcullis_store::{
    AccessGuard, Actor, CaptureKeys, Captures, Conversations, KeyCache, Ledger, LedgerOptions, MasterKey, Retained,
    Store,
};

use crate::checkpoints::Checkpoints;

use crate::stored;

/// How often idle upstream connections are looked through.
const TRIM: Duration = Duration::from_secs(10);
/// How often expired conversations are deleted.
const SWEEP: Duration = Duration::from_secs(60);
/// How often keys that will expire are looked for.
const REMIND: Duration = Duration::from_secs(60 * 60);

/// How often records that have expired are looked for.
const RETAIN: Duration = Duration::from_secs(60 * 60);

/// Everything that runs.
pub struct Running {
    pub gateway: Arc<Gateway>,
    pub plugins: Arc<PluginManager>,
    pub store: Store,
    keys: Arc<KeyCache>,
    access: AccessGuard,
    conversations: Conversations,
    captures: Captures,
    server: Server,
    /// The admin API's own, where the operator wants one.
    admin: Option<Server>,
    ledger: Ledger,
    checkpoints: Checkpoints,
    observing: Observing,
}

impl Running {
    /// Starts to serve.
    ///
    /// # Errors
    /// When the store, the plugin folder or the address is not to be had, or the configuration contradicts itself.
    pub async fn start(config: Config, listen: Option<SocketAddr>) -> Result<Self> {
        let store = open(&config.store).await?;
        let keys = Arc::new(store.key_cache().await.context("the keys")?);
        let access = store.access_guard(config.access.lockout()).await.context("lock-outs")?;
        let ledger = store.ledger(LedgerOptions::default()).await.context("the ledger")?;
        let checkpoints = Checkpoints::start(&store, &config).await.context("signing how far the ledger goes")?;
        let conversations = conversations(&store, &config)?;
        let captures = captures(&store, &config)?;
        let address = listen.unwrap_or(config.server.listen);
        let administration = config.admin.clone();
        let master = Arc::new(stored::keyring(&config)?);
        let runtime = runtime(&config)?;
        let directory = config.plugins.directory.clone();
        let settings = plugin_settings(&config);
        let parts = Parts {
            keys: Arc::clone(&keys),
            access: access.clone(),
            ledger: ledger.clone(),
            conversations: conversations.clone(),
            captures: captures.clone(),
            clock: Arc::new(SystemClock),
        };
        let gateway = Gateway::new(config, parts).map_err(anyhow::Error::msg)?;
        let plugins = start_plugins(&gateway, runtime, directory, settings).await?;
        stored::follow(&gateway, store.clone(), Arc::clone(&master)).await?;
        let observing = Observing::start(&gateway);
        let admin = administration
            .enabled
            .then(|| Admin::new(Arc::clone(&gateway), store.clone(), Arc::clone(&plugins), master));
        let (admin, apart) = match (admin, administration.listen) {
            (Some(admin), Some(address)) => {
                let listening = server::serve(Arc::clone(&gateway), Surface::Admin(admin), address).await;
                (None, Some(listening.with_context(|| format!("admin: cannot listen on {address}"))?))
            }
            (admin, _) => (admin, None),
        };
        let server = server::serve(Arc::clone(&gateway), Surface::Clients(admin), address)
            .await
            .with_context(|| format!("cannot listen on {address}"))?;
        tokio::spawn(trim(Arc::downgrade(&gateway)));
        tokio::spawn(captures.clone().run());
        tokio::spawn(sweep(Arc::downgrade(&gateway)));
        tokio::spawn(portcullis_gateway::alerts::deliver(Arc::downgrade(&gateway), store.clone()));
        tokio::spawn(portcullis_gateway::feeds::run(Arc::downgrade(&gateway), store.clone()));
        tokio::spawn(remind(Arc::downgrade(&gateway), store.clone()));
        tokio::spawn(retain(Arc::downgrade(&gateway), store.clone()));
        Ok(Running {
            gateway,
            plugins,
            store,
            keys,
            access,
            conversations,
            captures,
            server,
            admin: apart,
            ledger,
            checkpoints,
            observing,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Puts a new configuration in service, or keeps the old one and says why.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn reconfigure(&self, config: Config) -> Result<()> {
        self.gateway.check(&config).map_err(anyhow::Error::msg)?;
        if config.conversations.enabled {
            self.conversations.unlock().context("the key for conversations")?;
        }
        let (plugins, settings) = (Arc::clone(&self.plugins), plugin_settings(&config));
        // Settings go first: they alone can still be refused, by a plugin that does not like its configuration.
        let applied = tokio::task::spawn_blocking(move || plugins.apply_settings(settings)).await?;
        applied.map_err(|problems| {
            let lines = problems.iter().map(|problem| format!("plugin {}: {}", problem.plugin, problem.reason));
            anyhow::Error::msg(lines.collect::<Vec<_>>().join("; "))
        })?;
        warn_of_strangers(&self.plugins, config.plugin.keys().map(String::as_str));
        self.gateway.reconfigure(config).map_err(anyhow::Error::msg)
    }

    /// Lets requests under way end, then writes what is left. False when some had to be cut.
    pub async fn stop(self, within: Duration) -> bool {
        let drained = self.server.drain(within).await;
        if let Some(admin) = self.admin {
            // Nothing that is asked here takes long.
            admin.drain(within.min(Duration::from_secs(1))).await;
        }
        self.plugins.shutdown();
        self.observing.stop().await;
        self.gateway.flush_traces().await;
        let epoch = self.ledger.epoch();
        if let Err(error) = self.ledger.close().await {
            tracing::error!(%error, "the ledger was not written to its end; the next start does");
        }
        if let Err(error) = self.captures.flush().await {
            tracing::error!(%error, "captured content was not written");
        }
        for outcome in [self.access.flush().await, self.keys.close().await] {
            if let Err(error) = outcome {
                tracing::warn!(%error, "what was left of accesses was not written");
            }
        }
        self.checkpoints.stop(epoch).await;
        drained
    }
}

/// The store that the configuration names.
pub async fn open(config: &StoreConfig) -> Result<Store> {
    let options = config.options();
    Store::open(&options).await.with_context(|| format!("the store at {options}"))
}

/// Kept conversations, whose key is there before the first of them.
fn conversations(store: &Store, config: &Config) -> Result<Conversations> {
    let master = match &config.conversations.key {
        Some(key) => MasterKey::given(key.expose()).context("conversations.key")?,
        None => {
            let mut path = config.store.path.clone().into_os_string();
            path.push(".conversations.key");
            MasterKey::in_file(path)
        }
    };
    let conversations = store.conversations(master);
    if config.conversations.enabled {
        conversations.unlock().context("the key for conversations")?;
    }
    Ok(conversations)
}

/// What organisations have captured. Its key is made when there is something to be sealed with it.
pub fn captures(store: &Store, config: &Config) -> Result<Captures> {
    let given = |key: &Secret| MasterKey::given(key.expose());
    let current = match &config.capture.key {
        Some(key) => given(key).context("capture.key")?,
        None => {
            let mut path = config.store.path.clone().into_os_string();
            path.push(".captures.key");
            MasterKey::in_file(path)
        }
    };
    let previous = config.capture.previous_keys.iter().map(given).collect::<Result<Vec<_>, _>>();
    Ok(store.captures(CaptureKeys::new(current, previous.context("capture.previous_keys")?)))
}

/// An engine as the configuration wants it, which compiles in another process of this program.
pub fn runtime(config: &Config) -> Result<Arc<Runtime>> {
    let compiler =
        std::env::current_exe().ok().map(|program| Compiler { program, arguments: vec!["compile-component".into()] });
    let options = RuntimeOptions {
        cache_dir: Some(config.plugins.cache.clone()),
        state_dir: Some(config.plugins.state.clone()),
        compiler,
        development: config.server.development,
        max_instances: config.plugins.instances,
        rescan: Duration::from_secs(config.plugins.rescan_seconds.max(1)),
        ..RuntimeOptions::default()
    };
    Ok(Runtime::new(options)?)
}

pub fn plugin_settings(config: &Config) -> HashMap<String, PluginSettings> {
    config.plugin.iter().map(|(name, section)| (name.clone(), section.settings())).collect()
}

async fn start_plugins(
    gateway: &Arc<Gateway>,
    runtime: Arc<Runtime>,
    directory: PathBuf,
    settings: HashMap<String, PluginSettings>,
) -> Result<Arc<PluginManager>> {
    let publish = {
        let gateway = Arc::clone(gateway);
        Box::new(move |set: &[_]| gateway.publish(set))
    };
    // Compiling takes seconds where the cache is cold, and the manager waits for its first set.
    let names: Vec<String> = settings.keys().cloned().collect();
    let open: HashSet<String> =
        settings.iter().filter(|(_, one)| one.failure == FailureMode::Open).map(|(name, _)| name.clone()).collect();
    let started =
        tokio::task::spawn_blocking(move || PluginManager::start(runtime, directory, settings, publish)).await?;
    let plugins = started.context("the plugin folder; `[plugins] directory` says where it is")?;
    let mut missing = Vec::new();
    for status in plugins.status().into_iter().filter(|status| status.running.is_none()) {
        let reason = match status.state {
            PluginState::Loaded | PluginState::Disabled => continue,
            PluginState::Pending => "it is still being written".to_owned(),
            PluginState::Rejected { reason } | PluginState::Quarantined { reason } => reason,
        };
        if open.contains(&status.name) {
            tracing::warn!(plugin = %status.name, reason, "a plugin is not in service, which its failure mode permits");
        } else {
            missing.push(format!("{}: {reason}", status.file.display()));
        }
    }
    // It may be the guard that everybody relies on: what it is cannot be known, since it does not load.
    ensure!(
        missing.is_empty(),
        "cannot start without {}; mend or remove the file (`portcullis plugin release` lifts a quarantine), or say \
         `enabled = false` or `failure = \"open\"` in its section",
        missing.join("; ")
    );
    warn_of_strangers(&plugins, names.iter().map(String::as_str));
    Ok(plugins)
}

/// A section for a plugin that is not there may be one that was misspelt, and its plugin then runs without it.
fn warn_of_strangers<'a>(plugins: &PluginManager, sections: impl Iterator<Item = &'a str>) {
    let known: HashSet<String> = plugins.status().into_iter().map(|status| status.name).collect();
    for section in sections.filter(|section| !known.contains(*section)) {
        tracing::warn!(section = format!("plugin.{section}"), "there is no plugin of that name");
    }
}

async fn sweep(gateway: std::sync::Weak<Gateway>) {
    let mut tick = tokio::time::interval(SWEEP);
    loop {
        tick.tick().await;
        let Some(gateway) = gateway.upgrade() else { return };
        gateway.sweep().await;
    }
}

/// Keys that will expire are reminded of: once a day each, by whichever process looks first.
async fn remind(gateway: std::sync::Weak<Gateway>, store: Store) {
    let mut tick = tokio::time::interval(REMIND);
    loop {
        tick.tick().await;
        let Some(gateway) = gateway.upgrade() else { return };
        let days = gateway.snapshot().config.access.remind_days;
        if days == 0 {
            continue;
        }
        match store.remind_of_expiring_keys(days).await {
            Ok(keys) => {
                let now = SystemClock.now_ms();
                for one in keys {
                    tracing::warn!(key = %one.id(), name = one.key.name, days = one.days(now), "a key expires soon: rotate it");
                }
            }
            Err(error) => tracing::error!(%error, "keys that expire cannot be read"),
        }
    }
}

/// Requests and receipts live as long as their organisation wants.
async fn retain(gateway: std::sync::Weak<Gateway>, store: Store) {
    let mut retention = store.retention(Actor::system());
    let mut tick = tokio::time::interval(RETAIN);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Some(snapshot) = gateway.upgrade().map(|gateway| gateway.snapshot()) else { return };
        match retention.round(snapshot.config.records.retention_days, None).await {
            Ok(done) => {
                for Retained { organisation, before_ms, expired } in done.unwrap_or_default() {
                    tracing::info!(%organisation, before_ms, requests = expired.requests, "request records expired");
                }
            }
            Err(error) => tracing::error!(%error, "request records that have expired cannot be deleted"),
        }
    }
}

async fn trim(gateway: std::sync::Weak<Gateway>) {
    let mut tick = tokio::time::interval(TRIM);
    loop {
        tick.tick().await;
        let Some(gateway) = gateway.upgrade() else { return };
        gateway.trim();
    }
}
