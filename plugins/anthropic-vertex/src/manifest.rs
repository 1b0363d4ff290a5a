//! What the plugin says of itself.

pub use portcullis_anthropic_messages::COUNT;
use portcullis_anthropic_messages::FORMAT;
use portcullis_plugin::json;
use portcullis_plugin::prelude::*;

use crate::{GOOGLE_CLOUD, catalogue};

pub const CHAT: &str = "chat";
/// A stream is a method of its own.
pub const STREAM: &str = "stream";

pub fn manifest() -> Manifest {
    Manifest {
        access: Access::WRITE,
        endpoints: vec![chat(CHAT, "rawPredict", false), chat(STREAM, "streamRawPredict", true), count()],
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

/// A client of the same format gets through with its own bytes: "`model` is not passed in the request body", which has
/// `anthropic_version` instead. Features in beta are asked for by Anthropic's header, and images and documents by URL are refused: "URL
/// sources are not supported".
fn chat(name: &str, method: &str, streams: bool) -> Endpoint {
    Endpoint {
        streams: Some(streams),
        model: vec![ModelPlace::path("model")],
        set_members: GOOGLE_CLOUD
            .version
            .map(|version| Member::new("/anthropic_version", &json::quote(version)))
            .into_iter()
            .collect(),
        remove_members: list(&["/model"]),
        reencode_when: reencode_when(),
        forward_headers: list(&["anthropic-beta", "x-vertex-ai-llm-request-type"]),
        answer_headers: list(&["request-id", "x-vertex-ai-llm-request-type"]),
        inline_media: list(&["image", "document"]),
        meter_frames: list(&["\"usage\"", "\"stop_reason\"", "\"error\""]),
        ..Endpoint::post(name, "chat", FORMAT, &format!("/models/{{model}}:{method}"))
    }
}

/// What is refused or written anew, as of any other client: what Google Cloud has not, and media that are not inline.
fn reencode_when() -> Vec<Condition> {
    let members = GOOGLE_CLOUD.refused.iter().filter(|member| **member != "anthropic_version");
    let members = members.map(|member| Condition::present(&format!("/{member}")));
    let tools = GOOGLE_CLOUD.refused_tools.iter().map(|begins| Condition::starts_with("/tools/*/type", begins));
    let places = ["/messages/*/content/*/source/type", "/messages/*/content/*/content/*/source/type"];
    let media = places.into_iter().flat_map(|at| [r#""url""#, r#""file""#].map(|kind| Condition::equals(at, kind)));
    members.chain(tools).chain(media).collect()
}

/// Counting is a model of its own, and the model that is meant stands in the body
/// (<https://docs.cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/count-tokens>). It refuses names of betas that
/// conversations may have, so none is forwarded.
fn count() -> Endpoint {
    Endpoint {
        answer_headers: list(&["request-id"]),
        stream_framing: Framing::Json,
        ..Endpoint::post(COUNT, COUNT, FORMAT, "/models/count-tokens:rawPredict")
    }
}
