//! Everything that can go wrong, one error per stage: starting the runtime, loading a file, calling a plugin.

use std::time::Duration;

use crate::component::Role;

/// The runtime or its compiled-code cache cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("the WebAssembly engine: {0}")]
    Engine(String),
    #[error("the cache of compiled code {path}: {reason}")]
    Cache { path: String, reason: String },
    #[error("compiling: {0}")]
    Compile(String),
}

/// The plugin directory cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    #[error("the plugin directory {path}: {source}")]
    Directory { path: String, source: std::io::Error },
    #[error("the plugin manager's thread: {0}")]
    Thread(std::io::Error),
    /// The manager was shut down.
    #[error("the plugin manager has stopped")]
    Stopped,
}

/// Why a file did not become a plugin. The text is for the operator and names the cause.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    #[error("cannot be read: {0}")]
    Read(String),
    /// Seen again once it keeps still.
    #[error("is still being written")]
    Unsettled,
    #[error("has {size} bytes, more than the {limit} allowed")]
    TooLarge { size: u64, limit: u64 },
    #[error("is not a WebAssembly component: {0}")]
    NotAComponent(String),
    #[error("is precompiled code, which is never taken from a file")]
    Precompiled,
    /// Imports or exports that are not this contract's, named.
    #[error("does not fit the contract: {0}")]
    WrongContract(String),
    #[error("does not compile: {0}")]
    Compile(String),
    #[error("describe failed: {0}")]
    Describe(CallError),
    #[error("its manifest is wrong: {0}")]
    Manifest(String),
    #[error("the operator's settings do not fit it: {0}")]
    Settings(String),
    /// The plugin's own words about its configuration.
    #[error("refuses its configuration: {0}")]
    Configuration(String),
    #[error("configure failed: {0}")]
    Configure(CallError),
    #[error("its golden vectors fail: {0}")]
    Golden(String),
    /// The gateway refused the set of plugins that this one would complete.
    #[error("does not fit the other plugins: {0}")]
    Conflict(String),
}

impl LoadError {
    /// True where the machine and not the file was at fault.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, LoadError::Describe(error) | LoadError::Configure(error) if error.is_transient())
    }
}

/// Why a call gave no answer. The instance is discarded, except where the call never reached it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The guest trapped: a panic, a memory fault, a stack overflow, an answer that is not the contract's.
    #[error("trapped: {0}")]
    Trapped(String),
    #[error("took more than {0:?} of processor time")]
    GuestDeadline(Duration),
    #[error("took longer than {0:?}")]
    WallDeadline(Duration),
    #[error("wanted more than {0} bytes of memory")]
    Memory(usize),
    #[error("cannot be instantiated: {0}")]
    Instantiation(String),
    /// Every instance of the pool is in use: the gateway is overloaded, the plugin is not at fault.
    #[error("no instance is free")]
    Exhausted,
    #[error("handed back {0} bytes of state, more than 65536")]
    StateTooLarge(usize),
    #[error("has no role {0}")]
    NotARole(Role),
    /// The breaker is open, or this version was withdrawn.
    #[error("is held after repeated failures")]
    Held,
}

impl CallError {
    /// Every code of [`code`](CallError::code).
    pub const CODES: [&'static str; 9] = [
        "trapped",
        "guest-deadline",
        "wall-deadline",
        "memory",
        "instantiation",
        "exhausted",
        "state-too-large",
        "not-a-role",
        "held",
    ];

    /// A stable code for receipts and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            CallError::Trapped(_) => "trapped",
            CallError::GuestDeadline(_) => "guest-deadline",
            CallError::WallDeadline(_) => "wall-deadline",
            CallError::Memory(_) => "memory",
            CallError::Instantiation(_) => "instantiation",
            CallError::Exhausted => "exhausted",
            CallError::StateTooLarge(_) => "state-too-large",
            CallError::NotARole(_) => "not-a-role",
            CallError::Held => "held",
        }
    }

    /// True where the plugin is to blame, which counts against it on probation and in its breaker. Not so for the clock on
    /// the wall: a guest that used its processor time up was stopped for that, so here the machine was too slow.
    pub fn blames_plugin(&self) -> bool {
        !matches!(self, CallError::NotARole(_) | CallError::Held) && !self.is_transient()
    }

    /// True where the same call may well succeed later.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, CallError::Exhausted | CallError::WallDeadline(_))
    }
}
