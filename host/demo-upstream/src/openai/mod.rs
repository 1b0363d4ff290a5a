//! OpenAI Chat Completions, as <https://platform.openai.com/docs/api-reference/chat> has it.

pub mod error;
pub mod operations;
pub mod request;
pub mod response;
pub mod stream;

use serde_json::{Value, json};

/// The answer to `GET /v1/models`.
pub fn models(names: &[&str]) -> Value {
    let data: Vec<_> = names
        .iter()
        .map(|name| json!({"id": name, "object": "model", "created": 1_735_689_600, "owned_by": "portcullis-demo"}))
        .collect();
    json!({"object": "list", "data": data})
}
