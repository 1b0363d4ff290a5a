//! What the plugin says of itself.

pub use portcullis_anthropic_messages::COUNT;
use portcullis_anthropic_messages::FORMAT;
use portcullis_plugin::prelude::*;

use crate::catalogue;

pub const CHAT: &str = "chat";
/// A stream is a method of its own.
pub const STREAM: &str = "stream";

pub fn manifest() -> Manifest {
    Manifest {
        access: Access::WRITE,
        endpoints: vec![chat(CHAT, "rawPredict"), chat(STREAM, "streamRawPredict"), count()],
        models: catalogue::models(),
        suggestion: Some(Suggestion {
            base_url: "https://aiplatform.googleapis.com/v1/projects/PROJECT/locations/global/publishers/anthropic"
                .to_owned(),
            auth: "google-service-account".to_owned(),
            environment: "GOOGLE_APPLICATION_CREDENTIALS".to_owned(),
        }),
        ..Manifest::new(
            "anthropic-vertex",
            env!("CARGO_PKG_VERSION"),
            "Claude on Google Cloud (Vertex AI): Anthropic Messages by rawPredict and streamRawPredict",
        )
    }
}

/// The model stands in the path, where a client's body has it, so that requests of the same format are read and written too. Features
/// in beta are asked for by Anthropic's header, and images and documents by URL are refused: "URL sources are not supported".
fn chat(name: &str, method: &str) -> Endpoint {
    Endpoint {
        model: Location::Path("model".to_owned()),
        forward_headers: list(&["anthropic-beta", "x-vertex-ai-llm-request-type"]),
        answer_headers: list(&["request-id", "x-vertex-ai-llm-request-type"]),
        inline_media: list(&["image", "document"]),
        meter_frames: list(&["\"usage\"", "\"stop_reason\"", "\"error\""]),
        ..Endpoint::post(name, "chat", FORMAT, &format!("/models/{{model}}:{method}"))
    }
}

/// Counting is a model of its own, and the model that is meant stands in the body
/// (<https://docs.cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/count-tokens>). It refuses names of betas that
/// conversations may have, so none is forwarded.
fn count() -> Endpoint {
    Endpoint {
        model: Location::Body("/model".to_owned()),
        answer_headers: list(&["request-id"]),
        stream_framing: Framing::Json,
        ..Endpoint::post(COUNT, COUNT, FORMAT, "/models/count-tokens:rawPredict")
    }
}
