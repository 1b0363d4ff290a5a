//! An observer that logs what it is shown, or fails as its configuration says.

use portcullis_plugin::prelude::*;
use portcullis_runtime_guests::{manifest, spin};
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `panic`, `loop` or `refuse`; otherwise each receipt is logged.
    on_batch: String,
}

pub struct Guest(Config);

impl Plugin for Guest {
    type Config = Config;

    fn manifest() -> Manifest {
        manifest()
    }

    fn configure(config: Config) -> Result<Self, String> {
        Ok(Guest(config))
    }
}

#[derive(Deserialize)]
struct Receipt {
    request_id: String,
    outcome: Outcome,
}

#[derive(Deserialize)]
struct Outcome {
    code: String,
}

impl Observer for Guest {
    fn observe(&self, now: u64, receipts: &[Json]) -> Result<(), String> {
        match self.0.on_batch.as_str() {
            "panic" => panic!("told to panic"),
            "loop" => spin(),
            "refuse" => return Err("told to refuse".to_owned()),
            _ => {}
        }
        logging::write(logging::Level::Info, &format!("batch of {} at {now}", receipts.len()));
        for receipt in receipts {
            let receipt: Receipt = serde_json::from_str(receipt).map_err(|error| error.to_string())?;
            logging::write(logging::Level::Info, &format!("seen {} {}", receipt.request_id, receipt.outcome.code));
        }
        Ok(())
    }
}

portcullis_plugin::export!(Guest: observer);
