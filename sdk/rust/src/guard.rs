//! Finds, replaces or blocks in the texts of requests and answers.

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use crate::bindings::guard::exports::portcullis::plugin::guard::{
    Direction, Finding, Guest, Hold, Inspection, PlaceKind, Replacement, Text, Verdict,
};
use crate::ir::{Context, Failure};
use crate::{Exported, Instance, Plugin, state};

/// Inspects texts. See `wit/guard.wit`.
pub trait Guard: Plugin {
    /// What the guard remembers within one answer. `()` for guards that judge each text by itself.
    type State: Serialize + DeserializeOwned + Default;

    fn inspect(
        &self,
        context: &Context,
        direction: Direction,
        state: &mut Self::State,
        texts: &[Text],
    ) -> Result<Inspected, Failure>;
}

/// What a guard found; the contract's `inspection` without its state.
#[derive(Debug)]
pub struct Inspected {
    pub verdict: Verdict,
    pub findings: Vec<Finding>,
    pub holds: Vec<Hold>,
}

impl Inspected {
    /// Nothing found, nothing held.
    pub fn clean() -> Self {
        Inspected { verdict: Verdict::Pass, findings: Vec::new(), holds: Vec::new() }
    }
}

impl<P: Guard + Instance> Guest for Exported<P> {
    fn inspect(
        context: Context,
        direction: Direction,
        state: Vec<u8>,
        texts: Vec<Text>,
    ) -> Result<Inspection, Failure> {
        let mut state = state::restore::<P::State>(&state)?;
        let Inspected { verdict, findings, holds } = P::instance().inspect(&context, direction, &mut state, &texts)?;
        Ok(Inspection { verdict, findings, holds, state: state::save(&state)? })
    }
}
