//! Answers that come at once: read for the ledger, translated where formats differ, guarded, reviewed, sent.

use std::sync::Arc;
use std::time::Instant;

use bytestring::ByteString;
use http::Response;
use portcullis_core::{Cost, Metered};
use portcullis_runtime::contract::{chat, guard, provider, types};

use super::account::When;
use super::attempt::{Attempted, Running, answer_head};
use super::record::{Outcome, micros};
use super::usage::{usage_of, wire_usage};
use super::{Exchange, Stop};
use crate::answer;
use crate::upstream::{Happening, UpstreamBody};
use crate::utf8::utf8;

/// What was read of an answer.
#[derive(Default)]
struct Read {
    model: Option<String>,
    id: Option<String>,
    usage: Option<Metered>,
    /// Decoded, where the client's format is another.
    response: Option<chat::Response>,
}

pub(super) async fn answer(
    mut exchange: Box<Exchange>,
    mut running: Running,
    answer: Response<UpstreamBody>,
) -> Attempted {
    let (head, body) = answer.into_parts();
    let limits = &exchange.snapshot.config.limits;
    let (limit, idle) = (limits.response_bytes, limits.upstream_idle());
    let waiting = Instant::now();
    let collected = body.collect(limit, idle).await;
    exchange.waited += waiting.elapsed();
    let bytes = match collected {
        Ok(bytes) => bytes,
        Err(error) => return running.uncollected(exchange, &error),
    };
    let length = bytes.len() as u64;
    let Some(body) = utf8(bytes) else {
        let usage = exchange.estimate(None, length);
        exchange.settle(&mut running.held, &running.offer, None, usage);
        return running.failed(exchange, unreadable("the answer is not UTF-8"), false);
    };
    let same_format = exchange.passes_through(&running);
    let read = if same_format {
        exchange.meter_whole(&running, &body)
    } else {
        exchange.decode_whole(&running, &answer_head(&running.endpoint.name, &head), &body)
    };
    let read = match read {
        Ok(read) => read,
        Err(stop) => {
            // Something was generated, whether or not it can be read.
            let usage = exchange.estimate(None, length);
            exchange.settle(&mut running.held, &running.offer, None, usage);
            let ours = stop.failure.kind == types::FailureKind::Internal;
            return running.failed(exchange, *stop.failure, ours);
        }
    };
    exchange.settle_whole(&mut running, &read, length);
    running.tell(Happening::Succeeded, None);
    let finished = exchange.finish_whole(&running, read, body);
    exchange.release_plugins();
    match finished {
        Ok(body) => {
            let body = exchange.as_asked(body);
            exchange.capture_answer(body.as_bytes());
            exchange.keep_whole(&body).await;
            let mut response = answer::json(head.status, body.into_bytes());
            exchange.account_header(&running, &mut response);
            for name in &running.endpoint.answer_headers {
                if let Some(value) = head.headers.get(name) {
                    response.headers_mut().insert(name, value.clone());
                }
            }
            exchange.record.first_byte = Some(exchange.started.elapsed());
            exchange.dress(&mut response, Some((&running.offer.connection.name, &running.offer.name)));
            exchange.enter(Outcome { status: head.status.as_u16(), code: "ok", failure: None });
            Attempted::Answered(response)
        }
        Err(stop) => Attempted::Failed { exchange, stop, retry: false },
    }
}

impl Exchange {
    /// Reads what the ledger needs of an answer that is passed through.
    fn meter_whole(&mut self, running: &Running, body: &ByteString) -> Result<Read, Stop> {
        let plugin = Arc::clone(&running.offer.connection.plugin);
        let frames = [types::Frame { event: String::new(), data: body.to_string() }];
        let reading = self
            .call(&plugin, "provider", |session, context| {
                session.meter(context, &running.endpoint.name, &[], &frames, true)
            })
            .map_err(|error| Stop::plugin(&plugin, "provider", &self.context.request_id, &error))??;
        for finish in &reading.finishes {
            self.record.finished(finish);
        }
        Ok(Read { model: reading.model, id: reading.id, usage: reading.usage.as_ref().map(usage_of), response: None })
    }

    fn decode_whole(
        &mut self,
        running: &Running,
        head: &provider::AnswerHead,
        body: &ByteString,
    ) -> Result<Read, Stop> {
        let plugin = Arc::clone(&running.offer.connection.plugin);
        let decoded = self
            .call(&plugin, "provider", |session, context| session.decode_response(context, head, body))
            .map_err(|error| Stop::plugin(&plugin, "provider", &self.context.request_id, &error))??;
        self.record.note(decoded.notes);
        let response = decoded.response;
        for finish in response.choices.iter().filter_map(|choice| choice.finish.as_ref()) {
            self.record.finished(finish);
        }
        Ok(Read {
            model: Some(response.model.clone()),
            id: Some(response.id.clone()),
            usage: response.usage.as_ref().map(usage_of),
            response: Some(response),
        })
    }

    /// By the dialect, once the cost is known.
    fn encode_whole(&mut self, running: &Running, response: &chat::Response) -> Result<ByteString, Stop> {
        let cost = self.record.cost.as_ref();
        let cost = cost.map(|line| Cost { input: line.input_nano, output: line.output_nano, total: line.total_nano });
        let reply = self.reply(running, Some(&response.model), cost, When::Whole);
        let plugin = Arc::clone(&self.route.plugin);
        let encoded = self
            .call(&plugin, "dialect", |session, context| session.encode_response(context, &reply, response))
            .map_err(|error| Stop::plugin(&plugin, "dialect", &self.context.request_id, &error))??;
        self.record.note(encoded.notes);
        Ok(encoded.body.into())
    }

    fn settle_whole(&mut self, running: &mut Running, read: &Read, length: u64) {
        let usage = read.usage.clone().unwrap_or_else(|| self.estimate(None, length));
        if let Some(attempt) = self.record.attempts.last_mut() {
            attempt.answered_model = read.model.clone().filter(|model| **model != *running.offer.name);
            attempt.upstream_id = read.id.clone();
            attempt.duration_us = micros(running.started.elapsed());
        }
        self.settle(&mut running.held, &running.offer, read.model.as_deref(), usage);
    }

    /// Encodes where formats differ, then guards, then policies: what is left is for the client.
    fn finish_whole(&mut self, running: &Running, read: Read, body: ByteString) -> Result<ByteString, Stop> {
        let body = match &read.response {
            Some(response) => self.encode_whole(running, response)?,
            None => body,
        };
        let body = self.guard_document(guard::Direction::Answer, &body)?.unwrap_or(body);
        let usage = self.record.metered.as_ref().map(wire_usage);
        self.review_answer(&running.policy_view(), usage, read.response.as_ref())?;
        Ok(body)
    }
}

pub(super) fn unreadable(why: &str) -> types::Failure {
    types::Failure {
        kind: types::FailureKind::UpstreamProtocol,
        message: why.to_owned(),
        code: None,
        param: None,
        retry_after: None,
    }
}
