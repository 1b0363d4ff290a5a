//! Writes a whole Chat Completion.

use serde_json::{Value, json};

use crate::reply::{Answer, Call, Finish, Reply, Usage};
use crate::server::Stamp;
use crate::tokens;

pub fn body(reply: &Reply, model: &str, stamp: Stamp, logprobs: bool) -> Value {
    let choices: Vec<_> =
        reply.choices.iter().enumerate().map(|(index, answer)| choice(index, answer, logprobs)).collect();
    json!({
        "id": id(stamp),
        "object": "chat.completion",
        "created": stamp.created,
        "model": model,
        "choices": choices,
        "usage": usage(&reply.usage),
        "service_tier": "default",
        "system_fingerprint": "fp_demo",
    })
}

fn choice(index: usize, answer: &Answer, logprobs: bool) -> Value {
    let mut message = json!({"role": "assistant", "content": answer.text, "refusal": null, "annotations": []});
    if let Some(thinking) = &answer.thinking {
        message["reasoning_content"] = json!(thinking);
    }
    if !answer.calls.is_empty() {
        message["tool_calls"] = answer.calls.iter().map(call).collect();
    }
    let text = answer.text.as_deref().filter(|_| logprobs);
    json!({
        "index": index,
        "message": message,
        "logprobs": text.map(|text| json!({"content": tokens::split(text).map(logprob).collect::<Vec<_>>(), "refusal": null})),
        "finish_reason": finish(&answer.finish),
    })
}

fn call(call: &Call) -> Value {
    if call.custom {
        json!({"id": call_id(call), "type": "custom", "custom": {"name": call.name, "input": call.arguments}})
    } else {
        json!({"id": call_id(call), "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
    }
}

pub fn call_id(call: &Call) -> String {
    format!("call_{}", call.id)
}

pub fn id(stamp: Stamp) -> String {
    format!("chatcmpl-demo{:012x}", stamp.serial)
}

pub fn logprob(token: &str) -> Value {
    json!({"token": token, "logprob": -0.25, "bytes": token.as_bytes(), "top_logprobs": []})
}

pub fn finish(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopSequence(_) => "stop",
        Finish::Length => "length",
        Finish::Tools => "tool_calls",
    }
}

pub fn usage(usage: &Usage) -> Value {
    let prompt = usage.input.total();
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": usage.output,
        "total_tokens": prompt + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.input.cache_read, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    })
}
