//! Ollama: the provider behind the API of its own of a server that runs models locally (or passes them on to Ollama's cloud).
//!
//! Chat is translated. Embeddings are passed through, in Ollama's own shape and in OpenAI's.
//!
//! There is no catalogue: which models there are is the operator's to list. What they cost is so too, and nothing is free unasked: an
//! unknown price is never $0.
//!
//! Wire facts were read in the documentation at <https://docs.ollama.com/api> with its OpenAPI description (ollama/ollama,
//! `docs/openapi.yaml`), in the types of the official SDK (PyPI ollama 0.6.3) and in recorded traffic.

mod config;
mod finish;
mod ids;
mod manifest;
mod provider;
mod usage;

use portcullis_plugin::prelude::*;

/// The wire format of chat.
pub const FORMAT: &str = "ollama-chat";

/// The plugin.
#[derive(Debug)]
pub struct Ollama {
    config: config::Config,
}

impl Plugin for Ollama {
    type Config = config::Config;

    fn manifest() -> Manifest {
        manifest::manifest()
    }

    fn configure(config: config::Config) -> Result<Self, String> {
        Ok(Ollama { config })
    }
}

portcullis_plugin::export!(Ollama: provider);
portcullis_plugin::golden_vectors!(Ollama: provider);
