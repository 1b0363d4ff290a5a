//! The endpoint of chat, and a provider's plugin made of its description.
//!
//! A provider whose answers the official types accept declares the format `openai-chat`: its clients' bytes pass through. One whose
//! answers they refuse, or that refuses what clients may send, declares a format of its own: every request is then read and
//! written, and what is odd is set right on the way. Within the gateway both are of the one format, so that fields that nobody
//! models survive between a client of this protocol and either.

use portcullis_plugin::manifest::{Endpoint, Manifest, ModelPlace, Suggestion, list};

use crate::catalogue;
use crate::compat::Compat;
use crate::operations::{self, answer_headers, usage_flag};

/// The endpoint's name in the plugins of this family.
pub const CHAT: &str = "chat";

/// `POST /chat/completions` below the base URL, in this format.
pub fn chat(format: &str) -> Endpoint {
    Endpoint {
        // Not `openai-organization` and `openai-project`: they choose whose account pays, which is the connection's affair.
        forward_headers: list(&["openai-beta"]),
        answer_headers: answer_headers(),
        streams: None,
        model: vec![ModelPlace::body("/model")],
        set_members: Vec::new(),
        remove_members: Vec::new(),
        reencode_when: Vec::new(),
        usage_flag: Some(usage_flag()),
        meter_frames: list(&[
            "\"usage\":{",
            "\"usage\": {",
            "\"finish_reason\":\"",
            "\"finish_reason\": \"",
            "\"error\"",
        ]),
        ..Endpoint::post(CHAT, "chat", format, "/chat/completions")
    }
}

/// A plugin whose provider is its description: what [`provider!`](macro@crate::provider) needs to know.
pub trait Compatible {
    fn compat(&self) -> &Compat;
}

/// Makes a provider of a [`Compatible`] plugin: `portcullis_openai_chat::provider!(Groq);` implements the role, exports it and runs
/// the golden vectors.
#[macro_export]
macro_rules! provider {
    ($plugin:ident) => {
        impl ::portcullis_plugin::provider::Provider for $plugin {
            type State = $crate::provider::stream::State;

            fn encode_request(
                &self,
                _: &::portcullis_plugin::ir::Context,
                target: &::portcullis_plugin::provider::Target,
                request: ::portcullis_plugin::ir::Request,
            ) -> ::std::result::Result<::portcullis_plugin::provider::UpstreamRequest, ::portcullis_plugin::ir::Failure>
            {
                let compat = $crate::endpoint::Compatible::compat(self);
                let (body, notes) = $crate::provider::request::encode_for(compat, target, &request)?;
                Ok(::portcullis_plugin::provider::UpstreamRequest::new($crate::endpoint::CHAT, body, notes))
            }

            $crate::__decode!();
        }

        ::portcullis_plugin::export!($plugin: provider);
        ::portcullis_plugin::golden_vectors!($plugin: provider);
    };
}

/// The functions of a provider that read answers.
#[doc(hidden)]
#[macro_export]
macro_rules! __decode {
    () => {
        fn decode_response(
            &self,
            context: &::portcullis_plugin::ir::Context,
            _: &::portcullis_plugin::provider::AnswerHead,
            body: &str,
        ) -> ::std::result::Result<::portcullis_plugin::provider::DecodedResponse, ::portcullis_plugin::ir::Failure> {
            let compat = $crate::endpoint::Compatible::compat(self);
            let response = $crate::provider::response::decode_for(compat, context, body)?;
            Ok(::portcullis_plugin::provider::DecodedResponse { response, notes: ::std::vec::Vec::new() })
        }

        fn decode_frames(
            &self,
            context: &::portcullis_plugin::ir::Context,
            _endpoint: &str,
            state: &mut Self::State,
            frames: ::std::vec::Vec<::portcullis_plugin::ir::Frame>,
            last: bool,
        ) -> ::std::result::Result<::std::vec::Vec<::portcullis_plugin::ir::Event>, ::portcullis_plugin::ir::Failure> {
            let compat = $crate::endpoint::Compatible::compat(self);
            Ok($crate::provider::stream::decode_for(compat, context, state, frames, last))
        }

        fn decode_error(
            &self,
            context: &::portcullis_plugin::ir::Context,
            head: &::portcullis_plugin::provider::AnswerHead,
            body: &str,
        ) -> ::portcullis_plugin::ir::Failure {
            $crate::provider::error::decode(context, head, body)
        }

        fn meter(
            &self,
            _: &::portcullis_plugin::ir::Context,
            endpoint: &str,
            metered: &mut ::portcullis_plugin::provider::Metered,
            frames: &[::portcullis_plugin::ir::Frame],
            last: bool,
        ) -> ::std::result::Result<(), ::portcullis_plugin::ir::Failure> {
            match endpoint {
                $crate::endpoint::CHAT => $crate::provider::meter::read(metered, frames, last),
                _ => $crate::operations::meter::read(endpoint, metered, frames, last),
            }
            Ok(())
        }
    };
}

/// What a provider of this family says of itself.
pub struct Provider<'a> {
    pub name: &'a str,
    /// `CARGO_PKG_VERSION` of the plugin.
    pub version: &'a str,
    pub summary: &'a str,
    /// Of its chat; see the module's head.
    pub format: &'a str,
    /// See [`crate::catalogue`]; empty for none.
    pub models: &'a str,
    /// The usual base URL.
    pub base_url: &'a str,
    /// `bearer`, or `header:NAME`.
    pub auth: &'a str,
    /// The variable that usually holds the key.
    pub environment: &'a str,
    /// Kinds of operations besides chat; see [`operations::endpoints`].
    pub operations: &'a [&'a str],
}

impl Provider<'_> {
    pub fn manifest(&self) -> Manifest {
        let mut endpoints = vec![chat(self.format)];
        endpoints.extend(operations::endpoints(self.operations));
        Manifest {
            endpoints,
            models: if self.models.is_empty() { Vec::new() } else { catalogue::models(self.models) },
            suggestion: Some(Suggestion {
                base_url: self.base_url.to_owned(),
                auth: self.auth.to_owned(),
                environment: self.environment.to_owned(),
            }),
            ..Manifest::new(self.name, self.version, self.summary)
        }
    }
}
