//! DeepSeek (<https://api-docs.deepseek.com/api/create-chat-completion>). It limits the output by `max_tokens` alone, and a limit that it
//! passes over would let an answer cost more than was reserved, so that its chat is always translated.

use portcullis_openai_chat::compat::{Compat, History, Thinking};
use portcullis_openai_chat::endpoint::{Compatible, Provider};
use portcullis_plugin::manifest::Manifest;
use portcullis_plugin::{NoConfig, Plugin};

pub struct DeepSeek {
    compat: Compat,
}

impl Plugin for DeepSeek {
    type Config = NoConfig;

    fn manifest() -> Manifest {
        Provider {
            name: "deepseek",
            version: env!("CARGO_PKG_VERSION"),
            summary: "DeepSeek: Chat Completions with its thinking",
            format: "deepseek-chat",
            models: include_str!("models.json"),
            base_url: "https://api.deepseek.com",
            auth: "bearer",
            environment: "DEEPSEEK_API_KEY",
            operations: &[],
        }
        .manifest()
    }

    fn configure(_: NoConfig) -> Result<Self, String> {
        Ok(DeepSeek { compat: compat() })
    }
}

impl Compatible for DeepSeek {
    fn compat(&self) -> &Compat {
        &self.compat
    }
}

/// Of formats there are `text` and `json_object`. Thinking is switched, with an effort beside it, and goes back with tool calls as
/// `reasoning_content`, which the API demands ("Thinking Mode").
fn compat() -> Compat {
    Compat {
        limit: "max_tokens",
        developer: false,
        json_schema: false,
        thinking: Thinking::Switch,
        history: History::ReasoningContent,
        ..Compat::default()
    }
    .refusing(&[
        "n",
        "seed",
        "logit_bias",
        "parallel_tool_calls",
        "metadata",
        "store",
        "service_tier",
        "verbosity",
    ])
}

portcullis_openai_chat::provider!(DeepSeek);
