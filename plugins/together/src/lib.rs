//! Together (<https://docs.together.ai/reference/chat-completions>). Its answers end in words that OpenAI has not (`eos`, recordings) and
//! its log probabilities have another shape, so that its chat is always translated.

use portcullis_openai_chat::compat::{Compat, History};
use portcullis_openai_chat::endpoint::{Compatible, Provider};
use portcullis_plugin::manifest::Manifest;
use portcullis_plugin::{NoConfig, Plugin};

pub struct Together {
    compat: Compat,
}

impl Plugin for Together {
    type Config = NoConfig;

    fn manifest() -> Manifest {
        Provider {
            name: "together",
            version: env!("CARGO_PKG_VERSION"),
            summary: "Together: Chat Completions, completions, embeddings, images and rerank",
            format: "together-chat",
            models: include_str!("models.json"),
            base_url: "https://api.together.xyz/v1",
            auth: "bearer",
            environment: "TOGETHER_API_KEY",
            operations: &["completions", "embeddings", "images", "rerank"],
        }
        .manifest()
    }

    fn configure(_: NoConfig) -> Result<Self, String> {
        Ok(Together { compat: compat() })
    }
}

impl Compatible for Together {
    fn compat(&self) -> &Compat {
        &self.compat
    }
}

/// The output is limited by `max_tokens` (API reference); reasoning comes and goes as `reasoning`.
fn compat() -> Compat {
    Compat { limit: "max_tokens", developer: false, top_k: true, history: History::Reasoning, ..Compat::default() }
        .refusing(&["user", "metadata", "store", "service_tier", "messages/name"])
}

portcullis_openai_chat::provider!(Together);
