//! Token counts. Cohere tells two: `tokens`, what the model read and wrote with the prompt that Cohere builds around the request,
//! and `billed_units`, which is what costs ("billed input tokens", SDK; <https://docs.cohere.com/docs/how-does-cohere-pricing-work>).
//! Thinking is in the former alone (recordings: 661 billed of 1257). What is billed counts here; where nothing is told of that,
//! the other.
//!
//! `cached_tokens` are of `tokens.input_tokens`. A cache holds a prefix, and what is not billed is Cohere's own prefix, so of the billed
//! ones those are read from the cache that are not among the last `tokens - cached`.

use portcullis_plugin::ir::Usage;
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct WireUsage {
    billed_units: Option<Units>,
    tokens: Option<Units>,
    cached_tokens: Option<f64>,
}

/// Counts are floats in the API's description.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Units {
    pub input_tokens: Option<f64>,
    pub output_tokens: Option<f64>,
    pub search_units: Option<f64>,
    pub images: Option<f64>,
    pub image_tokens: Option<f64>,
    pub text_tokens: Option<f64>,
}

/// A count; what is no count is none.
pub fn count(number: Option<f64>) -> u64 {
    // The cast saturates, and makes 0 of what is negative or not a number.
    number.unwrap_or(0.0).round() as u64
}

impl WireUsage {
    /// Nothing where neither is told.
    pub fn usage(&self) -> Option<Usage> {
        let counted = self.billed_units.as_ref().or(self.tokens.as_ref())?;
        let input = count(counted.input_tokens);
        let read = count(self.tokens.as_ref().and_then(|tokens| tokens.input_tokens));
        let fresh = read.saturating_sub(count(self.cached_tokens));
        let cache_read = match self.cached_tokens {
            Some(cached) if cached > 0.0 && read > 0 => input.saturating_sub(fresh),
            _ => 0,
        };
        Some(Usage {
            input: input - cache_read,
            cache_read,
            output: count(counted.output_tokens),
            searches: count(counted.search_units),
            ..Usage::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn usage(wire: &str) -> Option<Usage> {
        serde_json::from_str::<WireUsage>(wire).unwrap().usage()
    }

    #[test]
    fn what_is_billed_counts() {
        let both = r#"{"billed_units":{"input_tokens":431,"output_tokens":661},"tokens":{"input_tokens":2190,"output_tokens":1257}}"#;
        assert_eq!(usage(both), Some(Usage { input: 431, output: 661, ..Usage::default() }));
        let one = r#"{"tokens":{"input_tokens":5.0,"output_tokens":2.0}}"#;
        assert_eq!(usage(one), Some(Usage { input: 5, output: 2, ..Usage::default() }));
        assert_eq!(usage("{}"), None);
    }

    #[test]
    fn the_cache_s_part_is_that_of_the_billed_prefix() {
        let long = r#"{"billed_units":{"input_tokens":2406,"output_tokens":2},"cached_tokens":2928,
            "tokens":{"input_tokens":2935,"output_tokens":4}}"#;
        assert_eq!(usage(long), Some(Usage { input: 7, cache_read: 2399, output: 2, ..Usage::default() }));
        // The cache held no more than Cohere's own prompt.
        let short = r#"{"billed_units":{"input_tokens":41,"output_tokens":28},"cached_tokens":1040,
            "tokens":{"input_tokens":1442,"output_tokens":29}}"#;
        assert_eq!(usage(short), Some(Usage { input: 41, output: 28, ..Usage::default() }));
    }

    proptest! {
        /// Every billed token once, whatever the other counts say.
        #[test]
        fn billed_tokens_add_up(billed in 0u32.., output in 0u32.., tokens in prop::option::of(0u32..), cached in prop::option::of(0u32..)) {
            let units = |input: u32| Units { input_tokens: Some(input.into()), output_tokens: Some(output.into()), ..Units::default() };
            let wire = WireUsage {
                billed_units: Some(units(billed)),
                tokens: tokens.map(units),
                cached_tokens: cached.map(f64::from),
            };
            let usage = wire.usage().unwrap();
            prop_assert_eq!(usage.total_input(), u64::from(billed));
            prop_assert_eq!(usage.output, u64::from(output));
        }

        #[test]
        fn no_number_panics(number: f64) {
            let _ = count(Some(number));
        }
    }
}
