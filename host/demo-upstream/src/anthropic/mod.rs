//! Anthropic Messages, as <https://docs.claude.com/en/api/messages> has it.

pub mod error;
pub mod request;
pub mod response;
pub mod stream;

use serde_json::{Value, json};

/// The answer to `GET /v1/models` under an `anthropic-version` header.
pub fn models(names: &[&str]) -> Value {
    let data: Vec<_> = names
        .iter()
        .map(|name| json!({"type": "model", "id": name, "display_name": name, "created_at": "2025-01-01T00:00:00Z"}))
        .collect();
    json!({"data": data, "has_more": false, "first_id": names.first(), "last_id": names.last()})
}
