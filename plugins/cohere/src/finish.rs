//! Why an answer ended (`ChatFinishReason` of the SDK; `ERROR_TOXIC` and `ERROR_LIMIT` are those of the first version, its
//! `FinishReason`, which the second still sends to older models).

use portcullis_plugin::ir::{Failure, FailureKind, Finish, FinishReason};

pub fn decode(raw: String) -> Finish {
    let reason = match &*raw {
        "COMPLETE" => FinishReason::Stop,
        "STOP_SEQUENCE" => FinishReason::StopSequence,
        "MAX_TOKENS" | "ERROR_LIMIT" => FinishReason::Length,
        "TOOL_CALL" => FinishReason::ToolCalls,
        "ERROR_TOXIC" => FinishReason::ContentFilter,
        "ERROR" | "TIMEOUT" => FinishReason::Error,
        _ => FinishReason::Other,
    };
    // Cohere leaves the sequence out of the text and does not tell it.
    Finish { reason, raw, stop_sequence: None }
}

/// What a generation that broke off is, as its last event tells: `error` is for people.
pub fn failure(raw: &str, error: &str) -> Failure {
    let kind = match raw {
        "TIMEOUT" => FailureKind::Timeout,
        "ERROR_TOXIC" => FailureKind::ContentFilter,
        "ERROR_LIMIT" => FailureKind::ContextLength,
        _ => FailureKind::Unavailable,
    };
    Failure::new(kind, error).with_code(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_known() {
        for (raw, expected) in [
            ("COMPLETE", FinishReason::Stop),
            ("STOP_SEQUENCE", FinishReason::StopSequence),
            ("MAX_TOKENS", FinishReason::Length),
            ("TOOL_CALL", FinishReason::ToolCalls),
            ("ERROR", FinishReason::Error),
            ("TIMEOUT", FinishReason::Error),
            ("ERROR_TOXIC", FinishReason::ContentFilter),
            ("ERROR_LIMIT", FinishReason::Length),
            ("OF_NEXT_YEAR", FinishReason::Other),
        ] {
            let finish = decode(raw.to_owned());
            assert_eq!((finish.reason, finish.raw.as_str()), (expected, raw));
        }
    }
}
