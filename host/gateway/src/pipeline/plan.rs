//! Where a request may go, best first: what the catalogue offers under the name asked for, less what the key and the policies
//! leave out, ranked by the router.

use std::sync::Arc;

use portcullis_core::receipt;
use portcullis_runtime::contract::{router, types};
use portcullis_store::PolicyDenial;

use super::{Exchange, Stop, policy};
use crate::access;
use crate::catalog::Offer;
use crate::conversation::Conversation;
use crate::pool_order::draw;
use crate::route::Place;
use crate::upstream::Breaker;

/// Names the connection where a request has no model to tell by (files, batches); else the first that offers the operation.
const PROVIDER_HEADER: &str = "x-portcullis-provider";

/// The capability that a request needs which shall be answered in the background. No provider has it here.
const BACKGROUND: &str = "background";

/// Targets in the order in which they are tried, with their place in the receipt's list of candidates.
pub(super) struct Plan {
    pub targets: Vec<(Offer, u32)>,
}

impl Exchange {
    /// The targets that the key and the policies leave open.
    pub(super) fn permitted_offers(&self) -> Result<Vec<Offer>, Stop> {
        let offers = match &self.route.model {
            Place::Absent => self.snapshot.catalog.without_model(
                &self.route.operation,
                &self.route.format,
                self.headers.get(PROVIDER_HEADER).and_then(|name| name.to_str().ok()),
            ),
            _ => self.snapshot.catalog.resolve(&self.route.operation, &self.facts.model, self.key.organisation),
        };
        let offers = self.snapshot.catalog.open_to(offers, self.key.organisation);
        if offers.is_empty() {
            return Err(self.unknown_model());
        }
        let offers = self.offers_that_keep(offers)?;
        // The first that the key may not use says why, should there be no other.
        let first = offers.iter().find_map(|offer| self.key_allows(offer).err());
        let open: Vec<Offer> = offers.into_iter().filter(|offer| self.is_permitted(offer)).collect();
        if open.is_empty() {
            if let Some(denial) = first {
                let (failure, code, message) = access::model_denied(denial, &self.facts.model);
                self.gateway.access.counters().count(failure);
                return Err(Stop { outcome: "denied", ..Stop::of(types::FailureKind::Permission, code, message) });
            }
            let message = format!("The model `{}` is not permitted.", self.facts.model);
            return Err(Stop {
                outcome: "denied",
                ..Stop::of(types::FailureKind::Permission, "model_not_allowed", message)
            });
        }
        Ok(open)
    }

    /// Of a request that needs something kept at the provider, the offers that may: what a tenant owns stays with it (invariant 11),
    /// and an account is everybody's.
    fn offers_that_keep(&self, mut offers: Vec<Offer>) -> Result<Vec<Offer>, Stop> {
        let refused = |param: &str, message: String| {
            let mut stop = Stop::of(types::FailureKind::UnsupportedFeature, "unsupported_feature", message);
            stop.failure.param = Some(param.to_owned());
            Err(stop)
        };
        if self.facts.needs.iter().any(|need| need == BACKGROUND) {
            let message = "`background` is not supported: an answer in the background is kept by the provider, which is told to keep none.";
            return refused(BACKGROUND, message.to_owned());
        }
        if let Some(place) = &self.names_shared {
            offers.retain(|offer| offer.connection.shared_objects);
            if offers.is_empty() {
                let message = format!(
                    "`{place}` names what the provider keeps for everybody who uses this gateway's account. It is passed on only to a \
                     connection with `shared_objects`."
                );
                return refused(place, message);
            }
        }
        Ok(offers)
    }

    pub(crate) fn is_permitted(&self, offer: &Offer) -> bool {
        let (provider, model) = (&*offer.connection.name, &*offer.model.id);
        self.key_allows(offer).is_ok()
            && policy::permits(&self.constraints, provider, model, offer.connection.region.as_deref())
    }

    fn key_allows(&self, offer: &Offer) -> Result<(), PolicyDenial> {
        let connection = &offer.connection;
        self.key.policy.allows(&connection.name, &offer.model.id, connection.region.as_deref())
    }

    /// Ranks the targets; those that share a provider's requests are ranked as one, and follow the one that was drawn.
    pub(super) fn plan(&mut self, offers: Vec<Offer>, body: &str) -> Result<Plan, Stop> {
        if !self.snapshot.catalog.has_pools() {
            return self.rank(offers, body);
        }
        let (drawn, rest) = draw(offers, self.context.now, &mut rand::rng());
        let plan = self.rank(drawn.clone(), body)?;
        let mut targets = Vec::with_capacity(plan.targets.len());
        for (offer, line) in plan.targets {
            let pool =
                drawn.iter().position(|one| Arc::ptr_eq(&one.connection, &offer.connection) && one.name == offer.name);
            let others = pool.map_or(&[][..], |at| &rest[at]).to_vec();
            targets.push((offer, line));
            targets.extend(others.into_iter().map(|other| (other, line)));
        }
        Ok(Plan { targets })
    }

    /// Without a router, in the catalogue's order, healthy ones first.
    fn rank(&mut self, offers: Vec<Offer>, body: &str) -> Result<Plan, Stop> {
        let router = self.snapshot.router.clone();
        let content = router.as_ref().is_some_and(|plugin| plugin.access().content_read);
        let features = self.features(body, offers.len() > 1, content);
        let candidates: Vec<router::Candidate> =
            offers.iter().map(|offer| candidate(offer, &features.needs, self.context.now)).collect();
        // What has no model is where it is: a file is not had from another provider.
        let router = router.filter(|_| !matches!(self.route.model, Place::Absent));
        let Some(plugin) = router else { return Ok(self.in_order(offers, &candidates)) };
        let preferences: Vec<types::Pair> = self
            .snapshot
            .config
            .routing
            .preferences
            .iter()
            .map(|(name, value)| types::Pair { name: name.clone(), value: value.clone() })
            .collect();
        let caller = Arc::clone(&self.caller);
        let answer = self.call(&plugin, "router", |session, context| {
            session.rank(context, &caller, &features, &preferences, &candidates)
        });
        let plan = match answer {
            Ok(Ok(plan)) => plan,
            Ok(Err(failure)) => return Err(Stop::failed(failure)),
            // A router decides nothing that protects anybody: without it requests go on in the catalogue's order.
            Err(error) => {
                let _ = Stop::plugin(&plugin, "router", &self.context.request_id, &error);
                return Ok(self.in_order(offers, &candidates));
            }
        };
        self.record.verdict(&plugin, "router", "ok".to_owned());
        self.enter_plan(offers, plan)
    }

    fn enter_plan(&mut self, offers: Vec<Offer>, plan: router::Plan) -> Result<Plan, Stop> {
        let mut lines = Vec::with_capacity(offers.len());
        let mut targets = Vec::with_capacity(plan.ranked.len());
        for ranked in &plan.ranked {
            let Some(offer) = offers.get(ranked.candidate as usize) else { continue };
            targets.push((offer.clone(), lines.len() as u32));
            lines.push(receipt::Candidate {
                score: Some(ranked.score),
                factors: ranked
                    .factors
                    .iter()
                    .map(|factor| receipt::Factor { name: factor.name.clone().into(), value: factor.value })
                    .collect(),
                ..line(offer)
            });
        }
        let mut first_rejection = None;
        for rejected in &plan.rejected {
            let Some(offer) = offers.get(rejected.candidate as usize) else { continue };
            first_rejection.get_or_insert_with(|| rejected.code.clone());
            lines.push(receipt::Candidate { rejected: Some(rejected.code.clone().into()), ..line(offer) });
        }
        self.record.routing =
            Some(receipt::Routing { strategy: plan.strategy, candidates: lines, winner: None, reason: plan.reason });
        if targets.is_empty() {
            let code = first_rejection.unwrap_or_else(|| "no_target".to_owned());
            let message = format!("No model that `{}` can mean serves this request: {code}.", self.facts.model);
            let kind = match code.as_str() {
                "context" => types::FailureKind::ContextLength,
                code if code.starts_with("lacks:") => types::FailureKind::UnsupportedFeature,
                _ => types::FailureKind::Unavailable,
            };
            return Err(Stop::of(kind, &code, message));
        }
        Ok(Plan { targets })
    }

    fn in_order(&mut self, offers: Vec<Offer>, candidates: &[router::Candidate]) -> Plan {
        let mut order: Vec<usize> = (0..offers.len()).collect();
        order.sort_by_key(|&at| (candidates[at].breaker == router::Breaker::Open, candidates[at].cooling > 0));
        let offers: Vec<Offer> = order.into_iter().map(|at| offers[at].clone()).collect();
        self.record.routing = Some(receipt::Routing {
            strategy: "order".to_owned(),
            candidates: offers.iter().map(line).collect(),
            winner: None,
            reason: "order=catalogue".to_owned(),
        });
        Plan { targets: offers.into_iter().zip(0..).collect() }
    }

    /// What the router learns of the request. The conversation is walked only where there is a choice to be made, once, and
    /// never decoded for it.
    fn features(&self, body: &str, choice: bool, content: bool) -> router::Features {
        let conversation = if choice { self.route.conversation.read(body, content) } else { Conversation::default() };
        let mut needs = self.facts.needs.clone();
        for capability in conversation.needs {
            if !needs.contains(&capability) {
                needs.push(capability);
            }
        }
        // Also where the conversation was not walked: its tools were found on the way in.
        if !self.facts.tool_names.is_empty() && !needs.iter().any(|need| need == "tools") {
            needs.push("tools".to_owned());
        }
        router::Features {
            operation: self.route.operation.to_string(),
            model: self.facts.model.clone(),
            body_bytes: self.facts.body_bytes,
            input_tokens: self.facts.input_tokens,
            max_output_tokens: self.facts.max_output_tokens,
            stream: self.facts.stream,
            tool_names: self.facts.tool_names.clone(),
            needs,
            messages: conversation.texts,
            prompt: conversation.newest,
        }
    }

    fn unknown_model(&self) -> Stop {
        let model = &self.facts.model;
        if !matches!(self.route.model, Place::Absent) && self.snapshot.catalog.knows(model, self.key.organisation) {
            let message = format!("The model `{model}` does not offer this operation: {}.", self.route.operation);
            let mut stop = Stop::of(types::FailureKind::UnsupportedFeature, "unsupported_operation", message);
            stop.failure.param = Some("model".to_owned());
            return stop;
        }
        let message = if matches!(self.route.model, Place::Absent) {
            format!(
                "No provider offers this operation here: it needs a connection with `shared_objects`. The header \
                 `{PROVIDER_HEADER}` names one."
            )
        } else if model == "auto" {
            "No model is configured that `auto` could choose.".to_owned()
        } else {
            format!("The model `{model}` does not exist here. GET /v1/models lists those that do.")
        };
        let mut stop = Stop::of(types::FailureKind::NotFound, "model_not_found", message);
        stop.failure.param = Some("model".to_owned());
        stop
    }
}

fn line(offer: &Offer) -> receipt::Candidate {
    receipt::Candidate {
        provider: offer.connection.name.clone(),
        model: offer.model.id.clone(),
        score: None,
        factors: Vec::new(),
        rejected: None,
    }
}

/// What a router sees of an offer. Nothing is known against a model that only the operator's file names, so it counts as having
/// whatever is needed.
fn candidate(offer: &Offer, needs: &[String], now: u64) -> router::Candidate {
    let standing = offer.connection.health.standing(now);
    let rates = offer.model.prices.in_force(now).ok().map(|price| &price.rates);
    router::Candidate {
        provider: offer.connection.name.to_string(),
        model: offer.model.id.to_string(),
        context: offer.model.context,
        max_output: offer.model.max_output,
        capabilities: if offer.model.known { offer.model.capabilities.clone() } else { needs.to_vec() },
        quality: offer.model.quality,
        input_price: rates.and_then(|rates| rates.input),
        output_price: rates.and_then(|rates| rates.output),
        region: offer.connection.region.clone(),
        latency: standing.latency_ms,
        error_rate: standing.error_rate,
        in_flight: standing.in_flight,
        breaker: match standing.breaker {
            Breaker::Closed { .. } => router::Breaker::Closed,
            Breaker::HalfOpen => router::Breaker::HalfOpen,
            Breaker::Open { .. } => router::Breaker::Open,
        },
        cooling: standing.cooling_ms,
        extra: Vec::new(),
    }
}
