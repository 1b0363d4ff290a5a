//! LiteLLM's prices (<https://github.com/BerriAI/litellm>, `model_prices_and_context_window.json`): an object of models, each with
//! its provider and amounts in USD per token. Names begin with the provider where they would be ambiguous: `xai/grok-4`.
//!
//! Amounts for batches, priority and flexible service are left out: the gateway's price is that of the standard one. So are those of
//! searches, which go by the size of what a search brings, and no answer tells that.

use std::collections::BTreeMap;

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
    Ok(PriceFile { providers })
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
    if let Some(key) = uncounted(members, &base) {
        return Err(format!("it has a price that the gateway does not count: {key}"));
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
    let rates = Rates {
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
    Ok(rates)
}

/// Says what a model costs beside the tokens that are counted. Tokens of a kind that is not told apart are counted as text: a price
/// above that of text would be lost.
fn uncounted(members: &Members, rates: &Rates) -> Option<String> {
    let is_uncounted = |key: &str, raw: &RawValue| {
        let (text, unit) = match (key.strip_prefix("input_cost_per_"), key.strip_prefix("output_cost_per_")) {
            (Some(unit), _) => (rates.input, unit),
            // The price of an image that is made has a place of its own.
            (_, Some("image")) => return false,
            (_, Some(unit)) => (rates.output, unit),
            _ => (None, if key == "citation_cost_per_token" { "citation" } else { return false }),
        };
        let cost = amount(raw, PER_TOKEN, &mut Notes::default()).unwrap_or(0);
        match unit {
            "image_token" | "video_token" => Some(cost) > text,
            // Counted, or of another service.
            unit if ["token", "audio_token", "reasoning_token", "image_token", "video_token"]
                .iter()
                .any(|known| unit.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))) =>
            {
                false
            }
            _ => cost > 0,
        }
    };
    members.iter().find(|(key, raw)| is_uncounted(key, raw)).map(|(key, _)| key.clone())
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
        "painter": {"litellm_provider": "acme", "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06, "output_cost_per_image_token": 4e-06},
        "seer": {"litellm_provider": "acme", "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06, "input_cost_per_image_token": 1e-06},
        "by-the-call": {"litellm_provider": "acme", "input_cost_per_token": 1e-06, "input_cost_per_request": 0.005},
        "other/m": {"litellm_provider": "other", "input_cost_per_token": 3e-07, "off_peak_pricing": {}}}"#;

    #[test]
    fn amounts_per_token_are_exact() {
        let file = PriceFile::parse(FILE).unwrap();
        let model = file.find(&["acme"], &["m"]).unwrap().unwrap()[0];
        let quote = &model.quotes[0];
        let base =
            Rates { input: Some(2_000_000), output: Some(10_000_000), cache_read: Some(500_000), ..Rates::default() };
        let above = Rates { input: Some(4_000_000), output: Some(15_000_000), ..base };
        assert_eq!((quote.rates, quote.tiers.as_slice()), (base, [Tier { above: 200_000, rates: above }].as_slice()));
        assert_eq!(model.source, "https://acme.example, by LiteLLM");
        assert_eq!(quote.notes, Notes::default());
        let bare = file.find(&["acme"], &["bare"]).unwrap().unwrap()[0].quotes;
        assert_eq!((bare[0].rates.input, bare[0].rates.output), (Some(150_000), None));
    }

    #[test]
    fn what_is_not_priced_by_the_token_is_not_taken() {
        let file = PriceFile::parse(FILE).unwrap();
        for id in ["hours", "painter", "by-the-call"] {
            assert!(file.find(&["acme"], &[id]).unwrap().is_err(), "{id}");
        }
        assert!(file.find(&["acme"], &["seer"]).unwrap().is_ok());
        assert!(file.find(&["other"], &["m"]).unwrap().unwrap()[0].quotes[0].notes.dearest);
        assert_eq!(file.providers.keys().collect::<Vec<_>>(), ["acme", "other"]);
    }
}
