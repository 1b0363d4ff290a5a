//! The models of Cohere's API, with their prices: `models.json`, read once when the plugin is described.
//!
//! Prices are pico-USD per token, which is micro-USD per million tokens, and nano-USD per search or picture. A price is in force from the
//! month in the model's name, else from the month of the list. What costs nothing is written as 0: rerank takes money for
//! searches alone, embeddings for what goes in, and the newest chat models are free within their limits. A model without a price has
//! none that is published: it is sold by the hour, and the operator says what it costs. A search is "one query with up to 100
//! documents to be ranked" (<https://cohere.com/pricing>).
//!
//! Besides the contract's capabilities, the catalogue says of older models that no choice among tools can be forced on them
//! (`tool-choice:auto`).

use portcullis_plugin::manifest::{Model, Price, Quality, Rates};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalogue {
    quality_source: String,
    sources: Vec<String>,
    models: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    #[serde(default)]
    aliases: Vec<String>,
    operation: String,
    context: u32,
    #[serde(default)]
    max_output: u32,
    #[serde(default)]
    capabilities: Vec<String>,
    quality: Option<f32>,
    #[serde(default)]
    prices: Vec<EntryPrice>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryPrice {
    effective: String,
    /// Which of `sources`.
    source: usize,
    input: u64,
    output: u64,
    image: Option<u64>,
    search: Option<u64>,
}

pub fn models() -> Vec<Model> {
    let catalogue: Catalogue = serde_json::from_str(include_str!("models.json")).expect("the plugin's own catalogue");
    let Catalogue { quality_source, sources, models } = catalogue;
    let price = |price: EntryPrice| Price {
        effective: price.effective,
        source: sources[price.source].clone(),
        rates: Rates { image: price.image, search: price.search, ..Rates::tokens(price.input, price.output) },
        tiers: Vec::new(),
        units: Vec::new(),
        services: Vec::new(),
    };
    models
        .into_iter()
        .map(|entry| Model {
            id: entry.id,
            synonyms: Vec::new(),
            extra: Vec::new(),
            aliases: entry.aliases,
            operations: vec![entry.operation],
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
            let chat = model.operations == ["chat"];
            assert_eq!(chat, model.max_output > 0, "{}", model.id);
            assert!(model.max_output <= model.context, "{}", model.id);
            assert!(model.prices.iter().map(|price| &price.effective).is_sorted(), "{}", model.id);
            for Price { rates, .. } in &model.prices {
                let searches = model.operations == ["rerank"] && rates.search.is_some();
                let (input, output) = (rates.input.unwrap(), rates.output.unwrap());
                assert!(if chat { input <= output } else { output == 0 }, "{}", model.id);
                assert!(chat || searches || input > 0, "{} costs nothing", model.id);
            }
        }
    }

    #[test]
    fn a_known_price_reads_as_published() {
        let models = models();
        let rates = |id: &str| models.iter().find(|model| model.id == id).unwrap().prices[0].rates;
        // $2.50 and $10 for a million tokens.
        let chat = rates("command-a-03-2025");
        assert_eq!((chat.input, chat.output, chat.cache_read), (Some(2_500_000), Some(10_000_000), None));
        // $2.00 for a thousand searches.
        assert_eq!(rates("rerank-v3.5").search, Some(2_000_000));
        // $0.12 for a million tokens; pictures cost otherwise, and what is not said is not 0.
        assert_eq!((rates("embed-v4.0").input, rates("embed-v4.0").image), (Some(120_000), None));
    }
}
