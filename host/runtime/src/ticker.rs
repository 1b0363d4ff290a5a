//! Advances the engine's epoch every [`TICK`] while calls run, and sleeps when none have for a second: an idle gateway
//! does not wake up.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::Engine;

use crate::error::RuntimeError;

/// How often running guests are looked at.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Ticks without a call after which the thread sleeps.
const PATIENCE: u32 = 100;

#[derive(Debug, Default)]
pub(crate) struct Ticker {
    /// Ticks since the last call began or was seen running.
    idle: AtomicU32,
    asleep: AtomicBool,
    stopped: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Ticker {
    pub fn start(engine: &Engine) -> Result<Arc<Ticker>, RuntimeError> {
        let ticker = Arc::new(Ticker::default());
        let (engine, own) = (engine.weak(), ticker.clone());
        let handle = thread::Builder::new()
            .name("plugin-epochs".to_owned())
            .spawn(move || {
                while !own.stopped.load(Ordering::Relaxed) {
                    thread::sleep(TICK);
                    match engine.upgrade() {
                        Some(engine) => engine.increment_epoch(),
                        None => return,
                    }
                    if own.idle.fetch_add(1, Ordering::SeqCst) >= PATIENCE {
                        own.sleep();
                    }
                }
            })
            .map_err(|error| RuntimeError::Engine(error.to_string()))?;
        // A fresh cell: this is its only writer.
        let _ = ticker.thread.set(handle.thread().clone());
        Ok(ticker)
    }

    fn sleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        // A call that began in between saw `asleep` unset, but has reset `idle`: one of the two always notices the other.
        while self.idle.load(Ordering::SeqCst) > 0 && !self.stopped.load(Ordering::SeqCst) {
            thread::park();
        }
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Says that a call begins or still runs. While calls are frequent this is one load of a line nobody writes.
    #[inline]
    pub fn busy(&self) {
        if self.idle.load(Ordering::Relaxed) > 0 {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        self.idle.store(0, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) {
            self.unpark();
        }
    }

    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.unpark();
    }

    fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    #[cfg(test)]
    pub fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !holds() {
            assert!(begin.elapsed() < Duration::from_secs(20), "{what}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn sleeps_when_idle_and_wakes_for_a_call() {
        let engine = Engine::default();
        let ticker = Ticker::start(&engine).expect("a thread");
        until("it sleeps after a second without calls", || ticker.is_asleep());
        ticker.busy();
        until("a call wakes it", || !ticker.is_asleep());
        ticker.stop();
    }
}
