//! Cohere: the provider behind the second version of its API (chat, embeddings, rerank).
//!
//! Chat is translated. Embeddings and rerank are passed through, embeddings in Cohere's own shape and in OpenAI's, which Cohere takes
//! at an address of its own; of those only the meter reads.
//!
//! Wire facts were read in the types of the official SDK (PyPI cohere 7.3.1), in the documentation at
//! <https://docs.cohere.com/v2/reference/chat> and in recorded traffic.

mod catalogue;
mod finish;
mod manifest;
mod provider;
mod usage;

use portcullis_plugin::prelude::*;

/// The wire format of chat.
pub const FORMAT: &str = "cohere-chat";

/// What a part carries for this format, by name.
const CARRY: &str = "cohere.";

/// The `carry` field of text: the citations in it, a list as Cohere gave them.
const CITATIONS: &str = "cohere.citations";

/// The `carry` field, `true`, of reasoning that is the plan before tool calls, which Cohere keeps in a place of its own.
const TOOL_PLAN: &str = "cohere.tool-plan";

/// The plugin. It has nothing to configure.
#[derive(Debug)]
pub struct Cohere;

impl Plugin for Cohere {
    type Config = NoConfig;

    fn manifest() -> Manifest {
        manifest::manifest()
    }

    fn configure(_: NoConfig) -> Result<Self, String> {
        Ok(Cohere)
    }
}

portcullis_plugin::export!(Cohere: provider);
portcullis_plugin::golden_vectors!(Cohere: provider);
