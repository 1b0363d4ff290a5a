//! What a guard is not to read in these operations' answers, and which pieces of their streams are one text.

use portcullis_plugin::ir::Condition;
use portcullis_plugin::manifest::{Channel, ChannelEnd, TextKind, TextMap, list};

/// What the API mints and a reader learns nothing from, in any of these documents.
const MINTED: &[&str] = &["/id", "/object", "/model", "/system_fingerprint", "/type"];

/// Texts of a whole answer.
pub fn answer(operation: &str) -> TextMap {
    let (own, derived): (&[&str], &[&str]) = match operation {
        // The official SDK asks for base64 unless told otherwise.
        "embeddings" => (&["/data/*/object", "/data/*/embedding"], &[]),
        "completions" => (&["/choices/*/finish_reason"], &["/choices/*/logprobs"]),
        "images" | "image-edits" | "image-variations" => {
            (&["/data/*/b64_json", "/data/*/url", "/background", "/output_format", "/quality", "/size"], &[])
        }
        "moderations" => (&["/results/*/category_applied_input_types/*/*"], &[]),
        "transcriptions" => (&["/task", "/usage/type"], &["/logprobs"]),
        _ => (&[], &[]),
    };
    TextMap { opaque: list(MINTED).into_iter().chain(list(own)).collect(), derived: list(derived), ..TextMap::plain() }
}

/// Texts of a stream.
pub fn stream(operation: &str) -> TextMap {
    let opaque = |own: &[&str]| list(MINTED).into_iter().chain(list(own)).collect();
    match operation {
        "completions" => TextMap {
            opaque: opaque(&["/choices/*/finish_reason"]),
            derived: list(&["/choices/*/logprobs"]),
            channels: vec![Channel {
                text: "/choices/*/text".to_owned(),
                kind: TextKind::Text,
                when: Vec::new(),
                key: list(&["/choices/*/index"]),
                ends: vec![ChannelEnd {
                    when: Condition::present("/choices/*/finish_reason"),
                    key: list(&["/choices/*/index"]),
                }],
            }],
            ..TextMap::plain()
        },
        "images" | "image-edits" => TextMap {
            opaque: opaque(&["/b64_json", "/background", "/output_format", "/quality", "/size"]),
            ..TextMap::plain()
        },
        "transcriptions" => TextMap {
            opaque: opaque(&["/usage/type"]),
            derived: list(&["/logprobs"]),
            channels: vec![Channel {
                text: "/delta".to_owned(),
                kind: TextKind::Text,
                when: Vec::new(),
                key: Vec::new(),
                ends: Vec::new(),
            }],
            terminators: vec![
                Condition::equals("/type", "\"transcript.text.done\""),
                Condition::equals("/type", "\"transcript.text.segment\""),
            ],
            ..TextMap::plain()
        },
        _ => TextMap::plain(),
    }
}
