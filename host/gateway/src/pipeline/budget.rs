//! Room in the budgets for an attempt, before it is reserved: invariant 3.
//!
//! Mostly the slices at hand have it and nobody waits. A request that states no output limit is given the one that the budget
//! affords; a request that is too dear is refused in its client's protocol, and another target may still be within the budget.
//!
//! A refusal is a 429 with the code `budget_exceeded`, as OpenAI answers a quota or spend limit that is used up (429, by its
//! "Error codes" page) and LiteLLM a budget ("budget_exceeded", 429). Clients that know neither code treat it as a limit.

use portcullis_core::NanoUsd;
use portcullis_core::receipt::{self, Tag};
use portcullis_runtime::contract::types;
use portcullis_store::budgets::{Applicable, Hold, HoldError, Period, Refusal, Subject};

use super::failure::Halt;
use super::money::UNBOUNDED_OUTPUT;
use super::{Exchange, Stop};
use crate::catalog::Offer;
use crate::endpoint::Endpoint;

pub(super) const BUDGET_EXCEEDED: &str = "budget_exceeded";

/// Tokens of output below which a request is refused rather than cut so short.
const OUTPUT_FLOOR: u32 = 256;
/// How often budgets may change under one request.
const CHANGES: u32 = 5;

/// What is asked of the database.
pub(super) struct Asking {
    applicable: Applicable,
    offer: Offer,
    choices: u64,
    /// The output limit may be lowered.
    elastic: bool,
    cap: Option<u32>,
    worst: NanoUsd,
}

/// What was got.
pub(super) struct Room {
    hold: Hold,
    cap: Option<u32>,
    changes: u32,
}

impl Exchange {
    /// The budgets that count this request at a target.
    pub(super) fn applicable(&self, offer: &Offer) -> Applicable {
        let ledger = &self.gateway.ledger;
        if !ledger.has_budgets() {
            return Applicable::default();
        }
        let own = self.caller.tags.iter().map(|tag| Tag { name: tag.name.clone(), value: tag.value.clone() });
        let added = self.constraints.tags.iter().map(|tag| Tag { name: tag.name.clone(), value: tag.value.clone() });
        let tags: Vec<Tag> = own.chain(added).collect();
        ledger.applicable(&Subject {
            organisation: self.key.organisation,
            team: self.key.team,
            key: self.key.id,
            user: self.caller.user.as_deref(),
            provider: &offer.connection.name,
            model: &offer.model.id,
            tags: &tags,
        })
    }

    /// Holds an attempt's worst case in all its budgets. Where the request has no output limit of its own it may be given one,
    /// and the worst case is then less.
    pub(super) fn hold(
        &mut self,
        applicable: Applicable,
        offer: &Offer,
        endpoint: &Endpoint,
        spliceable: bool,
        choices: u64,
        worst: Option<NanoUsd>,
    ) -> Result<(Option<NanoUsd>, Hold), Halt> {
        if applicable.is_empty() {
            return Ok((worst, Hold::unbudgeted()));
        }
        if let Some(Room { hold, cap, .. }) = self.room.take_if(|room| !room.hold.is_empty()) {
            self.limit_output(cap);
            return Ok((worst.map(|_| hold.amount()), hold));
        }
        let has_place = endpoint.format != *self.route.format || !self.route.output_limit.is_empty();
        // Of what else is generated, as speech and images, the bound is the one that is assumed of it.
        let is_text = self.route.translates() || !self.route.output_limit.is_empty();
        let elastic =
            is_text && !self.route.is_free() && self.facts.max_output_tokens.is_none() && spliceable && has_place;
        let mut asking = Asking {
            applicable,
            offer: offer.clone(),
            choices,
            elastic,
            cap: None,
            worst: worst.unwrap_or(NanoUsd::ZERO),
        };
        if asking.applicable.has_hard() && is_text && !self.route.is_free() && self.output_cap(offer).is_none() {
            if !elastic {
                return Err(unbounded().into());
            }
            asking.cap = Some(UNBOUNDED_OUTPUT);
        }
        let ledger = self.gateway.ledger.clone();
        loop {
            let before = self.cost_so_far();
            match ledger.try_hold(&asking.applicable, asking.worst, before, self.context.now) {
                Ok(Some(hold)) => {
                    self.limit_output(asking.cap);
                    return Ok((worst.map(|_| asking.worst), hold));
                }
                Ok(None) => return Err(Halt::Room(Box::new(asking))),
                Err(refusal) => self.shrink(&mut asking, &refusal)?,
            }
        }
    }

    /// Asks the database; what it has is there when the attempt is prepared again.
    pub(super) async fn ask_for_room(&mut self, mut asking: Box<Asking>) -> Result<(), Stop> {
        self.release_plugins();
        let ledger = self.gateway.ledger.clone();
        loop {
            let before = self.cost_so_far();
            match ledger.hold(&asking.applicable, asking.worst, before, self.context.now).await {
                Ok(hold) => {
                    self.room = Some(Room { hold, cap: asking.cap, changes: 0 });
                    return Ok(());
                }
                Err(HoldError::Refused(refusal)) => self.shrink(&mut asking, &refusal)?,
                Err(HoldError::Changed) => {
                    let changes = self.room.as_ref().map_or(0, |room| room.changes) + 1;
                    if changes > CHANGES {
                        return Err(unavailable());
                    }
                    self.room = Some(Room { hold: Hold::unbudgeted(), cap: None, changes });
                    return Ok(());
                }
                Err(error @ (HoldError::Slow | HoldError::Closed | HoldError::Store(_))) => {
                    tracing::error!(request_id = %self.context.request_id, %error, "no budget can be asked");
                    return Err(unavailable());
                }
            }
        }
    }

    /// Lowers the output limit to what is affordable, or refuses.
    fn shrink(&self, asking: &mut Asking, refusal: &Refusal) -> Result<(), Stop> {
        let refused = || self.refused(refusal);
        if !asking.elastic {
            return Err(refused());
        }
        let cost = |cap: u32| self.worst_with(&asking.offer, Some(cap), asking.choices).ok();
        let most = asking.cap.or_else(|| self.output_cap(&asking.offer)).unwrap_or(UNBOUNDED_OUTPUT);
        let cap = largest(OUTPUT_FLOOR, most, |cap| cost(cap).is_some_and(|cost| cost <= refusal.affordable));
        let cap = cap.filter(|cap| *cap < most).ok_or_else(refused)?;
        asking.worst = cost(cap).ok_or_else(refused)?;
        asking.cap = Some(cap);
        Ok(())
    }

    fn limit_output(&mut self, cap: Option<u32>) {
        let Some(cap) = cap else { return };
        self.attempt_output_limit = Some(self.attempt_output_limit.map_or(cap, |limit| limit.min(cap)));
        self.record.notes.push(receipt::Note { code: "budget-output-limit".into(), subject: cap.to_string() });
    }

    /// What this request's earlier attempts have cost, or may have.
    fn cost_so_far(&self) -> NanoUsd {
        let costs = self.record.attempts.iter().filter_map(|attempt| attempt.settled.or(attempt.reserved));
        costs.fold(NanoUsd::ZERO, |sum, cost| sum.checked_add(cost).unwrap_or(NanoUsd::MAX))
    }

    fn refused(&self, refusal: &Refusal) -> Stop {
        let Refusal { budget, needed, affordable, resets_ms } = refusal;
        tracing::warn!(
            request_id = %self.context.request_id,
            budget = %budget.id,
            %needed,
            %affordable,
            "refused: over budget"
        );
        let what = match &budget.period {
            Period::Request => format!("allows {} USD a request, of which {affordable} are left", budget.limit),
            Period::Total => format!("has {affordable} USD left"),
            period => format!("of {} USD a {} has {affordable} USD left", budget.limit, period.name()),
        };
        let when = match (&budget.period, resets_ms.and_then(clock_time)) {
            (Period::Rolling(_), Some(time)) => format!(" Some of it is free again at {time}."),
            (_, Some(time)) => format!(" It begins anew at {time}."),
            (Period::Total, None) => " It must be topped up.".to_owned(),
            (_, None) => String::new(),
        };
        let message = format!("The budget `{}` {what}, and this request may cost {needed} USD.{when}", budget.name);
        let retry_after = resets_ms.map(|at| at.saturating_sub(self.context.now));
        let failure = types::Failure {
            kind: types::FailureKind::RateLimited,
            message,
            code: Some(BUDGET_EXCEEDED.to_owned()),
            param: None,
            retry_after,
        };
        Stop { outcome: "denied", ..Stop::failed(failure) }
    }
}

fn unbounded() -> Stop {
    let message = "A hard budget counts this request, whose output has no limit that is known: state one.";
    Stop { outcome: "denied", ..Stop::of(types::FailureKind::Permission, "unbounded_output", message) }
}

fn unavailable() -> Stop {
    Stop::of(
        types::FailureKind::Unavailable,
        "ledger_unavailable",
        "The gateway cannot account for requests at the moment.",
    )
}

/// `2026-12-01T00:00:00Z`.
fn clock_time(at_ms: u64) -> Option<String> {
    let seconds = i64::try_from(at_ms / 1000).ok()?;
    let time = time::OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    time.format(&time::format_description::well_known::Rfc3339).ok()
}

/// The largest number from `floor` to `most` that fits, where whatever is smaller than one that fits does too.
fn largest(floor: u32, most: u32, fits: impl Fn(u32) -> bool) -> Option<u32> {
    if floor > most || !fits(floor) {
        return None;
    }
    let (mut low, mut high) = (floor, most);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) { low = middle } else { high = middle - 1 }
    }
    Some(low)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_told_in_utc() {
        assert_eq!(clock_time(1_780_000_000_000).as_deref(), Some("2026-05-28T20:26:40Z"));
        assert_eq!(clock_time(u64::MAX), None);
    }

    proptest! {
        #[test]
        fn the_largest_that_fits_is_found(floor in 0..50_u32, most in 0..500_u32, limit in 0..600_u32) {
            let expected = (floor..=most).filter(|number| *number <= limit).max();
            prop_assert_eq!(largest(floor, most, |number| number <= limit), expected);
        }
    }
}
