//! The one engine all plugins share, its instance pool, and what the host links into it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use crate::bindings::shared::portcullis::plugin::log;
use crate::cache::Cache;
use crate::code::Living;
use crate::error::RuntimeError;
use crate::health::HealthPolicy;
use crate::host::HostState;
use crate::limits::TABLE_ELEMENTS;
use crate::ticker::Ticker;
use crate::wasi;

/// Stack a guest may use. Rust plugins need a few KB; parsers that recurse need some dozens.
const GUEST_STACK: usize = 256 << 10;
/// Of each idle slot, kept mapped so that the next instance does not fault it in again: about what one call touches.
const KEEP_RESIDENT: usize = 512 << 10;
/// Idle slots that keep the memory of the module they last held, [`KEEP_RESIDENT`] at most each. Calls are synchronous, so a slot
/// per thread and plugin serves them all; more only keep what modules swapped out long ago have left: with 64, memory grew by 37 KB a
/// swap until all were taken.
fn warm_slots() -> u32 {
    const PLUGINS: u32 = 6;
    let threads = std::thread::available_parallelism().map_or(1, |threads| u32::try_from(threads.get()).unwrap_or(1));
    threads.saturating_mul(PLUGINS).max(16)
}

/// Core modules of one component: the plugin, `wit-component`'s shims, and an adapter's where there is one.
const CORE_INSTANCES: u32 = 8;

/// A program that compiles components apart from this process, whose compiler would leave some 60 MB resident. It is given
/// the component on standard input and writes the compiled code to standard output: see
/// [`compile_standard_input`](crate::compile_standard_input).
#[derive(Debug, Clone)]
pub struct Compiler {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
}

/// How the runtime is set up.
#[derive(Debug, Clone)]
pub struct RuntimeOptions {
    /// Where compiled code is kept; made with mode 0700 if missing. None compiles at every start.
    pub cache_dir: Option<PathBuf>,
    /// Where it is kept which versions failed in service, and what they replaced; made with mode 0700 if missing. None forgets
    /// it with the process.
    pub state_dir: Option<PathBuf>,
    /// None compiles in this process.
    pub compiler: Option<Compiler>,
    /// Texts of plugins that see content reach the log.
    pub development: bool,
    /// Instances there can be at once, idle ones included; at most half of them are idle.
    pub max_instances: u32,
    /// Bytes of linear memory any plugin's settings may ask for.
    pub max_memory_bytes: usize,
    /// Bytes a plugin's file may have.
    pub max_file_bytes: u64,
    /// How long a directory must be quiet before its changes are read.
    pub debounce: Duration,
    /// How often the directory is read though nothing was noticed: for network volumes and links to elsewhere.
    pub rescan: Duration,
    pub health: HealthPolicy,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        RuntimeOptions {
            cache_dir: None,
            state_dir: None,
            compiler: None,
            development: false,
            max_instances: 1000,
            max_memory_bytes: 256 << 20,
            max_file_bytes: 32 << 20,
            debounce: Duration::from_millis(150),
            rescan: Duration::from_secs(5),
            health: HealthPolicy::default(),
        }
    }
}

/// Counts for metrics and for tests that nothing leaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuntimeStatistics {
    /// Compiled components held in memory.
    pub components: usize,
    /// Instances alive, idle ones included.
    pub instances: usize,
    /// Warm instances nobody uses now.
    pub idle_instances: usize,
}

/// The engine. Everything that runs holds it by `Arc`; dropping the last stops its thread.
pub struct Runtime {
    pub(crate) options: RuntimeOptions,
    pub(crate) engine: Engine,
    pub(crate) ticker: Arc<Ticker>,
    pub(crate) cache: Option<Cache>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) living: Living,
    linker: Linker<HostState>,
    wasi_linker: Linker<HostState>,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub components: AtomicUsize,
    pub instances: AtomicUsize,
    pub idle: AtomicUsize,
}

impl Runtime {
    /// Sets the engine up. Reserves address space, not memory.
    pub fn new(options: RuntimeOptions) -> Result<Arc<Runtime>, RuntimeError> {
        let engine = Engine::new(&configuration(Some(&options))).map_err(engine_error)?;
        let cache = match &options.cache_dir {
            Some(path) => Some(Cache::open(path, &engine)?),
            None => None,
        };
        let mut linker = Linker::<HostState>::new(&engine);
        log::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state).map_err(engine_error)?;
        let mut wasi_linker = Linker::<HostState>::new(&engine);
        log::add_to_linker::<_, HasSelf<_>>(&mut wasi_linker, |state| state).map_err(engine_error)?;
        wasi::link(&mut wasi_linker).map_err(engine_error)?;
        let ticker = Ticker::start(&engine)?;
        Ok(Arc::new(Runtime {
            options,
            engine,
            ticker,
            cache,
            counts: Arc::default(),
            living: Living::default(),
            linker,
            wasi_linker,
        }))
    }

    pub fn options(&self) -> &RuntimeOptions {
        &self.options
    }

    pub fn statistics(&self) -> RuntimeStatistics {
        RuntimeStatistics {
            components: self.counts.components.load(Ordering::Relaxed),
            instances: self.counts.instances.load(Ordering::Relaxed),
            idle_instances: self.counts.idle.load(Ordering::Relaxed),
        }
    }

    /// Most idle instances over all plugins: the other half of the pool is left to requests.
    pub(crate) fn idle_limit(&self) -> usize {
        self.options.max_instances as usize / 2
    }

    pub(crate) fn linker(&self, wasi: bool) -> &Linker<HostState> {
        if wasi { &self.wasi_linker } else { &self.linker }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.ticker.stop();
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("options", &self.options).field("statistics", &self.statistics()).finish()
    }
}

fn engine_error(error: wasmtime::Error) -> RuntimeError {
    RuntimeError::Engine(format!("{error:#}"))
}

/// The engine's configuration. What decides over compiled code is the same with and without a pool, so that the compiler's
/// process needs none.
pub(crate) fn configuration(pool: Option<&RuntimeOptions>) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(GUEST_STACK)
        .async_stack_size(GUEST_STACK * 2)
        .cranelift_opt_level(OptLevel::Speed)
        .memory_init_cow(true)
        .generate_address_map(false)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(8));
    if let Some(options) = pool {
        let count = options.max_instances.max(1);
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(count)
            .total_core_instances(count.saturating_mul(4))
            .max_core_instances_per_component(CORE_INSTANCES)
            .total_memories(count)
            .max_memories_per_component(1)
            .total_tables(count.saturating_mul(2))
            .max_tables_per_component(4)
            .max_tables_per_module(2)
            .table_elements(TABLE_ELEMENTS)
            .max_memory_size(options.max_memory_bytes)
            // No call is asynchronous: guests run on the caller's stack.
            .total_stacks(0)
            .max_unused_warm_slots(count.min(warm_slots()))
            .linear_memory_keep_resident(KEEP_RESIDENT)
            .table_keep_resident(64 << 10)
            .pagemap_scan(Enabled::Auto);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}
