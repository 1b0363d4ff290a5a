//! Ranks targets.

pub use crate::bindings::router::exports::portcullis::plugin::router::{
    Breaker, Candidate, Factor, Features, Guest, Plan, Ranked, Rejected,
};
use crate::ir::{Caller, Context, Failure, Pair};
use crate::{Exported, Instance, Plugin};

/// Ranks the targets a request may go to. See `wit/router.wit`.
pub trait Router: Plugin {
    fn rank(
        &self,
        context: &Context,
        caller: &Caller,
        features: &Features,
        preferences: &[Pair],
        candidates: &[Candidate],
    ) -> Result<Plan, Failure>;
}

impl<P: Router + Instance> Guest for Exported<P> {
    fn rank(
        context: Context,
        caller: Caller,
        features: Features,
        preferences: Vec<Pair>,
        candidates: Vec<Candidate>,
    ) -> Result<Plan, Failure> {
        P::instance().rank(&context, &caller, &features, &preferences, &candidates)
    }
}
