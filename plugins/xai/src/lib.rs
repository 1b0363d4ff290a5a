//! xAI (<https://docs.x.ai/docs/api-reference>). Its answers are OpenAI's, with citations beside them and reasoning that is counted apart from
//! the completion, which the library sees by the total; its chat passes through.

use portcullis_openai_chat::compat::Compat;
use portcullis_openai_chat::endpoint::{Compatible, Provider};
use portcullis_plugin::manifest::Manifest;
use portcullis_plugin::{NoConfig, Plugin};

pub struct XAi {
    compat: Compat,
}

impl Plugin for XAi {
    type Config = NoConfig;

    fn manifest() -> Manifest {
        Provider {
            name: "xai",
            version: env!("CARGO_PKG_VERSION"),
            summary: "xAI: Chat Completions of Grok, images and embeddings",
            format: "openai-chat",
            models: include_str!("models.json"),
            base_url: "https://api.x.ai/v1",
            auth: "bearer",
            environment: "XAI_API_KEY",
            operations: &["images", "embeddings"],
        }
        .manifest()
    }

    fn configure(_: NoConfig) -> Result<Self, String> {
        Ok(XAi { compat: compat() })
    }
}

impl Compatible for XAi {
    fn compat(&self) -> &Compat {
        &self.compat
    }
}

/// What Grok does not take ("Chat completions" in the API reference; reasoning models refuse penalties and `stop` too, which the
/// catalogue says by leaving out `sampling`).
fn compat() -> Compat {
    Compat::default().refusing(&["logit_bias", "metadata", "store"])
}

portcullis_openai_chat::provider!(XAi);
