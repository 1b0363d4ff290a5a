//! The request's path: what the module's head lists, step by step.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use http::{Response, StatusCode};
use portcullis_runtime::contract::{chat, guard, types};

use super::attempt::{Attempted, Running};
use super::budget::BUDGET_EXCEEDED;
use super::facts::{Facts, invalid};
use super::failure::Halt;
use super::payload::{Payload, is_json};
use super::record::Outcome;
use super::{Arrival, Exchange, Stop};
use crate::answer::AnswerBody;
use crate::catalog::Offer;
use crate::limits::Denied;
use crate::utf8::utf8;

/// What is sent on: the client's body after the guards, and its decoded form where somebody needed it.
pub(super) struct Inbound {
    /// A JSON document; empty where there is a `payload`.
    pub body: ByteString,
    /// A body that is no JSON document.
    pub payload: Option<Payload>,
    pub decoded: Option<chat::Request>,
}

/// A request that was refused before it was understood.
pub(crate) struct Unread {
    pub failure: types::Failure,
    /// Overrides the dialect's own status for this kind.
    pub status: Option<StatusCode>,
    /// Of the body, as far as it is known.
    pub body_bytes: u64,
}

/// Serves a request of any operation. `chat` is translated where formats differ, the others are passed through.
pub(crate) async fn serve(arrival: Arrival, body: Bytes) -> Response<AnswerBody> {
    let body_bytes = body.len() as u64;
    let (facts, mut inbound) = match read(&arrival, body) {
        Ok(read) => read,
        Err(failure) => return unread(arrival, Unread { failure, status: None, body_bytes }),
    };
    let mut exchange = Exchange::new(arrival, facts);
    if let Err(stop) = exchange.reserve_tokens(&inbound.body) {
        return end(exchange, &stop);
    }
    let route = Arc::clone(&exchange.route);
    // Of what the client itself says: what was said before was looked at then.
    exchange.names_shared = route.conversation.shared.named(&inbound.body).map(str::to_owned);
    if let Some(route) = &route.continuation
        && let Err(stop) = Box::pin(exchange.go_on(route, &mut inbound)).await
    {
        return end(exchange, &stop);
    }
    let prepared = exchange.prepare(inbound);
    match prepared {
        Ok((inbound, targets)) => dispatch(exchange, inbound, targets).await,
        Err(stop) => end(exchange, &stop),
    }
}

fn read(arrival: &Arrival, body: Bytes) -> Result<(Facts, Inbound), types::Failure> {
    let (route, key_id) = (&arrival.route, arrival.key.id.to_string());
    if !route.translates() && (body.is_empty() || !is_json(&arrival.headers)) {
        let payload = Payload::read(&arrival.headers, body)?;
        let facts = Facts::of_payload(route, &payload, &arrival.path, &key_id)?;
        return Ok((facts, Inbound { body: ByteString::new(), payload: Some(payload), decoded: None }));
    }
    let body = utf8(body).ok_or_else(|| invalid(None, "the body is not UTF-8".to_owned()))?;
    let facts = Facts::read(route, &body, &arrival.path, &key_id)?;
    Ok((facts, Inbound { body, payload: None, decoded: None }))
}

/// Refuses a request that nobody could read. Its caller is known, so it leaves a receipt like any other.
pub(crate) fn unread(arrival: Arrival, why: Unread) -> Response<AnswerBody> {
    let status = why.status.map(|status| status.as_u16());
    let exchange = Exchange::new(arrival, Facts::unread(why.body_bytes));
    // Somebody may not do this, rather than it having gone wrong.
    let outcome = if why.failure.kind == types::FailureKind::Permission { "denied" } else { "failed" };
    end(exchange, &Stop { status, outcome, ..Stop::failed(why.failure) })
}

/// Refuses a request that a limit stops before it was read.
pub(crate) fn denied(arrival: Arrival, why: &Denied) -> Response<AnswerBody> {
    let exchange = Exchange::new(arrival, Facts::unread(0));
    end(exchange, &Stop::denied(why))
}

/// Answers with an error and enters the request.
fn end(mut exchange: Box<Exchange>, stop: &Stop) -> Response<AnswerBody> {
    let response = exchange.refuse(stop);
    let mut failure = stop.failure.clone();
    if stop.reason.is_some() {
        failure.code.clone_from(&stop.reason);
    }
    exchange.enter(Outcome { status: response.status().as_u16(), code: stop.outcome, failure: Some(*failure) });
    response
}

/// Tries the targets in their order, until one answers or a failure is the request's own.
async fn dispatch(mut exchange: Box<Exchange>, mut inbound: Inbound, plan: super::plan::Plan) -> Response<AnswerBody> {
    let limit = exchange.snapshot.config.routing.attempts.max(1) as usize;
    let mut last: Option<Stop> = None;
    let mut number = 0;
    for (offer, candidate) in plan.targets {
        if number as usize == limit {
            break;
        }
        let running = match prepared(&mut exchange, &mut inbound, offer, candidate, number + 1).await {
            Ok(Some(running)) => running,
            // A policy leaves this target out.
            Ok(None) => continue,
            // Another provider may have what this one lacks, or be within the budget.
            Err(stop) if passes(&stop) => {
                last = Some(stop);
                continue;
            }
            Err(stop) => return end(exchange, &stop),
        };
        number += 1;
        // An allocation of its own: idle connections do not keep it, and the connection's future stays out of the size class of hyper's
        // buffers, of whose 8 KB only the first page is ever written.
        match Box::pin(running.run(exchange)).await {
            Attempted::Answered(response) => return response,
            Attempted::Failed { exchange: back, stop, retry } => {
                exchange = back;
                exchange.leave_target();
                if !retry {
                    return end(exchange, &stop);
                }
                last = Some(stop);
            }
        }
    }
    let stop = last.unwrap_or_else(|| Stop {
        outcome: "denied",
        ..Stop::of(types::FailureKind::Permission, "model_not_allowed", "No permitted model is left for this request.")
    });
    end(exchange, &stop)
}

fn passes(stop: &Stop) -> bool {
    stop.failure.kind == types::FailureKind::UnsupportedFeature
        || stop.is_of_a_target()
        || stop.failure.code.as_deref() == Some(BUDGET_EXCEEDED)
}

/// An attempt that can be run. Files are brought inline only now, when the policies have seen the target.
async fn prepared(
    exchange: &mut Exchange,
    inbound: &mut Inbound,
    offer: Offer,
    candidate: u32,
    number: u32,
) -> Result<Option<Running>, Stop> {
    exchange.room = None;
    loop {
        match Running::prepare(exchange, inbound, offer.clone(), candidate, number) {
            Ok(running) => return Ok(running),
            Err(Halt::Stop(stop)) => return Err(stop),
            // Boxed, so that requests without files carry no room for it.
            Err(Halt::Files(inline)) => Box::pin(exchange.bring_media(inbound, &inline)).await?,
            Err(Halt::Room(asking)) => Box::pin(exchange.ask_for_room(asking)).await?,
        }
    }
}

impl Exchange {
    /// Everything before the first attempt.
    fn prepare(&mut self, mut inbound: Inbound) -> Result<(Inbound, super::plan::Plan), Stop> {
        if self.route.translates() && self.policies_read_content() {
            self.decode(&mut inbound)?;
        }
        let content = inbound.decoded.take();
        self.apply_policies(content.as_ref())?;
        inbound.decoded = content;
        if let Some(payload) = &inbound.payload {
            if let Some(guarded) = self.guard_payload(payload)? {
                self.facts.renamed(&self.route, &guarded)?;
                inbound.payload = Some(guarded);
            }
        } else if let Some(guarded) = self.guard_document(guard::Direction::Request, &inbound.body)? {
            // What was decoded is what the client sent, not what may leave.
            inbound.decoded = None;
            inbound.body = guarded;
            self.facts.moved(&self.route, &inbound.body)?;
        }
        self.note_input(&inbound.body);
        self.capture_request(&inbound);
        let offers = self.permitted_offers()?;
        let plan = self.plan(offers, &inbound.body)?;
        Ok((inbound, plan))
    }

    /// Decodes the request once, for whoever needs it.
    pub(super) fn decode(&mut self, inbound: &mut Inbound) -> Result<(), Stop> {
        if inbound.decoded.is_some() {
            return Ok(());
        }
        let plugin = Arc::clone(&self.route.plugin);
        let head = self.head.clone();
        let mut decoded = self
            .call(&plugin, "dialect", |session, context| session.decode_request(context, &head, &inbound.body))
            .map_err(|error| Stop::plugin(&plugin, "dialect", &self.context.request_id, &error))??;
        self.echo = std::mem::take(&mut decoded.echo);
        inbound.decoded = Some(decoded);
        Ok(())
    }
}
