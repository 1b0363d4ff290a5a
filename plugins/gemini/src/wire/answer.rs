//! Answers and the chunks of a stream, which have one shape (<https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse>).

use serde_json::value::RawValue;

use super::part::WireContent;
use super::{Number, OneOrMany, Word};

wire! {
    pub struct WireAnswer {
        candidates "candidates": OneOrMany<WireCandidate>,
        feedback "promptFeedback": Option<Box<RawValue>>,
        usage "usageMetadata": Option<Box<RawValue>>,
        model "modelVersion": Option<String>,
        id "responseId": Option<String>,
        created "createTime": Option<String>,
        // A stream that fails sends an error in a chunk's place.
        error "error": Option<Box<RawValue>>,
    }
    pub struct WireCandidate {
        index "index": Option<Number>,
        content "content": Option<WireContent>,
        finish "finishReason": Option<Word>,
        logprobs "logprobsResult": Option<Box<RawValue>>,
        grounding "groundingMetadata": Option<Box<RawValue>>,
    }
    pub struct WireFeedback {
        reason "blockReason": Option<Word>,
    }
    pub struct WireGrounding {
        queries "webSearchQueries": OneOrMany<String>,
    }
}

impl WireCandidate {
    /// The first is 0, which is left out.
    pub fn index(&self) -> u32 {
        self.index.map_or(0, Number::small)
    }
}

/// Whether the prompt was blocked, and why.
pub fn block_reason(feedback: Option<&RawValue>) -> Option<String> {
    let feedback: WireFeedback = portcullis_plugin::json::from_str(feedback?.get()).ok()?;
    feedback.reason.map(|reason| reason.0).filter(|reason| reason != "BLOCKED_REASON_UNSPECIFIED" && reason != "0")
}
