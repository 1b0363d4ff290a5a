//! What the plugin says of itself: two endpoints, which differ in whether the answer streams.

use portcullis_plugin::prelude::*;

use crate::{FORMAT, catalogue};

pub const WHOLE: &str = "converse";
pub const STREAM: &str = "converse-stream";

pub fn manifest() -> Manifest {
    Manifest {
        access: Access::WRITE,
        endpoints: vec![endpoint(WHOLE, "application/json"), endpoint(STREAM, "application/vnd.amazon.eventstream")],
        models: catalogue::models(),
        suggestion: Some(Suggestion {
            base_url: "https://bedrock-runtime.us-east-1.amazonaws.com".to_owned(),
            auth: "aws-sigv4".to_owned(),
            environment: "AWS_ACCESS_KEY_ID".to_owned(),
        }),
        ..Manifest::new("bedrock", env!("CARGO_PKG_VERSION"), "AWS Bedrock: Converse and ConverseStream")
    }
}

/// `POST /model/{modelId}/converse` and `/converse-stream`
/// (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>).
fn endpoint(name: &str, accept: &str) -> Endpoint {
    Endpoint {
        fixed_headers: vec![Pair::new("accept", accept)],
        answer_headers: list(&["x-amzn-requestid"]),
        model: vec![ModelPlace::path("model")],
        // S3's addresses aside, Bedrock reads no URL (service model: `ImageSource`, `DocumentSource`, …).
        inline_media: list(&["image", "audio", "video", "document"]),
        // `metadata` has usage, `messageStop` the reason; exceptions are small and have a message.
        meter_frames: list(&["\"usage\"", "\"stopReason\"", "\"message\""]),
        stream_framing: Framing::AwsEventStream,
        ..Endpoint::post(name, "chat", FORMAT, &format!("/model/{{model}}/{name}"))
    }
}
