//! Ranks targets.
//!
//! Every candidate is either ranked or rejected with a code. A router never ranks one that lacks a needed capability or room,
//! and its reason holds numbers and codes, never content.
//!
//! ```
//! use portcullis_plugin::prelude::*;
//!
//! /// The cheapest that can.
//! struct Cheapest;
//!
//! impl Plugin for Cheapest {
//!     type Config = NoConfig;
//!     fn manifest() -> Manifest {
//!         Manifest::new("cheapest", "1.0.0", "ranks by price alone")
//!     }
//!     fn configure(_: NoConfig) -> Result<Self, String> {
//!         Ok(Cheapest)
//!     }
//! }
//!
//! impl Router for Cheapest {
//!     fn rank(
//!         &self,
//!         _: &Context,
//!         _: &Caller,
//!         features: &Features,
//!         _preferences: &[Pair],
//!         candidates: &[Candidate],
//!     ) -> Result<Plan, Failure> {
//!         let (mut ranked, mut rejected) = (Vec::new(), Vec::new());
//!         for (index, candidate) in (0..).zip(candidates) {
//!             let lacking = features.needs.iter().find(|need| !candidate.capabilities.contains(need));
//!             match (lacking, candidate.input_price) {
//!                 (Some(need), _) => rejected.push(Rejected::new(index, format!("lacks:{need}"))),
//!                 _ if features.input_tokens > u64::from(candidate.context) => rejected.push(Rejected::new(index, "context")),
//!                 (None, None) => rejected.push(Rejected::new(index, "price-unknown")),
//!                 (None, Some(price)) => {
//!                     let factors = vec![Factor::new("price", price as f64)];
//!                     ranked.push(Ranked { candidate: index, score: -(price as f64), factors });
//!                 }
//!             }
//!         }
//!         ranked.sort_by(|one, other| other.score.total_cmp(&one.score));
//!         let reason = ranked.first().map_or("able=0".to_owned(), |first| format!("price={}", -first.score));
//!         Ok(Plan { ranked, rejected, strategy: "cheapest".to_owned(), reason })
//!     }
//! }
//!
//! portcullis_plugin::export!(Cheapest: router);
//! ```

pub use crate::bindings::router::exports::portcullis::plugin::router::{
    Breaker, Candidate, Factor, Features, Guest, Plan, Ranked, Rejected,
};
use crate::ir::{Caller, Context, Failure, Pair};
use crate::{Exported, Instance, Plugin};

/// Ranks the targets a request may go to. See `wit/router.wit`.
pub trait Router: Plugin {
    /// `preferences` are names and values: the operator's and the caller's. An empty ranking fails the request.
    fn rank(
        &self,
        context: &Context,
        caller: &Caller,
        features: &Features,
        preferences: &[Pair],
        candidates: &[Candidate],
    ) -> Result<Plan, Failure>;
}

impl Factor {
    pub fn new(name: &str, value: f64) -> Self {
        Factor { name: name.to_owned(), value }
    }
}

impl Rejected {
    pub fn new(candidate: u32, code: impl Into<String>) -> Self {
        Rejected { candidate, code: code.into() }
    }
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
