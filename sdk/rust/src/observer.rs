//! Is told what happened, after the fact.

pub use crate::bindings::observer::exports::portcullis::plugin::observer::Guest;
use crate::ir::Json;
use crate::{Exported, Instance, Plugin};

/// Takes batches of receipts. See `wit/observer.wit`.
pub trait Observer: Plugin {
    fn observe(&self, now: u64, receipts: &[Json]) -> Result<(), String>;
}

impl<P: Observer + Instance> Guest for Exported<P> {
    fn observe(now: u64, receipts: Vec<Json>) -> Result<(), String> {
        P::instance().observe(now, &receipts)
    }
}
