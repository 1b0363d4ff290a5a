//! The emptied WASI for components whose toolchain insists on one: no files, no network, no environment, no arguments, no
//! input; output goes nowhere; clocks stand still; random numbers are the same every time; waiting is over at once.
//!
//! Keeps invariant 1: nothing here reaches the machine.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::runtime::{Handle, RuntimeFlavor};
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView};

use crate::host::HostState;

/// What both generators start from. A plugin that wants variety has the context's seed.
const SEED: u64 = 0x706f_7274_6375_6c6c;

pub(crate) struct WasiState {
    context: WasiCtx,
    table: ResourceTable,
}

impl WasiState {
    pub fn emptied() -> Box<WasiState> {
        let context = WasiCtx::builder()
            .wall_clock(Frozen)
            .monotonic_clock(Frozen)
            .secure_random(StdRng::seed_from_u64(SEED))
            .insecure_random(StdRng::seed_from_u64(SEED))
            .insecure_random_seed(SEED.into())
            .max_random_size(1 << 20)
            .allow_tcp(false)
            .allow_udp(false)
            .build();
        Box::new(WasiState { context, table: ResourceTable::new() })
    }
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi.get_or_insert_with(WasiState::emptied);
        WasiCtxView { ctx: &mut wasi.context, table: &mut wasi.table }
    }
}

struct Frozen;

impl HostWallClock for Frozen {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for Frozen {
    fn resolution(&self) -> u64 {
        1_000_000_000
    }

    fn now(&self) -> u64 {
        0
    }
}

/// Links everything of `wasi:cli/imports`, with a clock of ours: the crate's own would really wait, outside any deadline.
pub(crate) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    monotonic_clock::add_to_linker::<HostState, StillClock>(linker, |state| StillClockView {
        table: state.ctx().table,
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

struct StillClock;

impl HasData for StillClock {
    type Data<'a> = StillClockView<'a>;
}

struct StillClockView<'a> {
    table: &'a mut ResourceTable,
}

impl StillClockView<'_> {
    fn over_at_once(&mut self) -> wasmtime::Result<Resource<DynPollable>> {
        let over = self.table.push(Over)?;
        subscribe(self.table, over)
    }
}

impl monotonic_clock::Host for StillClockView<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(0)
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(1_000_000_000)
    }

    fn subscribe_instant(&mut self, _: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.over_at_once()
    }

    fn subscribe_duration(&mut self, _: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.over_at_once()
    }
}

struct Over;

#[wasmtime_wasi::async_trait]
impl Pollable for Over {
    async fn ready(&mut self) {}
}

/// Runs a call into a component that has WASI. Its blocking shims enter a tokio runtime of their own accord, which panics
/// on a thread that already drives one; so the thread steps out first, or another takes the call.
pub(crate) fn outside_tokio<R: Send>(call: impl FnOnce() -> R + Send) -> R {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Err(_) => call(),
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(call),
        Ok(_) => std::thread::scope(|scope| match scope.spawn(call).join() {
            Ok(answer) => answer,
            Err(panic) => std::panic::resume_unwind(panic),
        }),
    }
}
