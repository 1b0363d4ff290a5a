//! `{"type": "error", "error": {"type", "message"}, "request_id"}`; types by status as
//! <https://docs.claude.com/en/api/errors> lists them.

use serde_json::{Value, json};

use crate::refusal::Refusal;

pub fn body(refusal: &Refusal, request_id: &str) -> Value {
    let kind = match refusal.status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    json!({"type": "error", "error": {"type": kind, "message": refusal.message}, "request_id": request_id})
}
