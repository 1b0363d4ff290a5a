//! What a candidate is worth to a request: a number from 0 to 1, higher is better.
//!
//! Each quantity becomes a share of one by a curve of its own, and the shares are weighed. The curves never look at other
//! candidates, and each is monotonic; hence the invariant that ranking rests on: a candidate that is no better in
//! anything never scores higher, and who else stands in the list changes no score. Only `+ - * /` is used, so that every
//! machine finds the same numbers.

use std::fmt::Write as _;

use portcullis_plugin::prelude::{Breaker, Candidate, Factor};

use crate::config::{Settings, Weights};
use crate::demand::Demand;

/// Costs and delays at which a share is one half.
const HALF_PRICE: f64 = 3_000_000.0; // pico-USD per token: 3 USD a million
const HALF_LATENCY: f64 = 800.0; // milliseconds
const HALF_LOAD: f64 = 64.0; // requests in flight

/// Of the quality share, what lies within the desired quality; the rest rewards what exceeds it.
const WITHIN_DESIRE: f64 = 0.9;

/// What a connection on trial counts of its health.
const ON_TRIAL: f64 = 0.5;

/// A candidate's quantities for one request, what is missing put conservatively.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// pico-USD that the request is expected to cost.
    pub cost: u128,
    pub price_known: bool,
    pub latency: f64,
    pub latency_known: bool,
    pub quality: f64,
    pub quality_known: bool,
    pub error_rate: f64,
    pub score: f64,
}

impl Measured {
    pub fn of(candidate: &Candidate, demand: &Demand, settings: &Settings, weights: &Weights) -> Self {
        let price = |price: Option<u64>| u128::from(price.unwrap_or(settings.unknown_price));
        let cost = u128::from(demand.input)
            .saturating_mul(price(candidate.input_price))
            .saturating_add(u128::from(demand.output).saturating_mul(price(candidate.output_price)));
        // A moving average of nothing is 0; what is no number at all is no measurement either.
        let latency_known = candidate.latency > 0.0 && candidate.latency.is_finite();
        let latency = if latency_known { f64::from(candidate.latency) } else { settings.unknown_latency };
        let quality = candidate.quality.filter(|quality| quality.is_finite());
        let error_rate =
            if candidate.error_rate.is_nan() { 1.0 } else { f64::from(candidate.error_rate).clamp(0.0, 1.0) };
        let mut measured = Measured {
            cost,
            // A price matters only where there are tokens to pay.
            price_known: (candidate.input_price.is_some() || demand.input == 0)
                && (candidate.output_price.is_some() || demand.output == 0),
            latency,
            latency_known,
            quality: quality.map_or(settings.unknown_quality, |quality| f64::from(quality).clamp(0.0, 100.0)),
            quality_known: quality.is_some(),
            error_rate,
            score: 0.0,
        };
        measured.score = weights.price * price_share(cost, demand)
            + weights.latency * share(latency, HALF_LATENCY)
            + weights.quality * quality_share(measured.quality, demand.quality)
            + weights.health * health_share(error_rate, candidate);
        measured
    }

    pub fn factors(&self) -> Vec<Factor> {
        let factor = |name: &str, value: f64| Factor { name: name.to_owned(), value: rounded(value) };
        vec![
            // For people: the ledger counts by itself, in integers.
            factor("price_usd", self.cost as f64 / 1e12),
            factor("latency_ms", self.latency),
            factor("quality", self.quality),
            factor("error_rate", self.error_rate),
        ]
    }
}

/// One at nothing, a half at `half`, ever less beyond.
fn share(value: f64, half: f64) -> f64 {
    half / (half + value)
}

/// By the price of a token, mixed as the request mixes input and output: a long request is not a dear one.
fn price_share(cost: u128, demand: &Demand) -> f64 {
    let tokens = demand.input.saturating_add(demand.output).max(1);
    share(cost as f64 / tokens as f64, HALF_PRICE)
}

/// Grows with the square up to the desired quality, since what is not up to a task is worth little; slowly beyond it.
fn quality_share(quality: f64, desired: f64) -> f64 {
    let within = if desired > 0.0 { (quality / desired).min(1.0) } else { 1.0 };
    let beyond = if desired < 100.0 { ((quality - desired) / (100.0 - desired)).max(0.0) } else { 0.0 };
    WITHIN_DESIRE * within * within + (1.0 - WITHIN_DESIRE) * beyond
}

fn health_share(error_rate: f64, candidate: &Candidate) -> f64 {
    let success = 1.0 - error_rate;
    let trust = if candidate.breaker == Breaker::Closed { 1.0 } else { ON_TRIAL };
    trust * success * success * share(f64::from(candidate.in_flight), HALF_LOAD)
}

/// To six places: enough for people, and the same in every notation of JSON.
pub fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// Appends a number with so many places, as `{:.places$}` writes it. That finds the exact decimal digits of a float, which takes
/// long and matters only where the last place is as near to the one below as to the one above.
pub fn fixed(into: &mut String, value: f64, places: u32) {
    let unit = 10_u64.pow(places);
    let scaled = value * unit as f64;
    let below = scaled.floor();
    let rest = scaled - below;
    if value.is_sign_negative() || !(0.0..1e12).contains(&scaled) || (rest - 0.5).abs() < 1e-3 {
        let _ = write!(into, "{value:.places$}", places = places as usize);
        return;
    }
    let number = below as u64 + u64::from(rest > 0.5);
    let _ = write!(into, "{}", number / unit);
    if places > 0 {
        into.push('.');
        padded(into, number % unit, places);
    }
}

/// Appends so many digits.
fn padded(into: &mut String, number: u64, digits: u32) {
    for place in (0..digits).rev() {
        into.push(char::from(b'0' + (number / 10_u64.pow(place) % 10) as u8));
    }
}

/// pico-USD as USD, in full but without zeros at the end: `0.0042`.
pub fn usd(pico: u128) -> String {
    const PICO: u64 = 1_000_000_000_000;
    const PLACES: u32 = 12;
    let mut text = match u64::try_from(pico) {
        Ok(pico) => (pico / PICO).to_string(),
        Err(_) => (pico / u128::from(PICO)).to_string(),
    };
    let rest = (pico % u128::from(PICO)) as u64;
    if rest > 0 {
        text.push('.');
        padded(&mut text, rest, PLACES);
        text.truncate(text.trim_end_matches('0').len());
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn money_reads_plainly() {
        for (pico, text) in [
            (0, "0"),
            (1, "0.000000000001"),
            (4_200_000_000, "0.0042"),
            (12_000_000_000_000, "12"),
            (10_500_000_000_000, "10.5"),
            (u128::from(u64::MAX) * 1_000_000_000_000 + 1, "18446744073709551615.000000000001"),
        ] {
            assert_eq!(usd(pico), text);
        }
    }

    proptest! {
        #[test]
        fn fixed_places_are_those_of_the_standard_library(value: f64, share in 0.0..1.0, halves in 0_u32..4000, places in 0_u32..4) {
            for value in [value, share, share * 1e4, f64::from(halves) / 8.0, f64::from(halves) / 1000.0, -share, 0.0, -0.0] {
                let mut text = String::new();
                fixed(&mut text, value, places);
                prop_assert_eq!(text, format!("{value:.places$}", places = places as usize));
            }
        }
    }

    #[test]
    fn the_curves_have_their_anchors() {
        assert_eq!(share(0.0, 800.0), 1.0);
        assert_eq!(share(800.0, 800.0), 0.5);
        assert_eq!(quality_share(85.0, 85.0), 0.9);
        assert_eq!(quality_share(100.0, 85.0), 1.0);
        assert_eq!(quality_share(40.0, 80.0), 0.225);
        assert_eq!((quality_share(50.0, 0.0), quality_share(100.0, 100.0)), (0.95, 0.9));
    }
}
