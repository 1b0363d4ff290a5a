//! What a client is sent: a whole body, or a stream as it comes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};

use crate::limits::Admission;
use crate::pipeline::{AnswerStream, RelayStream};

/// A stream was cut on purpose: closing the connection is then the only way to tell a client that there is no proper end.
#[derive(Debug, thiserror::Error)]
#[error("the answer was cut: {0}")]
pub struct AnswerCut(pub &'static str);

pub enum AnswerBody {
    Whole(Option<Bytes>),
    Stream(Box<AnswerStream>),
    /// Bytes that nobody reads.
    Relay(Box<RelayStream>),
    /// Of a request that limits count as under way until its last byte.
    Counted(Box<Counted>),
    /// The admin API's.
    Admin(Box<axum::body::Body>),
}

pub struct Counted {
    body: AnswerBody,
    _admission: Arc<Admission>,
}

impl AnswerBody {
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        AnswerBody::Whole((!bytes.is_empty()).then_some(bytes))
    }

    pub(crate) fn counted(self, admission: Arc<Admission>) -> Self {
        AnswerBody::Counted(Box::new(Counted { body: self, _admission: admission }))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerCut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerCut>>> {
        match self.get_mut() {
            AnswerBody::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            AnswerBody::Stream(stream) => stream.poll_bytes(cx).map(|next| next.map(|bytes| bytes.map(Frame::data))),
            AnswerBody::Relay(stream) => stream.poll_bytes(cx).map(|next| next.map(|bytes| bytes.map(Frame::data))),
            AnswerBody::Counted(counted) => Pin::new(&mut counted.body).poll_frame(cx),
            AnswerBody::Admin(body) => {
                Pin::new(body).poll_frame(cx).map_err(|_| AnswerCut("it could not be read to its end"))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            AnswerBody::Whole(bytes) => bytes.is_none(),
            AnswerBody::Stream(_) | AnswerBody::Relay(_) => false,
            AnswerBody::Counted(counted) => counted.body.is_end_stream(),
            AnswerBody::Admin(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            AnswerBody::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            AnswerBody::Stream(_) | AnswerBody::Relay(_) => SizeHint::default(),
            AnswerBody::Counted(counted) => counted.body.size_hint(),
            AnswerBody::Admin(body) => body.size_hint(),
        }
    }
}

/// A whole JSON answer.
pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::whole(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Puts the ids on an answer that every answer carries, where they are not there already: `correlation`, which is the client's own
/// id where it sent one, and the gateway's `own`, by our name for it and by the one that Anthropic's clients look for
/// (`request-id`, <https://docs.anthropic.com/en/api/overview>). Where a provider's `request-id` was forwarded it stays.
pub fn identify(headers: &mut HeaderMap, correlation: HeaderValue, own: HeaderValue) {
    headers.entry(HeaderName::from_static("x-request-id")).or_insert(correlation);
    headers.entry(HeaderName::from_static("x-portcullis-request-id")).or_insert_with(|| own.clone());
    headers.entry(HeaderName::from_static("request-id")).or_insert(own);
}
