//! Failures as OpenAI's clients expect them: a status they map to an exception, and the error object.

use portcullis_plugin::ir::{Failure, FailureKind, Frame};
use portcullis_plugin::prelude::ErrorReply;

use crate::wire::error;

/// Status, `type`, and the `code` of a failure that has none of its own.
fn shape(kind: FailureKind) -> (u16, &'static str, Option<&'static str>) {
    match kind {
        FailureKind::InvalidRequest => (400, "invalid_request_error", None),
        FailureKind::Authentication => (401, "invalid_request_error", Some("invalid_api_key")),
        FailureKind::Permission => (403, "invalid_request_error", Some("permission_denied")),
        FailureKind::NotFound => (404, "invalid_request_error", Some("model_not_found")),
        FailureKind::ContextLength => (400, "invalid_request_error", Some("context_length_exceeded")),
        FailureKind::ContentFilter => (400, "invalid_request_error", Some("content_filter")),
        FailureKind::RateLimited => (429, "requests", Some("rate_limit_exceeded")),
        FailureKind::Overloaded => (503, "server_error", Some("overloaded")),
        FailureKind::Timeout => (504, "server_error", Some("timeout")),
        FailureKind::Unavailable => (502, "server_error", Some("unavailable")),
        FailureKind::UnsupportedFeature => (400, "invalid_request_error", Some("unsupported_feature")),
        FailureKind::UpstreamProtocol => (502, "server_error", Some("upstream_protocol")),
        FailureKind::Internal => (500, "server_error", None),
    }
}

pub fn encode(failure: &Failure) -> ErrorReply {
    let (status, ..) = shape(failure.kind);
    let body = document(failure);
    ErrorReply { status, headers: Vec::new(), frames: vec![Frame::data(body.clone())], body }
}

/// The error object; within a stream it is a frame's whole data, which the official clients raise as an `APIError`.
pub fn document(failure: &Failure) -> String {
    let (_, kind, code) = shape(failure.kind);
    error::write(&failure.message, kind, failure.param.as_deref(), failure.code.as_deref().or(code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::error::WireError;

    #[test]
    fn every_kind_reads_back_as_itself_or_its_nearest() {
        use FailureKind::*;
        for kind in [
            InvalidRequest,
            Authentication,
            Permission,
            NotFound,
            ContextLength,
            ContentFilter,
            RateLimited,
            Overloaded,
            Timeout,
            Unavailable,
            UnsupportedFeature,
            UpstreamProtocol,
            Internal,
        ] {
            let reply = encode(&Failure::new(kind, "why"));
            let back = WireError::parse(&reply.body).failure(Some(reply.status));
            let expected = match kind {
                UnsupportedFeature => InvalidRequest,
                UpstreamProtocol | Internal => Unavailable,
                kind => kind,
            };
            assert_eq!((back.kind, back.message.as_str()), (expected, "why"));
        }
    }
}
