//! Stop reasons, both ways (<https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons>).

use portcullis_plugin::ir::{Finish, FinishReason};

/// A stop reason as the IR has it.
pub fn decode(reason: String, stop_sequence: Option<String>) -> Finish {
    let kind = match reason.as_str() {
        "end_turn" => FinishReason::Stop,
        "stop_sequence" => FinishReason::StopSequence,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "pause_turn" => FinishReason::Pause,
        "refusal" => FinishReason::Refusal,
        _ => FinishReason::Other,
    };
    Finish { reason: kind, raw: reason, stop_sequence }
}

/// The stop reason a client of this protocol is told. `native` says that the raw word is Anthropic's own; `called` that the
/// answer holds tool calls, since some providers end such an answer with a plain stop and a client of this protocol
/// would then not run the tools.
pub fn encode(finish: &Finish, native: bool, called: bool) -> &str {
    if native && !finish.raw.is_empty() {
        return &finish.raw;
    }
    match finish.reason {
        FinishReason::ToolCalls => "tool_use",
        FinishReason::Stop | FinishReason::Other if called => "tool_use",
        FinishReason::Stop if finish.stop_sequence.is_some() => "stop_sequence",
        FinishReason::StopSequence => "stop_sequence",
        FinishReason::Length => "max_tokens",
        FinishReason::ContentFilter | FinishReason::Refusal => "refusal",
        FinishReason::Pause => "pause_turn",
        FinishReason::Stop | FinishReason::Error | FinishReason::Other => "end_turn",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_the_protocol_survives() {
        for reason in [
            "end_turn",
            "stop_sequence",
            "max_tokens",
            "model_context_window_exceeded",
            "tool_use",
            "pause_turn",
            "refusal",
            "a_reason_of_next_year",
        ] {
            assert_eq!(encode(&decode(reason.to_owned(), None), true, false), reason);
        }
    }

    #[test]
    fn foreign_reasons_become_words_of_the_protocol() {
        let finish = |reason| Finish { reason, raw: "theirs".to_owned(), stop_sequence: None };
        for (reason, called, expected) in [
            (FinishReason::Stop, false, "end_turn"),
            (FinishReason::Stop, true, "tool_use"),
            (FinishReason::ToolCalls, true, "tool_use"),
            (FinishReason::Length, true, "max_tokens"),
            (FinishReason::ContentFilter, false, "refusal"),
            (FinishReason::Refusal, false, "refusal"),
            (FinishReason::Pause, false, "pause_turn"),
            (FinishReason::StopSequence, false, "stop_sequence"),
            (FinishReason::Other, false, "end_turn"),
            (FinishReason::Error, false, "end_turn"),
        ] {
            assert_eq!(encode(&finish(reason), false, called), expected);
        }
    }
}
