//! Groq (<https://console.groq.com/docs/openai>). Its answers name a `service_tier` that OpenAI has not, tell a stream's usage in `x_groq`
//! and its errors as events (recordings), so that its chat is always translated.

use portcullis_openai_chat::compat::{Compat, History};
use portcullis_openai_chat::endpoint::{Compatible, Provider};
use portcullis_plugin::manifest::Manifest;
use portcullis_plugin::{NoConfig, Plugin};

pub struct Groq {
    compat: Compat,
}

impl Plugin for Groq {
    type Config = NoConfig;

    fn manifest() -> Manifest {
        Provider {
            name: "groq",
            version: env!("CARGO_PKG_VERSION"),
            summary: "Groq: Chat Completions, transcriptions and speech",
            format: "groq-chat",
            models: include_str!("models.json"),
            base_url: "https://api.groq.com/openai/v1",
            auth: "bearer",
            environment: "GROQ_API_KEY",
            operations: &["audio"],
        }
        .manifest()
    }

    fn configure(_: NoConfig) -> Result<Self, String> {
        Ok(Groq { compat: compat() })
    }
}

impl Compatible for Groq {
    fn compat(&self) -> &Compat {
        &self.compat
    }
}

/// What is refused stands in Groq's "OpenAI Compatibility"; several answers cannot be asked for. Reasoning goes back as it came, as
/// `reasoning` (the types of the `groq` package, `ChatCompletionAssistantMessageParam`).
fn compat() -> Compat {
    Compat { history: History::Reasoning, ..Compat::default() }.refusing(&[
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "messages/name",
        "n",
    ])
}

portcullis_openai_chat::provider!(Groq);
