//! Keeps a process saturated: as many requests under way as there are connections. It runs on the upstream's own thread and
//! never sleeps while it loads. A load that slept whenever the measured process was the slower side would have every wake-up
//! (an interrupt to another core, 2 to 3 µs on a virtual machine, twice a request) charged to that process, and never to the
//! bare proxy, which keeps it busy: a cost that no client on another machine causes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::runtime::Handle;
use tokio::task::yield_now;

use crate::wire::Client;

/// How long nothing may be answered.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections that carry the load, each with one request under way at all times within a window.
#[derive(Debug)]
pub struct Load {
    connections: Vec<Connection>,
    request: Vec<u8>,
}

#[derive(Debug)]
struct Connection {
    client: Client,
    /// Bytes of the request under way that have been written; `None` between two requests.
    written: Option<usize>,
}

impl Load {
    /// # Errors
    /// The target does not take that many connections.
    pub fn connect(address: SocketAddr, request: Vec<u8>, connections: usize) -> Result<Self> {
        let connect = || {
            let mut client = Client::connect(address)?;
            client.never_wait()?;
            Ok(Connection { client, written: None })
        };
        Ok(Self { connections: (0..connections).map(|_| connect()).collect::<Result<_>>()?, request })
    }

    /// Loads for so long, on the thread of this runtime, and returns how many requests were answered, all of them with a 200.
    ///
    /// # Errors
    /// One was not.
    pub fn run(&mut self, on: &Handle, time: Duration) -> Result<u64> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let mut load = Self { connections: std::mem::take(&mut self.connections), request: self.request.clone() };
        on.spawn(async move {
            let answered = load.saturate(time).await;
            // The receiver waits below for exactly this.
            let _ = sender.send((load, answered));
        });
        let (load, answered) = receiver.recv().context("the load's thread ended")?;
        *self = load;
        answered
    }

    async fn saturate(&mut self, time: Duration) -> Result<u64> {
        let until = Instant::now() + time;
        let mut answered = 0;
        let mut last = Instant::now();
        loop {
            let now = Instant::now();
            let mut idle = true;
            let before = answered;
            for connection in &mut self.connections {
                answered += u64::from(connection.advance(&self.request, now < until)?);
                idle &= connection.written.is_none();
            }
            if idle && now >= until {
                return Ok(answered);
            }
            if answered > before {
                last = now;
            }
            ensure!(now - last < PATIENCE, "no answer for {PATIENCE:?} under load");
            // The upstream's turn: it shares this thread.
            yield_now().await;
        }
    }
}

impl Connection {
    /// Goes as far as it can without waiting; says whether an answer came to its end.
    fn advance(&mut self, request: &[u8], more: bool) -> Result<bool> {
        let mut answered = false;
        if self.written == Some(request.len())
            && let Some(answer) = self.client.read_some(None)?
        {
            ensure!(
                answer.status == 200,
                "status {} under load: {}",
                answer.status,
                String::from_utf8_lossy(self.client.body())
            );
            answered = true;
            self.written = None;
        }
        if self.written.is_none() && more {
            self.written = Some(0);
        }
        if let Some(written) = &mut self.written
            && *written < request.len()
        {
            *written += self.client.write_some(&request[*written..])?;
        }
        Ok(answered)
    }
}
