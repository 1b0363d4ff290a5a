//! The gateway's log, and a panic's way into it.

pub use crate::bindings::shared::portcullis::plugin::log::Level;

/// Writes to the gateway's log. Natively (tests) to standard error.
pub fn write(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::shared::portcullis::plugin::log::write(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    eprintln!("{level:?}: {message}");
}

/// Without this a panic is a bare `unreachable` trap and its text is lost.
#[cfg(target_arch = "wasm32")]
pub(crate) fn report_panics() {
    std::panic::set_hook(Box::new(|info| write(Level::Error, &info.to_string())));
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn report_panics() {}
