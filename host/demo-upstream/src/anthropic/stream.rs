//! Writes a message as its events: `message_start`, for each block a start, its deltas and a stop, `message_delta` with the
//! reason to end and the final usage, `message_stop`; a `ping` after the first block's start, where the service sends it.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::anthropic::response::{call_id, id, signature, stop, usage};
use crate::playback::Step;
use crate::reply::Reply;
use crate::server::{Frame, Stamp};
use crate::tokens;

#[derive(Default)]
struct Writer {
    frames: Vec<Frame>,
    block: usize,
}

impl Writer {
    fn event(&mut self, name: &str, data: &Value, token: bool) {
        self.frames.push(Frame { bytes: event(name, data), token });
    }

    fn block<'a>(&mut self, start: Value, deltas: impl Iterator<Item = (Value, bool)> + 'a) {
        let index = self.block;
        let data = json!({"type": "content_block_start", "index": index, "content_block": start});
        self.event("content_block_start", &data, false);
        if index == 0 {
            self.event("ping", &json!({"type": "ping"}), false);
        }
        for (delta, token) in deltas {
            let data = json!({"type": "content_block_delta", "index": index, "delta": delta});
            self.event("content_block_delta", &data, token);
        }
        self.event("content_block_stop", &json!({"type": "content_block_stop", "index": index}), false);
        self.block += 1;
    }
}

fn event(name: &str, data: &Value) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

pub fn frames(reply: &Reply, model: &str, stamp: Stamp) -> Vec<Frame> {
    let mut writer = Writer::default();
    let message = json!({
        "id": id(stamp), "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": usage(&reply.usage, 1.min(reply.usage.output)),
    });
    writer.event("message_start", &json!({"type": "message_start", "message": message}), false);
    let answer = &reply.choices[0];
    if let Some(thinking) = &answer.thinking {
        let deltas = tokens::split(thinking).map(|token| (json!({"type": "thinking_delta", "thinking": token}), true));
        let sign = (json!({"type": "signature_delta", "signature": signature(thinking)}), false);
        writer.block(json!({"type": "thinking", "thinking": "", "signature": ""}), deltas.chain([sign]));
    }
    if let Some(text) = &answer.text {
        let deltas = tokens::split(text).map(|token| (json!({"type": "text_delta", "text": token}), true));
        writer.block(json!({"type": "text", "text": ""}), deltas);
    }
    for call in &answer.calls {
        let start = json!({"type": "tool_use", "id": call_id(call), "name": call.name, "input": {}});
        let piece = |token: &str| json!({"type": "input_json_delta", "partial_json": token});
        let deltas = tokens::split(&call.arguments).map(move |token| (piece(token), true));
        writer.block(start, [(piece(""), false)].into_iter().chain(deltas));
    }
    let (reason, sequence) = stop(&answer.finish);
    let data = json!({
        "type": "message_delta",
        "delta": {"stop_reason": reason, "stop_sequence": sequence},
        "usage": usage(&reply.usage, reply.usage.output),
    });
    writer.event("message_delta", &data, false);
    writer.event("message_stop", &json!({"type": "message_stop"}), false);
    writer.frames
}

/// An error after the stream has begun.
pub fn error(message: &str) -> Step {
    let data = json!({"type": "error", "error": {"type": "overloaded_error", "message": message}});
    Step::Send(event("error", &data))
}
