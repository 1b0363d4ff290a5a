//! Loads, checks, pools, calls and swaps plugins. Knows the contract and WebAssembly; knows no HTTP and no SQL.
//!
//! A [`Runtime`] owns the engine. A [`PluginManager`] watches a directory and turns each good file into a [`Plugin`], which is
//! immutable: a request takes an `Arc` of every plugin it needs and keeps that version to its last byte. A [`Session`] is one
//! request's hold on one plugin, through which every call goes.

mod bindings;
mod cache;
mod calls;
mod code;
mod component;
pub mod contract;
mod engine;
mod error;
mod files;
mod functions;
mod golden;
mod health;
mod host;
mod instance;
mod limits;
mod load;
mod manager;
mod plugin;
mod pool;
mod session;
mod settings;
mod ticker;
mod wasi;

pub use cache::compile_standard_input;
pub use component::Role;
pub use engine::{Compiler, Runtime, RuntimeOptions, RuntimeStatistics};
pub use error::{CallError, LoadError, ManagerError, RuntimeError};
pub use health::HealthPolicy;
pub use load::{Report, check_bytes, check_component};
pub use manager::{
    Instead, PluginManager, PluginProblem, PluginState, PluginStatus, Publish, Quarantine, QuarantinedVersion,
    RunningVersion,
};
pub use plugin::Plugin;
pub use session::{Behalf, Session};
pub use settings::{Access, FailureMode, Isolation, PluginSettings};
