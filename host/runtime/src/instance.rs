//! One instance of a component: its store and with it its memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use wasmtime::{PoolConcurrencyLimitError, Store, Trap, component};

use crate::code::Code;
use crate::engine::Counts;
use crate::error::CallError;
use crate::host::{HostState, Identity};
use crate::limits::{Limits, Stop};
use crate::settings::PluginSettings;
use crate::wasi;

/// Calls after which an instance is not kept: a guest that leaks starts anew.
const MAX_CALLS: u32 = 100_000;

pub(crate) struct Instance {
    pub store: Store<HostState>,
    pub instance: component::Instance,
    wasi: bool,
    calls: u32,
    /// When its last call ended.
    pub used: Instant,
    counts: Arc<Counts>,
}

impl Instance {
    /// Instantiates. The module's own start function is under the same limits as a call.
    pub fn new(code: &Code, identity: Arc<Identity>, settings: &PluginSettings) -> Result<Instance, CallError> {
        let limits = Limits::new(settings.memory_bytes, settings.deadline, settings.wall_deadline);
        let mut store = HostState::store(&code.runtime, identity, limits, settings.memory_bytes);
        code.runtime.ticker.busy();
        store.set_epoch_deadline(1);
        let instance = enter(code.wasi, || code.pre.instantiate(&mut store));
        let counts = code.runtime.counts.clone();
        match instance {
            Ok(instance) => {
                counts.instances.fetch_add(1, Ordering::Relaxed);
                Ok(Instance { store, instance, wasi: code.wasi, calls: 0, used: Instant::now(), counts })
            }
            Err(error) => Err(match classify(&error, &store.data().limits) {
                CallError::Trapped(cause) if !error.is::<Trap>() => CallError::Instantiation(cause),
                other => other,
            }),
        }
    }

    /// Makes one call under the limits; answers how long it took.
    pub fn call<R: Send>(
        &mut self,
        code: &Code,
        call: impl FnOnce(&mut Instance) -> wasmtime::Result<R> + Send,
    ) -> (Result<R, CallError>, Duration) {
        code.runtime.ticker.busy();
        let begin = Instant::now();
        self.calls = self.calls.saturating_add(1);
        self.store.data_mut().limits.begin(begin);
        self.store.set_epoch_deadline(1);
        let answer = enter(self.wasi, || call(self));
        self.used = Instant::now();
        let took = self.used - begin;
        let limits = &self.store.data().limits;
        let answer = match answer {
            Ok(_) if limits.late(took) => Err(limits.late_error()),
            Ok(answer) => Ok(answer),
            Err(error) => Err(classify(&error, limits)),
        };
        (answer, took)
    }

    /// Whether it is worth keeping for another request.
    pub fn reusable(&self) -> bool {
        self.calls < MAX_CALLS && self.store.data().limits.modest()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.counts.instances.fetch_sub(1, Ordering::Relaxed);
    }
}

fn enter<R: Send>(wasi: bool, call: impl FnOnce() -> R + Send) -> R {
    if wasi { wasi::outside_tokio(call) } else { call() }
}

/// What went wrong, without the guest's words: a trap's own text names a code, never content.
fn classify(error: &wasmtime::Error, limits: &Limits) -> CallError {
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return limits.error(*stop);
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return CallError::Exhausted;
    }
    match error.downcast_ref::<Trap>() {
        Some(trap) => CallError::Trapped(trap.to_string()),
        None => CallError::Trapped(error.root_cause().to_string()),
    }
}
