//! A guard on the bare bindings: the SDK would not let it hand back as much state as a test wants.

use portcullis_plugin::bindings::base::exports::portcullis::plugin::plugin;
use portcullis_plugin::bindings::guard::exports::portcullis::plugin::guard;
use portcullis_plugin::prelude::*;
use portcullis_runtime_guests::manifest;

pub struct Guest;

impl plugin::Guest for Guest {
    fn describe() -> Manifest {
        manifest()
    }

    fn configure(_: String) -> Result<(), String> {
        Ok(())
    }
}

impl guard::Guest for Guest {
    /// Masks each text whole; a text that is a number asks for that many bytes of state.
    fn inspect(_: Context, _: Direction, _: Vec<u8>, texts: guard::Texts) -> Result<guard::Inspection, Failure> {
        let texts = portcullis_plugin::guard::texts(&texts);
        let findings = (0..)
            .zip(&texts)
            .map(|(index, text)| {
                let mask = Replacement::Mask("[masked]".to_owned());
                Finding::new(index, 0..text.content.len(), "told", mask)
            })
            .collect();
        let state = texts.iter().find_map(|text| text.content.parse().ok()).map_or(Vec::new(), |size| vec![7; size]);
        Ok(guard::Inspection { verdict: GuardVerdict::Pass, findings, holds: Vec::new(), state })
    }
}

#[cfg(target_arch = "wasm32")]
portcullis_plugin::bindings::base::export!(Guest with_types_in portcullis_plugin::bindings::base);
#[cfg(target_arch = "wasm32")]
portcullis_plugin::bindings::guard::export!(Guest with_types_in portcullis_plugin::bindings::guard);
