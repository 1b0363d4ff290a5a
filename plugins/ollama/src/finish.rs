//! Why an answer ended (`done_reason`; ollama/ollama, `docs/api.md`): `stop`, also where calls were made; `length` at the limit of
//! `num_predict`; `load` or `unload` where there was nothing to answer.

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
