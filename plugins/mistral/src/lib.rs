//! Mistral (<https://docs.mistral.ai/api>). Its content may be a list with thinking in it and its tool calls have no `type` (recordings), so
//! that its chat is always translated.

use portcullis_openai_chat::compat::{CallIds, Compat, Documents, History};
use portcullis_openai_chat::endpoint::{Compatible, Provider};
use portcullis_plugin::manifest::Manifest;
use portcullis_plugin::{NoConfig, Plugin};

pub struct Mistral {
    compat: Compat,
}

impl Plugin for Mistral {
    type Config = NoConfig;

    fn manifest() -> Manifest {
        Provider {
            name: "mistral",
            version: env!("CARGO_PKG_VERSION"),
            summary: "Mistral: Chat Completions with its thinking, embeddings and transcriptions",
            format: "mistral-chat",
            models: include_str!("models.json"),
            base_url: "https://api.mistral.ai/v1",
            auth: "bearer",
            environment: "MISTRAL_API_KEY",
            operations: &["embeddings", "audio"],
        }
        .manifest()
    }

    fn configure(_: NoConfig) -> Result<Self, String> {
        Ok(Mistral { compat: compat() })
    }
}

impl Compatible for Mistral {
    fn compat(&self) -> &Compat {
        &self.compat
    }
}

/// Names of its own: `max_tokens`, `random_seed`, `tool_choice: "any"`; usage comes in streams unasked (API reference, "Chat").
/// Thinking goes back where it came from, in the content ("Reasoning"). A function without `parameters` is refused ("Field required":
/// <https://github.com/Mirascope/mirascope/issues/961>; the API's types demand them).
fn compat() -> Compat {
    Compat {
        limit: "max_tokens",
        stream_options: false,
        seed: "random_seed",
        required: "any",
        no_parameters: false,
        developer: false,
        call_ids: CallIds::Nine,
        history: History::ThinkingParts,
        documents: Documents::Url,
        bare_audio: true,
        ..Compat::default()
    }
    .refusing(&[
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "user",
        "store",
        "service_tier",
        "verbosity",
        "modalities",
        "audio",
        "messages/name",
    ])
}

portcullis_openai_chat::provider!(Mistral);
