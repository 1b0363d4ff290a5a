//! What most plugins need: `use portcullis_plugin::prelude::*;`.

pub use crate::dialect::{Dialect, ErrorReply, Head, ModelEntry, Reply};
pub use crate::guard::Verdict as GuardVerdict;
pub use crate::guard::{Direction, Finding, Guard, Hold, Inspected, PlaceKind, Replacement, Text};
pub use crate::ir::*;
pub use crate::logging;
pub use crate::manifest::*;
pub use crate::observer::Observer;
pub use crate::policy::Verdict as PolicyVerdict;
pub use crate::policy::{Attempt, Constraints, Denial, Policy, Subject, deny};
pub use crate::provider::{AnswerHead, DecodedResponse, Metered, Provider, Target, UpstreamRequest};
pub use crate::router::{Breaker, Candidate, Factor, Features, Plan, Ranked, Rejected, Router};
pub use crate::{NoConfig, Plugin};
