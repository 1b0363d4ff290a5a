//! From whatever went wrong to what the client is told: invariant 10. The full cause goes to the log under the request id.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use portcullis_core::FailureKind;
use portcullis_runtime::contract::types::{self, Failure};
use portcullis_runtime::{CallError, Plugin};

use super::Exchange;
use super::budget::{Asking, BUDGET_EXCEEDED};
use crate::answer::{self, AnswerBody};
use crate::endpoint::open_header;
use crate::media::Kind;

/// Why a request ends before its answer.
#[derive(Debug)]
pub(crate) struct Stop {
    /// For the client, sanitised. Boxed, so that what goes well carries no room for it.
    pub failure: Box<Failure>,
    /// A status that overrides the dialect's own for this kind (a policy's choice).
    pub status: Option<u16>,
    /// For the receipt: `denied`, `blocked`, `failed`.
    pub outcome: &'static str,
    /// For the receipt, where it says more than the failure's code does.
    pub reason: Option<String>,
}

impl Stop {
    pub fn failed(failure: Failure) -> Self {
        Stop { failure: Box::new(failure), status: None, outcome: "failed", reason: None }
    }

    pub fn of(kind: types::FailureKind, code: &str, message: impl Into<String>) -> Self {
        Stop::failed(Failure {
            kind,
            message: message.into(),
            code: Some(code.to_owned()),
            param: None,
            retry_after: None,
        })
    }

    /// A plugin trapped, overran or could not start: the client learns that the gateway failed, the log why.
    pub fn plugin(plugin: &Plugin, role: &str, request_id: &str, error: &CallError) -> Self {
        tracing::error!(request_id, plugin = %plugin.name(), version = %plugin.version(), role, %error, "a plugin failed");
        Stop::of(types::FailureKind::Internal, "plugin_failed", "The gateway could not process the request.")
    }
}

/// Why an attempt cannot be made yet, or at all.
pub(super) enum Halt {
    Stop(Stop),
    /// Files of these kinds that the request names are to be brought inline first.
    Files(Vec<Kind>),
    /// The database is to be asked for room in the budgets first.
    Room(Box<Asking>),
}

impl<E: Into<Stop>> From<E> for Halt {
    fn from(error: E) -> Self {
        Halt::Stop(error.into())
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Stop::failed(failure)
    }
}

/// The host's name for a kind.
pub(super) fn kind_of(kind: types::FailureKind) -> FailureKind {
    use types::FailureKind as Wire;
    match kind {
        Wire::InvalidRequest => FailureKind::InvalidRequest,
        Wire::Authentication => FailureKind::Authentication,
        Wire::Permission => FailureKind::Permission,
        Wire::NotFound => FailureKind::NotFound,
        Wire::ContextLength => FailureKind::ContextLength,
        Wire::ContentFilter => FailureKind::ContentFilter,
        Wire::RateLimited => FailureKind::RateLimited,
        Wire::Overloaded => FailureKind::Overloaded,
        Wire::Timeout => FailureKind::Timeout,
        Wire::Unavailable => FailureKind::Unavailable,
        Wire::UnsupportedFeature => FailureKind::UnsupportedFeature,
        Wire::UpstreamProtocol => FailureKind::UpstreamProtocol,
        Wire::Internal => FailureKind::Internal,
    }
}

/// What a client may know of a provider's failure. What the request itself did wrong is told as the provider tells it; the rest
/// may name accounts, keys and machines that are the operator's.
pub(super) fn sanitised(failure: Failure, provider: &str) -> Failure {
    use types::FailureKind as Kind;
    let told = |kind: Kind, code: &str, message: String| Failure {
        kind,
        message,
        code: Some(code.to_owned()),
        param: None,
        retry_after: failure.retry_after,
    };
    match failure.kind {
        Kind::InvalidRequest
        | Kind::NotFound
        | Kind::ContextLength
        | Kind::ContentFilter
        | Kind::UnsupportedFeature => failure,
        Kind::Authentication | Kind::Permission => told(
            Kind::Unavailable,
            "upstream_credentials",
            format!("The provider `{provider}` refused the gateway's credentials."),
        ),
        Kind::RateLimited => {
            told(Kind::RateLimited, "rate_limited", format!("The provider `{provider}` limits the rate of requests."))
        }
        Kind::Overloaded => told(Kind::Overloaded, "overloaded", format!("The provider `{provider}` is overloaded.")),
        Kind::Timeout => {
            told(Kind::Timeout, "upstream_timeout", format!("The provider `{provider}` did not answer in time."))
        }
        Kind::Unavailable => {
            told(Kind::Unavailable, "upstream_unavailable", format!("The provider `{provider}` is not available."))
        }
        Kind::UpstreamProtocol => told(
            Kind::UpstreamProtocol,
            "upstream_protocol",
            format!("The provider `{provider}` gave an answer that cannot be read."),
        ),
        Kind::Internal => told(Kind::Internal, "internal", "The gateway could not process the request.".to_owned()),
    }
}

impl Exchange {
    /// The answer to a request that was stopped, in the caller's own protocol.
    pub(crate) fn refuse(&mut self, stop: &Stop) -> Response<AnswerBody> {
        let plugin = Arc::clone(&self.route.plugin);
        let route = self.route.name.clone();
        let encoded =
            self.call(&plugin, "dialect", |session, context| session.encode_error(context, &route, &stop.failure));
        let mut headers = Vec::new();
        let (status, body) = match encoded {
            Ok(reply) => {
                headers = reply.headers;
                (reply.status, Bytes::from(reply.body))
            }
            Err(error) => {
                let _ = Stop::plugin(&plugin, "dialect", &self.context.request_id, &error);
                generic(&stop.failure)
            }
        };
        self.release_plugins();
        let mut response = error_answer(stop.status.unwrap_or(status), body, stop.failure.retry_after);
        of_protocol(&mut response, &headers);
        if stop.failure.code.as_deref() == Some(BUDGET_EXCEEDED) {
            // OpenAI's and Anthropic's SDKs send a 429 again by themselves, unless they are told that it is of no use.
            response.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
        }
        self.dress(&mut response, None);
        response
    }
}

/// The answer to a request that no exchange was made for: unknown route, no key.
pub(crate) fn wire_error(
    dialect: Option<&Arc<Plugin>>,
    context: &types::Context,
    failure: &Failure,
) -> Response<AnswerBody> {
    let encoded =
        dialect.and_then(|plugin| plugin.session("", "", &context.request_id).encode_error(context, "", failure).ok());
    let mut headers = Vec::new();
    let (status, body) = match encoded {
        Some(reply) => {
            headers = reply.headers;
            (reply.status, Bytes::from(reply.body))
        }
        None => generic(failure),
    };
    let mut response = error_answer(status, body, failure.retry_after);
    of_protocol(&mut response, &headers);
    response
}

/// Headers that a protocol has for errors; what is there already is the host's.
fn of_protocol(response: &mut Response<AnswerBody>, headers: &[types::Pair]) {
    for pair in headers {
        if let (Ok(name), Ok(value)) = (open_header(&pair.name), HeaderValue::from_str(&pair.value)) {
            response.headers_mut().entry(name).or_insert(value);
        }
    }
}

/// Where there is no dialect to ask: the shape most clients know.
fn generic(failure: &Failure) -> (u16, Bytes) {
    let kind = kind_of(failure.kind);
    let body = serde_json::json!({
        "error": {
            "message": failure.message,
            "type": kind.code(),
            "param": failure.param,
            "code": failure.code,
        }
    });
    (kind.http_status(), Bytes::from(body.to_string()))
}

fn error_answer(status: u16, body: Bytes, retry_after: Option<u64>) -> Response<AnswerBody> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = answer::json(status, body);
    if let Some(after) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.div_ceil(1000)));
    }
    response
}
