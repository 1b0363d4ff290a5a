//! The demo upstream on the load's cores, in a thread of this process that carries the load as well.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result};
use portcullis_demo_upstream::{Options, serve};
use tokio::runtime::Handle;

use crate::cpus;

/// The upstream, and the thread it runs on.
#[derive(Clone, Debug)]
pub struct Upstream {
    pub address: SocketAddr,
    /// For the load: see [`crate::load`].
    pub thread: Handle,
}

/// Starts it; it serves until the program ends.
///
/// # Errors
/// No port is free, or the cores cannot be had.
pub fn start(cores: Vec<usize>) -> Result<Upstream> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().name("upstream".into()).spawn(move || {
        let run = || -> Result<()> {
            cpus::confine(&cores)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
                let server = serve(listener, Options::default())?;
                sender.send(Ok(Upstream { address: server.address(), thread: Handle::current() }))?;
                std::future::pending().await
            })
        };
        if let Err(error) = run() {
            // The receiver is gone only when starting already succeeded.
            let _ = sender.send(Err(error));
        }
    })?;
    receiver.recv().context("the upstream's thread ended")?
}
