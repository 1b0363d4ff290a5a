//! Errors to clients (<https://platform.claude.com/docs/en/api/errors>).

use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::*;

/// What the API says when the input does not fit. Clients look for these words to compact a conversation and try again.
const TOO_LONG: &str = "prompt is too long";

pub fn encode(context: &Context, failure: &Failure) -> ErrorReply {
    let body = body(context, failure);
    ErrorReply {
        status: kind(failure.kind).0,
        headers: Vec::new(),
        frames: vec![Frame::named("error", body.clone())],
        body,
    }
}

/// The same error as a frame within a stream.
pub fn frame(context: &Context, failure: &Failure) -> Frame {
    Frame::named("error", body(context, failure))
}

fn body(context: &Context, failure: &Failure) -> Json {
    let mut writer = Writer::with_capacity(160 + failure.message.len());
    writer.begin_object();
    writer.member_string("type", "error");
    writer.key("error");
    writer.begin_object();
    writer.member_string("type", kind(failure.kind).1);
    if failure.kind == FailureKind::ContextLength && !failure.message.contains(TOO_LONG) {
        writer.member_string("message", &format!("{TOO_LONG}: {}", failure.message));
    } else {
        writer.member_string("message", &failure.message);
    }
    // Where the SDKs (2.x) read a stable code.
    if let Some(code) = &failure.code {
        writer.key("details");
        writer.begin_object();
        writer.member_string("error_code", code);
        writer.end_object();
    }
    writer.end_object();
    writer.member_string("request_id", &context.request_id);
    writer.end_object();
    writer.finish()
}

/// Status and type of each kind of failure.
fn kind(kind: FailureKind) -> (u16, &'static str) {
    match kind {
        FailureKind::InvalidRequest
        | FailureKind::ContextLength
        | FailureKind::ContentFilter
        | FailureKind::UnsupportedFeature => (400, "invalid_request_error"),
        FailureKind::Authentication => (401, "authentication_error"),
        FailureKind::Permission => (403, "permission_error"),
        FailureKind::NotFound => (404, "not_found_error"),
        FailureKind::RateLimited => (429, "rate_limit_error"),
        FailureKind::Overloaded => (529, "overloaded_error"),
        FailureKind::Timeout => (504, "timeout_error"),
        FailureKind::Unavailable => (503, "api_error"),
        FailureKind::UpstreamProtocol => (502, "api_error"),
        FailureKind::Internal => (500, "api_error"),
    }
}
