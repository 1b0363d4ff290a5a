//! What the host keeps beside a guest, and the log it offers.
//!
//! Keeps invariant 10: outside development mode the text of a plugin that sees content is withheld.

use std::sync::Arc;

use wasmtime::Store;

use crate::bindings::shared::portcullis::plugin::log;
use crate::engine::Runtime;
use crate::limits::Limits;
use crate::ticker::Ticker;
use crate::wasi::WasiState;

/// Lines one request's hold on an instance may write; later ones are counted and dropped.
const MAX_LINES: u32 = 100;
/// Bytes of a line.
const MAX_LINE: usize = 4096;

/// Who a guest is, for the log.
#[derive(Debug)]
pub(crate) struct Identity {
    pub name: String,
    pub version: String,
    /// The guest's text may hold content and must not be logged.
    pub withhold: bool,
}

pub(crate) struct HostState {
    pub limits: Limits,
    pub wasi: Option<Box<WasiState>>,
    ticker: Arc<Ticker>,
    identity: Arc<Identity>,
    request_id: Arc<str>,
    lines: u32,
}

impl HostState {
    /// A store for one instance.
    pub fn store(runtime: &Runtime, identity: Arc<Identity>, limits: Limits, memory: usize) -> Store<HostState> {
        let state = HostState {
            limits,
            wasi: None,
            ticker: runtime.ticker.clone(),
            identity,
            request_id: Arc::default(),
            lines: 0,
        };
        let mut store = Store::new(&runtime.engine, state);
        store.limiter(|state| &mut state.limits);
        store.epoch_deadline_callback(|mut store| {
            let state = store.data_mut();
            state.ticker.busy();
            state.limits.tick()
        });
        // What one call may make the host allocate: strings and lists that overlap in the guest do not in the host.
        store.set_hostcall_fuel(memory.saturating_mul(4));
        store
    }

    /// A request takes the instance.
    pub fn lease(&mut self, request_id: &Arc<str>) {
        self.request_id = request_id.clone();
        self.lines = 0;
    }
}

impl log::Host for HostState {
    fn write(&mut self, level: log::Level, message: String) {
        self.lines = self.lines.saturating_add(1);
        if self.lines > MAX_LINES {
            if self.lines == MAX_LINES + 1 {
                tracing::warn!(
                    plugin = %self.identity.name,
                    version = %self.identity.version,
                    request_id = %self.request_id,
                    "plugin writes too much, the rest is dropped"
                );
            }
            return;
        }
        let text = if self.identity.withhold { "(withheld)" } else { clip(&message) };
        macro_rules! emit {
            ($level:ident) => {
                tracing::$level!(
                    plugin = %self.identity.name,
                    version = %self.identity.version,
                    request_id = %self.request_id,
                    length = message.len(),
                    text,
                    "plugin"
                )
            };
        }
        match level {
            log::Level::Debug => emit!(debug),
            log::Level::Info => emit!(info),
            log::Level::Warn => emit!(warn),
            log::Level::Error => emit!(error),
        }
    }
}

fn clip(message: &str) -> &str {
    &message[..message.floor_char_boundary(MAX_LINE)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_clipped_between_characters() {
        let text = "é".repeat(MAX_LINE);
        assert_eq!(clip(&text).len(), MAX_LINE);
        let shifted = format!("a{text}");
        assert_eq!(clip(&shifted).len(), MAX_LINE - 1);
        assert_eq!(clip("short"), "short");
    }
}
