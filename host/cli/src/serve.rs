//! `portcullis serve`: until SIGTERM, with the configuration read again when it changes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use portcullis_gateway::config::{Config, ProcessEnvironment, watch};
use tokio::signal::unix::{SignalKind, signal};

use crate::running::Running;
use crate::{ConfigArgument, logging};

pub fn run(argument: &ConfigArgument, listen: Option<SocketAddr>) -> Result<()> {
    logging::start("info");
    let path = argument.path();
    let config = argument.load()?;
    async_runtime(config.server.worker_threads)?.block_on(serve(config, path, listen))
}

/// The runtime that serves requests. Plugins are called synchronously on its workers, so blocking threads are few.
pub fn async_runtime(workers: usize) -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if workers > 0 {
        builder.worker_threads(workers);
    }
    builder.max_blocking_threads(32).enable_all().build().context("the async runtime")
}

async fn serve(config: Config, path: Option<PathBuf>, listen: Option<SocketAddr>) -> Result<()> {
    let drain = Duration::from_secs(config.server.drain_seconds);
    let mut changes = Watched::new(path.clone(), config.catalogue.file.clone());
    let running = Running::start(config, listen).await?;
    // One line on standard output, for scripts that started this and wait for it.
    println!("listening on http://{}", running.address());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {}
            () = changes.next() => {}
        }
        reload(&running, path.as_deref()).await;
        changes.follow(path.as_deref());
    }
    tracing::info!("draining");
    if !running.stop(drain).await {
        tracing::warn!("requests were cut: they took longer than server.drain_seconds");
    }
    Ok(())
}

/// The files whose changes are a new configuration.
struct Watched {
    config: Option<watch::Changes>,
    catalogue: Option<(PathBuf, watch::Changes)>,
}

impl Watched {
    fn new(config: Option<PathBuf>, catalogue: Option<PathBuf>) -> Self {
        let watch = |path: PathBuf| (path.clone(), watch::changes(path));
        Watched { config: config.map(watch::changes), catalogue: catalogue.map(watch) }
    }

    async fn next(&mut self) {
        tokio::select! {
            () = next(self.config.as_mut()) => {}
            () = next(self.catalogue.as_mut().map(|(_, changes)| changes)) => {}
        }
    }

    /// Watches the catalogue that the configuration names now, also where that configuration was refused: it may be the
    /// catalogue that is mended.
    fn follow(&mut self, config: Option<&Path>) {
        let text = config.and_then(|path| std::fs::read_to_string(path).ok());
        let Some(config) = text.and_then(|text| Config::parse(&text, "").ok()) else { return };
        if config.catalogue.file.as_deref() != self.catalogue.as_ref().map(|(path, _)| path.as_path()) {
            self.catalogue = config.catalogue.file.map(|path| (path.clone(), watch::changes(path)));
        }
    }
}

async fn next(changes: Option<&mut watch::Changes>) {
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}

pub async fn reload(running: &Running, path: Option<&Path>) {
    let reloaded = match Config::load(path, &ProcessEnvironment) {
        Ok(config) => running.reconfigure(config).await,
        Err(error) => Err(error.into()),
    };
    match reloaded {
        Ok(()) => tracing::info!("the configuration was reloaded"),
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the new configuration was refused; the old one stays")
        }
    }
}
