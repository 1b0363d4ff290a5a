//! Writes an answer as chunks, each a `GenerateContentResponse` of its own: thoughts and texts in pieces, calls whole, the last
//! chunk with the reason to end and all counts.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::gemini::response::{call_part, candidate, id, signature, usage};
use crate::playback::Step;
use crate::refusal::Refusal;
use crate::reply::{Answer, Reply};
use crate::server::{Frame, Stamp};
use crate::{gemini, tokens};

pub fn frames(reply: &Reply, model: &str, stamp: Stamp) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut push = |index: usize, part: Value, ended: Option<&Answer>| {
        let last = ended.is_some() && index + 1 == reply.choices.len();
        let chunk = json!({
            "candidates": [candidate(index, vec![part], ended)],
            "usageMetadata": usage(&reply.usage, last),
            "modelVersion": model,
            "responseId": id(stamp),
        });
        frames.push(Frame { bytes: Bytes::from(format!("data: {chunk}\r\n\r\n")), token: ended.is_none() });
    };
    for (index, answer) in reply.choices.iter().enumerate() {
        for token in tokens::split(answer.thinking.as_deref().unwrap_or_default()) {
            push(index, json!({"text": token, "thought": true}), None);
        }
        for token in tokens::split(answer.text.as_deref().unwrap_or_default()) {
            push(index, json!({"text": token}), None);
        }
        for (place, call) in answer.calls.iter().enumerate() {
            push(index, call_part(answer, place, call), None);
        }
        let mut end = json!({"text": ""});
        if answer.thinking.is_some() && answer.calls.is_empty() {
            end["thoughtSignature"] = json!(signature(answer.text.as_deref().unwrap_or_default()));
        }
        push(index, end, Some(answer));
    }
    frames
}

/// An error after the stream has begun.
pub fn error(message: &str) -> Step {
    let refusal = Refusal::new(http::StatusCode::SERVICE_UNAVAILABLE, message);
    Step::Send(Bytes::from(format!("data: {}\r\n\r\n", gemini::error::body(&refusal))))
}
