//! Write Portcullis plugins in Rust.
//!
//! A plugin is a type that implements [`Plugin`] and the traits of the roles it fills, and one line that exports it:
//!
//! ```ignore
//! use portcullis_plugin::prelude::*;
//!
//! struct NoNights;
//!
//! impl Plugin for NoNights {
//!     type Config = NoConfig;
//!     fn manifest() -> Manifest {
//!         Manifest { stages: Stages::REQUEST, ..Manifest::new("no-nights", "1.0.0", "refuses requests at night") }
//!     }
//!     fn configure(_: NoConfig) -> Result<Self, String> { Ok(NoNights) }
//! }
//!
//! impl Policy for NoNights {
//!     fn evaluate_request(&self, context: &Context, _: &Subject, _: Option<&Request>) -> Result<PolicyVerdict, Failure> {
//!         let hour = context.now / 3_600_000 % 24;
//!         Ok(if hour < 6 { deny("policy.night", 403, "The office is closed.") } else { PolicyVerdict::Allow })
//!     }
//! }
//!
//! portcullis_plugin::export!(NoNights: policy);
//! ```
//!
//! Every role has its module, named as in the contract (`wit/`), which is the specification.

pub mod bindings;
pub mod dialect;
mod export;
pub mod golden;
pub mod guard;
pub mod ir;
pub mod json;
pub mod logging;
pub mod manifest;
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
