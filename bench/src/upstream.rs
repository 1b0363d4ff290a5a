//! The demo upstream on the load's cores, in a thread of this process.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result};
use portcullis_demo_upstream::{Options, serve};

use crate::cpus;

/// Starts it; it serves until the program ends.
///
/// # Errors
/// No port is free, or the cores cannot be had.
pub fn start(cores: Vec<usize>) -> Result<SocketAddr> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().name("upstream".into()).spawn(move || {
        let run = || -> Result<()> {
            cpus::confine(&cores)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
                let server = serve(listener, Options::default())?;
                sender.send(Ok(server.address()))?;
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
