//! `{"error": {"message", "type", "param", "code"}}`.

use serde_json::{Value, json};

use crate::refusal::Refusal;

pub fn body(refusal: &Refusal) -> Value {
    let kind = match refusal.status.as_u16() {
        429 => "requests",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    json!({"error": {"message": refusal.message, "type": kind, "param": refusal.param, "code": refusal.code}})
}
