//! One instance of a component: its store, its memory, the functions found in it so far.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use wasmtime::{PoolConcurrencyLimitError, Store, Trap, component};

use crate::bindings::{base, dialect, guard, observer, policy, provider, router};
use crate::code::Code;
use crate::component::Role;
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
    instance: component::Instance,
    functions: Functions,
    wasi: bool,
    calls: u32,
    counts: Arc<Counts>,
}

/// Each role's functions, looked up when the role is first called.
#[derive(Default)]
struct Functions {
    plugin: Option<base::exports::portcullis::plugin::plugin::Guest>,
    dialect: Option<dialect::exports::portcullis::plugin::dialect::Guest>,
    provider: Option<provider::exports::portcullis::plugin::provider::Guest>,
    router: Option<router::exports::portcullis::plugin::router::Guest>,
    guard: Option<guard::exports::portcullis::plugin::guard::Guest>,
    policy: Option<policy::exports::portcullis::plugin::policy::Guest>,
    observer: Option<observer::exports::portcullis::plugin::observer::Guest>,
}

/// Accessors that hand out a role's functions beside the store they are called on.
macro_rules! role {
    ($name:ident, $world:ident) => {
        pub fn $name(
            &mut self,
            code: &Code,
        ) -> wasmtime::Result<(&$world::exports::portcullis::plugin::$name::Guest, &mut Store<HostState>)> {
            if self.functions.$name.is_none() {
                let indices = code.exports.$name.as_ref().ok_or_else(|| wasmtime::format_err!("no such role"))?;
                self.functions.$name = Some(indices.load(&mut self.store, &self.instance)?);
            }
            match &self.functions.$name {
                Some(functions) => Ok((functions, &mut self.store)),
                None => unreachable!("set above"),
            }
        }
    };
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
                Ok(Instance { store, instance, functions: Functions::default(), wasi: code.wasi, calls: 0, counts })
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
        let took = begin.elapsed();
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

    role!(dialect, dialect);
    role!(provider, provider);
    role!(router, router);
    role!(guard, guard);
    role!(policy, policy);
    role!(observer, observer);

    pub fn plugin(
        &mut self,
        code: &Code,
    ) -> wasmtime::Result<(&base::exports::portcullis::plugin::plugin::Guest, &mut Store<HostState>)> {
        let functions = code.exports.plugin.load(&mut self.store, &self.instance)?;
        Ok((self.functions.plugin.insert(functions), &mut self.store))
    }

    /// Looks every function up, which compares its types with the contract's.
    pub fn check_types(&mut self, code: &Code) -> wasmtime::Result<()> {
        self.plugin(code)?;
        for role in &code.roles {
            match role {
                Role::Dialect => self.dialect(code).map(|_| ()),
                Role::Provider => self.provider(code).map(|_| ()),
                Role::Router => self.router(code).map(|_| ()),
                Role::Guard => self.guard(code).map(|_| ()),
                Role::Policy => self.policy(code).map(|_| ()),
                Role::Observer => self.observer(code).map(|_| ()),
            }?;
        }
        Ok(())
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
