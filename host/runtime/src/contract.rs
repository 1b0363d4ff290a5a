//! The contract's types in one place, as `wit/` names them.

pub use crate::bindings::shared::portcullis::plugin::{chat, types};

/// What a plugin says of itself.
pub mod manifest {
    pub use crate::bindings::base::exports::portcullis::plugin::plugin::{
        Access, Channel, ChannelEnd, Continuation, Endpoint, FeatureMap, Framing, Location, Manifest, Member, Model,
        ModelPlace, Need, Price, Quality, Rates, Route, ServiceRates, Stages, Suggestion, TextKind, TextMap, Tier,
        UnitRate, UsageFlag,
    };
}

/// Client protocols.
pub mod dialect {
    pub use crate::bindings::dialect::exports::portcullis::plugin::dialect::{
        Account, Cost, EncodedEvents, EncodedResponse, ErrorReply, Head, ModelEntry, Reply,
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
        Direction, Finding, Hold, Inspection, PlaceKind, Replacement, Text, Texts, Verdict,
    };

    impl Texts {
        /// Room for so many texts with so many bytes of content.
        pub fn with_capacity(texts: usize, bytes: usize) -> Self {
            Texts {
                contents: String::with_capacity(bytes),
                places: String::with_capacity(texts * 24),
                list: Vec::with_capacity(texts),
            }
        }

        /// Adds one. Together their contents must stay below 4 GiB.
        pub fn push(&mut self, kind: PlaceKind, place: &str, content: &str, released: u32, open: bool) {
            self.contents.push_str(content);
            self.places.push_str(place);
            let end = |text: &str| u32::try_from(text.len()).expect("bodies are smaller than 4 GiB");
            let (place_end, content_end) = (end(&self.places), end(&self.contents));
            self.list.push(Text { kind, place_end, content_end, released, open });
        }
    }
}

/// Decisions on requests.
pub mod policy {
    pub use crate::bindings::policy::exports::portcullis::plugin::policy::{
        Attempt, Constraints, Denial, Subject, Verdict,
    };
}
