//! Finish reasons, both ways (`FinishReason` and `BlockedReason` in `google-genai`'s types).

use portcullis_plugin::ir::{Finish, FinishReason};

/// By number, as some clients ask for enumerations; beyond these the two services number differently (recordings, Vertex AI).
const NUMBERED: [&str; 6] = ["FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER"];

/// A candidate's finish reason as the IR has it. The API ends a turn with function calls by a plain `STOP`; `called` says that
/// there are some.
pub fn decode(reason: String, called: bool) -> Finish {
    let raw = match reason.parse::<usize>().ok().and_then(|number| NUMBERED.get(number)) {
        Some(name) => (*name).to_owned(),
        None => reason,
    };
    let reason = match raw.as_str() {
        "STOP" if called => FinishReason::ToolCalls,
        "STOP" => FinishReason::Stop,
        "MAX_TOKENS" | "CONTINUATION" => FinishReason::Length,
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "ESCALATION"
        | "PUP_LIMITED_DISABLED"
        | "MODEL_ARMOR" => FinishReason::ContentFilter,
        "MALFORMED_FUNCTION_CALL"
        | "UNEXPECTED_TOOL_CALL"
        | "TOO_MANY_TOOL_CALLS"
        | "MISSING_THOUGHT_SIGNATURE"
        | "MALFORMED_RESPONSE" => FinishReason::Error,
        _ => FinishReason::Other,
    };
    Finish { reason, raw, stop_sequence: None }
}

/// What `promptFeedback.blockReason` says: the prompt was refused and there is no answer.
pub fn blocked(reason: String) -> Finish {
    Finish { reason: FinishReason::ContentFilter, raw: reason, stop_sequence: None }
}

/// The word a client of this protocol is told. `native` says that the raw word is Google's own.
pub fn encode(finish: Option<&Finish>, native: bool) -> &str {
    let Some(finish) = finish else { return "STOP" };
    if native && !finish.raw.is_empty() {
        return &finish.raw;
    }
    match finish.reason {
        FinishReason::Stop | FinishReason::StopSequence | FinishReason::ToolCalls => "STOP",
        FinishReason::Length => "MAX_TOKENS",
        FinishReason::ContentFilter | FinishReason::Refusal => "SAFETY",
        FinishReason::Pause | FinishReason::Error | FinishReason::Other => "OTHER",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_the_protocol_survives() {
        for (reason, kind) in [
            ("STOP", FinishReason::Stop),
            ("MAX_TOKENS", FinishReason::Length),
            ("SAFETY", FinishReason::ContentFilter),
            ("PROHIBITED_CONTENT", FinishReason::ContentFilter),
            ("MALFORMED_FUNCTION_CALL", FinishReason::Error),
            ("OTHER", FinishReason::Other),
            ("A_REASON_OF_NEXT_YEAR", FinishReason::Other),
        ] {
            let finish = decode(reason.to_owned(), false);
            assert_eq!((finish.reason, encode(Some(&finish), true)), (kind, reason));
        }
        assert_eq!(decode("STOP".to_owned(), true).reason, FinishReason::ToolCalls);
        assert_eq!(decode("2".to_owned(), false).raw, "MAX_TOKENS");
        assert_eq!(decode("17".to_owned(), false).reason, FinishReason::Other);
    }

    #[test]
    fn foreign_reasons_become_words_of_the_protocol() {
        let finish = |reason| Finish { reason, raw: "theirs".to_owned(), stop_sequence: None };
        for (reason, expected) in [
            (FinishReason::Stop, "STOP"),
            (FinishReason::StopSequence, "STOP"),
            (FinishReason::ToolCalls, "STOP"),
            (FinishReason::Length, "MAX_TOKENS"),
            (FinishReason::ContentFilter, "SAFETY"),
            (FinishReason::Refusal, "SAFETY"),
            (FinishReason::Pause, "OTHER"),
            (FinishReason::Error, "OTHER"),
            (FinishReason::Other, "OTHER"),
        ] {
            assert_eq!(encode(Some(&finish(reason)), false), expected);
        }
        assert_eq!(encode(None, false), "STOP");
    }
}
