//! Writes a whole `GenerateContentResponse`, and signs what follows from reasoning: a signature stands at the first call, or at
//! the text where there is none, and is a function of that part.

use serde_json::{Value, json};

use crate::anthropic;
use crate::reply::{Answer, Call, Finish, Reply, Usage};
use crate::server::Stamp;

pub fn body(reply: &Reply, model: &str, stamp: Stamp) -> Value {
    let candidates: Vec<_> =
        reply.choices.iter().enumerate().map(|(index, answer)| candidate(index, parts(answer), Some(answer))).collect();
    json!({
        "candidates": candidates,
        "usageMetadata": usage(&reply.usage, true),
        "modelVersion": model,
        "responseId": id(stamp),
    })
}

/// `ended` where this is the last of the candidate.
pub fn candidate(index: usize, parts: Vec<Value>, ended: Option<&Answer>) -> Value {
    let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": index});
    if let Some(answer) = ended {
        candidate["finishReason"] = json!(finish(&answer.finish));
    }
    candidate
}

fn parts(answer: &Answer) -> Vec<Value> {
    let mut parts = Vec::new();
    if let Some(thinking) = &answer.thinking {
        parts.push(json!({"text": thinking, "thought": true}));
    }
    if let Some(text) = &answer.text {
        let mut part = json!({"text": text});
        if answer.thinking.is_some() {
            part["thoughtSignature"] = json!(signature(text));
        }
        parts.push(part);
    }
    parts.extend(answer.calls.iter().enumerate().map(|(place, call)| call_part(answer, place, call)));
    parts
}

pub fn call_part(answer: &Answer, place: usize, call: &Call) -> Value {
    // A call cut off by the token limit has no whole JSON.
    let arguments = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({}));
    let mut part = json!({"functionCall": {"name": call.name, "args": arguments, "id": call.id}});
    if answer.thinking.is_some() && place == 0 {
        part["thoughtSignature"] = json!(signature(&call.name));
    }
    part
}

/// A call is signed by its name: its arguments may come back with other white space.
pub fn signature(text: &str) -> String {
    anthropic::response::signature(text)
}

pub fn id(stamp: Stamp) -> String {
    format!("demo{:012x}", stamp.serial)
}

fn finish(finish: &Finish) -> &'static str {
    match finish {
        Finish::Length => "MAX_TOKENS",
        Finish::Stop | Finish::StopSequence(_) | Finish::Tools => "STOP",
    }
}

/// Thoughts are no part of the candidates' tokens.
pub fn usage(usage: &Usage, ended: bool) -> Value {
    let prompt = usage.input.total();
    let mut counts = json!({
        "promptTokenCount": prompt,
        "totalTokenCount": prompt,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
    });
    if ended {
        counts["candidatesTokenCount"] = json!(usage.output - usage.reasoning);
        counts["totalTokenCount"] = json!(prompt + usage.output);
        if usage.reasoning > 0 {
            counts["thoughtsTokenCount"] = json!(usage.reasoning);
        }
    }
    counts
}
