//! Observers: told of receipts in batches, after the fact and off the request path.

use std::sync::Arc;
use std::time::Duration;

use portcullis_core::Receipt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::Gateway;

/// Receipts that wait at most; more than that are dropped with a warning, since an observer must not slow a request.
const WAITING: usize = 4096;
const BATCH: usize = 256;
/// How long a batch fills.
const INTERVAL: Duration = Duration::from_millis(200);

/// Where finished requests leave a copy of their receipts, if anybody observes.
pub(crate) type Notices = mpsc::Sender<Arc<Receipt>>;

/// The task that tells observers.
pub struct Observing {
    task: JoinHandle<()>,
}

impl Observing {
    pub fn start(gateway: &Arc<Gateway>) -> Self {
        let (notices, waiting) = mpsc::channel(WAITING);
        gateway.observed_by(notices);
        Observing { task: tokio::spawn(tell(Arc::downgrade(gateway), waiting)) }
    }

    /// Ends the task; receipts that still wait are told first, within a second.
    pub async fn stop(self) {
        let abort = self.task.abort_handle();
        if tokio::time::timeout(Duration::from_secs(1), self.task).await.is_err() {
            abort.abort();
        }
    }
}

async fn tell(gateway: std::sync::Weak<Gateway>, mut waiting: mpsc::Receiver<Arc<Receipt>>) {
    let mut batch = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let Some(gateway) = gateway.upgrade() else { return };
        let snapshot = gateway.snapshot();
        let receipts: Vec<String> =
            batch.drain(..).filter_map(|receipt| serde_json::to_string(&*receipt).ok()).collect();
        let now = gateway.clock.now_ms();
        for plugin in &snapshot.observers {
            match plugin.session("", "", "observer").observe(now, &receipts) {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => {
                    tracing::warn!(plugin = %plugin.name(), bytes = reason.len(), "an observer refused a batch");
                }
                Err(error) => tracing::warn!(plugin = %plugin.name(), %error, "an observer failed"),
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
