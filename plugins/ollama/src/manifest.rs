//! What the plugin says of itself: chat, and the endpoints that are passed through.

use portcullis_plugin::prelude::*;

use crate::FORMAT;

pub const CHAT: &str = "chat";
/// Embeddings in Ollama's own shape.
pub const EMBED: &str = "embed";
/// Embeddings in OpenAI's.
pub const EMBEDDINGS: &str = "embeddings";

const SUMMARY: &str =
    "Ollama: models on machines of your own; list them under the provider, with prices (0 where they are free)";

pub fn manifest() -> Manifest {
    Manifest {
        access: Access::WRITE,
        endpoints: vec![
            chat(),
            // <https://docs.ollama.com/api/embed>
            passed(EMBED, "ollama-embed", "/api/embed"),
            // <https://docs.ollama.com/api/openai-compatibility>
            passed(EMBEDDINGS, "openai-embeddings", "/v1/embeddings"),
        ],
        suggestion: Some(Suggestion {
            base_url: "http://localhost:11434".to_owned(),
            // For Ollama's cloud; a server of one's own asks for nothing.
            auth: "bearer".to_owned(),
            environment: "OLLAMA_API_KEY".to_owned(),
        }),
        ..Manifest::new("ollama", env!("CARGO_PKG_VERSION"), SUMMARY)
    }
}

/// `POST /api/chat` (<https://docs.ollama.com/api/chat>).
fn chat() -> Endpoint {
    Endpoint {
        // The last line has the counts and the reason, which does not tell of calls; errors have nothing else.
        meter_frames: list(&["\"done\":true", "\"tool_calls\":", "\"error\":"]),
        stream_framing: Framing::Ndjson,
        // `images` holds base64 alone.
        inline_media: list(&["image"]),
        ..Endpoint::post(CHAT, "chat", FORMAT, "/api/chat")
    }
}

fn passed(name: &str, format: &str, path: &str) -> Endpoint {
    Endpoint { stream_framing: Framing::Json, ..Endpoint::post(name, "embeddings", format, path) }
}
