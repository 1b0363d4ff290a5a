//! A streamed answer: what one read brought goes out with one write, after whoever must see it has.
//!
//! Everything happens in the poll of the client's body: back-pressure is then no mechanism but the absence of a poll, and a
//! client that goes away drops this, which closes the upstream connection.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response, header};
use portcullis_runtime::contract::types;
use portcullis_wire::framing::{Encoder, Frame, Framing, Splitter};

use super::attempt::Running;
use super::continuation::{Passed, StreamTurn};
use super::record::{Outcome, micros};
use super::stream_clock::{Due, StreamClock};
use super::stream_guard::StreamGuards;
use super::translate::{Told, Translation, to_contract};
use super::usage::{usage_of, wire_usage};
use super::whole::unreadable;
use super::{Exchange, Stop};
use crate::answer::{AnswerBody, AnswerCut};
use crate::upstream::{Happening, UpstreamBody};

/// A comment, which clients pass over.
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// Begins a streamed answer.
pub(super) fn answer(
    mut exchange: Box<Exchange>,
    mut running: Running,
    answer: Response<UpstreamBody>,
) -> Response<AnswerBody> {
    let (head, body) = answer.into_parts();
    running.tell(Happening::Succeeded, None);
    let same_format = exchange.passes_through(&running);
    let framing = exchange.route.framing;
    let mut dressed = Response::new(AnswerBody::Whole(None));
    let headers = dressed.headers_mut();
    let content_type = match head.headers.get(header::CONTENT_TYPE) {
        Some(value) if same_format => value.clone(),
        _ => HeaderValue::from_static(content_type(framing)),
    };
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Reverse proxies in front of the gateway would otherwise collect the stream.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    for name in &running.endpoint.answer_headers {
        if let Some(value) = head.headers.get(name) {
            headers.insert(name, value.clone());
        }
    }
    exchange.release_plugins();
    exchange.account_header(&running, &mut dressed);
    exchange.dress(&mut dressed, Some((&running.offer.connection.name, &running.offer.name)));
    let stream = AnswerStream::new(exchange, running, body, same_format);
    dressed.map(|_| AnswerBody::Stream(Box::new(stream)))
}

fn content_type(framing: Framing) -> &'static str {
    match framing {
        Framing::Sse => "text/event-stream; charset=utf-8",
        Framing::Ndjson => "application/x-ndjson",
        Framing::AwsEventStream => "application/vnd.amazon.eventstream",
        Framing::JsonArray => "application/json; charset=utf-8",
    }
}

/// Who reads the frames.
enum Reader {
    /// The provider's bytes go to the client; the meter reads along.
    Forward {
        meter: Vec<u8>,
        begun: bool,
    },
    Translate(Translation),
}

pub(crate) struct AnswerStream {
    exchange: Box<Exchange>,
    running: Running,
    upstream: Option<UpstreamBody>,
    splitter: Splitter,
    /// Of what the client gets.
    encoder: Encoder,
    /// Cuts what the dialect wrote, for guards.
    resplitter: Splitter,
    reader: Reader,
    guards: StreamGuards,
    turn: Option<Box<StreamTurn>>,
    told: Told,
    chunks: Vec<Bytes>,
    frames: Vec<Frame>,
    /// Of `frames`, those that hold what the meter looks for.
    metered: Vec<bool>,
    clock: StreamClock,
    /// What the client has got so far ends with a whole frame.
    between_frames: bool,
    overhead_at_head: Duration,
    plugins_at_head: Duration,
    ended: bool,
}

impl AnswerStream {
    fn new(exchange: Box<Exchange>, running: Running, upstream: UpstreamBody, same_format: bool) -> Self {
        let limits = &exchange.snapshot.config.limits;
        // Only server-sent events have comments.
        let keep_alive = if exchange.route.framing == Framing::Sse { limits.keep_alive() } else { Duration::ZERO };
        let clock = StreamClock::new(limits.upstream_idle(), keep_alive);
        let reader = if same_format {
            Reader::Forward { meter: Vec::new(), begun: false }
        } else {
            Reader::Translate(Translation::default())
        };
        AnswerStream {
            splitter: running.endpoint.framing.splitter(),
            encoder: exchange.route.framing.encoder(),
            resplitter: exchange.route.framing.splitter(),
            guards: StreamGuards::new(&exchange),
            turn: StreamTurn::of(&exchange),
            overhead_at_head: exchange.overhead(),
            plugins_at_head: exchange.plugin_time(),
            exchange,
            running,
            upstream: Some(upstream),
            reader,
            told: Told::default(),
            chunks: Vec::new(),
            frames: Vec::new(),
            metered: Vec::new(),
            clock,
            between_frames: true,
            ended: false,
        }
    }

    /// The next bytes for the client.
    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, AnswerCut>>> {
        if let Some(kept) = ready!(self.poll_turn(cx)) {
            return Poll::Ready(Some(Ok(kept)));
        }
        while !self.ended {
            let Some(upstream) = &mut self.upstream else { break };
            self.chunks.clear();
            let out = match upstream.poll_batch(cx, &mut self.chunks) {
                Poll::Ready(Ok(last)) => self.take(last),
                Poll::Ready(Err(error)) => {
                    tracing::warn!(
                        request_id = %self.exchange.context.request_id,
                        provider = %self.running.offer.connection.name,
                        %error,
                        "a provider's stream broke off"
                    );
                    // What came before the break is the client's, once the guards have judged it as the end of its text.
                    let out = self.take(false);
                    if self.ended {
                        out
                    } else {
                        let held = self.release_held();
                        join(join(out, held), self.fail(broken_off()))
                    }
                }
                Poll::Pending => match self.poll_clock(cx) {
                    Poll::Ready(out) => out,
                    Poll::Pending => return Poll::Pending,
                },
            };
            if !out.is_empty() {
                self.clock.tell();
                self.between_frames = out.ends_with(b"\n\n") || out.ends_with(b"\r\n\r\n");
                self.exchange.record.first_byte.get_or_insert_with(|| self.exchange.started.elapsed());
                if out != KEEP_ALIVE {
                    self.exchange.capture_answer(&out);
                }
                let Some(turn) = &mut self.turn else { return Poll::Ready(Some(Ok(out))) };
                match turn.pass(&mut self.exchange, out, self.ended) {
                    Passed::On(out) if out.is_empty() => continue,
                    Passed::On(out) => return Poll::Ready(Some(Ok(out))),
                    Passed::Held => return self.poll_turn(cx).map(|kept| kept.map(Ok)),
                }
            }
        }
        match &mut self.turn {
            None => Poll::Ready(None),
            Some(turn) => match turn.pass(&mut self.exchange, Bytes::new(), true) {
                Passed::On(rest) => Poll::Ready((!rest.is_empty()).then_some(Ok(rest))),
                Passed::Held => self.poll_turn(cx).map(|kept| kept.map(Ok)),
            },
        }
    }

    /// What waits for its turn to be kept.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.turn.as_mut().map_or(Poll::Ready(None), |turn| turn.poll_held(cx))
    }

    /// Reads a batch and returns what the client gets of it.
    fn take(&mut self, last: bool) -> Bytes {
        let taken = self.process(last);
        self.exchange.release_plugins();
        match taken {
            Ok(out) => {
                if last && !self.ended {
                    self.end_well();
                }
                out
            }
            Err(stop) => self.fail(stop),
        }
    }

    fn process(&mut self, last: bool) -> Result<Bytes, Stop> {
        self.frames.clear();
        for chunk in &self.chunks {
            self.splitter
                .push(chunk, &mut self.frames)
                .map_err(|error| Stop::failed(unreadable(&error.to_string())))?;
        }
        if last {
            self.splitter.finish(&mut self.frames).map_err(|error| Stop::failed(unreadable(&error.to_string())))?;
        }
        self.clock.hear(&self.frames);
        if self.frames.is_empty() && !last && self.guards.hold_deadline().is_none() {
            return Ok(self.unread());
        }
        match &mut self.reader {
            Reader::Forward { .. } => self.forward(last),
            Reader::Translate(_) => self.translate(last),
        }
    }

    /// A batch without a whole frame: passed on at once where nobody changes frames.
    fn unread(&mut self) -> Bytes {
        if self.passes_untouched() { concatenate(&self.chunks) } else { Bytes::new() }
    }

    fn passes_untouched(&self) -> bool {
        matches!(self.reader, Reader::Forward { .. }) && self.guards.is_empty() && !self.running.strip_usage
    }

    fn forward(&mut self, last: bool) -> Result<Bytes, Stop> {
        let untouched = self.passes_untouched();
        let error_at = self.meter(last)?;
        if let Some(at) = error_at {
            // The provider's own error may name what is the operator's: the client gets the sanitised one.
            self.frames.truncate(at);
            self.frames.retain(|frame| !frame.closes());
        }
        self.encoder.passed(&self.frames);
        let out = if untouched && error_at.is_none() {
            concatenate(&self.chunks)
        } else {
            let endpoint = Arc::clone(&self.running.endpoint);
            let strip = self.running.strip_usage;
            let frames = std::mem::take(&mut self.frames);
            let metered = self.metered.iter();
            let kept = frames.into_iter().zip(metered);
            let kept: Vec<Frame> = kept
                .filter(|(frame, metered)| !(strip && **metered && is_usage_frame(&endpoint, frame)))
                .map(|(frame, _)| frame)
                .collect();
            self.guarded(kept, last || error_at.is_some())?
        };
        match (error_at, self.told.failure.take()) {
            (Some(_), Some(failure)) => {
                let failure = super::failure::sanitised(failure, &self.running.offer.connection.name);
                Ok(join(out, self.fail(Stop::failed(failure))))
            }
            _ => Ok(out),
        }
    }

    /// Lets the meter read the frames it asked for. Returns where the provider's error stands, if it sent one.
    fn meter(&mut self, last: bool) -> Result<Option<usize>, Stop> {
        let Reader::Forward { meter, begun } = &mut self.reader else { return Ok(None) };
        let endpoint = &self.running.endpoint;
        let count = self.frames.len();
        let mut chosen = Vec::new();
        self.metered.clear();
        for (at, frame) in self.frames.iter().enumerate() {
            let data = frame.data();
            self.told.output_bytes += (data.len() as u64).min(OUTPUT_BYTES_PER_FRAME);
            let first = !*begun && !data.is_empty();
            let metered = endpoint.metered(data.as_bytes());
            self.metered.push(metered);
            if first || (last && at + 1 == count) || metered {
                chosen.push(at);
            }
            *begun |= first;
        }
        if chosen.is_empty() && !last {
            return Ok(None);
        }
        let frames: Vec<types::Frame> = chosen.iter().map(|&at| to_contract(&self.frames[at])).collect();
        let plugin = Arc::clone(&self.running.offer.connection.plugin);
        let state = std::mem::take(meter);
        let reading = self
            .exchange
            .call(&plugin, "provider", |session, context| session.meter(context, &endpoint.name, &state, &frames, last))
            .map_err(|error| Stop::plugin(&plugin, "provider", &self.exchange.context.request_id, &error))??;
        *meter = reading.state;
        self.told.id = reading.id;
        self.told.model = reading.model;
        self.told.usage = reading.usage.as_ref().map(usage_of);
        self.exchange.record.finish_reasons.clear();
        for finish in &reading.finishes {
            self.exchange.record.finished(finish);
        }
        let Some(failure) = reading.failure else { return Ok(None) };
        tracing::warn!(
            request_id = %self.exchange.context.request_id,
            provider = %self.running.offer.connection.name,
            kind = ?failure.kind,
            detail = %failure.message,
            "a stream ended in the provider's error"
        );
        self.told.failure = Some(failure);
        let is_error = |&&at: &&usize| {
            let frame = &self.frames[at];
            frame.event() == "error" || frame.data().contains("\"error\"")
        };
        Ok(Some(chosen.iter().rev().find(is_error).copied().unwrap_or(count)))
    }

    fn translate(&mut self, last: bool) -> Result<Bytes, Stop> {
        let Reader::Translate(translation) = &mut self.reader else { return Ok(Bytes::new()) };
        let encoded = self.exchange.translate_frames(&self.running, translation, &mut self.told, &self.frames, last)?;
        let mut out = Vec::new();
        for frame in &encoded {
            self.encoder.frame(&frame.event, &frame.data, &mut out);
        }
        let failed = self.told.failure.take();
        if last || failed.is_some() {
            self.encoder.finish(&mut out);
        }
        let out = if self.guards.is_empty() {
            Bytes::from(out)
        } else {
            // What was just written is well framed.
            let mut frames = Vec::new();
            let _ = self.resplitter.push(&Bytes::from(out), &mut frames);
            self.guarded(frames, last || failed.is_some())?
        };
        if let Some(failure) = failed {
            self.end_badly("failed", Some(failure));
        }
        Ok(out)
    }

    fn guarded(&mut self, frames: Vec<Frame>, last: bool) -> Result<Bytes, Stop> {
        if self.guards.is_empty() {
            return Ok(concatenate_frames(frames));
        }
        let released = self.guards.pass(&mut self.exchange, frames, last, false)?;
        self.wind_clock();
        Ok(concatenate(&released))
    }

    /// What guards hold, judged as the end of its text.
    fn release_held(&mut self) -> Bytes {
        if self.guards.is_empty() {
            return Bytes::new();
        }
        match self.guards.pass(&mut self.exchange, Vec::new(), true, false) {
            Ok(released) => concatenate(&released),
            // What cannot be judged is not released; the stream fails in any case.
            Err(_) => Bytes::new(),
        }
    }

    fn wind_clock(&mut self) {
        if let Some(deadline) = self.guards.hold_deadline() {
            self.clock.wind(deadline);
        }
    }

    fn poll_clock(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        loop {
            let Poll::Ready(due) = self.clock.poll(cx, self.guards.hold_deadline()) else { return Poll::Pending };
            return Poll::Ready(match due {
                Due::Silence => self.fail(silent()),
                Due::Held => {
                    let released = self.guards.pass(&mut self.exchange, Vec::new(), false, true);
                    self.exchange.release_plugins();
                    match released {
                        Ok(released) => concatenate(&released),
                        Err(stop) => self.fail(stop),
                    }
                }
                // Within a frame a comment would be part of it.
                Due::KeepAlive if self.between_frames => Bytes::from_static(KEEP_ALIVE),
                Due::KeepAlive => continue,
            });
        }
    }

    /// Ends the stream with an error in the client's protocol. What guards still hold is dropped: it was never released.
    fn fail(&mut self, stop: Stop) -> Bytes {
        let route = Arc::clone(&self.exchange.route);
        let encoded = self.exchange.call(&route.plugin, "dialect", |session, context| {
            session.encode_error(context, &route.name, &stop.failure)
        });
        let mut out = Vec::new();
        if let Ok(reply) = encoded {
            for frame in &reply.frames {
                self.encoder.frame(&frame.event, &frame.data, &mut out);
            }
        }
        self.encoder.finish(&mut out);
        self.end_badly(stop.outcome, Some(*stop.failure));
        Bytes::from(out)
    }

    fn end_well(&mut self) {
        let usage = self.told.usage.take();
        let usage = usage.unwrap_or_else(|| self.exchange.estimate(None, self.told.output_bytes));
        let told = Some(wire_usage(&usage));
        self.settle(usage);
        // After the fact: what was sent cannot be withheld, so a denial is recorded and no more.
        let _ = self.exchange.review_answer(&self.running.policy_view(), told, None);
        self.finish(Outcome { status: 200, code: "ok", failure: None });
    }

    fn end_badly(&mut self, code: &'static str, failure: Option<types::Failure>) {
        if self.ended {
            return;
        }
        let usage = self.exchange.estimate(self.told.usage.take(), self.told.output_bytes);
        self.settle(usage);
        self.finish(Outcome { status: 200, code, failure });
    }

    fn settle(&mut self, usage: portcullis_core::Metered) {
        let model = self.told.model.take();
        if let Some(attempt) = self.exchange.record.attempts.last_mut() {
            attempt.answered_model = model.clone().filter(|model| **model != *self.running.offer.name);
            attempt.upstream_id = self.told.id.take();
            attempt.duration_us = micros(self.running.started.elapsed());
        }
        self.exchange.settle(&mut self.running.held, &self.running.offer, model.as_deref(), usage);
    }

    fn finish(&mut self, outcome: Outcome) {
        self.ended = true;
        self.upstream = None;
        // After the head all but the plugins' time was the provider's.
        let ours = self.overhead_at_head + self.exchange.plugin_time().saturating_sub(self.plugins_at_head);
        self.exchange.waited = self.exchange.started.elapsed().saturating_sub(ours);
        self.exchange.enter(outcome);
    }
}

/// A client that goes away: the upstream connection closes with the body, and what was generated is billed.
impl Drop for AnswerStream {
    fn drop(&mut self) {
        if !self.ended {
            self.upstream = None;
            self.end_badly("client-gone", None);
        }
    }
}

/// A frame without usage counts for this many bytes of text at most, which is about what a token's delta holds; the rest of a
/// frame is structure.
const OUTPUT_BYTES_PER_FRAME: u64 = 4;

fn is_usage_frame(endpoint: &crate::endpoint::Endpoint, frame: &Frame) -> bool {
    let Some(flag) = &endpoint.usage_flag else { return false };
    let data = frame.data();
    flag.frame.iter().all(|condition| condition.holds(data))
}

fn concatenate(pieces: &[Bytes]) -> Bytes {
    match pieces {
        [] => Bytes::new(),
        [one] => one.clone(),
        many => {
            let mut all = BytesMut::with_capacity(many.iter().map(Bytes::len).sum());
            many.iter().for_each(|piece| all.extend_from_slice(piece));
            all.freeze()
        }
    }
}

fn concatenate_frames(frames: Vec<Frame>) -> Bytes {
    let pieces: Vec<Bytes> = frames.into_iter().map(Frame::into_raw).collect();
    concatenate(&pieces)
}

fn join(first: Bytes, second: Bytes) -> Bytes {
    if first.is_empty() { second } else { concatenate(&[first, second]) }
}

fn broken_off() -> Stop {
    Stop {
        outcome: "cut",
        ..Stop::of(types::FailureKind::Unavailable, "upstream_cut", "The provider's answer broke off.")
    }
}

fn silent() -> Stop {
    Stop {
        outcome: "cut",
        ..Stop::of(types::FailureKind::Timeout, "upstream_timeout", "The provider stopped answering.")
    }
}
