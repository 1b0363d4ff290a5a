//! Why an answer ended (`StopReason` of the service model).

use portcullis_plugin::ir::{Finish, FinishReason};

/// `stop_sequence` is the sequence that ended the text, where the model told it.
pub fn decode(reason: String, stop_sequence: Option<String>) -> Finish {
    let kind = match &*reason {
        "end_turn" => FinishReason::Stop,
        "tool_use" => FinishReason::ToolCalls,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "stop_sequence" => FinishReason::StopSequence,
        "guardrail_intervened" | "content_filtered" => FinishReason::ContentFilter,
        "refusal" => FinishReason::Refusal,
        "malformed_model_output" | "malformed_tool_use" => FinishReason::Error,
        _ => FinishReason::Other,
    };
    Finish { reason: kind, raw: reason, stop_sequence }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_the_service_model_is_known() {
        for reason in [
            "end_turn",
            "tool_use",
            "max_tokens",
            "stop_sequence",
            "guardrail_intervened",
            "content_filtered",
            "malformed_model_output",
            "malformed_tool_use",
            "model_context_window_exceeded",
        ] {
            let finish = decode(reason.to_owned(), None);
            assert_ne!(finish.reason, FinishReason::Other, "{reason}");
            assert_eq!(finish.raw, reason);
        }
        assert_eq!(decode("of_next_year".to_owned(), None).reason, FinishReason::Other);
    }
}
