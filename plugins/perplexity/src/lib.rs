//! Perplexity's Sonar (<https://docs.perplexity.ai/api-reference/chat-completions-post>). Its reasoning models think between tags in the text,
//! and chunks of a stream call themselves what OpenAI's are not, so that its chat is always translated. Citations and search results
//! stay beside the answer as they came. Perplexity moves its customers to another API ("Migrate from Sonar").

use portcullis_openai_chat::compat::{Compat, History};
use portcullis_openai_chat::endpoint::{Compatible, Provider};
use portcullis_plugin::manifest::Manifest;
use portcullis_plugin::{NoConfig, Plugin};

pub struct Perplexity {
    compat: Compat,
}

impl Plugin for Perplexity {
    type Config = NoConfig;

    fn manifest() -> Manifest {
        Provider {
            name: "perplexity",
            version: env!("CARGO_PKG_VERSION"),
            summary: "Perplexity: Sonar, with citations and searches",
            format: "perplexity-chat",
            models: include_str!("models.json"),
            base_url: "https://api.perplexity.ai",
            auth: "bearer",
            environment: "PERPLEXITY_API_KEY",
            operations: &[],
        }
        .manifest()
    }

    fn configure(_: NoConfig) -> Result<Self, String> {
        Ok(Perplexity { compat: compat() })
    }
}

impl Compatible for Perplexity {
    fn compat(&self) -> &Compat {
        &self.compat
    }
}

/// There are no tools, one answer, and one system message; searches are steered by members of its own, which an OpenAI client may send.
fn compat() -> Compat {
    Compat {
        limit: "max_tokens",
        stream_options: false,
        developer: false,
        top_k: true,
        history: History::Nowhere,
        think_tags: true,
        ..Compat::default()
    }
    .refusing(&["tools", "n", "seed", "logprobs", "logit_bias", "user", "metadata", "store", "service_tier"])
}

portcullis_openai_chat::provider!(Perplexity);
