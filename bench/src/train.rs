//! Training: what is measured, asked of a build that records what it does, so that the compiler knows which paths are hot.
//! Nothing is measured and no core is anybody's own, so this runs wherever the gateway does.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::gateway::Installation;
use crate::load::Load;
use crate::scenario::{Instances, Plugins, Setup, Upstream as Side, Work};
use crate::tls;
use crate::upstream::Upstream;

/// Loads each configuration with each kind of work for so long, and one over TLS, which real providers are reached by. Every
/// gateway is ended in order, for it writes its profile then.
///
/// # Errors
/// A gateway does not start, or a request fails.
pub fn run(installation: &Installation, upstream: &Upstream, window: Duration) -> Result<()> {
    for setup in Setup::all().into_iter().filter(Setup::teaches) {
        load(installation, upstream, upstream.address, setup, window)?;
    }
    let address = tls::start(upstream)?;
    let certificate = installation.scratch.join("upstream.pem");
    std::fs::write(&certificate, tls::CERTIFICATE)?;
    let installation = Installation { certificate: Some(certificate), ..installation.clone() };
    let setup = Setup { upstream: Side::Same, plugins: Plugins::Content, instances: Instances::Warm };
    load(&installation, upstream, address, setup, window).context("over TLS")
}

fn load(
    installation: &Installation,
    upstream: &Upstream,
    address: SocketAddr,
    setup: Setup,
    window: Duration,
) -> Result<()> {
    let (gateway, _) = installation.start(setup, &[], address)?;
    for work in setup.work().into_iter().filter(|work| *work != Work::Latency) {
        let request = gateway.request(&work.body());
        let answered = Load::connect(gateway.address, request, work.connections())
            .and_then(|mut load| load.run(&upstream.thread, window))
            .with_context(|| format!("{setup}, {work}"))?;
        println!("{:<58} {answered:>9}", format!("{setup}, {work}"));
    }
    Ok(())
}

impl Setup {
    /// Fresh instances take the same path whatever the plugins: one configuration of theirs for each upstream is enough.
    fn teaches(&self) -> bool {
        self.instances == Instances::Warm || self.plugins == Plugins::Content
    }
}
