//! Keeps a process saturated: as many requests under way as there are connections, answers taken in turn. One thread, two
//! system calls a request, no event loop: the load must cost less than what it measures.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::wire::Client;

/// Connections that carry the load, each with one request under way at all times within a window.
#[derive(Debug)]
pub struct Load {
    clients: Vec<Client>,
    request: Vec<u8>,
}

impl Load {
    /// # Errors
    /// The target does not take that many connections.
    pub fn connect(address: SocketAddr, request: Vec<u8>, connections: usize) -> Result<Self> {
        let clients = (0..connections).map(|_| Client::connect(address)).collect::<Result<_>>()?;
        Ok(Self { clients, request })
    }

    /// Loads for so long and returns how many requests were answered, all of them with a 200.
    ///
    /// # Errors
    /// One was not.
    pub fn run(&mut self, time: Duration) -> Result<u64> {
        let until = Instant::now() + time;
        for client in &mut self.clients {
            client.send(&self.request)?;
        }
        let mut answered = 0;
        loop {
            let more = Instant::now() < until;
            for client in &mut self.clients {
                let answer = client.read(None)?;
                anyhow::ensure!(
                    answer.status == 200,
                    "status {} under load: {}",
                    answer.status,
                    String::from_utf8_lossy(client.body())
                );
                answered += 1;
                if more {
                    client.send(&self.request)?;
                }
            }
            if !more {
                return Ok(answered);
            }
        }
    }
}
