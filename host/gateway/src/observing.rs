//! Observers: told of receipts in batches, after the fact and off the request path.
//!
//! Keeps: whatever an observer does costs no request anything. It runs on threads that serve none, and what it cannot keep up with
//! is dropped.

use std::sync::Arc;
use std::time::Duration;

use portcullis_core::Receipt;
use portcullis_runtime::Plugin;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::Gateway;

/// Receipts that wait at most; more than that are dropped with a warning, since an observer must not slow a request.
const WAITING: usize = 4096;
const BATCH: usize = 256;
/// How long a batch fills.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long observers may take over what waits at the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Where finished requests leave a copy of their receipts, if anybody observes.
pub(crate) type Notices = mpsc::Sender<Arc<Receipt>>;

/// The task that tells observers.
pub struct Observing {
    task: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Observing {
    pub fn start(gateway: &Arc<Gateway>) -> Self {
        let (notices, waiting) = mpsc::channel(WAITING);
        gateway.observed_by(notices);
        let (stop, stopped) = oneshot::channel();
        Observing { task: tokio::spawn(tell(Arc::downgrade(gateway), waiting, stopped)), stop }
    }

    /// Ends the task; receipts that still wait are told first, within a second.
    pub async fn stop(self) {
        let abort = self.task.abort_handle();
        // Where nobody hears it the task has ended.
        let _ = self.stop.send(());
        if tokio::time::timeout(LAST_WORDS, self.task).await.is_err() {
            abort.abort();
        }
    }
}

async fn tell(
    gateway: std::sync::Weak<Gateway>,
    mut waiting: mpsc::Receiver<Arc<Receipt>>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut stopping = false;
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let taken = tokio::select! {
            _ = &mut stopped, if !stopping => {
                stopping = true;
                // What waits is still given out, then nothing is.
                waiting.close();
                continue;
            }
            taken = waiting.recv_many(&mut batch, BATCH) => taken,
        };
        let Some(gateway) = gateway.upgrade().filter(|_| taken > 0) else { return };
        let observers = gateway.snapshot().observers.clone();
        let now = gateway.clock.now_ms();
        drop(gateway);
        let receipts = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
        let shown = tokio::task::spawn_blocking(move || show(&observers, &receipts, now)).await;
        if let Err(error) = shown {
            tracing::error!(%error, "a batch of receipts was not shown to observers");
        }
        if !stopping && tokio::time::timeout(INTERVAL, &mut stopped).await.is_ok() {
            stopping = true;
            waiting.close();
        }
    }
}

fn show(observers: &[Arc<Plugin>], batch: &[Arc<Receipt>], now: u64) {
    let receipts: Vec<String> = batch.iter().filter_map(|receipt| serde_json::to_string(&**receipt).ok()).collect();
    let key = blamed(batch);
    for plugin in observers {
        match plugin.session("", &key, "observer").observe(now, &receipts) {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => {
                tracing::warn!(plugin = %plugin.name(), bytes = reason.len(), "an observer refused a batch");
            }
            Err(error) => tracing::warn!(plugin = %plugin.name(), %error, "an observer failed"),
        }
    }
}

/// Whose failure a batch's is: its key's where it has one alone. Where several are mixed nobody knows who caused it, and they count
/// as one, so that a key whose receipts an observer cannot bear is never taken for many.
fn blamed(batch: &[Arc<Receipt>]) -> String {
    let mut keys = batch.iter().map(|receipt| receipt.caller.key_id);
    match keys.next() {
        Some(first) if keys.all(|key| key == first) => first.to_string(),
        _ => String::new(),
    }
}
