//! One attempt at one target: policy with target, reservation, dispatch, and what its failure means.

use std::sync::Arc;
use std::time::Instant;

use http::Response;
use portcullis_core::receipt;
use portcullis_runtime::contract::{policy, provider, types};
use portcullis_wire::framing::Framing;

use super::chat::Inbound;
use super::failure::{Halt, kind_of, sanitised};
use super::money::Held;
use super::payload::is_json;
use super::record::micros;
use super::request::Outbound;
use super::{Exchange, Stop, relay, stream, whole};
use crate::answer::AnswerBody;
use crate::catalog::{Offer, Wire};
use crate::credential::{Credential, CredentialError};
use crate::endpoint::Endpoint;
use crate::upstream::{CollectError, Happening, Patience, UpstreamBody, UpstreamError};

/// Bytes of a provider's error that are read: enough for any that says something.
const ERROR_BYTES: usize = 256 << 10;

/// How an attempt ended.
pub(super) enum Attempted {
    Answered(Response<AnswerBody>),
    Failed { exchange: Box<Exchange>, stop: Stop, retry: bool },
}

/// An attempt under way. Its end is told to the connection's health exactly once.
pub(super) struct Running {
    pub offer: Offer,
    pub endpoint: Arc<Endpoint>,
    pub number: u32,
    pub held: Held,
    pub started: Instant,
    pub strip_usage: bool,
    pub stream_usage: bool,
    outbound: Option<http::Request<http_body_util::Full<bytes::Bytes>>>,
    now: u64,
    told: bool,
}

impl Running {
    /// Asks the policies, reserves and builds the request. `None` where a policy leaves the target out.
    pub fn prepare(
        exchange: &mut Exchange,
        inbound: &mut Inbound,
        offer: Offer,
        candidate: u32,
        number: u32,
    ) -> Result<Option<Self>, Halt> {
        let route = &exchange.route;
        let wire = Wire { format: &route.format, stream: exchange.facts.stream, framing: route.framing };
        let offered = offer.endpoint(&route.operation, wire).cloned();
        // Only chat is translated.
        let offered = offered.filter(|endpoint| route.translates() || *endpoint.format == *route.format);
        let Some(endpoint) = offered else {
            return Err(Stop::of(
                types::FailureKind::UnsupportedFeature,
                "unsupported_operation",
                format!("The provider `{}` does not offer this operation.", offer.connection.name),
            )
            .into());
        };
        exchange.attempt_output_limit = exchange.constraints.max_output_tokens;
        let choices = match &inbound.decoded {
            Some(decoded) => decoded.choices.map_or(1, u64::from),
            None => exchange.facts.choices,
        };
        let applicable = exchange.applicable(&offer);
        let worst = exchange.worst_cost(&offer, choices, applicable.has_hard())?;
        if !exchange.permits_target(&attempt_of(&offer, number, worst.map(|worst| worst.get())))? {
            return Ok(None);
        }
        let spliceable = inbound.payload.is_none();
        let (worst, hold) = exchange.hold(applicable, &offer, &endpoint, spliceable, choices, worst)?;
        let Outbound { request, endpoint, strip_usage, stream_usage } =
            exchange.build_request(inbound, &offer, &endpoint)?;
        exchange.enter_target(&offer, choices)?;
        let held = exchange.reserve(&offer, number, worst, hold)?;
        exchange.record.attempts.push(receipt::Attempt {
            number,
            provider: offer.connection.name.clone(),
            model: offer.name.clone(),
            answered_model: None,
            upstream_id: None,
            status: None,
            failure: None,
            started_ms: u64::try_from(exchange.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            duration_us: 0,
            reserved: held.worst,
            settled: None,
            ended: None,
        });
        if let Some(routing) = &mut exchange.record.routing {
            routing.winner = Some(candidate);
        }
        let now = exchange.gateway.clock.now_ms();
        offer.connection.health.sent(now);
        Ok(Some(Running {
            offer,
            endpoint,
            number,
            held,
            started: Instant::now(),
            strip_usage,
            stream_usage,
            outbound: Some(request),
            now,
            told: false,
        }))
    }

    /// Sends the request and turns the answer, whatever it is, into one for the client.
    pub async fn run(mut self, mut exchange: Box<Exchange>) -> Attempted {
        let Some(mut request) = self.outbound.take() else {
            unreachable!("an attempt is run once");
        };
        exchange.release_plugins();
        let limits = &exchange.snapshot.config.limits;
        let patience = Patience { connect: limits.connect_timeout(), first_byte: limits.first_byte_timeout() };
        let pool = Arc::clone(&exchange.gateway.pool);
        if let Credential::Fetched(authority) = &self.offer.connection.credential {
            let now = exchange.gateway.clock.now_ms();
            // Boxed, so that attempts without it carry no room for it.
            let put_on = authority.authorise(&mut request, &self.offer.connection.address, &pool, now);
            if let Err(error) = Box::pin(put_on).await {
                exchange.waited += self.started.elapsed();
                return self.unauthorised(exchange, &error);
            }
        }
        let answer = pool.send(&self.offer.connection.address, request, patience).await;
        exchange.waited += self.started.elapsed();
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.unanswered(exchange, &error),
        };
        if let Some(attempt) = exchange.record.attempts.last_mut() {
            attempt.status = Some(answer.status().as_u16());
        }
        if !answer.status().is_success() {
            return self.refused(exchange, answer).await;
        }
        let streams = exchange.facts.stream && is_stream(&answer, self.endpoint.framing);
        if streams {
            return Attempted::Answered(stream::answer(exchange, self, answer));
        }
        if exchange.route.translates() || is_json(answer.headers()) {
            return whole::answer(exchange, self, answer).await;
        }
        relay::answer(exchange, self, answer).await
    }

    /// The connection's health learns how it went.
    pub fn tell(&mut self, happening: Happening, retry_after: Option<u64>) {
        if !std::mem::replace(&mut self.told, true) {
            let latency = (happening == Happening::Succeeded).then(|| self.started.elapsed().as_secs_f32() * 1000.0);
            self.offer.connection.health.ended(happening, latency, retry_after, self.now);
        }
    }

    pub fn policy_view(&self) -> policy::Attempt {
        attempt_of(&self.offer, self.number, self.held.worst.map(|worst| worst.get()))
    }

    /// Ends an attempt that came to nothing; the next target may be tried if the failure is of a kind that passes.
    pub fn failed(mut self, mut exchange: Box<Exchange>, failure: types::Failure, ours: bool) -> Attempted {
        let kind = kind_of(failure.kind);
        // A provider that refuses the gateway's own credential is as good as absent, and another may do.
        let credentials = matches!(failure.kind, types::FailureKind::Authentication | types::FailureKind::Permission);
        let ill = kind.trips_breaker() || credentials;
        let happening = if ill && !ours { Happening::Failed } else { Happening::Undecided };
        self.tell(happening, failure.retry_after);
        tracing::warn!(
            request_id = %exchange.context.request_id,
            provider = %self.offer.connection.name,
            model = %self.offer.model.id,
            attempt = self.number,
            kind = kind.code(),
            code = failure.code.as_deref().unwrap_or(""),
            detail = %failure.message,
            "an attempt failed"
        );
        if let Some(attempt) = exchange.record.attempts.last_mut() {
            attempt.failure = Some(kind);
            attempt.duration_us = micros(self.started.elapsed());
        }
        let retry = !ours && (kind.is_retryable() || credentials);
        let stop = Stop::failed(sanitised(failure, &self.offer.connection.name));
        Attempted::Failed { exchange, stop, retry }
    }

    fn unanswered(mut self, mut exchange: Box<Exchange>, error: &UpstreamError) -> Attempted {
        let (kind, sent) = match error {
            UpstreamError::Connect { .. } => (types::FailureKind::Unavailable, false),
            UpstreamError::ConnectTimeout { .. } => (types::FailureKind::Timeout, false),
            UpstreamError::FirstByteTimeout { .. } => (types::FailureKind::Timeout, true),
            UpstreamError::Broken(_) => (types::FailureKind::Unavailable, true),
        };
        if sent {
            exchange.quarantine(&mut self.held, "no-answer");
        } else {
            exchange.refund(&mut self.held, "not-sent");
        }
        let failure = types::Failure { kind, message: error.to_string(), code: None, param: None, retry_after: None };
        self.failed(exchange, failure, false)
    }

    /// There is no credential to send the request with.
    fn unauthorised(mut self, mut exchange: Box<Exchange>, error: &CredentialError) -> Attempted {
        exchange.refund(&mut self.held, "not-sent");
        let failure = types::Failure {
            kind: types::FailureKind::Authentication,
            message: error.to_string(),
            code: Some("credential_unavailable".to_owned()),
            param: None,
            retry_after: None,
        };
        self.failed(exchange, failure, false)
    }

    async fn refused(mut self, mut exchange: Box<Exchange>, answer: Response<UpstreamBody>) -> Attempted {
        let (head, body) = answer.into_parts();
        let waiting = Instant::now();
        let idle = exchange.snapshot.config.limits.upstream_idle();
        let text = match body.collect(ERROR_BYTES, idle).await {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(_) => String::new(),
        };
        exchange.waited += waiting.elapsed();
        // An error before the first byte: nothing was generated.
        exchange.refund(&mut self.held, "refused");
        let plugin = Arc::clone(&self.offer.connection.plugin);
        let head = answer_head(&self.endpoint.name, &head);
        let decoded =
            exchange.call(&plugin, "provider", |session, context| session.decode_error(context, &head, &text));
        let failure = match decoded {
            Ok(failure) => failure,
            Err(error) => {
                let stop = Stop::plugin(&plugin, "provider", &exchange.context.request_id, &error);
                return self.failed(exchange, *stop.failure, true);
            }
        };
        self.failed(exchange, failure, false)
    }

    /// The provider's answer cannot be read to its end.
    pub fn uncollected(mut self, mut exchange: Box<Exchange>, error: &CollectError) -> Attempted {
        let kind = match error {
            CollectError::TooLong { .. } => types::FailureKind::UpstreamProtocol,
            CollectError::Broken(_) => types::FailureKind::Unavailable,
            CollectError::Idle => types::FailureKind::Timeout,
        };
        exchange.quarantine(&mut self.held, "cut");
        let failure = types::Failure { kind, message: error.to_string(), code: None, param: None, retry_after: None };
        self.failed(exchange, failure, false)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tell(Happening::Undecided, None);
    }
}

fn attempt_of(offer: &Offer, number: u32, worst_cost: Option<u64>) -> policy::Attempt {
    policy::Attempt {
        provider: offer.connection.name.to_string(),
        model: offer.name.to_string(),
        region: offer.connection.region.clone(),
        number,
        worst_cost,
    }
}

/// Whether a provider that was asked for a stream sends one.
fn is_stream(answer: &Response<UpstreamBody>, framing: Framing) -> bool {
    // A stream that is an array looks as any document.
    if framing == Framing::JsonArray {
        return true;
    }
    let content_type = answer.headers().get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    !content_type.is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("application/json"))
}

/// What a provider plugin may see of an answer's head.
pub(super) fn answer_head(endpoint: &str, head: &http::response::Parts) -> provider::AnswerHead {
    let headers = head.headers.iter().filter(|(name, _)| **name != http::header::SET_COOKIE);
    provider::AnswerHead {
        endpoint: endpoint.to_owned(),
        status: head.status.as_u16(),
        headers: headers
            .filter_map(|(name, value)| {
                Some(types::Pair { name: name.as_str().to_owned(), value: value.to_str().ok()?.to_owned() })
            })
            .collect(),
    }
}
