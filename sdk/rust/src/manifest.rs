//! What a plugin says of itself.

pub use crate::bindings::base::exports::portcullis::plugin::plugin::{
    Access, Channel, ChannelEnd, Endpoint, FeatureMap, Framing, Location, Manifest, Model, Need, Price, Quality, Rates,
    Route, Stages, Suggestion, TextKind, TextMap, Tier, UsageFlag,
};
use crate::ir::Condition;

impl Manifest {
    /// A manifest without routes, endpoints or models.
    pub fn new(name: &str, version: &str, summary: &str) -> Self {
        Manifest {
            name: name.to_owned(),
            version: version.to_owned(),
            summary: summary.to_owned(),
            access: Access::NONE,
            routes: Vec::new(),
            endpoints: Vec::new(),
            models: Vec::new(),
            stages: Stages::NONE,
            suggestion: None,
        }
    }
}

impl Access {
    /// Metadata only.
    pub const NONE: Access = Access { content_read: false, content_write: false };
    pub const READ: Access = Access { content_read: true, content_write: false };
    pub const WRITE: Access = Access { content_read: true, content_write: true };
}

impl Stages {
    pub const NONE: Stages = Stages { request: false, target: false, response: false };
    pub const REQUEST: Stages = Stages { request: true, target: false, response: false };
    /// Before routing and before each attempt.
    pub const REQUEST_AND_TARGET: Stages = Stages { request: true, target: true, response: false };
}

impl Condition {
    /// Something other than null stands there.
    pub fn present(at: &str) -> Self {
        Condition { at: at.to_owned(), equals: None }
    }

    /// Exactly this JSON stands there.
    pub fn equals(at: &str, json: &str) -> Self {
        Condition { at: at.to_owned(), equals: Some(json.to_owned()) }
    }
}

impl TextMap {
    /// Nothing special: every string leaf is a text of its own.
    pub fn plain() -> Self {
        TextMap {
            json_strings: Vec::new(),
            opaque: Vec::new(),
            derived: Vec::new(),
            channels: Vec::new(),
            terminators: Vec::new(),
        }
    }
}

impl Rates {
    pub const UNKNOWN: Rates = Rates {
        input: None,
        output: None,
        cache_read: None,
        cache_write_short: None,
        cache_write_long: None,
        reasoning: None,
        audio_input: None,
        audio_output: None,
        image: None,
        search: None,
    };

    /// Rates from list prices in millionths of a USD (micro-USD) per million tokens, which is pico-USD per token:
    /// $2.50 per million tokens is `2_500_000`.
    pub fn tokens(input: u64, output: u64) -> Self {
        Rates { input: Some(input), output: Some(output), ..Rates::UNKNOWN }
    }
}

pub(crate) fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|&item| item.to_owned()).collect()
}

/// A list of owned strings from literals, for the many lists of a manifest.
pub fn list(items: &[&str]) -> Vec<String> {
    strings(items)
}
