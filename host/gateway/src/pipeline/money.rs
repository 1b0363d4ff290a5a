//! Reserving before anything is sent, and ending every reservation: invariants 2 to 4.

use portcullis_core::price::{UnknownPrice as NoPrice, day_of};
use portcullis_core::receipt::{CostLine, Metering};
use portcullis_core::{Cost, Metered, NanoUsd, Usage};
use portcullis_runtime::contract::types;
use portcullis_store::budgets::Hold;
use portcullis_store::ledger::LedgerError;
use portcullis_store::{Reservation, ReserveRequest, Settlement};

use super::record::settled;
use super::{Exchange, Stop};
use crate::catalog::{ModelFacts, Offer};
use crate::config::{Settle, UnknownPrice};

/// Output tokens assumed at most where neither the request nor the catalogue has a bound.
pub(super) const UNBOUNDED_OUTPUT: u32 = 128 << 10;

/// What an attempt has set aside.
pub(super) struct Held {
    /// Gone once it was ended.
    reservation: Option<Reservation>,
    pub worst: Option<NanoUsd>,
}

/// What an answer costs, and how that is known.
struct Bill {
    /// What it is settled by.
    line: Option<(Cost, CostLine)>,
    /// Why there is none.
    unknown: Option<NoPrice>,
    computed: Option<Cost>,
    stated: Option<NanoUsd>,
    /// Settled by the provider's word.
    by_word: bool,
}

impl Bill {
    /// What the receipt says beside usage and cost.
    fn metering(&self, metered: &Metered) -> Option<Metering> {
        let told = self.stated.is_some();
        let metering = Metering {
            units: metered.units.clone(),
            service_tier: metered.service_tier.clone(),
            stated_nano: self.stated,
            computed_nano: self.computed.map(|cost| cost.total).filter(|_| told),
            settled_by: told.then(|| if self.by_word { "stated".into() } else { "computed".into() }),
        };
        (metering != Metering::default()).then_some(metering)
    }
}

/// Output tokens of an attempt at most: every answer that was asked for may be as long as the limit.
fn output_bound(cap: Option<u32>, choices: u64) -> u64 {
    u64::from(cap.unwrap_or(UNBOUNDED_OUTPUT)).saturating_mul(choices.max(1))
}

impl Exchange {
    /// The most an attempt can cost: a token is at least a byte of the body, and each answer's output has its cap.
    /// Under a hard budget an unknown price is refused whatever the operator chose: nobody knows whether it fits.
    pub(super) fn worst_cost(&self, offer: &Offer, choices: u64, hard: bool) -> Result<Option<NanoUsd>, Stop> {
        if self.route.is_free() {
            return Ok(Some(NanoUsd::ZERO));
        }
        let worst = self.worst_with(offer, self.output_cap(offer), choices);
        match (worst, self.snapshot.config.pricing.unknown) {
            (Ok(cost), _) => Ok(Some(cost)),
            (Err(unknown), UnknownPrice::Alarm) if !hard => {
                tracing::warn!(
                    request_id = %self.context.request_id,
                    provider = %offer.connection.name,
                    model = %offer.model.id,
                    %unknown,
                    "the price is unknown"
                );
                Ok(None)
            }
            (Err(unknown), rule) => {
                tracing::warn!(
                    request_id = %self.context.request_id,
                    provider = %offer.connection.name,
                    model = %offer.model.id,
                    %unknown,
                    "refused: the price is unknown"
                );
                let why = match rule {
                    UnknownPrice::Block => "this gateway refuses what it cannot price",
                    UnknownPrice::Alarm => "a hard budget refuses what it cannot price",
                };
                let message =
                    format!("The price of `{}/{}` is unknown, and {why}.", offer.connection.name, offer.model.id);
                Err(Stop { outcome: "denied", ..Stop::of(types::FailureKind::Permission, "unknown_price", message) })
            }
        }
    }

    /// Whether the operation's answers are generated, so that they have a length and a price.
    pub(super) fn generates(&self) -> bool {
        !matches!(&*self.route.operation, "embeddings" | "moderations" | "rerank")
    }

    /// The most that an attempt can cost with answers of at most so many tokens.
    pub(super) fn worst_with(&self, offer: &Offer, cap: Option<u32>, choices: u64) -> Result<NanoUsd, NoPrice> {
        let cap = if self.generates() { output_bound(cap, choices) } else { 0 };
        let price = offer.model.prices.in_force(self.context.now)?;
        Ok(price.worst_case(self.facts.body_bytes, cap)?.total)
    }

    /// Sets the worst case aside, which the budgets hold. Nothing is sent before this returned.
    pub(super) fn reserve(&self, offer: &Offer, number: u32, worst: Option<NanoUsd>, hold: Hold) -> Result<Held, Stop> {
        let request = ReserveRequest {
            request_id: self.request_id,
            attempt: number,
            key_id: self.key.id,
            organisation: self.key.organisation,
            provider: offer.connection.name.clone(),
            model: offer.model.id.clone(),
            worst: worst.unwrap_or(NanoUsd::ZERO),
            now_ms: self.context.now,
        };
        let reservation = self.gateway.ledger.reserve(request, hold);
        match reservation {
            Ok(reservation) => Ok(Held { reservation: Some(reservation), worst }),
            Err(error) => {
                tracing::error!(request_id = %self.context.request_id, %error, "nothing can be reserved");
                Err(Stop::of(
                    types::FailureKind::Unavailable,
                    "ledger_unavailable",
                    "The gateway cannot account for requests at the moment.",
                ))
            }
        }
    }

    /// What so much costs, priced as the model that answered.
    pub(super) fn cost_of(&self, offer: &Offer, answered: Option<&str>, metered: &Metered) -> Option<Cost> {
        self.bill(offer, answered, metered).line.map(|(cost, _)| cost)
    }

    /// By the gateway's prices, or by the provider's word where it gave one and the operator goes by it. A word about an answer that was
    /// not heard to its end is none about all of it, and was left out by [`Self::estimate`].
    fn bill(&self, offer: &Offer, answered: Option<&str>, metered: &Metered) -> Bill {
        let by_name = answered.and_then(|name| self.snapshot.catalog.answered(&offer.connection, name));
        let facts: &ModelFacts = by_name.as_deref().unwrap_or(&offer.model);
        let now = self.context.now;
        let priced = facts.prices.in_force(now).and_then(|price| Ok((price.cost_of(metered)?, price)));
        let computed = priced.as_ref().ok().map(|(cost, _)| *cost);
        let stated = metered.stated.and_then(|stated| stated.to_nano_rounded_up().ok());
        let settles = stated.filter(|_| offer.connection.settle == Settle::Stated);
        let (line, unknown) = match (settles, priced) {
            (Some(total), _) => {
                let cost = Cost::stated(total, computed);
                (Some((cost, CostLine::stated(cost, day_of(now)))), None)
            }
            (None, Ok((cost, price))) => (Some((cost, CostLine::new(cost, price, metered.usage.estimated))), None),
            (None, Err(unknown)) => (None, Some(unknown)),
        };
        Bill { line, unknown, computed, stated, by_word: settles.is_some() }
    }

    /// Settles an attempt by what was used, priced as the model that answered.
    pub(super) fn settle(&mut self, held: &mut Held, offer: &Offer, answered: Option<&str>, metered: Metered) {
        let bill = self.bill(offer, answered, &metered);
        if let Some(unknown) = bill.unknown.filter(|_| !self.route.is_free()) {
            tracing::warn!(
                request_id = %self.context.request_id,
                provider = %offer.connection.name,
                model = answered.unwrap_or(&offer.model.id),
                %unknown,
                "the cost is unknown"
            );
        }
        self.record.metering = bill.metering(&metered);
        let by_word = bill.by_word;
        let (cost, line) = match bill.line {
            _ if self.route.is_free() => (Some(Cost::FREE), None),
            Some((cost, line)) => (Some(cost), Some(line)),
            None => (None, None),
        };
        if let Some(reservation) = held.reservation.take() {
            let ended = match cost {
                Some(cost) => {
                    let reason = match (by_word, metered.usage.estimated) {
                        (true, _) => "stated",
                        (false, true) => "estimated",
                        (false, false) => "metered",
                    };
                    self.told(reservation.settle(Settlement { cost, reason }));
                    "settled"
                }
                // Nobody knows what it cost, so nobody may say it was nothing.
                None => {
                    self.told(reservation.quarantine("unknown-price"));
                    "quarantined"
                }
            };
            if let Some(attempt) = self.record.attempts.last_mut() {
                settled(attempt, ended, cost.map(|cost| cost.total));
            }
        }
        self.spent.used(metered.usage.total());
        self.record.metered = Some(metered);
        self.record.cost = line;
    }

    /// Gives an attempt's money back: the provider generated nothing.
    pub(super) fn refund(&mut self, held: &mut Held, reason: &'static str) {
        if let Some(reservation) = held.reservation.take() {
            self.told(reservation.refund(reason));
            if let Some(attempt) = self.record.attempts.last_mut() {
                settled(attempt, "refunded", Some(NanoUsd::ZERO));
            }
        }
    }

    /// Nobody knows whether the provider generated anything.
    pub(super) fn quarantine(&mut self, held: &mut Held, reason: &'static str) {
        if let Some(reservation) = held.reservation.take() {
            self.spent.unsure();
            self.told(reservation.quarantine(reason));
            if let Some(attempt) = self.record.attempts.last_mut() {
                settled(attempt, "quarantined", None);
            }
        }
    }

    /// An ending that the journal does not take stays open there, and the next start quarantines it.
    fn told(&self, ended: Result<(), LedgerError>) {
        if let Err(error) = ended {
            tracing::error!(request_id = %self.context.request_id, %error, "a reservation's end was not written");
        }
    }

    /// Usage counted from text, where a provider sent none or was not heard to the end.
    pub(super) fn estimate(&self, known: Option<Metered>, output_bytes: u64) -> Metered {
        // The other operations' answers are no text that is paid for by its length.
        let generates = matches!(&*self.route.operation, "chat" | "completions");
        let output_bytes = if generates { output_bytes } else { 0 };
        let counted = output_bytes.div_ceil(4);
        match known {
            Some(Metered { usage, units, service_tier, .. }) => {
                let usage = Usage { output: usage.output.max(counted), estimated: true, ..usage };
                Metered { usage, units, service_tier, stated: None }
            }
            None => {
                let input = self.facts.input_tokens;
                Usage { input, output: counted, estimated: true, ..Usage::default() }.into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::{Price, Rates};
    use proptest::prelude::*;
    use time::macros::date;

    use super::*;

    #[test]
    fn every_answer_has_the_cap_to_itself() {
        assert_eq!(output_bound(Some(100), 1), 100);
        assert_eq!(output_bound(Some(100), 4), 400);
        assert_eq!(output_bound(None, 2), 2 * u64::from(UNBOUNDED_OUTPUT));
        assert_eq!(output_bound(Some(100), 0), 100);
        assert_eq!(output_bound(Some(u32::MAX), u64::MAX), u64::MAX);
    }

    proptest! {
        /// However long each of the answers is within its cap, and however much of it is thought or heard, no more is spent than
        /// was set aside.
        #[test]
        fn several_answers_cost_no_more_than_was_reserved(
            input in 0..1_000_000_u64,
            lengths in prop::collection::vec((0..=4_096_u64, 0..=4_096_u64), 1..8),
            (per_input, per_output, per_thought) in (0..100_000_000_u64, 0..100_000_000_u64, prop::option::of(0..100_000_000_u64)),
        ) {
            let rates = Rates { input: Some(per_input), output: Some(per_output), reasoning: per_thought, ..Rates::default() };
            let price = Price::of(date!(2026-01-01), "test".to_owned(), rates);
            let output = lengths.iter().map(|(length, _)| length).sum();
            let reasoning = lengths.iter().map(|(length, thought)| thought.min(length)).sum();
            let usage = Usage { input, output, reasoning, ..Usage::default() };
            let bound = output_bound(Some(4_096), lengths.len() as u64);
            prop_assert!(price.cost(&usage).unwrap().total <= price.worst_case(input, bound).unwrap().total);
        }
    }
}
