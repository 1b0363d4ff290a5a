//! Writes a Chat Completion as `chat.completion.chunk` frames. With `include_usage` every chunk carries `"usage": null` and one
//! more, without choices, carries the counts; without it no chunk has the field.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::openai::response::{call_id, finish, id, logprob, usage};
use crate::playback::Step;
use crate::reply::{Answer, Reply};
use crate::server::{Frame, Stamp};
use crate::tokens;

/// Field order as the service has it.
#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    service_tier: &'static str,
    system_fingerprint: &'static str,
    choices: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Value>,
}

struct Writer<'a> {
    id: String,
    model: &'a str,
    stamp: Stamp,
    include_usage: bool,
    frames: Vec<Frame>,
}

impl Writer<'_> {
    fn frame(&mut self, choices: Value, usage: Value, token: bool) {
        let chunk = Chunk {
            id: &self.id,
            object: "chat.completion.chunk",
            created: self.stamp.created,
            model: self.model,
            service_tier: "default",
            system_fingerprint: "fp_demo",
            choices,
            usage: self.include_usage.then_some(usage),
        };
        let json = serde_json::to_string(&chunk).expect("strings and numbers serialise");
        self.frames.push(Frame { bytes: Bytes::from(format!("data: {json}\n\n")), token });
    }

    fn delta(&mut self, index: usize, delta: Value, logprobs: Value, token: bool) {
        let choices = json!([{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": null}]);
        self.frame(choices, Value::Null, token);
    }

    fn answer(&mut self, index: usize, answer: &Answer, logprobs: bool) {
        let content = answer.text.as_ref().filter(|_| answer.thinking.is_none()).map(|_| "");
        self.delta(index, json!({"role": "assistant", "content": content, "refusal": null}), Value::Null, false);
        for token in tokens::split(answer.thinking.as_deref().unwrap_or_default()) {
            self.delta(index, json!({"reasoning_content": token}), Value::Null, true);
        }
        for token in tokens::split(answer.text.as_deref().unwrap_or_default()) {
            let logprobs = if logprobs { json!({"content": [logprob(token)], "refusal": null}) } else { Value::Null };
            self.delta(index, json!({"content": token}), logprobs, true);
        }
        for (place, call) in answer.calls.iter().enumerate() {
            let (kind, field) = if call.custom { ("custom", "input") } else { ("function", "arguments") };
            let head = json!({"index": place, "id": call_id(call), "type": kind, kind: {"name": call.name, field: ""}});
            self.delta(index, json!({"tool_calls": [head]}), Value::Null, true);
            for token in tokens::split(&call.arguments) {
                let piece = json!({"index": place, kind: {field: token}});
                self.delta(index, json!({"tool_calls": [piece]}), Value::Null, true);
            }
        }
        let end = json!([{"index": index, "delta": {}, "logprobs": null, "finish_reason": finish(&answer.finish)}]);
        self.frame(end, Value::Null, false);
    }
}

pub fn frames(reply: &Reply, model: &str, stamp: Stamp, logprobs: bool, include_usage: bool) -> Vec<Frame> {
    let mut writer = Writer { id: id(stamp), model, stamp, include_usage, frames: Vec::new() };
    for (index, answer) in reply.choices.iter().enumerate() {
        writer.answer(index, answer, logprobs);
    }
    if include_usage {
        writer.frame(json!([]), usage(&reply.usage), false);
    }
    writer.frames.push(Frame { bytes: Bytes::from_static(b"data: [DONE]\n\n"), token: false });
    writer.frames
}

/// An error after the stream has begun.
pub fn error(message: &str) -> Step {
    let body = json!({"error": {"message": message, "type": "server_error", "param": null, "code": null}});
    Step::Send(Bytes::from(format!("data: {body}\n\n")))
}
