//! `[catalogue]`, and the file it names: what the operator knows of models better than the plugins' catalogues do.
//!
//! The file is JSON, in the units of the plugins' catalogues, and read with the configuration. A member that an entry leaves out is as
//! the plugin says. Prices are integers (invariant 2), and one from the file holds from its day on: until then the plugin's own does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_core::price::{Price, PriceList, Rates, ServiceRates, Tier, UnitRate, format_day, parse_day};
use serde::{Deserialize, Serialize};

use super::ConfigError;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CatalogueConfig {
    /// The operator's own catalogue. By default there is none. `portcullis catalogue refresh` keeps its prices.
    pub file: Option<PathBuf>,
    /// What stands in it.
    #[serde(skip)]
    pub content: Arc<CatalogueFile>,
}

impl CatalogueConfig {
    pub(super) fn read(&mut self) -> Result<(), ConfigError> {
        if let Some(path) = &self.file {
            let text = std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
            self.content = Arc::new(CatalogueFile::parse(&text, path)?);
        }
        Ok(())
    }
}

/// The operator's catalogue.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueFile {
    pub models: Vec<CatalogueEntry>,
}

/// One model. It belongs to a connection or to a plugin, that is to every connection by that plugin; what a connection's entry says
/// goes before what a plugin's says.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueEntry {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// As the provider names it. An entry whose id is an alias of a model of the plugin is about that model.
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aliases: Option<Vec<String>>,
    /// Names for clients alone: the provider is asked by the id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synonyms: Option<Vec<String>>,
    /// `chat`, `embeddings`, …: an entry that has this adds a model where the plugin knows none of the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operations: Option<Vec<String>>,
    /// Tokens of input and output together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<u32>,
    /// Tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<CatalogueQuality>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prices: Vec<CataloguePrice>,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueQuality {
    /// 0 to 100.
    pub score: f32,
    /// Whose judgement, and of when.
    pub source: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CataloguePrice {
    /// `YYYY-MM-DD`: in force from this day (UTC) until a later one.
    pub effective: String,
    /// Where it was read.
    pub source: String,
    /// Written by `portcullis catalogue refresh`, which may replace it. A price without this is the operator's and is left alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refreshed: bool,
    pub rates: CatalogueRates,
    /// The rates of requests whose whole input is longer than `above` tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<CatalogueTier>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub units: Vec<CatalogueUnit>,
    /// The rates of answers under a service tier of the provider's. Where there are none, the rates above hold for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<CatalogueService>,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueTier {
    pub above: u64,
    pub rates: CatalogueRates,
}

/// What is counted neither in tokens nor in pieces: pico-USD for one.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueUnit {
    /// `audio-seconds`, `characters`, `pages`, …
    pub unit: String,
    pub rate: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueService {
    /// As the provider says it: `flex`, `priority`, …
    pub service_tier: String,
    pub rates: CatalogueRates,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<CatalogueTier>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub units: Vec<CatalogueUnit>,
}

impl CatalogueTier {
    fn of(tier: &Tier) -> Self {
        CatalogueTier { above: tier.above, rates: tier.rates.into() }
    }

    fn tier(&self) -> Tier {
        Tier { above: self.above, rates: self.rates.into() }
    }
}

impl CatalogueUnit {
    fn of(known: &UnitRate) -> Self {
        CatalogueUnit { unit: known.unit.clone(), rate: known.rate }
    }

    fn rate(&self) -> UnitRate {
        UnitRate { unit: self.unit.clone(), rate: self.rate }
    }
}

impl CatalogueService {
    fn of(service: &ServiceRates) -> Self {
        CatalogueService {
            service_tier: service.service_tier.clone(),
            rates: service.rates.into(),
            tiers: service.tiers.iter().map(CatalogueTier::of).collect(),
            units: service.units.iter().map(CatalogueUnit::of).collect(),
        }
    }

    fn rates(&self) -> ServiceRates {
        ServiceRates {
            service_tier: self.service_tier.clone(),
            rates: self.rates.into(),
            tiers: self.tiers.iter().map(CatalogueTier::tier).collect(),
            units: self.units.iter().map(CatalogueUnit::rate).collect(),
        }
    }
}

/// pico-USD per token, which is micro-USD per million tokens: 2.50 USD are 2500000. `image` and `search` are nano-USD a piece.
/// What is left out is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueRates {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_short: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_long: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_input: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_output: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<u64>,
}

impl CatalogueFile {
    /// Reads a catalogue.
    ///
    /// # Errors
    /// When it is not JSON of this form, a day is none, a model is named twice, or an entry belongs to nobody or to two.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let place = path.display().to_string();
        let file: CatalogueFile = serde_json::from_str(text).map_err(|error| ConfigError::from_json(&place, &error))?;
        let mut seen = std::collections::HashSet::new();
        for entry in &file.models {
            let wrong = |message: &str| ConfigError::invalid(format!("{place}: {}", entry.id), message);
            if entry.connection.is_some() == entry.plugin.is_some() {
                return Err(wrong("an entry says either `connection` or `plugin`"));
            }
            if entry.id.is_empty() || !seen.insert((&entry.connection, &entry.plugin, &entry.id)) {
                return Err(wrong("a model has one entry, and a name"));
            }
            if entry.quality.as_ref().is_some_and(|quality| !(0.0..=100.0).contains(&quality.score)) {
                return Err(wrong("quality.score is 0 to 100"));
            }
            if entry.prices.iter().any(|price| price.price().is_none()) {
                return Err(wrong("prices.effective is a day, as 2026-11-20"));
            }
        }
        Ok(file)
    }

    /// What is said of a model by these names at a connection, the strongest word first: the connection's before the plugin's, and
    /// the model's id before its aliases.
    pub fn about<'a>(&'a self, connection: &str, plugin: &str, names: &[&str]) -> Vec<&'a CatalogueEntry> {
        let mut found = Vec::new();
        for owner in [(Some(connection), None), (None, Some(plugin))] {
            let mut owned = names
                .iter()
                .flat_map(|name| self.models.iter().filter(move |entry| entry.id == *name && entry.owner() == owner));
            found.extend(owned.next());
        }
        found
    }

    /// The models that a connection offers for this file alone, should its plugin not know them.
    pub fn additions<'a>(&'a self, connection: &'a str, plugin: &'a str) -> impl Iterator<Item = &'a CatalogueEntry> {
        let owners = [(Some(connection), None), (None, Some(plugin))];
        self.models.iter().filter(move |entry| entry.operations.is_some() && owners.contains(&entry.owner()))
    }
}

impl CatalogueEntry {
    fn owner(&self) -> (Option<&str>, Option<&str>) {
        (self.connection.as_deref(), self.plugin.as_deref())
    }
}

/// A price list where the file's prices hold from their first day on, and `own` until then.
pub fn overlaid(own: Vec<Price>, file: &[CataloguePrice]) -> PriceList {
    let file: Vec<Price> = file.iter().filter_map(CataloguePrice::price).collect();
    let first = file.iter().map(|price| price.effective).min();
    let before = own.into_iter().filter(|price| first.is_none_or(|first| price.effective < first));
    PriceList::new(before.chain(file).collect())
}

impl CataloguePrice {
    /// As the ledger computes with it; `None` where the day is none, which [`CatalogueFile::parse`] refuses.
    pub fn price(&self) -> Option<Price> {
        Some(Price {
            effective: parse_day(&self.effective).ok()?,
            source: self.source.clone(),
            rates: self.rates.into(),
            tiers: self.tiers.iter().map(CatalogueTier::tier).collect(),
            units: self.units.iter().map(CatalogueUnit::rate).collect(),
            services: self.services.iter().map(CatalogueService::rates).collect(),
        })
    }

    /// As the file has it.
    pub fn of(price: &Price) -> Self {
        CataloguePrice {
            effective: format_day(price.effective),
            source: price.source.clone(),
            refreshed: false,
            rates: price.rates.into(),
            tiers: price.tiers.iter().map(CatalogueTier::of).collect(),
            units: price.units.iter().map(CatalogueUnit::of).collect(),
            services: price.services.iter().map(CatalogueService::of).collect(),
        }
    }

    /// As the file has it, marked as written by the refresh command.
    pub fn refreshed(price: &Price) -> Self {
        CataloguePrice { refreshed: true, ..Self::of(price) }
    }
}

macro_rules! same_rates {
    ($from:ty, $to:ident) => {
        impl From<$from> for $to {
            fn from(rates: $from) -> Self {
                $to {
                    input: rates.input,
                    output: rates.output,
                    cache_read: rates.cache_read,
                    cache_write_short: rates.cache_write_short,
                    cache_write_long: rates.cache_write_long,
                    reasoning: rates.reasoning,
                    audio_input: rates.audio_input,
                    audio_output: rates.audio_output,
                    image: rates.image,
                    search: rates.search,
                }
            }
        }
    };
}
same_rates!(CatalogueRates, Rates);
same_rates!(Rates, CatalogueRates);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<CatalogueFile, String> {
        CatalogueFile::parse(text, Path::new("models.json")).map_err(|error| error.to_string())
    }

    fn price(day: &str, input: u64) -> CataloguePrice {
        let rates = CatalogueRates { input: Some(input), output: Some(input), ..CatalogueRates::default() };
        let price = Price::of(parse_day(day).unwrap(), "here".into(), rates.into());
        CataloguePrice::of(&price)
    }

    #[test]
    fn mistakes_are_named() {
        for (text, words) in [
            ("{", "models.json:1"),
            (r#"{"models":[{"plugin":"p","id":"m","contxt":1}]}"#, "did you mean `context`"),
            (r#"{"models":[{"id":"m"}]}"#, "either `connection` or `plugin`"),
            (r#"{"models":[{"id":"m","plugin":"p","connection":"c"}]}"#, "either `connection` or `plugin`"),
            (r#"{"models":[{"id":"m","plugin":"p"},{"id":"m","plugin":"p"}]}"#, "one entry"),
            (r#"{"models":[{"id":"m","plugin":"p","quality":{"score":101,"source":"x"}}]}"#, "0 to 100"),
            (
                r#"{"models":[{"id":"m","plugin":"p","prices":[{"effective":"2026-13-01","source":"x","rates":{}}]}]}"#,
                "is a day",
            ),
            (
                r#"{"models":[{"id":"m","plugin":"p","prices":[{"effective":"2026-01-01","source":"x","rates":{"input":0.5}}]}]}"#,
                "expected u64",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words) && error.contains("models.json"), "{text}: {error}");
        }
    }

    #[test]
    fn a_connection_goes_before_its_plugin_and_an_id_before_an_alias() {
        let file = parse(
            r#"{"models":[{"plugin":"p","id":"alias"},{"plugin":"p","id":"m"},{"connection":"c","id":"alias"},{"connection":"d","id":"m"}]}"#,
        )
        .unwrap();
        let found: Vec<_> =
            file.about("c", "p", &["m", "alias"]).iter().map(|entry| (entry.owner(), entry.id.as_str())).collect();
        assert_eq!(found, [((Some("c"), None), "alias"), ((None, Some("p")), "m")]);
        assert!(file.about("c", "q", &["m"]).is_empty());
    }

    #[test]
    fn the_plugins_prices_hold_until_the_files_first_day() {
        let own = [price("2026-01-01", 1), price("2026-06-01", 2), price("2027-01-01", 3)];
        let own = || own.iter().filter_map(CataloguePrice::price).collect::<Vec<_>>();
        let days = |list: &PriceList| -> Vec<(String, Option<u64>)> {
            list.iter().map(|price| (format_day(price.effective), price.rates.input)).collect()
        };
        let list = overlaid(own(), &[price("2026-03-01", 9)]);
        assert_eq!(days(&list), [("2026-01-01".into(), Some(1)), ("2026-03-01".into(), Some(9))]);
        assert_eq!(overlaid(own(), &[]), PriceList::new(own()));
    }

    #[test]
    fn what_is_written_reads_back() {
        let text = r#"{"models":[{"connection":"c","id":"m","aliases":["a"],"synonyms":["s"],"operations":["chat"],"context":1,"max_output":2,"capabilities":["tools"],"quality":{"score":50.0,"source":"me"},"prices":[{"effective":"2026-01-01","source":"x","refreshed":true,"rates":{"input":1,"output":2},"tiers":[{"above":3,"rates":{"search":4}}],"units":[{"unit":"pages","rate":5}],"services":[{"service_tier":"flex","rates":{"input":1},"units":[{"unit":"pages","rate":4}]}]}]}]}"#;
        let file = parse(text).unwrap();
        assert_eq!(serde_json::to_string(&file).unwrap(), text);
        let price = file.models[0].prices[0].price().unwrap();
        assert_eq!(CataloguePrice::refreshed(&price), file.models[0].prices[0]);
    }
}
