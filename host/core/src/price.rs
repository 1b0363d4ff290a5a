//! Prices and what a usage costs. Keeps invariant 4: an unknown price is an error, never zero.
//!
//! The rules are those of `rates`, `tier` and `price` in `wit/describe.wit`.

use serde::{Deserialize, Serialize};
use time::macros::format_description;
use time::{Date, OffsetDateTime};

use crate::money::{MoneyError, NanoUsd, PicoUsd};
use crate::usage::{Metered, UnitCount, Usage};

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

/// Pico-USD for one of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitRate {
    /// As in [`UnitCount`].
    pub unit: String,
    pub rate: u64,
}

/// The rates, in whole, of answers that were given under this service tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRates {
    pub service_tier: String,
    pub rates: Rates,
    pub tiers: Vec<Tier>,
    pub units: Vec<UnitRate>,
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
    pub units: Vec<UnitRate>,
    /// Where there are none, the rates above hold for every service tier.
    pub services: Vec<ServiceRates>,
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
    /// Output tokens, images, searches and units.
    pub output: NanoUsd,
}

impl Cost {
    /// What costs nothing: not an unknown price.
    pub const FREE: Cost = Cost { input: NanoUsd::ZERO, output: NanoUsd::ZERO, total: NanoUsd::ZERO };

    /// What a provider says that it charges, divided between input and output as the computed cost is; all output where none is known.
    pub fn stated(total: NanoUsd, computed: Option<Cost>) -> Self {
        let share = |cost: Cost| u128::from(total.get()) * u128::from(cost.input.get()) / u128::from(cost.total.get());
        let input = computed.filter(|cost| cost.total > NanoUsd::ZERO).map_or(0, share);
        let input = u64::try_from(input).ok().and_then(|input| NanoUsd::new(input).ok()).unwrap_or(total);
        Self { total, input, output: total.saturating_sub(input) }
    }

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
    /// `input`, `output`, `audio-input`, `audio-output`, `image`, `search`, `unit`, `service-tier`, `model` (no price in force),
    /// or `overflow` (the cost does not fit an amount).
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

/// What the units come to. One that is listed twice costs the first rate.
fn units(counts: &[UnitCount], rates: &[UnitRate]) -> Result<PicoUsd, UnknownPrice> {
    let known = |unit: &str| rates.iter().find(|known| known.unit == unit).map(|known| known.rate);
    let terms = counts.iter().map(|counted| tokens(counted.count, known(&counted.unit), "unit"));
    Ok(sum(terms.collect::<Result<Vec<_>, _>>()?)?)
}

/// So many of a unit at most where the whole input is so many tokens: no unit is less than what makes a token, and of seconds of sound
/// there are at most a tenth, since none is less than ten tokens long.
fn unit_bound(unit: &str, input_bound: u64) -> u64 {
    if unit == "audio-seconds" { input_bound.div_ceil(10) } else { input_bound }
}

impl Rates {
    fn cost(&self, usage: &Usage, units: PicoUsd) -> Result<Cost, UnknownPrice> {
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
            units,
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

/// What holds for one service tier.
#[derive(Clone, Copy)]
struct Listed<'a> {
    rates: &'a Rates,
    tiers: &'a [Tier],
    units: &'a [UnitRate],
}

impl<'a> Listed<'a> {
    /// The rates for a request of so much input: those of the highest tier it exceeds.
    fn rates_for(self, total_input: u64) -> &'a Rates {
        let tier = self.tiers.iter().filter(|tier| total_input > tier.above).max_by_key(|tier| tier.above);
        tier.map_or(self.rates, |tier| &tier.rates)
    }

    /// Every set of rates that input of so many tokens can come to.
    fn reachable(self, input_bound: u64) -> impl Iterator<Item = &'a Rates> {
        let tiers = self.tiers.iter().filter(move |tier| input_bound > tier.above).map(|tier| &tier.rates);
        std::iter::once(self.rates).chain(tiers)
    }

    /// The most that so much input costs. Where there are units and no rate of tokens, the input is what is counted in units.
    fn worst_input(self, rates: &Rates, input_bound: u64) -> Result<PicoUsd, UnknownPrice> {
        if rates.input.is_some() || self.units.is_empty() {
            return tokens(input_bound, rates.dearest_input(), "input");
        }
        let each = self.units.iter().map(|known| PicoUsd::of_tokens(unit_bound(&known.unit, input_bound), known.rate));
        Ok(sum(each)?)
    }

    fn worst_output(self, rates: &Rates, output_cap: u64) -> Result<PicoUsd, UnknownPrice> {
        let paid_in_units = rates.input.is_none() && rates.output.is_none() && !self.units.is_empty();
        if paid_in_units { Ok(PicoUsd::ZERO) } else { tokens(output_cap, rates.dearest_output(), "output") }
    }
}

impl Price {
    /// These rates from a day on.
    pub const fn of(effective: Date, source: String, rates: Rates) -> Self {
        Self { effective, source, rates, tiers: Vec::new(), units: Vec::new(), services: Vec::new() }
    }

    fn usual(&self) -> Listed<'_> {
        Listed { rates: &self.rates, tiers: &self.tiers, units: &self.units }
    }

    fn services(&self) -> impl Iterator<Item = (&str, Listed<'_>)> {
        self.services.iter().map(|service| {
            let ServiceRates { service_tier, rates, tiers, units } = service;
            (service_tier.as_str(), Listed { rates, tiers, units })
        })
    }

    /// What so much costs as a usual answer, units apart.
    ///
    /// # Errors
    /// Something was used that has no rate, or the cost does not fit an amount.
    pub fn cost(&self, usage: &Usage) -> Result<Cost, UnknownPrice> {
        self.usual().rates_for(usage.total_input()).cost(usage, PicoUsd::ZERO)
    }

    /// What all that was metered costs by these rates, whatever the provider states.
    ///
    /// # Errors
    /// Something was used that has no rate, the service tier is not among those that are listed, or the cost does not fit an amount.
    pub fn cost_of(&self, metered: &Metered) -> Result<Cost, UnknownPrice> {
        let listed = match &metered.service_tier {
            Some(asked) if !self.services.is_empty() => {
                let found = self.services().find(|(known, _)| known == asked);
                found.ok_or(UnknownPrice { what: "service-tier" })?.1
            }
            _ => self.usual(),
        };
        let units = units(&metered.units, listed.units)?;
        listed.rates_for(metered.usage.total_input()).cost(&metered.usage, units)
    }

    /// The most that a request can cost whose whole input is at most `input_bound` tokens and whole output at most
    /// `output_cap`, images and searches apart, and units beside tokens. Whatever service tier there is, whatever tier the bound can
    /// reach and whatever rate is dearest within it is assumed.
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
        let mut dearest = Cost::default();
        let all = std::iter::once(self.usual()).chain(self.services().map(|(_, listed)| listed));
        for (listed, rates) in all.flat_map(|listed| listed.reachable(input_bound).map(move |rates| (listed, rates))) {
            let input = listed.worst_input(rates, input_bound)?;
            let output = sum([
                listed.worst_output(rates, output_cap)?,
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
