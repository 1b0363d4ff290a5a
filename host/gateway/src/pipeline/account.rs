//! What an answer says of its way through the gateway: members of an answer that the gateway encodes, and the header
//! `x-llm-gateway`, which passed-through answers carry too.

use http::{HeaderValue, Response};
use portcullis_core::{Cost, NanoUsd, receipt};
use portcullis_runtime::contract::dialect;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Exchange;
use super::attempt::Running;
use crate::answer::AnswerBody;
use crate::auth::METADATA;

const ANSWER_HEADER: &str = "x-llm-gateway";
/// Of passed-through answers, whose body says nothing.
const METADATA_HEADER: &str = "x-llm-gateway-metadata";

#[derive(Serialize)]
struct Metadata<'a> {
    requested_model: &'a str,
    requested_provider: Option<&'a str>,
    used_model: &'a str,
    used_provider: &'a str,
    /// As the provider itself names what answered.
    underlying_used_model: &'a str,
    routing: Vec<Tried<'a>>,
}

#[derive(Serialize)]
struct Tried<'a> {
    provider: &'a str,
    model: &'a str,
    status_code: Option<u16>,
    error_type: Option<&'static str>,
}

impl<'a> Tried<'a> {
    fn of(attempt: &'a receipt::Attempt) -> Self {
        Tried {
            provider: &attempt.provider,
            model: &attempt.model,
            status_code: attempt.status,
            error_type: attempt.failure.map(|kind| kind.code()),
        }
    }
}

#[derive(Serialize)]
struct Gateway<'a> {
    request_id: &'a str,
    routing_decision: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_usd: Option<Box<RawValue>>,
    /// In heads alone: a body has them with its usage.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_usd_input: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_usd_output: Option<Box<RawValue>>,
    latency_ms: u64,
    fallback_used: bool,
}

/// Which call for an answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// The first for a stream.
    Begins,
    GoesOn,
    /// The last: the answer is whole.
    Whole,
}

impl Exchange {
    /// Whether the provider's own bytes go to the client.
    pub(super) fn passes_through(&self, running: &Running) -> bool {
        if !self.route.translates() {
            return running.endpoint.format == *self.route.format;
        }
        running.endpoint.speaks(&self.route.format, self.facts.stream, self.route.framing)
            && !self.wants_account_in_body()
    }

    fn wants_account_in_body(&self) -> bool {
        self.headers.get(METADATA).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"body"))
    }

    /// What the dialect must know of the request to encode its answer.
    pub(super) fn reply(
        &self,
        running: &Running,
        answered: Option<&str>,
        cost: Option<Cost>,
        when: When,
    ) -> dialect::Reply {
        dialect::Reply {
            route: self.route.name.clone(),
            requested_model: self.facts.model.clone(),
            stream_usage: running.stream_usage,
            provider: running.offer.connection.name.to_string(),
            strategy: self.strategy().to_owned(),
            cost: cost.map(|cost| dialect::Cost { input: cost.input.get(), output: cost.output.get() }),
            account: (when == When::Whole).then(|| dialect::Account {
                metadata: self.metadata(running, answered),
                gateway: self.gateway_facts(cost, false),
            }),
            echo: if when == When::GoesOn { Vec::new() } else { self.echo.clone() },
        }
    }

    /// Puts the gateway's facts on an answer's head; what it costs is known there only of whole answers. A passed-through answer
    /// says there all that others say in their body.
    pub(super) fn account_header(&self, running: &Running, response: &mut Response<AnswerBody>) {
        let line = self.record.cost.as_ref();
        let cost = line.map(|line| Cost { input: line.input_nano, output: line.output_nano, total: line.total_nano });
        let passed = self.passes_through(running);
        if let Ok(value) = HeaderValue::try_from(self.gateway_facts(cost, passed)) {
            response.headers_mut().insert(ANSWER_HEADER, value);
        }
        if passed {
            let answered = self.record.attempts.last().and_then(|attempt| attempt.answered_model.as_deref());
            if let Ok(value) = HeaderValue::try_from(self.metadata(running, answered)) {
                response.headers_mut().insert(METADATA_HEADER, value);
            }
        }
    }

    fn metadata(&self, running: &Running, answered: Option<&str>) -> String {
        let offer = &running.offer;
        let asked = &*self.facts.model;
        let (requested_provider, requested_model) = match asked.split_once('/') {
            Some((provider, model)) if self.snapshot.catalog.has_connection(provider) => (Some(provider), model),
            _ => (None, asked),
        };
        let metadata = Metadata {
            requested_model,
            requested_provider,
            used_model: &offer.model.id,
            used_provider: &offer.connection.name,
            underlying_used_model: answered.filter(|model| !model.is_empty()).unwrap_or(&offer.name),
            routing: self.record.attempts.iter().map(Tried::of).collect(),
        };
        serde_json::to_string(&metadata).unwrap_or_default()
    }

    fn gateway_facts(&self, cost: Option<Cost>, apart: bool) -> String {
        // A decimal to the last digit, which no float is.
        let decimal = |amount: NanoUsd| RawValue::from_string(amount.to_string()).ok();
        let parts = cost.filter(|_| apart);
        let facts = Gateway {
            request_id: &self.context.request_id,
            routing_decision: self.strategy(),
            cost_usd: cost.and_then(|cost| decimal(cost.total)),
            cost_usd_input: parts.and_then(|cost| decimal(cost.input)),
            cost_usd_output: parts.and_then(|cost| decimal(cost.output)),
            latency_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            fallback_used: self.record.attempts.len() > 1,
        };
        serde_json::to_string(&facts).unwrap_or_default()
    }

    /// How the target was found: `explicit` where the client left no choice.
    fn strategy(&self) -> &str {
        match &self.record.routing {
            Some(routing) if routing.candidates.len() > 1 => &routing.strategy,
            _ => "explicit",
        }
    }
}
