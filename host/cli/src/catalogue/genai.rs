//! The data of genai-prices (<https://github.com/pydantic/genai-prices>, `prices/data.json` and `prices/new_data/v*/data.json`;
//! its form is `data.schema.json` beside them): providers with models, each with one set of prices or with conditional ones, of
//! which the last whose condition holds is in force.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use portcullis_core::price::{Rates, Tier, parse_day};
use regex_lite::Regex;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::prices::{Notes, PER_MILLION, PER_THOUSAND, PriceFile, PricedModel, Quote, amount, over};

#[derive(Deserialize)]
struct Provider<'a> {
    id: String,
    #[serde(default)]
    pricing_urls: Option<Vec<String>>,
    #[serde(borrow)]
    models: Vec<Model<'a>>,
}

#[derive(Deserialize)]
struct Model<'a> {
    id: String,
    #[serde(borrow)]
    r#match: &'a RawValue,
    #[serde(borrow)]
    prices: &'a RawValue,
}

#[derive(Deserialize)]
struct Conditional<'a> {
    #[serde(default)]
    constraint: Option<Constraint>,
    #[serde(borrow)]
    prices: BTreeMap<String, &'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Constraint {
    start_date: Option<String>,
    start_time: Option<String>,
}

#[derive(Deserialize)]
struct Tiered<'a> {
    #[serde(borrow)]
    base: &'a RawValue,
    #[serde(borrow)]
    tiers: Vec<Step<'a>>,
}

#[derive(Deserialize)]
struct Step<'a> {
    /// The price holds above this many tokens of input, for all of the tokens.
    start: u64,
    #[serde(borrow)]
    price: &'a RawValue,
}

/// Which names a model stands for. The case of letters says nothing, but in expressions.
#[derive(Debug, Default)]
pub enum Match {
    #[default]
    Nothing,
    Equals(String),
    StartsWith(String),
    EndsWith(String),
    Contains(String),
    Regex(Regex),
    Or(Vec<Match>),
    And(Vec<Match>),
}

impl Match {
    pub fn is_match(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        match self {
            Match::Nothing => false,
            Match::Equals(text) => name == *text,
            Match::StartsWith(text) => name.starts_with(text),
            Match::EndsWith(text) => name.ends_with(text),
            Match::Contains(text) => name.contains(text),
            Match::Regex(expression) => expression.is_match(&name),
            Match::Or(clauses) => clauses.iter().any(|clause| clause.is_match(&name)),
            Match::And(clauses) => clauses.iter().all(|clause| clause.is_match(&name)),
        }
    }

    /// A clause that is not understood matches nothing: no price is better than another model's.
    fn parse(raw: &RawValue) -> Self {
        let Ok(clause) = serde_json::from_str::<BTreeMap<String, &RawValue>>(raw.get()) else { return Match::Nothing };
        let Some((kind, value)) = clause.into_iter().next() else { return Match::Nothing };
        let text = || serde_json::from_str::<String>(value.get()).map(|text| text.to_lowercase());
        let several = || -> Result<Vec<Match>, serde_json::Error> {
            Ok(serde_json::from_str::<Vec<&RawValue>>(value.get())?.into_iter().map(Match::parse).collect())
        };
        let parsed = match kind.as_str() {
            "equals" => text().map(Match::Equals),
            "starts_with" => text().map(Match::StartsWith),
            "ends_with" => text().map(Match::EndsWith),
            "contains" => text().map(Match::Contains),
            "regex" => serde_json::from_str::<String>(value.get())
                .map(|expression| Regex::new(&expression).map_or(Match::Nothing, Match::Regex)),
            "or" => several().map(Match::Or),
            "and" => several().map(Match::And),
            _ => Ok(Match::Nothing),
        };
        parsed.unwrap_or_default()
    }
}

pub fn parse(providers: &RawValue) -> Result<PriceFile> {
    let providers: Vec<Provider> = serde_json::from_str(providers.get()).context("genai-prices' data")?;
    let mut file = BTreeMap::new();
    for provider in providers {
        let url = provider.pricing_urls.and_then(|urls| urls.into_iter().next());
        let source = url.map_or("genai-prices".to_owned(), |url| format!("{url}, by genai-prices"));
        let models = provider.models.iter().map(|model| PricedModel {
            id: model.id.clone(),
            also: Match::parse(model.r#match),
            source: source.clone(),
            quotes: quotes(model.prices),
        });
        let models: Vec<_> = models.collect();
        file.insert(provider.id, models);
    }
    Ok(PriceFile { providers: file })
}

fn quotes(raw: &RawValue) -> Result<Vec<Quote>, String> {
    let form = |error: serde_json::Error| format!("its prices are of an unknown form: {error}");
    let several: Vec<Conditional> = if raw.get().starts_with('[') {
        serde_json::from_str(raw.get()).map_err(form)?
    } else {
        vec![Conditional { constraint: None, prices: serde_json::from_str(raw.get()).map_err(form)? }]
    };
    let (mut dated, mut hourly) = (Vec::new(), Vec::new());
    for one in several {
        let mut quote = quote(&one.prices)?;
        match one.constraint {
            None => dated.push(quote),
            Some(Constraint { start_date: Some(day), start_time: None }) => {
                quote.from = Some(parse_day(&day).map_err(|_| format!("`{day}` is no day"))?);
                dated.push(quote);
            }
            Some(Constraint { start_date: None, start_time: Some(_) }) => hourly.push(quote),
            Some(_) => return Err("its price has a condition that is not understood".to_owned()),
        }
    }
    if !hourly.is_empty() {
        for quote in &mut dated {
            *quote = dearest(quote, &hourly);
        }
    }
    Ok(dated)
}

/// A price of the gateway's has no hour: the dearest of a day covers the others.
fn dearest(quote: &Quote, hourly: &[Quote]) -> Quote {
    let size = |quote: &Quote| quote.rates.input.unwrap_or(0).saturating_add(quote.rates.output.unwrap_or(0));
    let mut most = quote;
    for one in hourly.iter().filter(|one| one.tiers.is_empty() || !quote.tiers.is_empty()) {
        if size(one) > size(most) {
            most = one;
        }
    }
    Quote { from: quote.from, notes: Notes { dearest: true, ..most.notes }, ..most.clone() }
}

fn quote(prices: &BTreeMap<String, &RawValue>) -> Result<Quote, String> {
    let mut notes = Notes::default();
    let mut rates = Rates::default();
    let mut steps: BTreeMap<u64, Rates> = BTreeMap::new();
    let said = prices.iter().filter(|(_, raw)| raw.get() != "null");
    for (key, raw) in said.clone() {
        let Some((place, places)) = place(key) else { continue };
        if raw.get().starts_with('{') {
            let tiered: Tiered = serde_json::from_str(raw.get()).map_err(|error| format!("{key}: {error}"))?;
            *place(&mut rates) = Some(amount(tiered.base, places, &mut notes)?);
            for step in tiered.tiers {
                *place(steps.entry(step.start).or_default()) = Some(amount(step.price, places, &mut notes)?);
            }
        } else {
            *place(&mut rates) = Some(amount(raw, places, &mut notes)?);
        }
    }
    if rates.input.is_none() {
        return Err("it is not priced by the token".to_owned());
    }
    for (key, raw) in said.filter(|(key, _)| place(key).is_none() && !IGNORED.contains(&key.as_str())) {
        // Tokens of a kind that is not told apart are counted as text: a price above that of text would be lost.
        let text = match key.as_str() {
            "input_image_mtok" | "input_video_mtok" => rates.input,
            "output_image_mtok" | "output_video_mtok" => rates.output,
            _ => None,
        };
        if text.is_none() || amount(raw, PER_MILLION, &mut Notes::default()).ok() > text {
            return Err(format!("it has a price that the gateway does not count: {key}"));
        }
    }
    // A tier holds in whole; a kind of token without a price of its own there keeps the one of the tier below.
    let mut below = rates;
    let tiers = steps.into_iter().map(|(above, step)| {
        below = over(step, below);
        Tier { above, rates: below }
    });
    Ok(Quote { from: None, rates, tiers: tiers.collect(), notes })
}

/// Caches of other kinds are counted as those of text, and searches of stored files are the plugins' affair.
const IGNORED: &[&str] = &["cache_audio_read_mtok", "cache_image_read_mtok", "storage_searches_kcount"];

type Place = fn(&mut Rates) -> &mut Option<u64>;

fn place(key: &str) -> Option<(Place, u32)> {
    let (place, places): (Place, u32) = match key {
        "input_mtok" => (|rates| &mut rates.input, PER_MILLION),
        "output_mtok" => (|rates| &mut rates.output, PER_MILLION),
        "cache_read_mtok" => (|rates| &mut rates.cache_read, PER_MILLION),
        "cache_write_mtok" => (|rates| &mut rates.cache_write_short, PER_MILLION),
        "cache_write_1h_mtok" => (|rates| &mut rates.cache_write_long, PER_MILLION),
        "output_reasoning_mtok" => (|rates| &mut rates.reasoning, PER_MILLION),
        "input_audio_mtok" => (|rates| &mut rates.audio_input, PER_MILLION),
        "output_audio_mtok" => (|rates| &mut rates.audio_output, PER_MILLION),
        "web_searches_kcount" => (|rates| &mut rates.search, PER_THOUSAND),
        _ => return None,
    };
    Some((place, places))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(models: &str) -> PriceFile {
        let text = format!(
            r#"[{{"id":"acme","name":"Acme","pricing_urls":["https://acme.example/prices"],"api_pattern":"x","models":[{models}]}}]"#
        );
        PriceFile::parse(&text).unwrap()
    }

    fn quotes_of(prices: &str) -> Result<Vec<Quote>, String> {
        let file = file(&format!(r#"{{"id":"m","match":{{"equals":"m"}},"prices":{prices}}}"#));
        let quotes = file.find(&["acme"], &["m"]).unwrap().map(|said| said[0].quotes.to_vec());
        quotes.map_err(str::to_owned)
    }

    #[test]
    fn prices_become_rates() {
        let quotes = quotes_of(
            r#"{"input_mtok":2.5,"output_mtok":10,"cache_read_mtok":0.25,"cache_write_mtok":3.125,"cache_write_1h_mtok":5,"web_searches_kcount":10,"cache_audio_read_mtok":1}"#,
        )
        .unwrap();
        let rates = quotes[0].rates;
        assert_eq!((rates.input, rates.output, rates.cache_read), (Some(2_500_000), Some(10_000_000), Some(250_000)));
        assert_eq!((rates.cache_write_short, rates.cache_write_long), (Some(3_125_000), Some(5_000_000)));
        // $10 for a thousand is a cent each.
        assert_eq!(rates.search, Some(10_000_000));
        assert_eq!(quotes.len(), 1);
    }

    #[test]
    fn a_tier_holds_in_whole() {
        let quotes = quotes_of(
            r#"{"input_mtok":{"base":1,"tiers":[{"start":1000,"price":2},{"start":2000,"price":3}]},"output_mtok":{"base":5,"tiers":[{"start":1000,"price":6}]},"cache_read_mtok":0.1}"#,
        )
        .unwrap();
        let tier = |at: usize| (quotes[0].tiers[at].above, quotes[0].tiers[at].rates);
        let rates = |input, output| Rates {
            input: Some(input),
            output: Some(output),
            cache_read: Some(100_000),
            ..Rates::default()
        };
        assert_eq!(tier(0), (1_000, rates(2_000_000, 6_000_000)));
        assert_eq!(tier(1), (2_000, rates(3_000_000, 6_000_000)));
    }

    #[test]
    fn conditions_are_days_or_hours() {
        let quotes = quotes_of(
            r#"[{"prices":{"input_mtok":1,"output_mtok":2}},{"constraint":{"start_date":"2026-08-17"},"prices":{"input_mtok":3,"output_mtok":4}},
                {"constraint":{"start_time":"01:00:00Z","end_time":"04:00:00Z"},"prices":{"input_mtok":2,"output_mtok":3}}]"#,
        )
        .unwrap();
        assert_eq!(quotes.len(), 2);
        assert_eq!((quotes[0].from, quotes[0].rates.input, quotes[0].notes.dearest), (None, Some(2_000_000), true));
        assert_eq!(quotes[1].from, Some(parse_day("2026-08-17").unwrap()));
        assert_eq!(quotes[1].rates.input, Some(3_000_000), "the day's own price is dearer than the hour's");
        assert!(quotes_of(r#"[{"constraint":{"moon":"full"},"prices":{"input_mtok":1}}]"#).is_err());
    }

    #[test]
    fn what_cannot_be_counted_is_said_and_not_taken() {
        assert!(quotes_of(r#"{"input_mtok":1,"output_mtok":1,"requests_kcount":12}"#).is_err());
        assert!(quotes_of(r#"{"audio_hours":0.1}"#).is_err());
        assert!(quotes_of(r#"{"input_mtok":-1}"#).is_err());
        // Pictures that cost more than text, and as much.
        assert!(quotes_of(r#"{"input_mtok":1,"output_mtok":1,"output_image_mtok":2}"#).is_err());
        assert!(
            quotes_of(r#"{"input_mtok":1,"output_mtok":1,"output_image_mtok":1,"cache_audio_read_mtok":9}"#).is_ok()
        );
    }

    #[test]
    fn a_name_finds_its_model_by_id_before_any_clause() {
        let model = |id: &str, input: u64, clause: &str| {
            format!(r#"{{"id":"{id}","match":{clause},"prices":{{"input_mtok":{input}}}}}"#)
        };
        let file = file(
            &[
                model("big", 1, r#"{"starts_with":"big"}"#),
                model("big-2", 2, r#"{"equals":"big-2"}"#),
                model("odd", 3, r#"{"or":[{"ends_with":"-Odd"},{"and":[{"contains":"eve"},{"regex":"^s.+n$"}]}]}"#),
                model("new", 4, r#"{"sounds_like":"new"}"#),
            ]
            .join(","),
        );
        let find = |providers: &[&str], names: &[&str]| -> Vec<u64> {
            let said = file.find(providers, names).map(|said| said.unwrap()).unwrap_or_default();
            said.iter().map(|said| said.quotes[0].rates.input.unwrap() / 1_000_000).collect()
        };
        let found = |name: &str| find(&["acme"], &[name]).first().copied();
        assert_eq!(found("big-2"), Some(2));
        assert_eq!(found("big-2-2026"), Some(1));
        assert_eq!(found("very-odd"), Some(3));
        assert_eq!(found("seven"), Some(3));
        assert_eq!(found("eleven"), None);
        assert_eq!(found("newer"), None);
        assert_eq!(find(&["other", "acme"], &["none", "big"]), [1]);
        assert_eq!(find(&["acme"], &["seven", "big", "big-2"]), [3, 1, 2], "the first name counts");
        let said = file.find(&["acme"], &["big"]).unwrap().unwrap();
        assert_eq!(said[0].source, "https://acme.example/prices, by genai-prices");
    }
}
