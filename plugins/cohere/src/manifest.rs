//! What the plugin says of itself: chat, and the endpoints that are passed through.

use portcullis_plugin::prelude::*;

use crate::{FORMAT, catalogue};

pub const CHAT: &str = "chat";
pub const RERANK: &str = "rerank";
/// Embeddings in Cohere's own shape.
pub const EMBED: &str = "embed";
/// Embeddings in OpenAI's.
pub const EMBEDDINGS: &str = "embeddings";

pub fn manifest() -> Manifest {
    Manifest {
        access: Access::WRITE,
        endpoints: vec![
            chat(),
            // <https://docs.cohere.com/v2/reference/rerank>
            passed(RERANK, "rerank", "rerank", "/v2/rerank"),
            // <https://docs.cohere.com/v2/reference/embed>
            passed(EMBED, "embeddings", "cohere-embed", "/v2/embed"),
            // <https://docs.cohere.com/docs/compatibility-api>
            passed(EMBEDDINGS, "embeddings", "openai-embeddings", "/compatibility/v1/embeddings"),
        ],
        models: catalogue::models(),
        suggestion: Some(Suggestion {
            base_url: "https://api.cohere.com".to_owned(),
            auth: "bearer".to_owned(),
            environment: "CO_API_KEY".to_owned(),
        }),
        ..Manifest::new(
            "cohere",
            env!("CARGO_PKG_VERSION"),
            "Cohere: chat, embeddings and rerank of its API, version 2",
        )
    }
}

/// `POST /v2/chat` (<https://docs.cohere.com/v2/reference/chat>).
fn chat() -> Endpoint {
    Endpoint {
        answer_headers: answer_headers(),
        // The first event has the id, the last one everything else; an error in the stream has a message and no type.
        meter_frames: list(&["\"message-end\"", "\"message\":\""]),
        ..Endpoint::post(CHAT, "chat", FORMAT, "/v2/chat")
    }
}

fn passed(name: &str, operation: &str, format: &str, path: &str) -> Endpoint {
    Endpoint {
        answer_headers: answer_headers(),
        stream_framing: Framing::Json,
        ..Endpoint::post(name, operation, format, path)
    }
}

/// <https://docs.cohere.com/docs/rate-limits> and the answers' own headers.
fn answer_headers() -> Vec<String> {
    list(&["x-debug-trace-id", "x-trial-endpoint-call-limit", "x-trial-endpoint-call-remaining"])
}
