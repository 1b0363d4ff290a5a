//! The gateway as a whole: what every request shares, and how a new set of plugins or a new configuration takes its place.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use portcullis_core::{Clock, Receipt};
use portcullis_runtime::Plugin;
use portcullis_store::{AccessCounters, AccessGuard, Captures, Conversations, KeyCache, Ledger};

use crate::catalog::HealthRegistry;
use crate::config::Config;
use crate::limits::Limiter;
use crate::metrics::Metrics;
use crate::observing::Notices;
use crate::snapshot::Snapshot;
use crate::stored::StoredProvider;
use crate::telemetry::Telemetry;
use crate::upstream::Pool;

/// What every request shares.
pub struct Gateway {
    current: ArcSwap<Snapshot>,
    /// The inputs of a snapshot: a change of any builds a new one from all, one change at a time.
    inputs: Mutex<Inputs>,
    health: HealthRegistry,
    pub(crate) limiter: Limiter,
    pub(crate) pool: Arc<Pool>,
    pub(crate) keys: Arc<KeyCache>,
    pub(crate) access: AccessGuard,
    pub(crate) ledger: Ledger,
    pub(crate) conversations: Conversations,
    pub(crate) captures: Captures,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    /// Where the operator wants traces.
    pub(crate) telemetry: Option<Arc<Telemetry>>,
    /// Set while somebody tells observers.
    notices: OnceLock<Notices>,
}

struct Inputs {
    config: Arc<Config>,
    stored: Arc<[StoredProvider]>,
    plugins: Vec<Arc<Plugin>>,
    /// Connections without a plugin, which the operator was told of.
    absent: Vec<(String, String)>,
}

impl Inputs {
    /// Tells the operator of connections that are out of service since their plugin is not loaded: once for as long as it is
    /// not. Before the first plugins are published nothing is missing yet.
    fn tell_absent(&mut self, snapshot: &Snapshot) {
        let absent = snapshot.catalog.absent();
        for (provider, plugin) in absent.iter().filter(|one| !self.absent.contains(one)) {
            tracing::warn!(%provider, %plugin, "no such provider plugin is loaded");
        }
        self.absent = absent.to_vec();
    }
}

/// What a gateway keeps its records with.
pub struct Parts {
    pub keys: Arc<KeyCache>,
    pub access: AccessGuard,
    pub ledger: Ledger,
    pub conversations: Conversations,
    pub captures: Captures,
    pub clock: Arc<dyn Clock>,
}

impl Gateway {
    /// A gateway without plugins: they come by [`publish`](Self::publish).
    ///
    /// # Errors
    /// A sentence for the operator when the configuration contradicts itself; with `telemetry.endpoint`, also outside of an async
    /// runtime.
    pub fn new(config: Config, parts: Parts) -> Result<Arc<Self>, String> {
        let config = Arc::new(config);
        let health = HealthRegistry::default();
        let telemetry = Telemetry::start(&config.telemetry)?;
        let stored: Arc<[StoredProvider]> = Arc::new([]);
        let snapshot = Snapshot::build(Arc::clone(&config), Arc::clone(&stored), &[], &health, None)?;
        Ok(Arc::new(Gateway {
            current: ArcSwap::from_pointee(snapshot),
            inputs: Mutex::new(Inputs { config, stored, plugins: Vec::new(), absent: Vec::new() }),
            health,
            limiter: Limiter::default(),
            pool: Arc::new(Pool::default()),
            keys: parts.keys,
            access: parts.access,
            ledger: parts.ledger,
            conversations: parts.conversations,
            captures: parts.captures,
            clock: parts.clock,
            metrics: Metrics::default(),
            telemetry,
            notices: OnceLock::new(),
        }))
    }

    /// What a request that begins now works with, to its last byte (invariant 8).
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Puts a new set of plugins in service, at once and for every request that begins from now on.
    ///
    /// # Errors
    /// Why the set cannot serve (routes that conflict, malformed pointers, …); the old one then stays.
    pub fn publish(&self, plugins: &[Arc<Plugin>]) -> Result<(), String> {
        let mut inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        let former = self.snapshot();
        let (config, stored) = (Arc::clone(&inputs.config), Arc::clone(&inputs.stored));
        let built = Snapshot::build(config, stored, plugins, &self.health, Some(&former));
        self.metrics.counts.swaps.add(applied(&built));
        let snapshot = built?;
        inputs.plugins = plugins.to_vec();
        inputs.tell_absent(&snapshot);
        self.current.store(Arc::new(snapshot));
        Ok(())
    }

    /// Whether a configuration could be put in service.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn check(&self, config: &Config) -> Result<(), String> {
        let inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        Snapshot::build(Arc::new(config.clone()), Arc::clone(&inputs.stored), &inputs.plugins, &self.health, None)
            .map(|_| ())
    }

    /// Puts a new configuration in service. What is read at start only keeps its value.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn reconfigure(&self, config: Config) -> Result<(), String> {
        let mut inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        let config = Arc::new(config);
        let former = self.snapshot();
        let stored = Arc::clone(&inputs.stored);
        let built = Snapshot::build(Arc::clone(&config), stored, &inputs.plugins, &self.health, Some(&former));
        self.metrics.counts.reloads.add(applied(&built));
        let snapshot = built?;
        inputs.config = config;
        inputs.tell_absent(&snapshot);
        self.current.store(Arc::new(snapshot));
        Ok(())
    }

    /// What failed accesses came to since the start, for metrics.
    pub fn access_counters(&self) -> &AccessCounters {
        self.access.counters()
    }

    /// Puts the database's connections in service beside those of the configuration: all of them, in place of those before.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn connect(&self, stored: Vec<StoredProvider>) -> Result<(), String> {
        let mut inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        let stored: Arc<[StoredProvider]> = stored.into();
        let (config, former) = (Arc::clone(&inputs.config), self.snapshot());
        let snapshot = Snapshot::build(config, Arc::clone(&stored), &inputs.plugins, &self.health, Some(&former))?;
        inputs.stored = stored;
        self.current.store(Arc::new(snapshot));
        Ok(())
    }

    pub(crate) fn observed_by(&self, notices: Notices) {
        // The first one stays: a gateway has one task that tells observers.
        let _ = self.notices.set(notices);
    }

    /// Leaves a receipt for the observers, if there are any.
    pub(crate) fn notify(&self, snapshot: &Snapshot, receipt: Receipt) {
        if snapshot.observers.is_empty() {
            return;
        }
        if let Some(notices) = self.notices.get()
            && notices.try_send(Arc::new(receipt)).is_err()
        {
            tracing::warn!("observers are behind; a receipt was not shown to them");
        }
    }

    /// Deletes kept conversations and captured content that have expired, whether or not any are still kept. To be called every minute or
    /// so.
    pub async fn sweep(&self) {
        match self.conversations.sweep().await {
            Ok(0) => {}
            Ok(turns) => tracing::info!(turns, "turns of conversations expired"),
            Err(error) => tracing::error!(%error, "expired conversations cannot be deleted"),
        }
        match self.captures.sweep().await {
            Ok(0) => {}
            Ok(requests) => tracing::info!(requests, "captured content expired"),
            Err(error) => tracing::error!(%error, "captured content that has expired cannot be deleted"),
        }
    }

    /// Sends the traces that wait. To be called once, when nothing is served any more.
    pub async fn flush_traces(&self) {
        if let Some(telemetry) = &self.telemetry {
            Arc::clone(telemetry).stop().await;
        }
    }

    /// Closes upstream connections that have waited too long, and forgets what limits no longer count. To be called every few seconds.
    pub fn trim(&self) {
        self.limiter.sweep(self.clock.now_ms());
        self.pool.trim();
    }
}

fn applied<T, E>(result: &Result<T, E>) -> &'static str {
    if result.is_ok() { "applied" } else { "refused" }
}

/// Where the operator's file is looked for when no path is given.
pub fn default_config_path() -> Option<PathBuf> {
    let path = PathBuf::from("portcullis.toml");
    path.is_file().then_some(path)
}
