//! Why an answer ended (`done_reason`: `stop`, `length`, and `load` or `unload` of an empty request; ollama/ollama, `llm/server.go` and
//! `server/routes.go`). Of tool calls it says nothing: it stopped.

use portcullis_plugin::ir::{Finish, FinishReason};

pub fn decode(raw: Option<String>, called: bool) -> Finish {
    let raw = raw.unwrap_or_default();
    let reason = match &*raw {
        "stop" | "" if called => FinishReason::ToolCalls,
        "stop" | "" => FinishReason::Stop,
        "length" => FinishReason::Length,
        _ => FinishReason::Other,
    };
    Finish { reason, raw, stop_sequence: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_known() {
        for (raw, called, expected) in [
            (Some("stop"), false, FinishReason::Stop),
            (Some("stop"), true, FinishReason::ToolCalls),
            (Some("length"), true, FinishReason::Length),
            (Some("load"), false, FinishReason::Other),
            // Servers of early 2024 tell none.
            (None, false, FinishReason::Stop),
            (None, true, FinishReason::ToolCalls),
        ] {
            assert_eq!(decode(raw.map(str::to_owned), called).reason, expected, "{raw:?} {called}");
        }
    }
}
