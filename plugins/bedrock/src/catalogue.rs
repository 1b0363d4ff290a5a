//! The models that speak Converse, with their prices: `models.json`, read once when the plugin is described.
//!
//! Prices are pico-USD per token, which is micro-USD per million tokens, at the standard tier in the United States. A model
//! of Anthropic's is sold twice: by geography (`us.`, `eu.`, …, which are aliases of the bare id) and, a tenth cheaper, worldwide
//! (`global.`, a model of its own here). A price is in force from the day the model came with that price; where it is not known, from the
//! month of the list. Limits and structured output were checked against PyPI's litellm 1.109.1.
//! Three things that cost more cannot be said in the contract's rates: service tiers other than the default, latency-optimised inference
//! and guardrails.
//!
//! Besides the contract's capabilities, the catalogue says of Claude how it thinks (`thinking:budget`, `thinking:adaptive`), that it
//! thinks unasked and how it is kept from it (`thinking:unasked`; `thinking:off`, `thinking:between-tools`, `thinking:always`), its efforts
//! (`effort:…`), that its sampling is fixed (`sampling:fixed`) and that no tool can be forced on it (`tools:unforced`).

use portcullis_plugin::manifest::{Model, Price, Quality, Rates, Tier};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalogue {
    price_source: String,
    quality_source: String,
    models: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    aliases: Vec<String>,
    context: u32,
    max_output: u32,
    capabilities: Vec<String>,
    quality: Option<f32>,
    prices: Vec<EntryPrice>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryPrice {
    effective: String,
    source: Option<String>,
    rates: EntryRates,
    #[serde(default)]
    tiers: Vec<EntryTier>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryTier {
    above: u64,
    rates: EntryRates,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryRates {
    input: u64,
    output: u64,
    cache_read: Option<u64>,
    cache_write_short: Option<u64>,
    cache_write_long: Option<u64>,
}

impl EntryRates {
    fn rates(&self) -> Rates {
        Rates {
            cache_read: self.cache_read,
            cache_write_short: self.cache_write_short,
            cache_write_long: self.cache_write_long,
            ..Rates::tokens(self.input, self.output)
        }
    }
}

pub fn models() -> Vec<Model> {
    let catalogue: Catalogue = serde_json::from_str(include_str!("models.json")).expect("the plugin's own catalogue");
    let Catalogue { price_source, quality_source, models } = catalogue;
    let price = |price: EntryPrice| Price {
        effective: price.effective,
        source: price.source.unwrap_or_else(|| price_source.clone()),
        rates: price.rates.rates(),
        tiers: price.tiers.iter().map(|tier| Tier { above: tier.above, rates: tier.rates.rates() }).collect(),
        units: Vec::new(),
        services: Vec::new(),
    };
    models
        .into_iter()
        .map(|entry| Model {
            id: entry.id,
            aliases: entry.aliases,
            synonyms: Vec::new(),
            extra: Vec::new(),
            operations: vec!["chat".to_owned()],
            context: entry.context,
            max_output: entry.max_output,
            capabilities: entry.capabilities,
            quality: entry.quality.map(|score| Quality { score, source: quality_source.clone() }),
            prices: entry.prices.into_iter().map(price).collect(),
        })
        .collect()
}

/// What a Claude takes. A request that it would refuse is made to fit, with a note.
#[derive(Debug, Clone, PartialEq)]
pub struct Traits {
    /// `thinking: enabled` with a budget.
    pub budget: bool,
    /// `thinking: adaptive`.
    pub adaptive: bool,
    /// It thinks unless told not to.
    pub unasked: bool,
    /// How to have no thinking.
    pub off: Off,
    /// The words of effort it takes, from least to most.
    pub efforts: Vec<String>,
    /// Temperature, top-p and top-k other than the defaults.
    pub sampling: bool,
    /// A tool can be forced on it.
    pub forced_tools: bool,
}

/// How a model is kept from thinking.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Off {
    /// It does not think unless asked.
    Silence,
    /// `thinking: disabled`.
    Disabled,
    /// `thinking: between_tools`, the least it does.
    BetweenTools,
    /// It always thinks; the lowest effort is the least.
    Never,
}

/// From a model's capabilities. One that the catalogue does not know is taken to do what it is asked: the API judges.
pub fn traits(capabilities: &[String]) -> Traits {
    let has = |word: &str| capabilities.iter().any(|able| able == word);
    let efforts = capabilities.iter().filter_map(|able| able.strip_prefix("effort:"));
    if capabilities.is_empty() {
        let efforts = ["low", "medium", "high", "xhigh", "max"].map(str::to_owned).to_vec();
        let (budget, adaptive, sampling, forced_tools) = (true, true, true, true);
        return Traits { budget, adaptive, unasked: false, off: Off::Silence, efforts, sampling, forced_tools };
    }
    Traits {
        budget: has("thinking:budget"),
        adaptive: has("thinking:adaptive"),
        unasked: has("thinking:unasked"),
        off: match () {
            () if has("thinking:always") => Off::Never,
            () if has("thinking:between-tools") => Off::BetweenTools,
            () if has("thinking:off") => Off::Disabled,
            () => Off::Silence,
        },
        efforts: efforts.map(str::to_owned).collect(),
        sampling: !has("sampling:fixed"),
        forced_tools: !has("tools:unforced"),
    }
}

/// The traits of a model by a name of the catalogue's.
#[cfg(test)]
pub fn traits_of(name: &str) -> Traits {
    let known = models().into_iter().find(|model| model.id == name || model.aliases.iter().any(|alias| alias == name));
    traits(&known.map(|model| model.capabilities).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_model_is_named_once_and_priced_in_order() {
        let mut names = HashSet::new();
        for model in models() {
            for name in std::iter::once(&model.id).chain(&model.aliases) {
                assert!(names.insert(name.clone()), "{name} stands twice");
            }
            assert!(model.max_output > 0 && model.max_output <= model.context, "{}", model.id);
            let days: Vec<_> = model.prices.iter().map(|price| &price.effective).collect();
            assert!(!days.is_empty() && days.is_sorted(), "{}", model.id);
            for price in &model.prices {
                let (input, output) = (price.rates.input.unwrap(), price.rates.output.unwrap());
                assert!(input <= output && price.rates.cache_read.is_none_or(|read| read < input), "{}", model.id);
            }
        }
    }

    #[test]
    fn a_known_price_reads_as_published() {
        let models = models();
        let named = |id: &str| models.iter().find(|model| model.id == id).unwrap();
        // $0.06 and $0.24 for a million tokens.
        let rates = named("amazon.nova-lite-v1:0").prices[0].rates;
        assert_eq!((rates.input, rates.output, rates.cache_read), (Some(60_000), Some(240_000), Some(15_000)));
        // $3 worldwide, $3.30 by geography.
        assert_eq!(named("global.anthropic.claude-sonnet-4-6").prices[0].rates.input, Some(3_000_000));
        let regional = named("anthropic.claude-sonnet-4-6");
        assert_eq!(regional.prices[0].rates.input, Some(3_300_000));
        assert!(regional.aliases.iter().any(|alias| alias == "eu.anthropic.claude-sonnet-4-6"));
    }
}
