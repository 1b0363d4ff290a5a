//! OpenRouter (<https://openrouter.ai/docs/api-reference/overview>). Its answers have service tiers and annotations that OpenAI has not and
//! calls without arguments (recordings), so that its chat is always translated. Names of models may carry a variant (`:free`).

use portcullis_openai_chat::compat::{Compat, History, Thinking};
use portcullis_openai_chat::endpoint::{Compatible, Provider};
use portcullis_plugin::manifest::Manifest;
use portcullis_plugin::{NoConfig, Plugin};

pub struct OpenRouter {
    compat: Compat,
}

impl Plugin for OpenRouter {
    type Config = NoConfig;

    fn manifest() -> Manifest {
        Provider {
            name: "openrouter",
            version: env!("CARGO_PKG_VERSION"),
            summary: "OpenRouter: Chat Completions of many providers, with reasoning that returns to whoever signed it",
            format: "openrouter-chat",
            models: include_str!("models.json"),
            base_url: "https://openrouter.ai/api/v1",
            auth: "bearer",
            environment: "OPENROUTER_API_KEY",
            operations: &["embeddings"],
        }
        .manifest()
    }

    fn configure(_: NoConfig) -> Result<Self, String> {
        Ok(OpenRouter { compat: compat() })
    }
}

impl Compatible for OpenRouter {
    fn compat(&self) -> &Compat {
        &self.compat
    }
}

/// Reasoning is asked for by effort or budget and goes back with its signatures, whoever's they are ("Reasoning Tokens"). For Google's
/// models it makes a cache first, which is charged as storage, and the prompt then reads it, which is charged too; Anthropic's writes are
/// part of the prompt ("Prompt Caching", and what `cost_details` of recordings come to).
fn compat() -> Compat {
    Compat {
        top_k: true,
        thinking: Thinking::Settings,
        history: History::Details,
        writes_beside: Some("google/"),
        ..Compat::default()
    }
}

portcullis_openai_chat::provider!(OpenRouter);
