//! Google's Gemini: the client protocol (`generateContent`, `streamGenerateContent`) and the provider behind it, in one plugin.
//!
//! The provider serves Google AI Studio and Vertex AI, whose bodies are the same; they differ in what stands before
//! `/models/…` in the URL, which is the connection's base URL, and in authentication, which is the connection's too.
//!
//! The modules are named after what they convert. `dialect` faces clients: requests in, answers out. `provider` faces the API:
//! requests out, answers in. What both sides read and write alike stands in `wire` and beside it: parts, usage, finish
//! reasons, call ids and thought signatures.
//!
//! Wire facts were read in the official Python SDK's types (`google-genai` 3.3.0, PyPI), in the documentation at
//! <https://ai.google.dev/gemini-api/docs> and <https://docs.cloud.google.com/gemini-enterprise-agent-platform>, and in recorded
//! traffic of both services.

// Its macro is used below.
#[macro_use]
mod wire;

mod catalogue;
mod dialect;
mod finish;
mod ids;
mod manifest;
mod provider;
mod signature;
mod usage;

use portcullis_plugin::prelude::*;

/// The wire format this plugin speaks on both sides.
pub const FORMAT: &str = "gemini";

/// The plugin. It has nothing to configure.
#[derive(Debug)]
pub struct Gemini;

impl Plugin for Gemini {
    type Config = NoConfig;

    fn manifest() -> Manifest {
        manifest::manifest()
    }

    fn configure(_: NoConfig) -> Result<Self, String> {
        Ok(Gemini)
    }
}

portcullis_plugin::export!(Gemini: dialect, provider);
portcullis_plugin::golden_vectors!(Gemini: dialect, provider);
