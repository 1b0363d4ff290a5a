//! The models that Google Cloud offers, by its names for them: those since Claude 4.6 are called as by Anthropic, older ones with their
//! date after an `@` (<https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai>, "Model availability";
//! <https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/partner-models/use-partner-models>).
//!
//! Limits and quality are Anthropic's own of the model. Prices are the global endpoint's as Google lists them; regional and multi-region
//! endpoints cost a tenth more ("Global vs regional endpoints" of the first page), which a catalogue for all connections cannot know.

use std::borrow::Cow;

use portcullis_anthropic_messages::catalogue;
use portcullis_plugin::manifest::{Model, Price};

const PRICING: &str = "https://cloud.google.com/vertex-ai/generative-ai/pricing, by PyPI genai-prices 0.2.3";

struct Entry {
    /// Google's name.
    id: &'static str,
    /// Anthropic's.
    of: &'static str,
    /// The price that the list has.
    price: Listed,
    /// Answers can be held to a schema ("Structured outputs with Anthropic Claude models": from Claude 4.6 on).
    schema: bool,
}

#[derive(PartialEq)]
enum Listed {
    /// What Anthropic charges, but for searches, which the list does not name.
    Tokens,
    /// With searches.
    Searches,
    /// What Anthropic charges since it has one price for any length.
    Flat,
    /// The list has none: unknown.
    No,
}

const fn entry(name: &'static str, price: Listed) -> Entry {
    Entry { id: name, of: name, price, schema: true }
}

const fn dated(id: &'static str, of: &'static str) -> Entry {
    Entry { id, of, price: Listed::Tokens, schema: false }
}

const MODELS: &[Entry] = &[
    entry("claude-fable-5-2", Listed::Searches),
    entry("claude-fable-5-1", Listed::Tokens),
    entry("claude-opus-5-5", Listed::Tokens),
    entry("claude-sonnet-5-5", Listed::Tokens),
    entry("claude-haiku-5-5", Listed::Tokens),
    entry("claude-fable-5", Listed::Tokens),
    entry("claude-opus-5", Listed::Tokens),
    entry("claude-sonnet-5", Listed::No),
    entry("claude-opus-4-8", Listed::Tokens),
    entry("claude-opus-4-7", Listed::Tokens),
    entry("claude-opus-4-6", Listed::Tokens),
    entry("claude-sonnet-4-6", Listed::Flat),
    dated("claude-opus-4-5@20251101", "claude-opus-4-5"),
    dated("claude-haiku-4-5@20251001", "claude-haiku-4-5"),
    dated("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
];

pub fn models() -> Vec<Model> {
    let known = catalogue::models();
    let find = |of: &str| known.iter().find(|model| model.id == of);
    MODELS.iter().filter_map(|entry| Some(model(entry, find(entry.of)?.clone()))).collect()
}

/// Google's name for a model: clients may use Anthropic's, which has the date after a dash or leaves it out.
pub fn name(model: &str) -> Cow<'_, str> {
    if let Some(entry) = MODELS.iter().find(|entry| entry.of == model) {
        return Cow::Borrowed(entry.id);
    }
    match model.rsplit_once('-') {
        Some((name, date)) if date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit()) => {
            Cow::Owned(format!("{name}@{date}"))
        }
        _ => Cow::Borrowed(model),
    }
}

fn model(entry: &Entry, of: Model) -> Model {
    let (mut aliases, mut synonyms) = (Vec::new(), Vec::new());
    if entry.id == entry.of {
        aliases.push(format!("{}@default", entry.id));
    } else {
        // Anthropic's names, of which the dated one is what the model calls itself in its answers.
        synonyms.extend([entry.of.to_owned(), entry.id.replace('@', "-")]);
    }
    let mut capabilities = of.capabilities;
    capabilities.retain(|capability| entry.schema || capability != "json-schema");
    Model { id: entry.id.to_owned(), aliases, synonyms, capabilities, prices: prices(&entry.price, of.prices), ..of }
}

fn prices(listed: &Listed, of: Vec<Price>) -> Vec<Price> {
    let first = of.first().map(|price| price.effective.clone());
    let of = match listed {
        Listed::No => Vec::new(),
        Listed::Flat => of.into_iter().filter(|price| price.tiers.is_empty()).collect(),
        Listed::Tokens | Listed::Searches => of,
    };
    let mut prices: Vec<Price> = of.into_iter().map(|price| Price { source: PRICING.to_owned(), ..price }).collect();
    if let (Some(price), Some(first), Listed::Flat) = (prices.first_mut(), first, listed) {
        price.effective = first;
    }
    if *listed != Listed::Searches {
        for price in &mut prices {
            price.rates.search = None;
            price.tiers.iter_mut().for_each(|tier| tier.rates.search = None);
        }
    }
    prices
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_entry_is_a_model_under_names_of_its_own() {
        let models = models();
        assert_eq!(models.len(), MODELS.len());
        let mut names = HashSet::new();
        for model in &models {
            for name in std::iter::once(&model.id).chain(&model.aliases).chain(&model.synonyms) {
                assert!(names.insert(name.clone()), "{name} twice");
            }
            assert!(model.prices.is_sorted_by(|a, b| a.effective < b.effective), "{}", model.id);
            assert_eq!(model.prices.is_empty(), model.id == "claude-sonnet-5", "{}", model.id);
        }
    }

    #[test]
    fn prices_are_the_lists() {
        let models = models();
        let price = |id: &str| models.iter().find(|model| model.id == id).unwrap().prices.last().unwrap();
        let haiku = price("claude-haiku-4-5@20251001").rates;
        assert_eq!((haiku.input, haiku.output, haiku.search), (Some(1_000_000), Some(5_000_000), None));
        let sonnet = price("claude-sonnet-4-6");
        assert_eq!((sonnet.tiers.len(), &*sonnet.effective), (0, "2026-02-17"));
        assert_eq!(price("claude-fable-5-2").rates.search, Some(10_000_000));
    }

    #[test]
    fn names_are_googles() {
        for (asked, googles) in [
            ("claude-sonnet-4-5", "claude-sonnet-4-5@20250929"),
            ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5@20250929"),
            ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5@20250929"),
            ("claude-3-5-haiku-20241022", "claude-3-5-haiku@20241022"),
            ("claude-opus-5", "claude-opus-5"),
            ("claude-opus-5@default", "claude-opus-5@default"),
            ("claude-of-next-year", "claude-of-next-year"),
        ] {
            assert_eq!(name(asked), googles);
        }
    }
}
