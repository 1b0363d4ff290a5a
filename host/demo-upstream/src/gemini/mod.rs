//! Gemini `generateContent` and `streamGenerateContent`, as <https://ai.google.dev/api/generate-content> has them.

pub mod error;
pub mod request;
pub mod response;
pub mod stream;

use serde_json::{Value, json};

/// The answer to `GET /v1beta/models` (<https://ai.google.dev/api/models>).
pub fn models(names: &[&str]) -> Value {
    let models: Vec<_> = names
        .iter()
        .map(|name| {
            json!({
                "name": format!("models/{name}"), "version": "001", "displayName": name,
                "inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536,
                "supportedGenerationMethods": ["generateContent", "countTokens"],
            })
        })
        .collect();
    json!({"models": models})
}
