//! Prices and what a usage costs. Keeps invariant 4: an unknown price is an error, never zero.
//!
//! The rules are those of `rates`, `tier` and `price` in `wit/describe.wit`.

use serde::{Deserialize, Serialize};
use time::macros::format_description;
use time::{Date, OffsetDateTime};

use crate::money::{MoneyError, NanoUsd, PicoUsd};
use crate::usage::Usage;

/// Pico-USD per token; `image` and `search` nano-USD per piece. An absent cache rate costs as `input`, an absent reasoning rate
/// as `output`; anything else absent is unknown once it is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rates {
    pub input: Option<u64>,
    pub output: Option<u64>,
    pub cache_read: Option<u64>,
    pub cache_write_short: Option<u64>,
    pub cache_write_long: Option<u64>,
    pub reasoning: Option<u64>,
    pub audio_input: Option<u64>,
    pub audio_output: Option<u64>,
    pub image: Option<u64>,
    pub search: Option<u64>,
}

/// The rates, in whole, of requests whose input is longer than `above` tokens, cached ones counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tier {
    pub above: u64,
    pub rates: Rates,
}

/// A model's price from a day on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// In force from the start of this day, UTC.
    pub effective: Date,
    /// Where it was read: a URL, or `operator`.
    pub source: String,
    pub rates: Rates,
    pub tiers: Vec<Tier>,
}

/// Reads `YYYY-MM-DD`.
pub fn parse_day(text: &str) -> Result<Date, time::error::Parse> {
    Date::parse(text, format_description!("[year]-[month]-[day]"))
}

/// Writes `YYYY-MM-DD`.
pub fn format_day(day: Date) -> String {
    format!("{:04}-{:02}-{:02}", day.year(), u8::from(day.month()), day.day())
}

/// The UTC day of a time in milliseconds since the Unix epoch. Times past the year 9999 are its last day.
pub fn day_of(ms: u64) -> Date {
    i64::try_from(ms / 1000)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .map_or(Date::MAX, OffsetDateTime::date)
}

/// What something cost. `input` and `output` add up to `total`, which was rounded up once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    pub total: NanoUsd,
    pub input: NanoUsd,
    /// Output tokens, images and searches.
    pub output: NanoUsd,
}

impl Cost {
    /// What costs nothing: not an unknown price.
    pub const FREE: Cost = Cost { input: NanoUsd::ZERO, output: NanoUsd::ZERO, total: NanoUsd::ZERO };

    fn of(input: PicoUsd, output: PicoUsd) -> Result<Self, MoneyError> {
        let total = input.checked_add(output)?.to_nano_rounded_up()?;
        let input = input.to_nano_rounded_up()?;
        Ok(Self { total, input, output: total.saturating_sub(input) })
    }
}

/// Something was used that has no known price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no known price for {what}")]
pub struct UnknownPrice {
    /// `input`, `output`, `audio-input`, `audio-output`, `image`, `search`, `model` (no price in force), or `overflow` (the
    /// cost does not fit an amount).
    pub what: &'static str,
}

impl From<MoneyError> for UnknownPrice {
    fn from(_: MoneyError) -> Self {
        Self { what: "overflow" }
    }
}

/// `count` at `rate`, where nothing of something unpriced is free.
fn tokens(count: u64, rate: Option<u64>, what: &'static str) -> Result<PicoUsd, UnknownPrice> {
    match (count, rate) {
        (0, _) => Ok(PicoUsd::ZERO),
        (count, Some(rate)) => Ok(PicoUsd::of_tokens(count, rate)),
        (_, None) => Err(UnknownPrice { what }),
    }
}

fn pieces(count: u64, rate: Option<u64>, what: &'static str) -> Result<PicoUsd, UnknownPrice> {
    match (count, rate) {
        (0, _) => Ok(PicoUsd::ZERO),
        (count, Some(rate)) => Ok(PicoUsd::of_pieces(count, rate)?),
        (_, None) => Err(UnknownPrice { what }),
    }
}

fn sum(terms: impl IntoIterator<Item = PicoUsd>) -> Result<PicoUsd, MoneyError> {
    terms.into_iter().try_fold(PicoUsd::ZERO, PicoUsd::checked_add)
}

impl Rates {
    fn cost(&self, usage: &Usage) -> Result<Cost, UnknownPrice> {
        let cached = |rate: Option<u64>| rate.or(self.input);
        // Parts that claim to exceed the whole are billed as claimed; the remainder is then nothing.
        let plain_input = usage.input.saturating_sub(usage.audio_input);
        let plain_output = usage.output.saturating_sub(usage.reasoning).saturating_sub(usage.audio_output);
        let input = sum([
            tokens(plain_input, self.input, "input")?,
            tokens(usage.audio_input, self.audio_input, "audio-input")?,
            tokens(usage.cache_read, cached(self.cache_read), "input")?,
            tokens(usage.cache_write_short, cached(self.cache_write_short), "input")?,
            tokens(usage.cache_write_long, cached(self.cache_write_long), "input")?,
        ])?;
        let output = sum([
            tokens(plain_output, self.output, "output")?,
            tokens(usage.reasoning, self.reasoning.or(self.output), "output")?,
            tokens(usage.audio_output, self.audio_output, "audio-output")?,
            pieces(usage.images, self.image, "image")?,
            pieces(usage.searches, self.search, "search")?,
        ])?;
        Ok(Cost::of(input, output)?)
    }

    /// The dearest a token of input can be: cached, written or heard.
    fn dearest_input(&self) -> Option<u64> {
        let others = [self.cache_read, self.cache_write_short, self.cache_write_long, self.audio_input];
        others.into_iter().flatten().chain(self.input).max().filter(|_| self.input.is_some())
    }

    fn dearest_output(&self) -> Option<u64> {
        [self.reasoning, self.audio_output]
            .into_iter()
            .flatten()
            .chain(self.output)
            .max()
            .filter(|_| self.output.is_some())
    }
}

impl Price {
    /// The rates for a request of so much input: those of the highest tier it exceeds.
    fn rates_for(&self, total_input: u64) -> &Rates {
        let tier = self.tiers.iter().filter(|tier| total_input > tier.above).max_by_key(|tier| tier.above);
        tier.map_or(&self.rates, |tier| &tier.rates)
    }

    pub fn cost(&self, usage: &Usage) -> Result<Cost, UnknownPrice> {
        self.rates_for(usage.total_input()).cost(usage)
    }

    /// The most that a request can cost whose whole input is at most `input_bound` tokens and whole output at most
    /// `output_cap`, images and searches apart. Whatever tier the bound can reach and whatever rate is dearest within it is
    /// assumed.
    ///
    /// # Errors
    /// [`UnknownPrice`] where a reachable tier has no rate for input or output: such a request has no known bound.
    pub fn worst_case(&self, input_bound: u64, output_cap: u64) -> Result<Cost, UnknownPrice> {
        self.worst_case_with_pieces(input_bound, output_cap, 0, 0)
    }

    /// As [`Price::worst_case`], with at most so many images made and searches run.
    pub fn worst_case_with_pieces(
        &self,
        input_bound: u64,
        output_cap: u64,
        images: u64,
        searches: u64,
    ) -> Result<Cost, UnknownPrice> {
        let reachable = self.tiers.iter().filter(|tier| input_bound > tier.above).map(|tier| &tier.rates);
        let mut dearest = Cost::default();
        for rates in std::iter::once(&self.rates).chain(reachable) {
            let input = tokens(input_bound, rates.dearest_input(), "input")?;
            let output = sum([
                tokens(output_cap, rates.dearest_output(), "output")?,
                pieces(images, rates.image, "image")?,
                pieces(searches, rates.search, "search")?,
            ])?;
            let cost = Cost::of(input, output)?;
            if cost.total > dearest.total {
                dearest = cost;
            }
        }
        Ok(dearest)
    }
}

/// A model's prices over time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceList(Vec<Price>);

impl PriceList {
    /// Of two prices from the same day the later in the list holds.
    pub fn new(mut prices: Vec<Price>) -> Self {
        prices.sort_by_key(|price| price.effective);
        Self(prices)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All prices, earliest first.
    pub fn iter(&self) -> impl Iterator<Item = &Price> {
        self.0.iter()
    }

    /// The price in force at a time, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// [`UnknownPrice`] of `model` before the first price's day, and where there is none.
    pub fn in_force(&self, now_ms: u64) -> Result<&Price, UnknownPrice> {
        let day = day_of(now_ms);
        let count = self.0.partition_point(|price| price.effective <= day);
        count.checked_sub(1).map(|last| &self.0[last]).ok_or(UnknownPrice { what: "model" })
    }
}
