//! Failures: a status, and `{"error": {"code", "message"}}`.

use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::*;

pub fn encode(failure: &Failure) -> ErrorReply {
    let body = document(failure);
    ErrorReply { status: failure.kind.status(), headers: Vec::new(), frames: vec![Frame::data(body.clone())], body }
}

/// The code is the failure's own where it has one, else that of its kind.
pub fn document(failure: &Failure) -> Json {
    let mut writer = Writer::with_capacity(64 + failure.message.len());
    writer.begin_object();
    writer.key("error");
    writer.begin_object();
    writer.member_string("code", failure.code.as_deref().unwrap_or(code(failure.kind)));
    writer.member_string("message", &failure.message);
    if let Some(param) = &failure.param {
        writer.member_string("param", param);
    }
    writer.end_object();
    writer.end_object();
    writer.finish()
}

fn code(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::InvalidRequest => "invalid_request",
        FailureKind::Authentication => "authentication",
        FailureKind::Permission => "permission",
        FailureKind::NotFound => "not_found",
        FailureKind::ContextLength => "context_length",
        FailureKind::ContentFilter => "content_filter",
        FailureKind::RateLimited => "rate_limited",
        FailureKind::Overloaded => "overloaded",
        FailureKind::Timeout => "timeout",
        FailureKind::Unavailable => "unavailable",
        FailureKind::UnsupportedFeature => "unsupported_feature",
        FailureKind::UpstreamProtocol => "upstream_protocol",
        FailureKind::Internal => "internal",
    }
}
