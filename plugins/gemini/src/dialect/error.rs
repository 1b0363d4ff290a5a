//! Errors to clients: a `google.rpc.Status` (<https://ai.google.dev/gemini-api/docs/troubleshooting>).

use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::*;

pub fn encode(failure: &Failure) -> ErrorReply {
    let body = body(failure);
    ErrorReply { status: kind(failure.kind).0, headers: Vec::new(), frames: vec![Frame::data(body.clone())], body }
}

/// The same error in a chunk's place, where the official SDKs look for it.
pub fn frame(failure: &Failure) -> Frame {
    Frame::data(body(failure))
}

fn body(failure: &Failure) -> Json {
    let (code, status) = kind(failure.kind);
    let mut writer = Writer::with_capacity(160 + failure.message.len());
    writer.begin_object();
    writer.key("error");
    writer.begin_object();
    writer.member_number("code", code);
    writer.member_string("message", &failure.message);
    writer.member_string("status", status);
    details(&mut writer, failure);
    writer.end_object();
    writer.end_object();
    writer.finish()
}

fn details(writer: &mut Writer, failure: &Failure) {
    if failure.code.is_none() && failure.param.is_none() && failure.retry_after.is_none() {
        return;
    }
    writer.key("details");
    writer.begin_array();
    if let Some(code) = &failure.code {
        writer.begin_object();
        writer.member_string("@type", "type.googleapis.com/google.rpc.ErrorInfo");
        writer.member_string("reason", code);
        writer.end_object();
    }
    if let Some(param) = &failure.param {
        writer.begin_object();
        writer.member_string("@type", "type.googleapis.com/google.rpc.BadRequest");
        writer.key("fieldViolations");
        writer.begin_array();
        writer.begin_object();
        writer.member_string("field", param);
        writer.member_string("description", &failure.message);
        writer.end_object();
        writer.end_array();
        writer.end_object();
    }
    if let Some(milliseconds) = failure.retry_after {
        writer.begin_object();
        writer.member_string("@type", "type.googleapis.com/google.rpc.RetryInfo");
        writer.member_string("retryDelay", &format!("{}.{:03}s", milliseconds / 1000, milliseconds % 1000));
        writer.end_object();
    }
    writer.end_array();
}

/// Status and word of each kind of failure (<https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>).
fn kind(kind: FailureKind) -> (u16, &'static str) {
    match kind {
        FailureKind::InvalidRequest
        | FailureKind::ContextLength
        | FailureKind::ContentFilter
        | FailureKind::UnsupportedFeature => (400, "INVALID_ARGUMENT"),
        FailureKind::Authentication => (401, "UNAUTHENTICATED"),
        FailureKind::Permission => (403, "PERMISSION_DENIED"),
        FailureKind::NotFound => (404, "NOT_FOUND"),
        FailureKind::RateLimited => (429, "RESOURCE_EXHAUSTED"),
        FailureKind::Overloaded => (503, "UNAVAILABLE"),
        FailureKind::Timeout => (504, "DEADLINE_EXCEEDED"),
        FailureKind::Unavailable => (503, "UNAVAILABLE"),
        FailureKind::UpstreamProtocol => (502, "INTERNAL"),
        FailureKind::Internal => (500, "INTERNAL"),
    }
}
