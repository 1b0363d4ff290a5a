#![doc = include_str!("../README.md")]

#[cfg(any(test, all(target_family = "wasm", target_os = "unknown")))]
mod allocator;
pub mod bindings;
pub mod dialect;
mod export;
pub mod golden;
pub mod guard;
pub mod ir;
pub mod json;
pub mod logging;
pub mod manifest;
pub mod media;
pub mod money;
pub mod notes;
pub mod observer;
pub mod plugin;
pub mod policy;
pub mod prelude;
pub mod provider;
pub mod router;
mod state;

#[doc(hidden)]
pub use export::__unconfigured;
pub use export::{Exported, Instance};
pub use plugin::{NoConfig, Plugin};

#[doc(hidden)]
pub use serde;

/// The guide's examples compile too.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/plugins.md")]
struct Guide;

#[cfg(test)]
mod tests {
    #[test]
    fn a_useful_policy_is_short() {
        let readme = include_str!("../README.md");
        let code = readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the example");
        assert!(code.contains("impl Policy") && code.lines().count() < 40, "{} lines", code.lines().count());
    }
}
