//! A failure within this protocol's streams and answers. As an HTTP answer of its own it has the shape of every OpenAI error,
//! which `crate::dialect::error` writes.

use portcullis_plugin::ir::{Failure, FailureKind, Frame};
use portcullis_plugin::json::Writer;

/// `error.code` of a failed response, as the official types allow it.
pub fn response_code(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::RateLimited => "rate_limit_exceeded",
        FailureKind::InvalidRequest
        | FailureKind::ContextLength
        | FailureKind::ContentFilter
        | FailureKind::UnsupportedFeature => "invalid_prompt",
        _ => "server_error",
    }
}

/// The frame that ends a stream in an error of the gateway's own. How many frames went before is not known here, and the official
/// clients count none.
pub fn frame(failure: &Failure) -> Frame {
    Frame { event: "error".to_owned(), data: event(failure, 0) }
}

/// The data of an `error` event.
pub fn event(failure: &Failure, sequence: u64) -> String {
    let mut writer = Writer::with_capacity(failure.message.len() + 96);
    writer.begin_object();
    writer.member_string("type", "error");
    writer.member_number("sequence_number", sequence);
    writer.member_string("code", failure.code.as_deref().unwrap_or(response_code(failure.kind)));
    writer.member_string("message", &failure.message);
    writer.key("param");
    match &failure.param {
        Some(param) => writer.string(param),
        None => writer.null(),
    }
    writer.end_object();
    writer.finish()
}
