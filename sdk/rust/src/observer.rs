//! Is told what happened, after the fact.
//!
//! ```
//! use portcullis_plugin::prelude::*;
//!
//! /// Writes the ids of receipts to the gateway's log.
//! struct Ids;
//!
//! impl Plugin for Ids {
//!     type Config = NoConfig;
//!     fn manifest() -> Manifest {
//!         Manifest::new("ids", "1.0.0", "logs the ids of receipts")
//!     }
//!     fn configure(_: NoConfig) -> Result<Self, String> {
//!         Ok(Ids)
//!     }
//! }
//!
//! impl Observer for Ids {
//!     fn observe(&self, _now: u64, receipts: &[Json]) -> Result<(), String> {
//!         for receipt in receipts {
//!             let receipt: serde_json::Value = serde_json::from_str(receipt).map_err(|error| error.to_string())?;
//!             logging::write(logging::Level::Info, receipt["id"].as_str().unwrap_or("?"));
//!         }
//!         Ok(())
//!     }
//! }
//!
//! portcullis_plugin::export!(Ids: observer);
//! ```

pub use crate::bindings::observer::exports::portcullis::plugin::observer::Guest;
use crate::ir::Json;
use crate::{Exported, Instance, Plugin};

/// Takes batches of receipts. See `wit/observer.wit`.
pub trait Observer: Plugin {
    /// A batch, each one a receipt as `GET /v1/receipts/{id}` returns it. `now` is in milliseconds since the Unix epoch. A failure is
    /// logged; the batch does not come again.
    fn observe(&self, now: u64, receipts: &[Json]) -> Result<(), String>;
}

impl<P: Observer + Instance> Guest for Exported<P> {
    fn observe(now: u64, receipts: Vec<Json>) -> Result<(), String> {
        P::instance().observe(now, &receipts)
    }
}
