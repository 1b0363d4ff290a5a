//! Latency at a modest, fixed load. Each of a few connections sends at its own fixed times; a request that its predecessor made
//! late counts from when it should have been sent, so that a slow answer is not hidden by the pause it causes.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

use crate::wire::Client;

/// What is asked, how often, for how long.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    pub connections: u32,
    /// Requests per second, all connections together.
    pub rate: u32,
    pub time: Duration,
}

/// Nanoseconds from sending to the answer's end, or to `mark` where there is one.
///
/// # Errors
/// A request fails.
pub fn measure(
    address: SocketAddr,
    request: &[u8],
    mark: Option<&'static [u8]>,
    schedule: Schedule,
) -> Result<Histogram<u64>> {
    let start = Instant::now() + Duration::from_millis(5);
    let workers: Vec<_> = (0..schedule.connections)
        .map(|index| {
            let request = request.to_vec();
            thread::spawn(move || worker(address, &request, mark, schedule, start, index))
        })
        .collect();
    let mut all = Histogram::new(3)?;
    for worker in workers {
        all.add(worker.join().ok().context("a load thread panicked")??)?;
    }
    Ok(all)
}

fn worker(
    address: SocketAddr,
    request: &[u8],
    mark: Option<&[u8]>,
    schedule: Schedule,
    start: Instant,
    index: u32,
) -> Result<Histogram<u64>> {
    let mut histogram = Histogram::new(3)?;
    let mut client = Client::connect(address)?;
    // The connection's first request pays for what only a first one needs.
    client.exchange(request, mark)?;
    let interval = Duration::from_secs(1) * schedule.connections / schedule.rate;
    let mut due = start + interval * index / schedule.connections;
    while due < start + schedule.time {
        let early = due.saturating_duration_since(Instant::now());
        let from = if early.is_zero() {
            due
        } else {
            thread::sleep(early);
            Instant::now()
        };
        let answer = client.exchange(request, mark)?;
        let until = match mark {
            Some(_) => answer.marked.context("the stream had no token")?,
            None => Instant::now(),
        };
        histogram.record(u64::try_from((until - from).as_nanos())?)?;
        due += interval;
    }
    Ok(histogram)
}
