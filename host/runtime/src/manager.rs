//! The plugin directory, served. One thread owns what is loaded; every change is a transaction that ends in one call of the
//! gateway's `publish`, and a failure anywhere before changes nothing.
//!
//! Keeps invariant 8: a bad plugin file changes nothing.

mod kept;
mod loader;
mod quarantine;
mod set;
mod slot;
mod source;
mod status;
mod watch;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::engine::Runtime;
use crate::error::ManagerError;
use crate::plugin::{Plugin, Withdraw};
use crate::settings::PluginSettings;

use set::Set;
use watch::Watch;

pub use quarantine::{Instead, Quarantine, QuarantinedVersion};
pub use status::{PluginProblem, PluginState, PluginStatus, RunningVersion};

/// Called with each candidate set, ordered by (order, name). The gateway validates it, builds its tables and swaps its own
/// pointer, all within this call; `Err` rejects the change, with a reason for the operator, and the old set stays.
pub type Publish = Box<dyn Fn(&[Arc<Plugin>]) -> Result<(), String> + Send + Sync>;

/// Idle instances live this long.
const IDLE: Duration = Duration::from_secs(60);
/// A directory that never gets quiet is read nonetheless.
const LONGEST_DEBOUNCE: Duration = Duration::from_secs(2);
/// How long a scan that was asked for waits for files that are being written.
const PATIENCE: Duration = Duration::from_secs(5);

enum Message {
    /// Something happened in the directory.
    Noticed,
    Withdraw {
        name: String,
        hash: String,
    },
    Rescan(Sender<()>),
    Settings(HashMap<String, PluginSettings>, Sender<Result<(), Vec<PluginProblem>>>),
    Shutdown,
}

/// Serves a directory of plugins.
pub struct PluginManager {
    messages: Sender<Message>,
    shared: Arc<status::Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl PluginManager {
    /// Loads everything present, publishes it, and watches from then on. Files that do not load are in
    /// [`status`](PluginManager::status) and in the log, and stop nothing. `settings` are by plugin name; a plugin without has the
    /// defaults.
    pub fn start(
        runtime: Arc<Runtime>,
        directory: PathBuf,
        settings: HashMap<String, PluginSettings>,
        publish: Publish,
    ) -> Result<Arc<Self>, ManagerError> {
        if let Err(source) = std::fs::read_dir(&directory) {
            return Err(ManagerError::Directory { path: directory.display().to_string(), source });
        }
        let (messages, inbox) = mpsc::channel();
        let shared = Arc::new(status::Shared::default());
        let withdraw: Withdraw = {
            let messages = messages.clone();
            Arc::new(move |name, hash| {
                // After shutdown nobody listens, and nothing needs to be withdrawn.
                let _ = messages.send(Message::Withdraw { name: name.to_owned(), hash: hash.to_owned() });
            })
        };
        let set = Set::new(runtime.clone(), directory.clone(), settings, publish, withdraw, shared.clone());
        let watch = Watch::new(directory, messages.clone());
        let worker = Worker { runtime, set, watch, inbox, due: None };
        let (ready, loaded) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("plugins".to_owned())
            .spawn(move || worker.run(ready))
            .map_err(ManagerError::Thread)?;
        loaded.recv().map_err(|_| ManagerError::Stopped)?;
        Ok(Arc::new(PluginManager { messages, shared, thread: Mutex::new(Some(thread)) }))
    }

    /// Changes the operator's settings: all of them or, with the problems answered, none.
    pub fn apply_settings(&self, settings: HashMap<String, PluginSettings>) -> Result<(), Vec<PluginProblem>> {
        let (answer, answered) = mpsc::channel();
        let stopped = || vec![PluginProblem { plugin: String::new(), reason: ManagerError::Stopped.to_string() }];
        self.messages.send(Message::Settings(settings, answer)).map_err(|_| stopped())?;
        answered.recv().map_err(|_| stopped())?
    }

    /// Every file and how it fares, by name.
    pub fn status(&self) -> Vec<PluginStatus> {
        self.shared.status()
    }

    /// The set that was published last.
    pub fn plugins(&self) -> Arc<Vec<Arc<Plugin>>> {
        self.shared.plugins()
    }

    /// Reads the directory now; returns when all that was found there is published or rejected.
    pub fn rescan(&self) -> Result<(), ManagerError> {
        let (answer, answered) = mpsc::channel();
        self.messages.send(Message::Rescan(answer)).map_err(|_| ManagerError::Stopped)?;
        answered.recv().map_err(|_| ManagerError::Stopped)
    }

    /// Stops watching. What was published stays as it is.
    pub fn shutdown(&self) {
        let _ = self.messages.send(Message::Shutdown);
        let thread = self.thread.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some(thread) = thread {
            // It has ended, or it panicked and said so by itself.
            let _ = thread.join();
        }
    }
}

impl Drop for PluginManager {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::Shutdown);
    }
}

impl std::fmt::Debug for PluginManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginManager").field("status", &self.status()).finish()
    }
}

struct Worker {
    runtime: Arc<Runtime>,
    set: Set,
    watch: Watch,
    inbox: Receiver<Message>,
    /// When something that was unsettled is looked at again.
    due: Option<Instant>,
}

impl Worker {
    fn run(mut self, ready: Sender<()>) {
        self.scan();
        self.set.ensure_published();
        let _ = ready.send(());
        let rescan = self.runtime.options.rescan;
        let mut next = Instant::now() + rescan;
        loop {
            let wake = self.due.map_or(next, |due| due.min(next));
            match self.inbox.recv_timeout(wake.saturating_duration_since(Instant::now())) {
                Ok(Message::Noticed) => {
                    if self.debounce() {
                        return;
                    }
                    self.scan();
                }
                Ok(message) => {
                    if self.handle(message) {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.scan();
                    self.set.trim(IDLE);
                    next = Instant::now() + rescan;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn scan(&mut self) {
        self.watch.renew();
        self.due = self.set.scan().map(|wait| Instant::now() + wait);
    }

    /// Waits until the directory is quiet; true if it is time to end.
    fn debounce(&mut self) -> bool {
        let quiet = self.runtime.options.debounce;
        let latest = Instant::now() + LONGEST_DEBOUNCE;
        while Instant::now() < latest {
            match self.inbox.recv_timeout(quiet) {
                Ok(Message::Noticed) => {}
                Ok(message) => {
                    if self.handle(message) {
                        return true;
                    }
                }
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => return true,
            }
        }
        false
    }

    /// Everything but notices; true if it is time to end.
    fn handle(&mut self, message: Message) -> bool {
        match message {
            Message::Noticed => {}
            Message::Withdraw { name, hash } => self.set.withdraw(&name, &hash),
            Message::Rescan(answer) => {
                self.scan();
                let patience = Instant::now() + PATIENCE;
                while let Some(due) = self.due.filter(|due| *due < patience) {
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    self.scan();
                }
                let _ = answer.send(());
            }
            Message::Settings(settings, answer) => {
                let _ = answer.send(self.set.apply_settings(settings));
                self.scan();
            }
            Message::Shutdown => return true,
        }
        false
    }
}
