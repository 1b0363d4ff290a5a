//! `portcullis serve`: until SIGTERM, with the configuration read again when it changes.

use std::net::SocketAddr;
use std::path::PathBuf;
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
    let running = Running::start(config, listen).await?;
    // One line on standard output, for scripts that started this and wait for it.
    println!("listening on http://{}", running.address());
    let mut changes = path.clone().map(watch::changes);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => reload(&running, path.as_deref()).await,
            () = next(&mut changes) => reload(&running, path.as_deref()).await,
        }
    }
    tracing::info!("draining");
    if !running.stop(drain).await {
        tracing::warn!("requests were cut: they took longer than server.drain_seconds");
    }
    Ok(())
}

async fn next(changes: &mut Option<watch::Changes>) {
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}

pub async fn reload(running: &Running, path: Option<&std::path::Path>) {
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
