//! The models of OpenAI that speak Chat Completions, with their prices: `models.json`, read once when the plugin is described.
//!
//! Prices are pico-USD per token, which is micro-USD per million tokens, at the standard service tier. A price is in force from
//! its day; where the day is not known it is the first on which the model is known to have been sold. Retired models
//! and those of other endpoints (`-pro`, `-codex`) are left out, and so are the search models: their fee for each call is not in
//! the usage they report, and an unknown price is never $0.
//!
//! Besides the contract's capabilities, the catalogue says which efforts beyond `low`, `medium` and `high` a model has
//! (`effort:none`, `effort:minimal`, `effort:xhigh`, `effort:max`), that it refuses function tools beside an effort
//! (`tools-effort:default`) or beside any effort but an explicit `none` (`tools-effort:none`), and whether it takes `sampling`.

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
    audio_input: Option<u64>,
    audio_output: Option<u64>,
}

impl EntryRates {
    fn rates(&self) -> Rates {
        Rates {
            cache_read: self.cache_read,
            cache_write_short: self.cache_write_short,
            audio_input: self.audio_input,
            audio_output: self.audio_output,
            ..Rates::tokens(self.input, self.output)
        }
    }
}

pub fn models() -> Vec<Model> {
    let catalogue: Catalogue = serde_json::from_str(include_str!("models.json")).expect("the plugin's own catalogue");
    let Catalogue { price_source, quality_source, models } = catalogue;
    let price = |price: EntryPrice| Price {
        effective: price.effective,
        source: price_source.clone(),
        rates: price.rates.rates(),
        tiers: price.tiers.iter().map(|tier| Tier { above: tier.above, rates: tier.rates.rates() }).collect(),
    };
    models
        .into_iter()
        .map(|entry| Model {
            id: entry.id,
            aliases: entry.aliases,
            operations: vec!["chat".to_owned()],
            context: entry.context,
            max_output: entry.max_output,
            capabilities: entry.capabilities,
            quality: entry.quality.map(|score| Quality { score, source: quality_source.clone() }),
            prices: entry.prices.into_iter().map(price).collect(),
        })
        .collect()
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
            assert!(model.max_output > 0 && model.max_output < model.context, "{}", model.id);
            let days: Vec<_> = model.prices.iter().map(|price| &price.effective).collect();
            assert!(!days.is_empty() && days.is_sorted(), "{}", model.id);
            for price in &model.prices {
                let (input, output) = (price.rates.input.unwrap(), price.rates.output.unwrap());
                assert!(input < output && price.rates.cache_read.is_none_or(|read| read < input), "{}", model.id);
            }
        }
    }

    #[test]
    fn a_known_price_reads_as_published() {
        // $0.15 and $0.60 for a million tokens.
        let models = models();
        let mini = models.iter().find(|model| model.id == "gpt-4o-mini").unwrap();
        assert_eq!((mini.prices[0].rates.input, mini.prices[0].rates.output), (Some(150_000), Some(600_000)));
    }
}
