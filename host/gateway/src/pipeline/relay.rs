//! Answers that are no JSON documents: recordings, pictures, files, plain text. Text is guarded like any other; other bytes go to
//! the client as they come and nobody reads them.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Response, header};
use portcullis_runtime::contract::guard;
use tokio::time::Sleep;

use super::attempt::{Attempted, Running};
use super::record::{Outcome, micros};
use super::{Exchange, Stop};
use crate::answer::{AnswerBody, AnswerCut};
use crate::upstream::{Happening, UpstreamBody};
use crate::utf8::utf8;

pub(super) async fn answer(
    mut exchange: Box<Exchange>,
    mut running: Running,
    answer: Response<UpstreamBody>,
) -> Attempted {
    let (head, body) = answer.into_parts();
    let text = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let text = text.is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("text/"));
    let mut response = Response::new(AnswerBody::Whole(None));
    *response.status_mut() = head.status;
    for name in [header::CONTENT_TYPE, header::CONTENT_DISPOSITION].iter().chain(&running.endpoint.answer_headers) {
        if let Some(value) = head.headers.get(name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    let body = if text && !exchange.guards().is_empty() {
        let limits = &exchange.snapshot.config.limits;
        let (limit, idle) = (limits.response_bytes, limits.upstream_idle());
        let waiting = Instant::now();
        let collected = body.collect(limit, idle).await;
        exchange.waited += waiting.elapsed();
        let bytes = match collected {
            Ok(bytes) => bytes,
            Err(error) => return running.uncollected(exchange, &error),
        };
        match exchange.guard_text(bytes) {
            Ok(bytes) => Collected::Text(bytes),
            Err(stop) => {
                exchange.settle_relayed(&mut running);
                return Attempted::Failed { exchange, stop, retry: false };
            }
        }
    } else {
        Collected::No(body)
    };
    running.tell(Happening::Succeeded, None);
    exchange.release_plugins();
    if matches!(body, Collected::Text(_)) {
        exchange.settle_relayed(&mut running);
    }
    exchange.account_header(&running, &mut response);
    exchange.dress(&mut response, Some((&running.offer.connection.name, &running.offer.name)));
    let status = head.status.as_u16();
    Attempted::Answered(match body {
        Collected::Text(bytes) => {
            exchange.capture_answer(&bytes);
            exchange.record.first_byte = Some(exchange.started.elapsed());
            exchange.enter(Outcome { status, code: "ok", failure: None });
            response.map(|_| AnswerBody::whole(bytes))
        }
        Collected::No(upstream) => {
            let stream = RelayStream::new(exchange, running, upstream, status);
            response.map(|_| AnswerBody::Relay(Box::new(stream)))
        }
    })
}

enum Collected {
    Text(Bytes),
    No(UpstreamBody),
}

impl Exchange {
    /// Lets the guards read an answer that is one text. What is not UTF-8 is none.
    fn guard_text(&mut self, bytes: Bytes) -> Result<Bytes, Stop> {
        let Some(text) = utf8(bytes.clone()) else { return Ok(bytes) };
        let quoted = portcullis_wire::json::quote(&text);
        let guarded = self.guard_document(guard::Direction::Answer, &quoted.into())?;
        let unquoted = guarded.and_then(|guarded| serde_json::from_str::<String>(&guarded).ok());
        Ok(unquoted.map_or(bytes, Bytes::from))
    }

    /// Nothing tells what such an answer cost but the request.
    fn settle_relayed(&mut self, running: &mut Running) {
        if let Some(attempt) = self.record.attempts.last_mut() {
            attempt.duration_us = micros(running.started.elapsed());
        }
        let usage = self.estimate(None, 0);
        self.settle(&mut running.held, &running.offer, None, usage);
    }
}

/// An answer on its way. Dropped before its end, it closes the provider's connection and is billed all the same.
pub(crate) struct RelayStream {
    exchange: Box<Exchange>,
    running: Running,
    upstream: UpstreamBody,
    chunks: Vec<Bytes>,
    /// Already read, in reverse.
    waiting: Vec<Bytes>,
    clock: Pin<Box<Sleep>>,
    idle: Duration,
    status: u16,
    begun: Instant,
    /// The provider has sent everything.
    last: bool,
    ended: bool,
}

impl RelayStream {
    fn new(exchange: Box<Exchange>, running: Running, upstream: UpstreamBody, status: u16) -> Self {
        let idle = exchange.snapshot.config.limits.upstream_idle();
        RelayStream {
            exchange,
            running,
            upstream,
            chunks: Vec::new(),
            waiting: Vec::new(),
            clock: Box::pin(tokio::time::sleep(idle)),
            idle,
            status,
            begun: Instant::now(),
            last: false,
            ended: false,
        }
    }

    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, AnswerCut>>> {
        loop {
            if let Some(bytes) = self.waiting.pop() {
                self.exchange.record.first_byte.get_or_insert_with(|| self.exchange.started.elapsed());
                return Poll::Ready(Some(Ok(bytes)));
            }
            if self.last {
                self.end("ok");
                return Poll::Ready(None);
            }
            match self.upstream.poll_batch(cx, &mut self.chunks) {
                Poll::Ready(Ok(last)) => {
                    self.last = last;
                    self.waiting.extend(self.chunks.drain(..).rev());
                    self.clock.as_mut().reset(tokio::time::Instant::now() + self.idle);
                }
                Poll::Ready(Err(error)) => {
                    tracing::warn!(request_id = %self.exchange.context.request_id, %error, "a provider's answer broke off");
                    self.end("cut");
                    // There is no place for an error in bytes that nobody reads: the cut itself is the sign.
                    return Poll::Ready(Some(Err(AnswerCut("the provider's answer broke off"))));
                }
                Poll::Pending => {
                    if self.clock.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    self.end("cut");
                    return Poll::Ready(Some(Err(AnswerCut("the provider stopped answering"))));
                }
            }
        }
    }

    fn end(&mut self, code: &'static str) {
        if !std::mem::replace(&mut self.ended, true) {
            self.exchange.settle_relayed(&mut self.running);
            self.exchange.waited += self.begun.elapsed();
            self.exchange.enter(Outcome { status: self.status, code, failure: None });
        }
    }
}

impl Drop for RelayStream {
    fn drop(&mut self) {
        self.end("client-gone");
    }
}
