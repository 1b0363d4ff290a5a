//! A plugin's catalogue: the models it knows, with what they can and cost, as JSON compiled into it and read when it is described.
//!
//! ```json
//! {"price_source": "where", "quality_source": "whose",
//!  "models": [{"id": "m", "aliases": ["m-2026-01-01"], "operations": ["chat"], "context": 128000, "max_output": 16384,
//!    "capabilities": ["streaming", "tools"], "quality": 60.5,
//!    "prices": [{"effective": "2026-01-01", "rates": {"input": 150000, "output": 600000}, "tiers": []}]}]}
//! ```
//!
//! Prices are pico-USD per token, which is micro-USD per million tokens; `image` and `search` are nano-USD a piece. A model without
//! `operations` is for `chat`. A rate that is absent is unknown, which is never $0.

use portcullis_plugin::manifest::{Model, Price, Quality, Rates, Tier};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalogue {
    price_source: String,
    #[serde(default)]
    quality_source: String,
    models: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default = "chat")]
    operations: Vec<String>,
    #[serde(default)]
    context: u32,
    #[serde(default)]
    max_output: u32,
    #[serde(default)]
    capabilities: Vec<String>,
    quality: Option<f32>,
    prices: Vec<EntryPrice>,
}

fn chat() -> Vec<String> {
    vec!["chat".to_owned()]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryPrice {
    effective: String,
    /// Where this price was read, where not with the rest.
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

/// Absent is unknown; a price of 0 is a price.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryRates {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_write_short: Option<u64>,
    cache_write_long: Option<u64>,
    reasoning: Option<u64>,
    audio_input: Option<u64>,
    audio_output: Option<u64>,
    /// nano-USD for an image.
    image: Option<u64>,
    /// nano-USD for a search.
    search: Option<u64>,
}

impl EntryRates {
    fn rates(&self) -> Rates {
        let EntryRates { input, output, cache_read, cache_write_short, cache_write_long, reasoning, .. } = *self;
        let EntryRates { audio_input, audio_output, image, search, .. } = *self;
        Rates {
            input,
            output,
            cache_read,
            cache_write_short,
            cache_write_long,
            reasoning,
            audio_input,
            audio_output,
            image,
            search,
        }
    }
}

/// The models of a catalogue. Panics where `json` is not one: it is the plugin's own, compiled in and tested.
pub fn models(json: &str) -> Vec<Model> {
    let catalogue: Catalogue = serde_json::from_str(json).expect("the plugin's own catalogue");
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
            operations: entry.operations,
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

    const CATALOGUE: &str = r#"{"price_source":"here","models":[
        {"id":"a","operations":["moderations"],"prices":[{"effective":"2026-01-01","rates":{"input":0}}]},
        {"id":"b","context":10,"max_output":5,"prices":[
            {"effective":"2026-01-01","source":"there","rates":{"output":2},"tiers":[{"above":3,"rates":{"output":4}}]}]}]}"#;

    #[test]
    fn what_is_absent_is_unknown_and_nothing_else() {
        let models = models(CATALOGUE);
        assert_eq!((models[0].prices[0].rates.input, models[0].prices[0].rates.output), (Some(0), None));
        assert_eq!((models[0].operations[0].as_str(), models[1].operations[0].as_str()), ("moderations", "chat"));
        let price = &models[1].prices[0];
        assert_eq!((models[0].prices[0].source.as_str(), price.source.as_str()), ("here", "there"));
        assert_eq!((price.tiers[0].above, price.tiers[0].rates.output), (3, Some(4)));
    }
}
