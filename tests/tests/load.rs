//! Two thousand requests in flight, twenty streams open throughout, a thousand swaps: no request fails, and memory stays.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use portcullis_demo_upstream::Options;
use portcullis_tests::{Client, Component, Connection, Gateway, Setup, chat, demo_with, hash_of, messages, sse};
use tokio::task::JoinSet;

const IN_FLIGHT: usize = 2_000;
const STREAMS: usize = 20;
const SWAPS: usize = 1_000;
/// Swaps after which memory is taken for what it will be.
const SETTLED: usize = 100;

/// How long the provider takes: with this many at once, some four hundred requests a second.
const TAKES: Duration = Duration::from_secs(5);

/// How much memory may have grown between the two, per cent.
const GROWTH_PERCENT: u64 = 5;

/// How many looks at memory, one after each swap, one figure is the median of: it is given back in steps, and a swap under way or a
/// group of rows being written is a few megabytes.
const LOOKS: usize = 25;

/// How long a stream lasts.
const LASTS: Duration = Duration::from_secs(20);

/// Two versions of each plugin, that differ in their hash alone, and the link that chooses.
struct Swapper {
    plugins: Vec<(&'static str, [(PathBuf, String); 2])>,
    done: usize,
}

impl Swapper {
    fn new(gateway: &Gateway) -> Self {
        let plugins = ["pii", "policy-rules", "router-heuristic", "openai"].map(|name| {
            let version = |mark| {
                let component = Component::built(name).variant(mark);
                (gateway.plugins.lay_aside(&format!("{name}-{mark}"), &component), component.hash())
            };
            (name, [version(1), version(2)])
        });
        Swapper { plugins: plugins.into(), done: 0 }
    }

    /// One plugin gets its other version; over once a request was served by it.
    async fn swap(&mut self, gateway: &Gateway, client: &Client) {
        let count = self.plugins.len();
        let (name, versions) = &self.plugins[self.done % count];
        let (path, hash) = &versions[self.done / count % 2];
        gateway.plugins.link(name, path);
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = client.chat("demo/demo", "hello").await.ok();
            let receipt = client.receipt(&answer.id()).await;
            if hash_of(&receipt, name) == Some(hash) {
                break;
            }
            assert!(Instant::now() < until, "swap {} of {name} did not come", self.done);
        }
        self.done += 1;
    }
}

#[derive(Default)]
struct Counts {
    answered: AtomicU64,
    streamed: AtomicU64,
    in_flight: AtomicU64,
    stop: AtomicBool,
}

/// Asks again and again, all but without pause.
async fn asks(client: Client, number: usize, counts: Arc<Counts>) -> Result<(), String> {
    // Not all at once: a wave would be two thousand at one moment and none at the next.
    tokio::time::sleep(TAKES.mul_f64(number as f64 / IN_FLIGHT as f64)).await;
    let mut connection = Connection::open(&client).await.map_err(|error| format!("{error:#}"))?;
    let (path, body) = match number % 4 {
        0 => ("/v1/chat/completions", chat("demo-anthropic/demo-slow", "hello", false)),
        1 => ("/v1/messages", messages("demo/demo-slow", "hello", false)),
        _ => ("/v1/chat/completions", chat("demo/demo-slow", "hello", false)),
    };
    let body = bytes::Bytes::from(body.to_string());
    while !counts.stop.load(Ordering::Relaxed) {
        counts.in_flight.fetch_add(1, Ordering::Relaxed);
        let answer = connection.post(path, body.clone()).await;
        counts.in_flight.fetch_sub(1, Ordering::Relaxed);
        let answer = answer.map_err(|error| format!("{path}: {error:#}"))?;
        if answer.status != StatusCode::OK {
            return Err(format!("{path}: {} {}", answer.status, answer.text()));
        }
        counts.answered.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Holds one stream open; a next one where it ends.
async fn streams(client: Client, number: usize, counts: Arc<Counts>) -> Result<(), String> {
    while !counts.stop.load(Ordering::Relaxed) {
        let mut stream = match number % 4 {
            0 => client.messages_stream("demo-anthropic/demo-long-1000", "hello").await,
            1 => client.messages_stream("demo/demo-long-1000", "hello").await,
            2 => client.chat_stream("demo-anthropic/demo-long-1000", "hello").await,
            _ => client.chat_stream("demo/demo-long-1000", "hello").await,
        };
        let (text, complete) = stream.rest().await;
        let events = sse::events(&text);
        if !complete || !sse::ended(&events) {
            return Err(format!("a stream of {} bytes without its end: {:?}", text.len(), sse::error(&events)));
        }
        counts.streamed.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// The median of the last looks.
fn median(looks: &VecDeque<u64>) -> u64 {
    let mut looks: Vec<u64> = looks.iter().copied().collect();
    looks.sort_unstable();
    looks[looks.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: a thousand swaps, each seen in a receipt"]
async fn a_thousand_swaps_under_load() {
    let options = Options { slow_token_delay: TAKES, token_delay: Duration::from_millis(20), ..Options::default() };
    let demo = demo_with(options).await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let counts = Arc::new(Counts::default());
    let mut tasks = JoinSet::new();
    for number in 0..IN_FLIGHT {
        tasks.spawn(asks(client.clone(), number, Arc::clone(&counts)));
    }
    for number in 0..STREAMS {
        tasks.spawn(streams(client.clone(), number, Arc::clone(&counts)));
    }
    // The load itself must have come to rest, or its own growth would count as the swaps': a stream lasts 20 s (1,000 tokens of
    // 20 ms), and until each has been followed by another they all began at the same moment.
    tokio::time::sleep(LASTS + 4 * TAKES).await;

    let began = Instant::now();
    let mut swapper = Swapper::new(&gateway);
    let (mut looks, mut settled) = (VecDeque::new(), 0);
    let mut fewest = u64::MAX;
    for swap in 1..=SWAPS {
        swapper.swap(&gateway, &client).await;
        fewest = fewest.min(counts.in_flight.load(Ordering::Relaxed));
        looks.push_back(gateway.resident());
        if looks.len() > LOOKS {
            looks.pop_front();
        }
        if swap == SETTLED {
            settled = median(&looks);
        }
        if let Some(ended) = tasks.try_join_next() {
            panic!("after {swap} swaps: {ended:?}");
        }
        if swap % 100 == 0 {
            eprintln!(
                "{swap} swaps, {:?}, {} answers, {} MB",
                began.elapsed(),
                counts.answered.load(Ordering::Relaxed),
                median(&looks) >> 20
            );
        }
    }
    let last = median(&looks);
    counts.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no task panics").expect("no request fails");
    }
    let (answered, streamed) = (counts.answered.load(Ordering::Relaxed), counts.streamed.load(Ordering::Relaxed));
    eprintln!(
        "{SWAPS} swaps in {:?}; {answered} answers, {streamed} streams; at least {fewest} in flight; {settled} then {last} bytes",
        began.elapsed()
    );
    assert!(fewest as usize > IN_FLIGHT * 95 / 100, "{fewest} in flight");
    assert!(streamed >= STREAMS as u64);
    let most = settled + settled * GROWTH_PERCENT / 100;
    assert!(last <= most, "{settled} bytes after {SETTLED} swaps, {last} after {SWAPS}");
    let failed = gateway.log();
    let failed: Vec<_> = failed.lines().filter(|line| line.contains(" ERROR ") || line.contains("panicked")).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}
