//! What the black-box tests share: a gateway as a process of its own in a folder of its own, clients that can misbehave,
//! providers that answer with given bytes, and a look at what the ledger wrote.
//!
//! The gateway under test is the built program, found by `PORTCULLIS_BIN`, with the built components of
//! `PORTCULLIS_PLUGINS`; where those are not set, what a build of this checkout left in `target/`. A slow test is
//! `#[ignore = "slow: …"]`, as everywhere in the project.

mod client;
mod gateway;
pub mod leaves;
mod ledger;
mod plugins;
pub mod recordings;
pub mod sse;
mod traffic;
mod upstream;

use std::future::Future;
use std::time::{Duration, Instant};

pub use client::{Answer, Client, Connection, Stream, chat, hash_of, messages};
pub use gateway::{Gateway, Setup, demo, demo_with};
pub use ledger::{Entry, Ledger};
pub use plugins::{Component, PluginFolder};
pub use traffic::{Tally, Traffic};
pub use upstream::{Act, Received, Upstream, answer, json_answer, stream_head};

/// Waits until a condition holds; looks every 20 ms.
///
/// # Panics
/// When it does not within 15 s.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let until = Instant::now() + Duration::from_secs(15);
    while !condition().await {
        assert!(Instant::now() < until, "not within 15 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The future's result.
///
/// # Panics
/// When it takes longer.
pub async fn within<T>(seconds: u64, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(seconds), future).await {
        Ok(result) => result,
        Err(_) => panic!("not within {seconds} s: {what}"),
    }
}
