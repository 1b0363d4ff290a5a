//! Anthropic Messages: the client protocol (`/v1/messages`) and the provider behind it, in one plugin.
//!
//! `dialect` faces clients: requests in, answers out. `provider` faces the API: requests out, answers in. Its conversions, and what both
//! sides read and write alike, are the library's ([`portcullis_anthropic_messages`]), which also names the sources of wire facts.

mod dialect;
mod manifest;
mod provider;

/// The wire format this plugin speaks on both sides.
pub use portcullis_anthropic_messages::FORMAT;
use portcullis_plugin::prelude::*;

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
