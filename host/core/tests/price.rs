//! Costs against an independent computation: exact fractions over `i128`, written from the rules and not from the code.

use portcullis_core::NanoUsd;
use portcullis_core::price::{
    Cost, Price, PriceList, Rates, ServiceRates, Tier, UnitRate, UnknownPrice, day_of, format_day, parse_day,
};
use portcullis_core::usage::{Metered, UnitCount, Usage};
use proptest::option;
use proptest::prelude::*;

/// A fraction of USD.
#[derive(Clone, Copy)]
struct Fraction {
    over: i128,
    under: i128,
}

impl Fraction {
    const ZERO: Self = Self { over: 0, under: 1 };

    fn add(self, other: Self) -> Self {
        fn gcd(a: i128, b: i128) -> i128 {
            if b == 0 { a } else { gcd(b, a % b) }
        }
        let (over, under) = (self.over * other.under + other.over * self.under, self.under * other.under);
        let by = gcd(over, under).max(1);
        Self { over: over / by, under: under / by }
    }

    fn ceil_nano(self) -> i128 {
        let nano = self.over * 1_000_000_000;
        nano / self.under + i128::from(nano % self.under != 0)
    }
}

fn per_token(count: u64, pico: u64) -> Fraction {
    Fraction { over: i128::from(count) * i128::from(pico), under: 1_000_000_000_000 }
}

fn per_piece(count: u64, nano: u64) -> Fraction {
    Fraction { over: i128::from(count) * i128::from(nano), under: 1_000_000_000 }
}

/// What is used, with its own rate and the rate that stands in.
fn expected(price: &Price, usage: &Usage) -> Option<(Fraction, Fraction)> {
    let whole = usage.input + usage.cache_read + usage.cache_write_short + usage.cache_write_long;
    let mut rates = &price.rates;
    let mut reached = None;
    for tier in &price.tiers {
        if whole > tier.above && reached.is_none_or(|above| tier.above >= above) {
            reached = Some(tier.above);
            rates = &tier.rates;
        }
    }
    let term = |count: u64, own: Option<u64>, other: Option<u64>| match (count, own, other) {
        (0, ..) => Some(Fraction::ZERO),
        (n, Some(rate), _) | (n, None, Some(rate)) => Some(per_token(n, rate)),
        _ => None,
    };
    let piece = |count: u64, own: Option<u64>| match (count, own) {
        (0, _) => Some(Fraction::ZERO),
        (n, Some(rate)) => Some(per_piece(n, rate)),
        _ => None,
    };
    let input = term(usage.input - usage.audio_input, rates.input, None)?
        .add(term(usage.audio_input, rates.audio_input, None)?)
        .add(term(usage.cache_read, rates.cache_read, rates.input)?)
        .add(term(usage.cache_write_short, rates.cache_write_short, rates.input)?)
        .add(term(usage.cache_write_long, rates.cache_write_long, rates.input)?);
    let output = term(usage.output - usage.reasoning - usage.audio_output, rates.output, None)?
        .add(term(usage.reasoning, rates.reasoning, rates.output)?)
        .add(term(usage.audio_output, rates.audio_output, None)?)
        .add(piece(usage.images, rates.image)?)
        .add(piece(usage.searches, rates.search)?);
    Some((input, output))
}

fn rate() -> impl Strategy<Value = Option<u64>> {
    option::weighted(0.8, prop_oneof![Just(0), 0u64..1_000_000_000, Just(1)])
}

prop_compose! {
    fn rates()(r in proptest::array::uniform10(rate())) -> Rates {
        Rates {
            input: r[0], output: r[1], cache_read: r[2], cache_write_short: r[3], cache_write_long: r[4],
            reasoning: r[5], audio_input: r[6], audio_output: r[7], image: r[8], search: r[9],
        }
    }
}

prop_compose! {
    fn price()(base in rates(), tiers in proptest::collection::btree_map(0u64..400_000, rates(), 0..4)) -> Price {
        Price {
            effective: parse_day("2026-01-01").unwrap(),
            source: "test".into(),
            rates: base,
            tiers: tiers.into_iter().rev().map(|(above, rates)| Tier { above, rates }).collect(),
            units: Vec::new(),
            services: Vec::new(),
        }
    }
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(0), 4 => 0u64..200_000, 1 => 0u64..3]
}

prop_compose! {
    fn usage()(plain in count(), audio_input in count(), cache_read in count(), cache_write_short in count(),
               cache_write_long in count(), text in count(), reasoning in count(), audio_output in count(),
               images in 0u64..4, searches in 0u64..4) -> Usage {
        Usage {
            input: plain + audio_input, cache_read, cache_write_short, cache_write_long,
            output: text + reasoning + audio_output, reasoning, audio_input, audio_output, images, searches,
            estimated: false,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn cost_equals_the_rational_computation(price in price(), usage in usage()) {
        match (price.cost(&usage), expected(&price, &usage)) {
            (Ok(cost), Some((input, output))) => {
                prop_assert_eq!(i128::from(cost.total.get()), input.add(output).ceil_nano());
                prop_assert_eq!(i128::from(cost.input.get()), input.ceil_nano());
                prop_assert_eq!(cost.input.get() + cost.output.get(), cost.total.get());
            }
            (Err(_), None) => {}
            (got, want) => prop_assert!(false, "{:?} but a price is known: {}", got, want.is_some()),
        }
    }

    #[test]
    fn no_settlement_exceeds_the_worst_case(price in price(), usage in usage(), spare in 0u64..1000) {
        let bound = usage.total_input() + spare;
        let worst = price.worst_case_with_pieces(bound, usage.output + spare, usage.images, usage.searches);
        if let (Ok(worst), Ok(cost)) = (worst, price.cost(&usage)) {
            prop_assert!(cost.total <= worst.total, "{:?} > {:?}", cost, worst);
        }
    }

    #[test]
    fn whatever_a_provider_claims_is_an_answer_or_an_error(price in price(), n in proptest::array::uniform10(any::<u64>())) {
        let usage = Usage {
            input: n[0], cache_read: n[1], cache_write_short: n[2], cache_write_long: n[3], output: n[4],
            reasoning: n[5], audio_input: n[6], audio_output: n[7], images: n[8], searches: n[9], estimated: false,
        };
        let _ = price.cost(&usage);
        let _ = price.worst_case(n[0], n[1]);
    }
}

fn flat(day: &str, input: Option<u64>, output: Option<u64>) -> Price {
    Price::of(parse_day(day).unwrap(), "test".into(), Rates { input, output, ..Rates::default() })
}

fn unit(name: &str, rate: u64) -> UnitRate {
    UnitRate { unit: name.to_owned(), rate }
}

#[test]
fn units_have_a_price_each_and_an_unpriced_one_is_unknown() {
    // A minute of speech for 0.006 USD, a page for a tenth of a cent.
    let mut price = flat("2026-01-01", None, None);
    price.units = vec![unit("audio-seconds", 100_000_000), unit("pages", 1_000_000_000)];
    let metered = |units: &[(&str, u64)]| Metered {
        units: units.iter().map(|(unit, count)| UnitCount { unit: (*unit).to_owned(), count: *count }).collect(),
        ..Metered::default()
    };
    assert_eq!(price.cost_of(&metered(&[("audio-seconds", 60)])).unwrap().total.get(), 6_000_000);
    assert_eq!(price.cost_of(&metered(&[("audio-seconds", 1), ("pages", 2)])).unwrap().total.get(), 2_100_000);
    assert_eq!(price.cost_of(&metered(&[("characters", 1)])), Err(UnknownPrice { what: "unit" }));
    assert_eq!(price.cost_of(&metered(&[("characters", 0)])).unwrap(), Cost::FREE);
    // Tokens that nobody expected have no price here, and a bound is known though there is none of tokens.
    assert_eq!(price.cost_of(&Usage { input: 1, ..Usage::default() }.into()), Err(UnknownPrice { what: "input" }));
    price.units.truncate(1);
    assert_eq!(price.worst_case(600, 100).unwrap().total.get(), 60 * 100_000);
}

#[test]
fn a_stated_cost_is_divided_as_the_computed_one() {
    let nano = |amount| NanoUsd::new(amount).unwrap();
    let computed = Cost { total: nano(30), input: nano(10), output: nano(20) };
    let stated = |total, computed| {
        let cost = Cost::stated(nano(total), computed);
        (cost.total.get(), cost.input.get(), cost.output.get())
    };
    assert_eq!(stated(60, Some(computed)), (60, 20, 40));
    assert_eq!(stated(7, Some(computed)), (7, 2, 5));
    assert_eq!(stated(7, Some(Cost::FREE)), (7, 0, 7));
    assert_eq!(stated(7, None), (7, 0, 7));
    let most = Cost { total: NanoUsd::MAX, input: NanoUsd::MAX, output: NanoUsd::ZERO };
    assert_eq!(Cost::stated(NanoUsd::MAX, Some(most)), most);
}

#[test]
fn a_service_tier_has_rates_of_its_own() {
    let mut price = flat("2026-01-01", Some(1_000), Some(2_000));
    let metered = |tier: Option<&str>| Metered {
        usage: Usage { input: 10, output: 10, ..Usage::default() },
        service_tier: tier.map(str::to_owned),
        ..Metered::default()
    };
    // Where no tier is listed, the list knows no difference.
    assert_eq!(price.cost_of(&metered(Some("flex"))).unwrap(), price.cost_of(&metered(None)).unwrap());
    let service = |name: &str, input, output| ServiceRates {
        service_tier: name.to_owned(),
        rates: Rates { input: Some(input), output: Some(output), ..Rates::default() },
        tiers: Vec::new(),
        units: Vec::new(),
    };
    price.services = vec![service("flex", 500, 1_000), service("priority", 2_000, 4_000)];
    let total = |tier| price.cost_of(&metered(tier)).map(|cost| cost.total.get());
    assert_eq!((total(None), total(Some("flex")), total(Some("priority"))), (Ok(30), Ok(15), Ok(60)));
    assert_eq!(total(Some("batch")), Err(UnknownPrice { what: "service-tier" }));
    assert_eq!(price.worst_case(10, 10).unwrap().total.get(), 60);
}

#[test]
fn what_is_unpriced_is_unknown_and_never_free() {
    let price = flat("2026-01-01", Some(1), Some(2));
    let unknown = |usage: Usage| price.cost(&usage).unwrap_err().what;
    assert_eq!(unknown(Usage { images: 1, ..Usage::default() }), "image");
    assert_eq!(unknown(Usage { searches: 1, ..Usage::default() }), "search");
    assert_eq!(unknown(Usage { input: 1, audio_input: 1, ..Usage::default() }), "audio-input");
    assert_eq!(unknown(Usage { output: 1, audio_output: 1, ..Usage::default() }), "audio-output");
    assert_eq!(flat("2026-01-01", None, Some(1)).worst_case(1, 1), Err(UnknownPrice { what: "input" }));
    assert_eq!(flat("2026-01-01", Some(1), None).worst_case(1, 1), Err(UnknownPrice { what: "output" }));
    let cached = Rates { cache_read: Some(1), reasoning: Some(1), ..Rates::default() };
    let price = Price { rates: cached, ..price };
    assert!(price.worst_case(1, 0).is_err() && price.worst_case(0, 1).is_err());
}

#[test]
fn the_price_of_the_day_is_in_force() {
    let list = PriceList::new(vec![flat("2026-03-01", Some(3), None), flat("2026-01-01", Some(1), None)]);
    let march = 1_772_323_200_000; // 2026-03-01T00:00:00Z
    assert_eq!(format_day(day_of(march)), "2026-03-01");
    assert_eq!(list.in_force(march).unwrap().rates.input, Some(3));
    assert_eq!(list.in_force(march - 1).unwrap().rates.input, Some(1));
    assert_eq!(list.in_force(0), Err(UnknownPrice { what: "model" }));
    assert_eq!(PriceList::default().in_force(march), Err(UnknownPrice { what: "model" }));
    assert!(list.in_force(u64::MAX).is_ok());
}

#[test]
fn a_tier_holds_above_its_threshold_only() {
    let mut price = flat("2026-01-01", Some(1_000), Some(1_000));
    let dear = Rates { input: Some(2_000), output: Some(5_000), ..Rates::default() };
    price.tiers = vec![Tier { above: 200_000, rates: dear }];
    let cost = |cache_read| price.cost(&Usage { cache_read, output: 1, ..Usage::default() }).unwrap().total.get();
    assert_eq!((cost(200_000), cost(200_001)), (200_001, 400_007));
    assert_eq!(price.worst_case(200_000, 1).unwrap().total.get(), 200_001);
    assert_eq!(price.worst_case(200_001, 1).unwrap().total.get(), 400_007);
}
