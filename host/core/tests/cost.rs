//! Costs against an independent computation in exact fractions: whatever the usage, the prices, their tiers and their days, the
//! nano-dollars are the fraction rounded up once.

use num_rational::BigRational;
use num_rational::Ratio;
use portcullis_core::{Cost, Price, PriceList, Rates, Tier, UnknownPrice, Usage};
use proptest::prelude::*;
use time::macros::date;

type Amount = BigRational;

fn whole(number: u64) -> Amount {
    Ratio::from_integer(number.into())
}

/// Dollars for `count` at `rate` millionths of a millionth of a dollar.
fn at(count: u64, rate: Option<u64>, unit: u64) -> Option<Amount> {
    match (count, rate) {
        (0, _) => Some(whole(0)),
        (_, None) => None,
        (count, Some(rate)) => Some(whole(count) * whole(rate) / whole(unit)),
    }
}

const PICO: u64 = 1_000_000_000_000;
const NANO: u64 = 1_000_000_000;

/// Input and all, in dollars. `None` where something that was used has no price.
fn dollars(usage: &Usage, rates: &Rates) -> Option<(Amount, Amount)> {
    let seen = usage.input.saturating_sub(usage.audio_input);
    let said = usage.output.saturating_sub(usage.reasoning).saturating_sub(usage.audio_output);
    let input = at(seen, rates.input, PICO)?
        + at(usage.audio_input, rates.audio_input, PICO)?
        + at(usage.cache_read, rates.cache_read.or(rates.input), PICO)?
        + at(usage.cache_write_short, rates.cache_write_short.or(rates.input), PICO)?
        + at(usage.cache_write_long, rates.cache_write_long.or(rates.input), PICO)?;
    let output = at(said, rates.output, PICO)?
        + at(usage.reasoning, rates.reasoning.or(rates.output), PICO)?
        + at(usage.audio_output, rates.audio_output, PICO)?
        + at(usage.images, rates.image, NANO)?
        + at(usage.searches, rates.search, NANO)?;
    Some((input.clone(), input + output))
}

fn nano(dollars: &Amount) -> Option<u64> {
    let nano = (dollars * whole(NANO)).ceil().to_integer();
    u64::try_from(nano).ok().filter(|nano| *nano <= i64::MAX as u64)
}

/// The highest tier that the whole input exceeds, of those of the newest day that has come.
fn chosen<'a>(prices: &'a [Price], usage: &Usage, today: time::Date) -> Option<&'a Rates> {
    let mut newest: Option<&Price> = None;
    for price in prices {
        if price.effective <= today && newest.is_none_or(|known| price.effective >= known.effective) {
            newest = Some(price);
        }
    }
    let price = newest?;
    let total = usage.input + usage.cache_read + usage.cache_write_short + usage.cache_write_long;
    let mut rates = &price.rates;
    let mut above = None;
    for tier in &price.tiers {
        if total > tier.above && above.is_none_or(|above| tier.above >= above) {
            (rates, above) = (&tier.rates, Some(tier.above));
        }
    }
    Some(rates)
}

fn any_rates() -> impl Strategy<Value = Rates> {
    let rate =
        || prop::option::weighted(0.8, prop_oneof![0..100_u64, 0..100_000_000_u64, any::<u32>().prop_map(u64::from)]);
    let known = || prop::option::weighted(0.95, 0..100_000_000_u64);
    ((known(), known(), rate(), rate(), rate()), (rate(), rate(), rate(), rate(), rate())).prop_map(
        |(
            (input, output, cache_read, cache_write_short, cache_write_long),
            (reasoning, heard, spoken, image, search),
        )| Rates {
            input,
            output,
            cache_read,
            cache_write_short,
            cache_write_long,
            reasoning,
            audio_input: heard,
            audio_output: spoken,
            image,
            search,
        },
    )
}

fn any_usage() -> impl Strategy<Value = Usage> {
    let count = || prop_oneof![3 => Just(0_u64), 4 => 0..10_000_u64, 1 => 0..10_000_000_u64, 1 => 0..1_u64 << 40];
    ((count(), count(), count(), count(), count()), (count(), count(), count(), 0..50_u64, 0..50_u64)).prop_map(
        |(
            (input, cache_read, cache_write_short, cache_write_long, output),
            (reasoning, heard, spoken, images, searches),
        )| {
            Usage {
                input,
                cache_read,
                cache_write_short,
                cache_write_long,
                output,
                reasoning,
                audio_input: heard,
                audio_output: spoken,
                images,
                searches,
                ..Usage::default()
            }
        },
    )
}

fn any_price() -> impl Strategy<Value = Price> {
    let tier = (0..2_000_000_u64, any_rates());
    (0..1_000_i64, any_rates(), prop::collection::btree_map(0..2_000_000_u64, tier, 0..4)).prop_map(
        |(day, rates, tiers)| Price {
            effective: date!(2025 - 01 - 01) + time::Duration::days(day),
            source: "test".to_owned(),
            rates,
            tiers: tiers.into_iter().map(|(above, (_, rates))| Tier { above, rates }).collect(),
            units: Vec::new(),
            services: Vec::new(),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_cost_is_the_fraction_rounded_up_once(
        usage in any_usage(),
        prices in prop::collection::vec(any_price(), 0..4),
        day in 0..1_100_i64,
        into in 0..86_400_000_u64,
    ) {
        let today = date!(2025 - 01 - 01) + time::Duration::days(day);
        let midnight = u64::try_from(today.midnight().assume_utc().unix_timestamp()).unwrap() * 1_000;
        let list = PriceList::new(prices.clone());
        let found: Result<Cost, UnknownPrice> =
            list.in_force(midnight + into).and_then(|price| price.cost(&usage));
        let expected = chosen(&prices, &usage, today)
            .and_then(|rates| dollars(&usage, rates))
            .and_then(|(input, total)| Some((nano(&input)?, nano(&total)?)));
        match (found, expected) {
            (Ok(cost), Some((input, total))) => {
                prop_assert_eq!((cost.input.get(), cost.total.get()), (input, total));
                prop_assert_eq!(cost.input.get() + cost.output.get(), total);
            }
            (Err(_), None) => {}
            (found, expected) => prop_assert!(false, "{found:?} and not {expected:?}"),
        }
    }
}
