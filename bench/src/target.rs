//! What is measured: a command and the address it answers at.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::bodies;
use crate::cpus::Cores;
use crate::process::Process;

#[derive(Debug)]
pub struct Target {
    pub process: Process,
    pub address: SocketAddr,
    /// Where chat requests go.
    pub path: &'static str,
    pub key: Option<String>,
}

impl Target {
    /// The bare proxy, before this upstream.
    ///
    /// # Errors
    /// It does not start.
    pub fn bare(cores: &Cores, upstream: SocketAddr) -> Result<Self> {
        let mut command = Command::new(bare_proxy()?);
        command.arg("--upstream").arg(upstream.to_string()).stdout(Stdio::piped());
        let mut process = Process::start(command, &[cores.measured])?;
        let address = process.first_line()?.parse().context("the bare proxy did not print its address")?;
        Ok(Self { process, address, path: "/v1/chat/completions", key: None })
    }

    /// A chat request to this target as bytes on the wire.
    pub fn request(&self, body: &str) -> Vec<u8> {
        bodies::request(self.path, self.key.as_deref(), body)
    }
}

/// It is built beside this program.
fn bare_proxy() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("bare-proxy");
    anyhow::ensure!(path.is_file(), "{} is missing: build the whole crate", path.display());
    Ok(path)
}
