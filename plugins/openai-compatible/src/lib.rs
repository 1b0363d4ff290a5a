//! Any server that speaks Chat Completions, by configuration alone: vLLM, SGLang, Text Generation Inference, llama.cpp, LM Studio and the
//! like. What the server takes differently is said in the plugin's configuration; its answers are read as they come, and set right
//! where the official types would refuse them. A server without differences can as well be reached through the plugin `openai`,
//! which passes the client's bytes through.

mod config;

use portcullis_openai_chat::compat::Compat;
use portcullis_openai_chat::endpoint::{self, Compatible};
use portcullis_openai_chat::operations;
use portcullis_plugin::Plugin;
use portcullis_plugin::manifest::Manifest;

pub struct OpenAiCompatible {
    compat: Compat,
}

impl Plugin for OpenAiCompatible {
    type Config = config::Config;

    fn manifest() -> Manifest {
        endpoint::Provider {
            name: "openai-compatible",
            version: env!("CARGO_PKG_VERSION"),
            summary: "Any server that speaks OpenAI's API: vLLM, SGLang, TGI, llama.cpp",
            format: "openai-compatible-chat",
            models: "",
            base_url: "http://127.0.0.1:8000/v1",
            auth: "bearer",
            environment: "OPENAI_COMPATIBLE_API_KEY",
            operations: operations::KINDS,
        }
        .manifest()
    }

    fn configure(config: config::Config) -> Result<Self, String> {
        Ok(OpenAiCompatible { compat: config.compat()? })
    }
}

impl Compatible for OpenAiCompatible {
    fn compat(&self) -> &Compat {
        &self.compat
    }
}

portcullis_openai_chat::provider!(OpenAiCompatible);
