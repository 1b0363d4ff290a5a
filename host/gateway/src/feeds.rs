//! What goes outside piece by piece, scheduled exports ([`crate::exports`]) and sinks of events ([`crate::siem`]): off every request's path, at
//! least once, and by one process at a time.
//!
//! How far each is stands in the database. Who delivers a piece has it in hand there, for half a minute at a time: whoever dies
//! with it is replaced then. Each has a task of its own while it has something to do, so that one that is slow holds up no other.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use portcullis_core::Clock;
use portcullis_store::{Feed, Holder, Store, StoreError};
use rand::Rng;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::Gateway;
use crate::exports::{self, EXPORT};
use crate::metrics::Feeds;
use crate::siem::{self, SIEM};
use crate::webhook::wait_after;

const LOOK: Duration = Duration::from_secs(1);
/// After the database did not answer.
const PAUSE: Duration = Duration::from_secs(5);
/// How long a feed is in hand, and how often that is renewed.
const HOLD_MS: u64 = 30_000;
const RENEW: Duration = Duration::from_secs(10);
/// Of an error that is kept.
const ERROR_CHARS: usize = 500;

/// What whoever delivers works with.
#[derive(Clone)]
pub struct Desk {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) meters: Arc<Feeds>,
    holder: Holder,
}

impl Desk {
    /// One of its own, under a name that nobody else has.
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self::metered(store, clock, Arc::default())
    }

    fn metered(store: Store, clock: Arc<dyn Clock>, meters: Arc<Feeds>) -> Self {
        let mut holder = Holder::default();
        rand::rng().fill_bytes(&mut holder);
        Desk { store, clock, meters, holder }
    }

    /// A feed as it is, begun at `position` where nobody did before.
    pub(crate) async fn find(&self, name: &str, position: u64) -> Result<Feed, StoreError> {
        if let Some(feed) = self.store.backend().feed(name).await? {
            return Ok(feed);
        }
        self.store.backend().begin_feed(name, position).await?;
        let begun = self.store.backend().feed(name).await?;
        begun.ok_or(StoreError::NotFound { what: "feed" })
    }

    /// Takes it in hand. `None` where another has it, or it is not due by `due_ms`.
    pub(crate) async fn take(&self, name: &str, due_ms: u64) -> Result<Option<Feed>, StoreError> {
        let now = self.clock.now_ms();
        self.store.backend().take_feed(name, self.holder, now, due_ms, now + HOLD_MS).await
    }

    /// Does something with it in hand. `None` where it had to be left to another.
    pub(crate) async fn with<T>(&self, name: &str, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let mut renew = interval_at(Instant::now() + RENEW, RENEW);
        renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                _ = renew.tick() => match self.store.backend().hold_feed(name, self.holder, self.clock.now_ms() + HOLD_MS).await {
                    Ok(true) => {}
                    Ok(false) => return None,
                    // It may lapse; then another begins anew, and this one's word no longer counts.
                    Err(error) => tracing::warn!(%error, name, "what is delivered could not be held on to"),
                },
            }
        }
    }

    /// It is further. `false` where it is another's meanwhile.
    pub(crate) async fn advance(&self, name: &str, way: (u64, u64), pieces: u64) -> Result<bool, StoreError> {
        self.store.backend().advance_feed(name, self.holder, way, pieces, self.clock.now_ms()).await
    }

    /// It failed for the `failures + 1`st time in a row. Says how long it now waits.
    pub(crate) async fn fail(&self, feed: &Feed, error: &str) -> Result<Duration, StoreError> {
        let wait = wait_after(feed.failures + 1);
        let due = self.clock.now_ms() + u64::try_from(wait.as_millis()).unwrap_or(HOLD_MS);
        let error: String = error.chars().take(ERROR_CHARS).collect();
        self.store.backend().fail_feed(&feed.name, self.holder, &error, due).await?;
        Ok(wait)
    }

    pub(crate) async fn release(&self, name: &str) -> Result<(), StoreError> {
        self.store.backend().release_feed(name, self.holder).await
    }
}

/// Delivers as long as the gateway lives.
pub async fn run(gateway: Weak<Gateway>, store: Store) {
    let Some((clock, exporting, sending)) = gateway.upgrade().map(|gateway| {
        let metrics = &gateway.metrics;
        (Arc::clone(&gateway.clock), Arc::clone(&metrics.exports), Arc::clone(&metrics.sinks))
    }) else {
        return;
    };
    let exporter = Desk::metered(store.clone(), Arc::clone(&clock), exporting);
    let sender = Desk::metered(store, clock, sending);
    let mut tasks = JoinSet::new();
    let mut running: HashMap<tokio::task::Id, String> = HashMap::new();
    loop {
        tokio::time::sleep(LOOK).await;
        while let Some(ended) = tasks.try_join_next_with_id() {
            match ended {
                Ok((id, ())) => drop(running.remove(&id)),
                Err(error) => {
                    let name = running.remove(&error.id());
                    tracing::error!(%error, ?name, "a delivery broke off");
                }
            }
        }
        let Some(config) = gateway.upgrade().map(|gateway| Arc::clone(&gateway.snapshot().config)) else { return };
        exporter.meters.keep(&config.export.iter().map(|one| one.name.as_str()).collect::<Vec<_>>());
        sender.meters.keep(&config.siem.iter().map(|one| one.name.as_str()).collect::<Vec<_>>());
        for export in &config.export {
            let name = format!("{EXPORT}{}", export.name);
            if !running.values().any(|one| *one == name) {
                let (desk, export, named) = (exporter.clone(), export.clone(), name.clone());
                let task = tasks.spawn(async move { rest(exports::round(&desk, &export).await, &named).await });
                running.insert(task.id(), name);
            }
        }
        for sink in &config.siem {
            let name = format!("{SIEM}{}", sink.name);
            if !running.values().any(|one| *one == name) {
                let (desk, sink, named) = (sender.clone(), sink.clone(), name.clone());
                let task = tasks.spawn(async move { rest(siem::round(&desk, &sink).await, &named).await });
                running.insert(task.id(), name);
            }
        }
    }
}

/// A database that does not answer is not asked again at once.
async fn rest(round: Result<(), StoreError>, name: &str) {
    if let Err(error) = round {
        tracing::warn!(%error, name, "what is to be delivered could not be read");
        tokio::time::sleep(PAUSE).await;
    }
}
