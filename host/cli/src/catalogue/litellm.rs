//! LiteLLM's prices (<https://github.com/BerriAI/litellm>, `model_prices_and_context_window.json`): an object of models, each with
//! its provider and amounts in USD per token. Names begin with the provider where they would be ambiguous: `xai/grok-4`.
//!
//! Amounts for batches, priority and flexible service are left out: the gateway's price is that of the standard one.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use portcullis_core::price::{Rates, Tier};
use serde_json::value::RawValue;

use super::genai::Match;
use super::prices::{Notes, PER_PIECE, PER_TOKEN, PriceFile, PricedModel, Quote, amount, over};

type Members<'a> = BTreeMap<String, &'a RawValue>;

pub fn parse(models: &BTreeMap<String, &RawValue>) -> Result<PriceFile> {
    let mut providers: BTreeMap<String, Vec<PricedModel>> = BTreeMap::new();
    for (name, raw) in models {
        let Ok(members) = serde_json::from_str::<Members>(raw.get()) else { continue };
        // The first entry explains the form.
        let Some(provider) = text(&members, "litellm_provider").filter(|_| name != "sample_spec") else { continue };
        let id = name.strip_prefix(&format!("{provider}/")).unwrap_or(name).to_owned();
        let source = text(&members, "source").map_or("LiteLLM".to_owned(), |url| format!("{url}, by LiteLLM"));
        let quotes = quote(&members).map(|quote| vec![quote]);
        let model = PricedModel { id, also: Match::default(), source, quotes };
        providers.entry(provider).or_default().push(model);
    }
    Ok(PriceFile { providers, uncounted: BTreeSet::new() })
}

fn text(members: &Members, key: &str) -> Option<String> {
    serde_json::from_str(members.get(key)?.get()).ok()
}

fn quote(members: &Members) -> Result<Quote, String> {
    let mut notes = Notes::default();
    let base = rates(members, "", &mut notes)?;
    if base.input.is_none() {
        return Err("it is not priced by the token".to_owned());
    }
    let mut steps: Vec<u64> = members.keys().filter_map(|key| threshold(key)).collect();
    steps.sort_unstable();
    let mut below = base;
    let mut tiers = Vec::new();
    for thousands in steps {
        below = over(rates(members, &format!("_above_{thousands}k_tokens"), &mut notes)?, below);
        let above = thousands.checked_mul(1_000).ok_or("a tier begins too far up")?;
        tiers.push(Tier { above, rates: below });
    }
    // The base of a model that is cheaper at some hours is the price of the others.
    notes.dearest = members.contains_key("off_peak_pricing");
    Ok(Quote { from: None, rates: base, tiers, notes })
}

fn threshold(key: &str) -> Option<u64> {
    key.strip_prefix("input_cost_per_token_above_")?.strip_suffix("k_tokens")?.parse().ok()
}

fn rates(members: &Members, suffix: &str, notes: &mut Notes) -> Result<Rates, String> {
    let mut read = |key: &str, places: u32| -> Result<Option<u64>, String> {
        let raw = members.get(&format!("{key}{suffix}")).filter(|raw| raw.get() != "null");
        raw.map(|raw| amount(raw, places, notes)).transpose()
    };
    let mut rates = Rates {
        input: read("input_cost_per_token", PER_TOKEN)?,
        output: read("output_cost_per_token", PER_TOKEN)?,
        cache_read: read("cache_read_input_token_cost", PER_TOKEN)?,
        // Where writing a cache costs as any input the file often says 0.
        cache_write_short: read("cache_creation_input_token_cost", PER_TOKEN)?.filter(|cost| *cost > 0),
        cache_write_long: read("cache_creation_input_token_cost_above_1hr", PER_TOKEN)?.filter(|cost| *cost > 0),
        reasoning: read("output_cost_per_reasoning_token", PER_TOKEN)?,
        audio_input: read("input_cost_per_audio_token", PER_TOKEN)?,
        audio_output: read("output_cost_per_audio_token", PER_TOKEN)?,
        image: read("output_cost_per_image", PER_PIECE)?,
        search: None,
    };
    if suffix.is_empty() {
        rates.search = search(members, notes)?;
    }
    Ok(rates)
}

/// A search costs by the size of what it brings, which no answer tells: the dearest.
fn search(members: &Members, notes: &mut Notes) -> Result<Option<u64>, String> {
    let Some(raw) = members.get("search_context_cost_per_query").filter(|raw| raw.get().starts_with('{')) else {
        return Ok(None);
    };
    let sizes: Members = serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
    let costs = sizes.values().map(|raw| amount(raw, PER_PIECE, notes)).collect::<Result<Vec<u64>, _>>()?;
    Ok(costs.into_iter().max())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
        "sample_spec": {"litellm_provider": "one of https://docs.litellm.ai/docs/providers", "input_cost_per_token": 0.0},
        "acme/m": {"litellm_provider": "acme", "mode": "chat", "source": "https://acme.example", "input_cost_per_token": 2e-06,
            "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 5e-07, "cache_creation_input_token_cost": 0.0,
            "input_cost_per_token_batches": 1e-06, "input_cost_per_token_above_200k_tokens": 4e-06,
            "output_cost_per_token_above_200k_tokens": 1.5e-05, "input_cost_per_token_above_200k_tokens_priority": 8e-06,
            "search_context_cost_per_query": {"search_context_size_low": 0.005, "search_context_size_high": 0.012}},
        "bare": {"litellm_provider": "acme", "input_cost_per_token": 1.5e-07, "output_cost_per_token": null},
        "hours": {"litellm_provider": "acme", "input_cost_per_second": 0.1},
        "other/m": {"litellm_provider": "other", "input_cost_per_token": 3e-07, "off_peak_pricing": {}}}"#;

    #[test]
    fn amounts_per_token_are_exact() {
        let file = PriceFile::parse(FILE).unwrap();
        let model = file.find(&["acme"], &["m"]).unwrap();
        let quote = &model.quotes.as_ref().unwrap()[0];
        let base = Rates {
            input: Some(2_000_000),
            output: Some(10_000_000),
            cache_read: Some(500_000),
            search: Some(12_000_000),
            ..Rates::default()
        };
        let above = Rates { input: Some(4_000_000), output: Some(15_000_000), ..base };
        assert_eq!((quote.rates, quote.tiers.as_slice()), (base, [Tier { above: 200_000, rates: above }].as_slice()));
        assert_eq!(model.source, "https://acme.example, by LiteLLM");
        assert_eq!(quote.notes, Notes::default());
        let bare = file.find(&["acme"], &["bare"]).unwrap().quotes.as_ref().unwrap();
        assert_eq!((bare[0].rates.input, bare[0].rates.output), (Some(150_000), None));
    }

    #[test]
    fn what_is_not_priced_by_the_token_is_not_taken() {
        let file = PriceFile::parse(FILE).unwrap();
        assert!(file.find(&["acme"], &["hours"]).unwrap().quotes.is_err());
        assert!(file.find(&["other"], &["m"]).unwrap().quotes.as_ref().unwrap()[0].notes.dearest);
        assert_eq!(file.providers.keys().collect::<Vec<_>>(), ["acme", "other"]);
    }
}
