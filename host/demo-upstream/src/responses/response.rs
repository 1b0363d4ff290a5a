//! Writes a whole response: its head, which repeats what was asked, and its items.

use serde_json::{Value, json};

use crate::anthropic;
use crate::ask::Ask;
use crate::reply::{Answer, Call, Finish, Reply, Usage};
use crate::server::Stamp;

pub fn body(reply: &Reply, ask: &Ask, stamp: Stamp) -> Value {
    let answer = &reply.choices[0];
    let mut body = head(ask, stamp);
    let cut = answer.finish == Finish::Length;
    body["status"] = json!(if cut { "incomplete" } else { "completed" });
    if cut {
        body["incomplete_details"] = json!({"reason": "max_output_tokens"});
    } else {
        body["completed_at"] = json!(stamp.created);
    }
    body["output"] = items(answer, stamp).into();
    body["usage"] = usage(&reply.usage);
    body
}

/// A response that has no items yet.
pub fn head(ask: &Ask, stamp: Stamp) -> Value {
    let mut head = json!({
        "id": format!("resp_demo{:012x}", stamp.serial),
        "object": "response",
        "created_at": stamp.created,
        "status": "in_progress",
        "background": false,
        "error": null,
        "incomplete_details": null,
        "model": ask.model,
        "output": [],
        "previous_response_id": null,
        "service_tier": "default",
        "usage": null,
        "user": null,
    });
    if let (Some(head), Some(repeated)) = (head.as_object_mut(), ask.repeated.as_object()) {
        head.extend(repeated.clone());
    }
    head
}

pub fn items(answer: &Answer, stamp: Stamp) -> Vec<Value> {
    let mut items = Vec::new();
    if let Some(thinking) = &answer.thinking {
        items.push(json!({
            "id": format!("rs_demo{:012x}", stamp.serial), "type": "reasoning",
            "summary": [{"type": "summary_text", "text": thinking}], "encrypted_content": encrypted(thinking),
        }));
    }
    let status = if answer.finish == Finish::Length { "incomplete" } else { "completed" };
    if let Some(text) = &answer.text {
        items.push(json!({
            "id": format!("msg_demo{:012x}", stamp.serial), "type": "message", "role": "assistant", "status": status,
            "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}],
        }));
    }
    items.extend(answer.calls.iter().map(|call| call_item(call, status)));
    items
}

fn call_item(call: &Call, status: &str) -> Value {
    let (kind, prefix, member) =
        if call.custom { ("custom_tool_call", "ctc", "input") } else { ("function_call", "fc", "arguments") };
    json!({
        "id": format!("{prefix}_{}", call.id), "type": kind, "status": status, "call_id": format!("call_{}", call.id),
        "name": call.name, member: call.arguments,
    })
}

/// What stands for reasoning that only the service can read: a function of it, so that an edited item is recognised.
pub fn encrypted(reasoning: &str) -> String {
    format!("gAAA{}", anthropic::response::signature(reasoning))
}

fn usage(usage: &Usage) -> Value {
    let input = usage.input.total();
    json!({
        "input_tokens": input,
        "input_tokens_details": {"cached_tokens": usage.input.cache_read, "cache_write_tokens": 0},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": input + usage.output,
    })
}
