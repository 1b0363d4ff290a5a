//! Price files: whatever their form, they become quotes by provider and model.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use portcullis_core::price::{Rates, Tier};
use serde_json::value::RawValue;
use time::Date;

use super::{decimal, genai, litellm};

/// Decimals of a price of a million tokens in pico-USD per token, and of a piece in nano-USD.
pub const PER_MILLION: u32 = 6;
pub const PER_TOKEN: u32 = 12;
pub const PER_PIECE: u32 = 9;
/// USD for a thousand pieces.
pub const PER_THOUSAND: u32 = 6;

/// What a price file says, by the names it gives to providers.
#[derive(Debug)]
pub struct PriceFile {
    pub providers: BTreeMap<String, Vec<PricedModel>>,
}

#[derive(Debug)]
pub struct PricedModel {
    pub id: String,
    /// Other names it stands for.
    pub also: genai::Match,
    pub source: String,
    /// In order; an error says why the gateway cannot use them.
    pub quotes: Result<Vec<Quote>, String>,
}

/// Rates from a day on, or always.
#[derive(Debug, Clone, PartialEq)]
pub struct Quote {
    pub from: Option<Date>,
    /// What is absent is not said.
    pub rates: Rates,
    pub tiers: Vec<Tier>,
    pub notes: Notes,
}

/// What became of the numbers on their way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Notes {
    /// A price is finer than the gateway's unit.
    pub rounded: bool,
    /// Prices differ by the hour, and the dearest stands for all.
    pub dearest: bool,
}

impl PriceFile {
    /// Reads genai-prices' `data.json` or LiteLLM's `model_prices_and_context_window.json`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self> {
        let raw: &RawValue = serde_json::from_str(text).context("the price file is not JSON")?;
        if raw.get().starts_with('[') {
            return genai::parse(raw);
        }
        let members: BTreeMap<String, &RawValue> =
            serde_json::from_str(raw.get()).context("the price file is neither an array nor an object")?;
        if let Some(providers) = members.get("providers").filter(|providers| providers.get().starts_with('[')) {
            return genai::parse(providers);
        }
        if members.values().any(|member| member.get().contains("\"litellm_provider\"")) {
            return litellm::parse(&members);
        }
        bail!("the price file is neither genai-prices' data nor LiteLLM's prices");
    }

    /// What is said of a model by its names, under any of a provider's names: first what counts, then what is said of the model's
    /// other names. `None` where nothing is said, and an error that says why where nothing of it can be used.
    pub fn find(&self, providers: &[&str], names: &[&str]) -> Option<Result<Vec<Said<'_>>, &str>> {
        let models = || providers.iter().filter_map(|provider| self.providers.get(*provider)).flatten();
        let found = names.iter().filter_map(|name| {
            let by_id = models().find(|model| model.id == *name);
            by_id.or_else(|| models().find(|model| model.also.is_match(name)))
        });
        let mut said = Vec::new();
        let mut reason = None;
        for model in found {
            match &model.quotes {
                Ok(quotes) => said.push(Said { source: &model.source, quotes }),
                Err(unusable) => reason = reason.or(Some(unusable.as_str())),
            }
        }
        if said.is_empty() { reason.map(Err) } else { Some(Ok(said)) }
    }
}

/// A model's price.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    pub source: &'a str,
    pub quotes: &'a [Quote],
}

/// The last whose day has come.
pub fn in_force(quotes: &[Quote], day: Date) -> Option<&Quote> {
    quotes.iter().rfind(|quote| quote.from.is_none_or(|from| from <= day))
}

/// A number of a price file in its unit.
pub fn amount(raw: &RawValue, places: u32, notes: &mut Notes) -> Result<u64, String> {
    let amount = decimal::parse(raw.get(), places).map_err(|error| format!("{}: {error}", raw.get()))?;
    notes.rounded |= amount.rounded;
    Ok(amount.units)
}

/// Puts what is said over what was.
pub fn over(said: Rates, before: Rates) -> Rates {
    Rates {
        input: said.input.or(before.input),
        output: said.output.or(before.output),
        cache_read: said.cache_read.or(before.cache_read),
        cache_write_short: said.cache_write_short.or(before.cache_write_short),
        cache_write_long: said.cache_write_long.or(before.cache_write_long),
        reasoning: said.reasoning.or(before.reasoning),
        audio_input: said.audio_input.or(before.audio_input),
        audio_output: said.audio_output.or(before.audio_output),
        image: said.image.or(before.image),
        search: said.search.or(before.search),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_price_file_is_refused() {
        for bad in ["", "{}", "7", "{\"models\":[]}", "{\"a\":{\"mode\":\"chat\"}}", "[{\"id\":1}]"] {
            assert!(PriceFile::parse(bad).is_err(), "{bad}");
        }
        assert!(PriceFile::parse("[]").unwrap().providers.is_empty());
    }
}
