//! The contract's types in one place, as `wit/` names them.

pub use crate::bindings::shared::portcullis::plugin::{chat, types};

/// What a plugin says of itself.
pub mod manifest {
    pub use crate::bindings::base::exports::portcullis::plugin::plugin::{
        Access, Channel, ChannelEnd, Endpoint, FeatureMap, Framing, Location, Manifest, Model, Need, Price, Quality,
        Rates, Route, Stages, Suggestion, TextKind, TextMap, Tier, UsageFlag,
    };
}

/// Client protocols.
pub mod dialect {
    pub use crate::bindings::dialect::exports::portcullis::plugin::dialect::{
        EncodedEvents, ErrorReply, Head, ModelEntry, Reply,
    };
}

/// Providers of models.
pub mod provider {
    pub use crate::bindings::provider::exports::portcullis::plugin::provider::{
        AnswerHead, DecodedFrames, DecodedResponse, Reading, Target, UpstreamRequest,
    };
}

/// Ranking of targets.
pub mod router {
    pub use crate::bindings::router::exports::portcullis::plugin::router::{
        Breaker, Candidate, Factor, Features, Plan, Ranked, Rejected,
    };
}

/// Findings in texts.
pub mod guard {
    pub use crate::bindings::guard::exports::portcullis::plugin::guard::{
        Direction, Finding, Hold, Inspection, PlaceKind, Replacement, Text, Verdict,
    };
}

/// Decisions on requests.
pub mod policy {
    pub use crate::bindings::policy::exports::portcullis::plugin::policy::{
        Attempt, Constraints, Denial, Subject, Verdict,
    };
}
