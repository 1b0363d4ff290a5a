//! `{"error": {"code", "message", "status", "details"}}`, Google's `Status`; names by number as
//! <https://ai.google.dev/gemini-api/docs/troubleshooting> lists them.

use serde_json::{Value, json};

use crate::refusal::Refusal;

pub fn body(refusal: &Refusal) -> Value {
    let code = refusal.status.as_u16();
    let mut error = json!({"code": code, "message": refusal.message, "status": status(code)});
    if let Some(seconds) = refusal.retry_after {
        let kind = "type.googleapis.com/google.rpc.RetryInfo";
        error["details"] = json!([{"@type": kind, "retryDelay": format!("{seconds}s")}]);
    }
    json!({"error": error})
}

fn status(code: u16) -> &'static str {
    match code {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 | 529 => "UNAVAILABLE",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    }
}
