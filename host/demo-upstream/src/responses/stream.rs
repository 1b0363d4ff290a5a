//! Writes a response as its events: `response.created` and `response.in_progress`, each item added, its text or arguments in
//! pieces and done, and the response as it became, each event with the next `sequence_number`.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::ask::Ask;
use crate::playback::Step;
use crate::reply::Reply;
use crate::responses::response;
use crate::server::{Frame, Stamp};
use crate::tokens;

#[derive(Default)]
struct Writer {
    frames: Vec<Frame>,
}

impl Writer {
    fn event(&mut self, kind: &str, mut data: Value, token: bool) {
        data["type"] = json!(kind);
        data["sequence_number"] = json!(self.frames.len());
        self.frames.push(Frame { bytes: event(kind, &data), token });
    }

    /// A text in pieces under `kind.delta`, then whole under `kind.done` as `member`.
    fn pieces(&mut self, kind: &str, place: &Value, text: &str, member: &str) {
        for token in tokens::split(text) {
            let mut data = place.clone();
            data["delta"] = json!(token);
            self.event(&format!("{kind}.delta"), data, true);
        }
        let mut data = place.clone();
        data[member] = json!(text);
        self.event(&format!("{kind}.done"), data, false);
    }

    fn item(&mut self, index: usize, item: &Value) {
        self.event("response.output_item.added", json!({"output_index": index, "item": begun(item)}), false);
        let mut place = json!({"output_index": index, "item_id": item["id"]});
        match item["type"].as_str() {
            Some("reasoning") => {
                let part = &item["summary"][0];
                place["summary_index"] = json!(0);
                self.event("response.reasoning_summary_part.added", with(&place, "part", emptied(part)), false);
                let text = part["text"].as_str().unwrap_or_default();
                self.pieces("response.reasoning_summary_text", &place, text, "text");
                self.event("response.reasoning_summary_part.done", with(&place, "part", part.clone()), false);
            }
            Some("message") => {
                let part = &item["content"][0];
                place["content_index"] = json!(0);
                self.event("response.content_part.added", with(&place, "part", emptied(part)), false);
                let text = part["text"].as_str().unwrap_or_default();
                self.pieces("response.output_text", &with(&place, "logprobs", json!([])), text, "text");
                self.event("response.content_part.done", with(&place, "part", part.clone()), false);
            }
            Some("custom_tool_call") => {
                let input = item["input"].as_str().unwrap_or_default();
                self.pieces("response.custom_tool_call_input", &place, input, "input");
            }
            _ => {
                let arguments = item["arguments"].as_str().unwrap_or_default();
                for token in tokens::split(arguments) {
                    self.event("response.function_call_arguments.delta", with(&place, "delta", json!(token)), true);
                }
                let done = with(&with(&place, "name", item["name"].clone()), "arguments", json!(arguments));
                self.event("response.function_call_arguments.done", done, false);
            }
        }
        self.event("response.output_item.done", json!({"output_index": index, "item": item}), false);
    }
}

fn with(place: &Value, name: &str, value: Value) -> Value {
    let mut data = place.clone();
    data[name] = value;
    data
}

fn emptied(part: &Value) -> Value {
    with(part, "text", json!(""))
}

/// An item as it is before its first piece.
fn begun(item: &Value) -> Value {
    let mut begun = item.clone();
    for (name, empty) in
        [("summary", json!([])), ("content", json!([])), ("arguments", json!("")), ("input", json!(""))]
    {
        if item.get(name).is_some() {
            begun[name] = empty;
        }
    }
    if item.get("status").is_some() {
        begun["status"] = json!("in_progress");
    }
    begun
}

fn event(kind: &str, data: &Value) -> Bytes {
    Bytes::from(format!("event: {kind}\ndata: {data}\n\n"))
}

pub fn frames(reply: &Reply, ask: &Ask, stamp: Stamp) -> Vec<Frame> {
    let mut writer = Writer::default();
    let head = response::head(ask, stamp);
    writer.event("response.created", json!({"response": head}), false);
    writer.event("response.in_progress", json!({"response": head}), false);
    for (index, item) in response::items(&reply.choices[0], stamp).iter().enumerate() {
        writer.item(index, item);
    }
    let body = response::body(reply, ask, stamp);
    let kind = format!("response.{}", body["status"].as_str().unwrap_or("completed"));
    writer.event(&kind, json!({"response": body}), false);
    writer.frames
}

/// An error after the stream has begun.
pub fn error(message: &str) -> Step {
    let data =
        json!({"type": "error", "code": "server_error", "message": message, "param": null, "sequence_number": 0});
    Step::Send(event("error", &data))
}
