//! The requests that are sent.

use serde_json::{Value, json};

/// Prose with what real prompts have: lines, quotes, digits, a little of every alphabet; nothing that a guard would mask, so
/// that every run does the same work.
const PROSE: &str = "The gate keeper counts what passes: \"seven wagons\", two riders, and a dog.\nAt noon the list goes up \
     to the tower, where a clerk copies it twice. Résumé, naïve, 東京, готово. The third column holds the weight in stone; \
     the fourth, what was paid.\n\n";

/// A chat request of about `size` bytes, as the OpenAI SDKs send it.
pub fn chat(model: &str, size: usize, stream: bool) -> String {
    let mut messages = vec![
        json!({"role": "system", "content": "You are a careful assistant. Answer in one paragraph."}),
        json!({"role": "user", "content": "What is the weather like in Paris today?"}),
    ];
    // A long prompt is a long conversation with long turns, not one endless string.
    let turn = (size / 40).clamp(300, 4000);
    while body(model, &messages, stream).len() < size {
        let missing = size - body(model, &messages, stream).len();
        let role = if messages.len() % 2 == 0 { "assistant" } else { "user" };
        messages.push(json!({"role": role, "content": prose(missing.saturating_sub(40).clamp(1, turn))}));
    }
    body(model, &messages, stream)
}

fn body(model: &str, messages: &[Value], stream: bool) -> String {
    // Members in the order the SDKs send them.
    let messages = Value::from(messages.to_vec());
    let more = if stream { r#","stream":true"# } else { "" };
    format!(r#"{{"messages":{messages},"model":{},"max_tokens":1024,"temperature":0.7{more}}}"#, json!(model))
}

pub(crate) fn prose(length: usize) -> String {
    PROSE.chars().cycle().take(length).collect()
}

/// The request as bytes on the wire.
pub fn request(path: &str, key: Option<&str>, body: &str) -> Vec<u8> {
    request_with(path, key, "", body)
}

/// The same with more header lines, each with its end.
pub fn request_with(path: &str, key: Option<&str>, headers: &str, body: &str) -> Vec<u8> {
    let authorization = key.map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
    format!(
        "POST {path} HTTP/1.1\r\nhost: bench.local\r\n{authorization}{headers}content-type: application/json\r\n\
         accept: application/json\r\nuser-agent: OpenAI/Python 1.0\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for size in [1_000, 100_000] {
            let body = chat("demo-bench", size, true);
            assert!(body.len() >= size && body.len() < size * 11 / 10, "{} for {size}", body.len());
            let value: Value = serde_json::from_str(&body).unwrap();
            assert_eq!((&value["model"], &value["stream"]), (&json!("demo-bench"), &json!(true)));
            let messages = value["messages"].as_array().unwrap();
            assert_eq!(messages.len() > 20, size == 100_000);
        }
    }
}
