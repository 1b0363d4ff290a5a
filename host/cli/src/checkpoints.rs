//! Checkpoints while a gateway serves, and where their anchors go.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use portcullis_core::{Clock, SystemClock};
use portcullis_gateway::config::{AuditConfig, Config};
use portcullis_gateway::{Webhook, wait_after};
use portcullis_store::{Anchor, AuditKey, AuditKeySource, Checkpoint, Store, StoreError};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

/// How long the last checkpoint's anchor may take to be posted.
const LAST_POST: Duration = Duration::from_secs(5);

/// Signs how far the ledger goes, every so often and at the end.
pub struct Checkpoints {
    signing: Arc<Mutex<Signing>>,
    rounds: Option<JoinHandle<()>>,
    posts: Option<JoinHandle<()>>,
    webhook: Option<Arc<Webhook>>,
}

struct Signing {
    store: Store,
    source: AuditKeySource,
    key: AuditKey,
    file: Option<PathBuf>,
    /// What the file did not take.
    waiting: Vec<Anchor>,
    newest: watch::Sender<Option<Anchor>>,
}

/// The configured key, which the one before it has handed over to.
///
/// # Errors
/// Where the key is not to be had.
pub async fn key(store: &Store, config: &Config) -> Result<AuditKey> {
    let key = fetch(config.audit.key(&config.store.path)).await?;
    if let Some(previous) = &config.audit.previous_key {
        let previous = fetch(previous.source()).await.context("audit.previous_key")?;
        let newest = store.newest_checkpoint().await?;
        if newest.is_some_and(|newest| newest.signer_of_next() == previous.public()) {
            store.hand_over(&previous, key.public()).await?;
        }
    }
    Ok(key)
}

async fn fetch(source: AuditKeySource) -> Result<AuditKey> {
    Ok(tokio::task::spawn_blocking(move || source.fetch()).await??)
}

impl Checkpoints {
    /// # Errors
    /// Where the signing key is not to be had.
    pub async fn start(store: &Store, config: &Config) -> Result<Self> {
        let key = key(store, config).await?;
        let AuditConfig { checkpoint_seconds, anchor_file, anchor_webhook, .. } = &config.audit;
        let webhook = anchor_webhook.as_ref().and_then(Webhook::new).map(Arc::new);
        let (newest, posted) = watch::channel(None);
        let signing = Arc::new(Mutex::new(Signing {
            store: store.clone(),
            source: config.audit.key(&config.store.path),
            key,
            file: anchor_file.clone(),
            waiting: Vec::new(),
            newest,
        }));
        let rounds = (*checkpoint_seconds > 0)
            .then(|| tokio::spawn(rounds(Arc::clone(&signing), Duration::from_secs(*checkpoint_seconds))));
        let posts = webhook.clone().map(|webhook| tokio::spawn(posts(webhook, posted)));
        Ok(Self { signing, rounds, posts, webhook })
    }

    /// The last checkpoint: the chain of this process's ledger, which is closed, ends with it.
    pub async fn stop(self, epoch: [u8; 16]) {
        if let Some(rounds) = self.rounds {
            rounds.abort();
        }
        let mut signing = self.signing.lock().await;
        let last = signing.sign(Some(epoch)).await;
        if let Some(posts) = self.posts {
            posts.abort();
        }
        if let (Some(last), Some(webhook)) = (last, self.webhook) {
            let posted = tokio::time::timeout(LAST_POST, post(&webhook, &last.anchor())).await;
            if !posted.unwrap_or(false) {
                tracing::warn!(checkpoint = last.number, "the last checkpoint's anchor was not posted");
            }
        }
    }
}

async fn rounds(signing: Arc<Mutex<Signing>>, every: Duration) {
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        signing.lock().await.sign(None).await;
    }
}

impl Signing {
    async fn sign(&mut self, closing: Option<[u8; 16]>) -> Option<Checkpoint> {
        let mut signed = self.store.checkpoint(&self.key, closing).await;
        if let Err(StoreError::AuditKey(_)) = signed {
            // It may have been rotated.
            match fetch(self.source.clone()).await {
                Ok(key) => {
                    self.key = key;
                    signed = self.store.checkpoint(&self.key, closing).await;
                }
                Err(error) => tracing::error!(%error, "the audit key"),
            }
        }
        match signed {
            Ok(Some(checkpoint)) => {
                self.anchor(checkpoint.anchor()).await;
                Some(checkpoint)
            }
            Ok(None) => None,
            Err(error) => {
                tracing::error!(%error, "how far the ledger goes could not be signed");
                None
            }
        }
    }

    async fn anchor(&mut self, anchor: Anchor) {
        if let Some(file) = &self.file {
            self.waiting.push(anchor.clone());
            let (file, waiting) = (file.clone(), std::mem::take(&mut self.waiting));
            let appended = tokio::task::spawn_blocking(move || match append(&file, &waiting) {
                Ok(()) => (Vec::new(), None),
                Err(error) => (waiting, Some(error)),
            });
            if let Ok((waiting, error)) = appended.await {
                if let Some(error) = error {
                    tracing::error!(%error, waiting = waiting.len(), "audit.anchor_file does not take anchors");
                }
                self.waiting = waiting;
            }
        }
        self.newest.send_replace(Some(anchor));
    }
}

/// Appends anchors to a file, a line each, and presses it to disk.
pub fn append(path: &Path, anchors: &[Anchor]) -> std::io::Result<()> {
    let lines: String = anchors.iter().map(|anchor| anchor.to_json() + "\n").collect();
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.write_all(lines.as_bytes())?;
    file.sync_data()
}

/// Posts the newest anchor until it is taken, or there is a newer one: that stands for all before it.
async fn posts(webhook: Arc<Webhook>, mut newest: watch::Receiver<Option<Anchor>>) {
    while newest.changed().await.is_ok() {
        let mut failures = 0;
        loop {
            let Some(anchor) = newest.borrow_and_update().clone() else { break };
            if post(&webhook, &anchor).await {
                break;
            }
            failures += 1;
            tokio::time::sleep(wait_after(failures)).await;
        }
    }
}

async fn post(webhook: &Webhook, anchor: &Anchor) -> bool {
    let id = format!("checkpoint-{}", anchor.checkpoint);
    let sent = webhook.send(&id, SystemClock.now_ms(), anchor.to_json().into()).await;
    if let Err(error) = &sent {
        tracing::warn!(%error, checkpoint = anchor.checkpoint, "audit.anchor_webhook does not take anchors");
    }
    sent.is_ok()
}
