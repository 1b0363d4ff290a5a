//! Writes a whole message, and signs reasoning: a signature is a function of the text, so that an edited block is recognised
//! when it comes back.

use serde_json::{Value, json};

use crate::reply::{Answer, Call, Finish, Reply, Usage};
use crate::server::Stamp;

pub fn body(reply: &Reply, model: &str, stamp: Stamp) -> Value {
    let answer = &reply.choices[0];
    let (reason, sequence) = stop(&answer.finish);
    json!({
        "id": id(stamp),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content(answer),
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": usage(&reply.usage, reply.usage.output),
    })
}

fn content(answer: &Answer) -> Vec<Value> {
    let mut blocks = Vec::new();
    if let Some(thinking) = &answer.thinking {
        blocks.push(json!({"type": "thinking", "thinking": thinking, "signature": signature(thinking)}));
    }
    if let Some(text) = &answer.text {
        blocks.push(json!({"type": "text", "text": text}));
    }
    for call in &answer.calls {
        // A call cut off by the token limit has no whole JSON; the service answers with what it could read.
        let input = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({}));
        blocks.push(json!({"type": "tool_use", "id": call_id(call), "name": call.name, "input": input}));
    }
    blocks
}

pub fn id(stamp: Stamp) -> String {
    format!("msg_demo{:012x}", stamp.serial)
}

pub fn call_id(call: &Call) -> String {
    format!("toolu_{}", call.id)
}

pub fn stop(finish: &Finish) -> (&'static str, Option<&str>) {
    match finish {
        Finish::Stop => ("end_turn", None),
        Finish::StopSequence(sequence) => ("stop_sequence", Some(sequence)),
        Finish::Length => ("max_tokens", None),
        Finish::Tools => ("tool_use", None),
    }
}

/// Counts with the output so far: a stream's first event knows less than its last.
pub fn usage(usage: &Usage, output: u64) -> Value {
    let input = &usage.input;
    let mut counts = json!({
        "input_tokens": input.uncached,
        "cache_creation_input_tokens": input.cache_write_short + input.cache_write_long,
        "cache_read_input_tokens": input.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": input.cache_write_short,
            "ephemeral_1h_input_tokens": input.cache_write_long,
        },
        "output_tokens": output,
        "service_tier": "standard",
    });
    if usage.reasoning > 0 && output == usage.output {
        counts["output_tokens_details"] = json!({"thinking_tokens": usage.reasoning});
    }
    counts
}

/// FNV-1a over the text under four offsets, in letters that are base64 too. It proves nothing to an adversary; it notices an edit.
pub fn signature(text: &str) -> String {
    let mut signature = String::from("RGVt");
    for lane in 0u64..4 {
        let hash = text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325 ^ lane, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        signature.push_str(&format!("{hash:016x}"));
    }
    signature
}
