//! What a plugin says of itself: who it is, what it wants to see, and by role its routes, endpoints, models or stages.
//!
//! ```
//! use portcullis_plugin::prelude::*;
//!
//! let manifest = Manifest {
//!     access: Access::READ,
//!     stages: Stages::REQUEST_AND_TARGET,
//!     ..Manifest::new("my-policy", env!("CARGO_PKG_VERSION"), "One line for people")
//! };
//! assert!(manifest.access.content_read && !manifest.access.content_write);
//! ```

pub use crate::bindings::base::exports::portcullis::plugin::plugin::{
    Access, Channel, ChannelEnd, Continuation, Endpoint, FeatureMap, Framing, Location, Manifest, Member, Model,
    ModelPlace, Need, Price, Quality, Rates, Route, ServiceRates, Stages, Suggestion, TextKind, TextMap, Tier,
    UnitRate, UsageFlag,
};
use crate::ir::{Condition, Field, Test};

impl Manifest {
    /// A manifest that asks for nothing and offers nothing: a start for struct update syntax. The name must be that of the
    /// file, `NAME.wasm`; the version semantic.
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
            extra: Vec::new(),
        }
    }
}

impl Access {
    /// Metadata only.
    pub const NONE: Access = Access { content_read: false, content_write: false };
    /// Prompts and answers may be read.
    pub const READ: Access = Access { content_read: true, content_write: false };
    /// … and changed, which no one can who may not read.
    pub const WRITE: Access = Access { content_read: true, content_write: true };
}

impl Stages {
    /// Never asked.
    pub const NONE: Stages = Stages { request: false, target: false, response: false };
    /// Before routing.
    pub const REQUEST: Stages = Stages { request: true, target: false, response: false };
    /// Before routing and before each attempt.
    pub const REQUEST_AND_TARGET: Stages = Stages { request: true, target: true, response: false };
    /// After the answer.
    pub const RESPONSE: Stages = Stages { request: false, target: false, response: true };
}

impl Route {
    /// A route by `POST` with its model at this place, and everything else absent: a start for struct update syntax.
    pub fn post(name: &str, operation: &str, format: &str, path: &str, model: Location) -> Self {
        Route {
            name: name.to_owned(),
            operation: operation.to_owned(),
            method: "POST".to_owned(),
            path: path.to_owned(),
            when_header: None,
            format: format.to_owned(),
            model,
            auto_when: Vec::new(),
            stream: Location::Absent,
            output_limit: Vec::new(),
            choices: Vec::new(),
            reencode_when: Vec::new(),
            features: FeatureMap { tool_names: Vec::new(), needs: Vec::new(), prompts: Vec::new() },
            request_texts: TextMap::plain(),
            answer_texts: TextMap::plain(),
            stream_texts: TextMap::plain(),
            stream_framing: Framing::Sse,
            continuation: None,
            headers: Vec::new(),
            extra: Vec::new(),
        }
    }

    /// With a place where requests say which person they are for. Of several the first that holds a text is taken.
    #[must_use]
    pub fn user_at(self, pointer: &str) -> Self {
        self.attributed("user", pointer)
    }

    /// With an object whose texts mark a request for usage and budgets.
    #[must_use]
    pub fn tags_at(self, pointer: &str) -> Self {
        self.attributed("tags", pointer)
    }

    fn attributed(mut self, name: &str, pointer: &str) -> Self {
        self.extra.push(Field { name: name.to_owned(), value: crate::json::quote(pointer) });
        self
    }
}

impl Endpoint {
    /// An endpoint by `POST` whose model stands at `/model`, without headers of its own, every frame metered: a start for
    /// struct update syntax.
    pub fn post(name: &str, operation: &str, format: &str, path: &str) -> Self {
        Endpoint {
            name: name.to_owned(),
            operation: operation.to_owned(),
            format: format.to_owned(),
            method: "POST".to_owned(),
            path: path.to_owned(),
            query: Vec::new(),
            headers: Vec::new(),
            fixed_headers: Vec::new(),
            forward_headers: Vec::new(),
            answer_headers: Vec::new(),
            streams: None,
            model: vec![ModelPlace::body("/model")],
            set_members: Vec::new(),
            remove_members: Vec::new(),
            reencode_when: Vec::new(),
            usage_flag: None,
            meter_frames: Vec::new(),
            stream_framing: Framing::Sse,
            inline_media: Vec::new(),
            extra: Vec::new(),
        }
    }
}

impl ModelPlace {
    /// At this place of the body, or at every one that the pattern names.
    pub fn body(at: &str) -> Self {
        ModelPlace { at: Location::Body(at.to_owned()), prefix: String::new() }
    }

    /// In the path's parameter of this name.
    pub fn path(parameter: &str) -> Self {
        ModelPlace { at: Location::Path(parameter.to_owned()), prefix: String::new() }
    }

    /// In the form's field of this name.
    pub fn form(field: &str) -> Self {
        ModelPlace { at: Location::Form(field.to_owned()), prefix: String::new() }
    }

    /// With this before the model's name there.
    #[must_use]
    pub fn after(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }
}

impl Member {
    pub fn new(at: &str, json: &str) -> Self {
        Member { at: at.to_owned(), value: json.to_owned() }
    }
}

impl Condition {
    /// Something other than null stands there.
    pub fn present(at: &str) -> Self {
        Condition { at: at.to_owned(), test: Test::Present }
    }

    /// Exactly this JSON stands there.
    pub fn equals(at: &str, json: &str) -> Self {
        Condition { at: at.to_owned(), test: Test::Equals(json.to_owned()) }
    }

    /// A string stands there that begins with this text.
    pub fn starts_with(at: &str, text: &str) -> Self {
        Condition { at: at.to_owned(), test: Test::StartsWith(text.to_owned()) }
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

impl Price {
    /// These rates from a day (`YYYY-MM-DD`) on, read there: a start for struct update syntax.
    pub fn new(effective: impl Into<String>, source: impl Into<String>, rates: Rates) -> Self {
        let (effective, source) = (effective.into(), source.into());
        Price { effective, source, rates, tiers: Vec::new(), units: Vec::new(), services: Vec::new() }
    }
}

impl Rates {
    /// No price at all, which the gateway never takes for free.
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

/// The gateway's own strings in what [`Reply::write_account`](crate::dialect::Reply::write_account) writes, for `opaque` of a text map:
/// a guard that took a request's id for somebody's number would spoil it.
pub fn account_strings() -> Vec<String> {
    strings(&[
        "/x-llm-gateway/*",
        "/metadata/requested_model",
        "/metadata/requested_provider",
        "/metadata/used_model",
        "/metadata/used_provider",
        "/metadata/underlying_used_model",
        "/metadata/routing",
        "/metadata/routing/*/*",
    ])
}
