//! Anthropic Messages: the client protocol (`/v1/messages`) and the provider behind it, in one plugin.
//!
//! The modules are named after what they convert. `dialect` faces clients: requests in, answers out. `provider` faces the API:
//! requests out, answers in. What both sides read and write alike stands beside them: content blocks, usage, stop reasons and
//! signatures.
//!
//! Wire facts were read in the official Python SDK's types (`anthropic` 2.10.0, PyPI), in the documentation at
//! <https://platform.claude.com/docs> and in recorded traffic.

mod block;
mod cache;
mod catalogue;
mod dialect;
mod manifest;
mod provider;
mod signature;
mod stop;
mod usage;

use portcullis_plugin::prelude::*;

/// The wire format this plugin speaks on both sides.
pub const FORMAT: &str = "anthropic-messages";

/// The plugin. It has nothing to configure.
#[derive(Debug)]
pub struct Anthropic;

impl Plugin for Anthropic {
    type Config = NoConfig;

    fn manifest() -> Manifest {
        manifest::manifest()
    }

    fn configure(_: NoConfig) -> Result<Self, String> {
        Ok(Anthropic)
    }
}

portcullis_plugin::export!(Anthropic: dialect, provider);
portcullis_plugin::golden_vectors!(Anthropic: dialect, provider);
