//! Cerebras (<https://inference-docs.cerebras.ai/api-reference/chat-completions>). Its answers are OpenAI's with `time_info` and `reasoning`
//! beside them (recordings); its chat passes through.

use portcullis_openai_chat::compat::{Compat, History};
use portcullis_openai_chat::endpoint::{Compatible, Provider};
use portcullis_plugin::manifest::Manifest;
use portcullis_plugin::{NoConfig, Plugin};

pub struct Cerebras {
    compat: Compat,
}

impl Plugin for Cerebras {
    type Config = NoConfig;

    fn manifest() -> Manifest {
        Provider {
            name: "cerebras",
            version: env!("CARGO_PKG_VERSION"),
            summary: "Cerebras: Chat Completions",
            format: "openai-chat",
            models: include_str!("models.json"),
            base_url: "https://api.cerebras.ai/v1",
            auth: "bearer",
            environment: "CEREBRAS_API_KEY",
            operations: &["completions"],
        }
        .manifest()
    }

    fn configure(_: NoConfig) -> Result<Self, String> {
        Ok(Cerebras { compat: compat() })
    }
}

impl Compatible for Cerebras {
    fn compat(&self) -> &Compat {
        &self.compat
    }
}

/// What is refused stands in Cerebras' "OpenAI Compatibility"; reasoning goes back as `reasoning` (recordings).
fn compat() -> Compat {
    Compat { history: History::Reasoning, ..Compat::default() }.refusing(&[
        "frequency_penalty",
        "presence_penalty",
        "logit_bias",
    ])
}

portcullis_openai_chat::provider!(Cerebras);
