//! What a price file changes of one model's prices: a pure function of what is known, what is said and a day.
//!
//! The operator's own prices are never touched, and what the price file does not speak of stays as it is: nothing that has a price
//! loses it here (invariant 4).

use portcullis_core::price::{Price, Rates, Tier};
use portcullis_gateway::config::{CatalogueEntry, CataloguePrice, overlaid};
use time::Date;

use super::prices::{Notes, Quote, Said, in_force, over};

/// One model's outcome.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    Same,
    /// The entry's prices become these.
    Changed {
        prices: Vec<CataloguePrice>,
        steps: Vec<Step>,
    },
    /// The operator gave a price, and it differs.
    Theirs(Box<Step>),
}

/// A price that takes another's place on a day.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub before: Option<Price>,
    pub after: Price,
    pub notes: Notes,
}

/// Compares. `own` is what the plugin's catalogue says, `entry` what the operator's file says; `said` what the price
/// file says by the model's names, of which the first counts: what is in force on `day` takes effect that day, later prices on theirs.
pub fn refresh(own: &[Price], entry: Option<&CatalogueEntry>, said: &[Said<'_>], day: Date) -> Outcome {
    let written: &[CataloguePrice] = entry.map_or(&[], |entry| &entry.prices);
    let theirs = written.iter().any(|price| !price.refreshed);
    let is_past = |price: &&CataloguePrice| theirs || price.price().is_some_and(|price| price.effective < day);
    let mut prices: Vec<CataloguePrice> = written.iter().filter(is_past).cloned().collect();
    let later =
        said.iter().take(1).flat_map(|said| said.quotes).filter_map(|quote| quote.from.filter(|from| *from > day));
    let mut days: Vec<Date> = std::iter::once(day).chain(later).collect();
    days.sort_unstable();
    days.dedup();
    let mut steps = Vec::new();
    for day in days {
        let list = overlaid(own.to_vec(), &prices);
        let before = list.iter().take_while(|price| price.effective <= day).last();
        let quoted = said.iter().filter_map(|said| Some((in_force(said.quotes, day)?, said.source)));
        let mut after = quoted.map(|(quote, source)| (price(quote, before, source, day), quote.notes)).peekable();
        let Some((first, notes)) = after.peek().cloned() else { continue };
        // Of a model whose names have several prices, by region say, the one that holds may be any of them.
        let is_said =
            |before: &Price| after.any(|(after, _)| before.rates == after.rates && before.tiers == after.tiers);
        if before.is_some_and(is_said) {
            continue;
        }
        let step = Step { before: before.cloned(), after: first, notes };
        if theirs {
            return Outcome::Theirs(Box::new(step));
        }
        prices.push(CataloguePrice::refreshed(&step.after));
        steps.push(step);
    }
    if prices == written { Outcome::Same } else { Outcome::Changed { prices, steps } }
}

/// The quote over what was.
fn price(quote: &Quote, before: Option<&Price>, source: &str, effective: Date) -> Price {
    let rates = rates(quote.rates, before.map(|before| before.rates));
    let tiers = quote.tiers.iter().map(|tier| {
        let former = before.and_then(|before| before.tiers.iter().find(|former| former.above == tier.above));
        Tier { above: tier.above, rates: self::rates(tier.rates, Some(former.map_or(rates, |former| former.rates))) }
    });
    // Of units and service tiers a price file does not speak.
    let (units, services) = before.map(|before| (before.units.clone(), before.services.clone())).unwrap_or_default();
    Price { effective, source: source.to_owned(), rates, tiers: tiers.collect(), units, services }
}

/// What is said over what was, where a rate that was left out and one that says as much are the same.
fn rates(said: Rates, before: Option<Rates>) -> Rates {
    let Some(before) = before else { return said };
    let all = over(said, before);
    let unless =
        |rate: Option<u64>, before: Option<u64>, same: Option<u64>| rate.filter(|_| before.is_some() || rate != same);
    Rates {
        // A model that makes no tokens, an embedding say.
        output: unless(all.output, before.output, Some(0)),
        cache_read: unless(all.cache_read, before.cache_read, all.input),
        cache_write_short: unless(all.cache_write_short, before.cache_write_short, all.input),
        cache_write_long: unless(all.cache_write_long, before.cache_write_long, all.input),
        reasoning: unless(all.reasoning, before.reasoning, all.output),
        ..all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_core::price::parse_day;
    use portcullis_gateway::config::CatalogueRates;

    fn day(text: &str) -> Date {
        parse_day(text).unwrap()
    }

    fn rates(input: u64, output: u64) -> Rates {
        Rates { input: Some(input), output: Some(output), ..Rates::default() }
    }

    fn own(from: &str, rates: Rates) -> Price {
        Price::of(day(from), "plugin".into(), rates)
    }

    fn quote(from: Option<&str>, rates: Rates) -> Quote {
        Quote { from: from.map(day), rates, tiers: Vec::new(), notes: Notes::default() }
    }

    fn entry(prices: &[(&str, bool, Rates)]) -> CatalogueEntry {
        let prices = prices.iter().map(|(from, refreshed, rates)| CataloguePrice {
            effective: (*from).into(),
            source: "file".into(),
            refreshed: *refreshed,
            rates: CatalogueRates::from(*rates),
            tiers: Vec::new(),
            units: Vec::new(),
            services: Vec::new(),
        });
        CatalogueEntry {
            plugin: Some("p".into()),
            id: "m".into(),
            prices: prices.collect(),
            ..CatalogueEntry::default()
        }
    }

    fn changed(outcome: Outcome) -> Vec<(String, bool, Rates)> {
        let Outcome::Changed { prices, .. } = outcome else { panic!("{outcome:?}") };
        prices.iter().map(|price| (price.effective.clone(), price.refreshed, price.rates.into())).collect()
    }

    fn said(quotes: &[Quote]) -> [Said<'_>; 1] {
        [Said { source: "s", quotes }]
    }

    #[test]
    fn a_price_that_any_name_of_the_model_has_stays() {
        let plugin = [own("2026-01-01", rates(1, 2))];
        let (other, same, third) =
            (vec![quote(None, rates(5, 6))], vec![quote(None, rates(1, 2))], vec![quote(None, rates(7, 8))]);
        let by_name = [&other, &same].map(|quotes| Said { source: "s", quotes });
        assert_eq!(refresh(&plugin, None, &by_name, day(TODAY)), Outcome::Same);
        let by_name = [&other, &third].map(|quotes| Said { source: "s", quotes });
        assert_eq!(changed(refresh(&plugin, None, &by_name, day(TODAY))), [(TODAY.into(), true, rates(5, 6))]);
    }

    #[test]
    fn what_says_as_much_as_nothing_is_no_change() {
        let plugin = [own("2026-01-01", rates(1, 2)), own("2026-02-01", Rates { input: Some(1), ..Rates::default() })];
        let much = Rates { reasoning: Some(2), cache_read: Some(1), cache_write_short: Some(1), ..rates(1, 2) };
        assert_eq!(refresh(&plugin[..1], None, &said(&[quote(None, much)]), day(TODAY)), Outcome::Same);
        assert_eq!(refresh(&plugin, None, &said(&[quote(None, rates(1, 0))]), day(TODAY)), Outcome::Same);
        let dearer = Rates { reasoning: Some(3), ..much };
        let outcome = refresh(&plugin[..1], None, &said(&[quote(None, dearer)]), day(TODAY));
        assert_eq!(changed(outcome), [(TODAY.into(), true, Rates { reasoning: Some(3), ..rates(1, 2) })]);
    }

    const TODAY: &str = "2026-11-20";

    #[test]
    fn an_equal_price_changes_nothing() {
        let plugin = [own("2026-01-01", rates(1, 2))];
        assert_eq!(refresh(&plugin, None, &said(&[quote(None, rates(1, 2))]), day(TODAY)), Outcome::Same);
        let written = entry(&[("2026-06-01", true, rates(3, 4))]);
        assert_eq!(refresh(&plugin, Some(&written), &said(&[quote(None, rates(3, 4))]), day(TODAY)), Outcome::Same);
    }

    #[test]
    fn a_new_price_holds_from_the_day_and_the_old_one_until_then() {
        let plugin = [own("2026-01-01", Rates { search: Some(7), ..rates(1, 2) })];
        let written = entry(&[("2026-06-01", true, rates(3, 4)), (TODAY, true, rates(8, 8))]);
        let outcome = refresh(&plugin, Some(&written), &said(&[quote(None, rates(5, 6))]), day(TODAY));
        assert_eq!(changed(outcome), [("2026-06-01".into(), true, rates(3, 4)), (TODAY.into(), true, rates(5, 6))]);
        // What the price file does not speak of stays.
        let outcome = refresh(&plugin, None, &said(&[quote(None, rates(5, 6))]), day(TODAY));
        assert_eq!(changed(outcome), [(TODAY.into(), true, Rates { search: Some(7), ..rates(5, 6) })]);
    }

    #[test]
    fn of_dated_prices_the_last_in_force_counts_and_later_ones_are_announced() {
        let quotes =
            [quote(None, rates(1, 1)), quote(Some("2026-05-01"), rates(2, 2)), quote(Some("2027-01-01"), rates(3, 3))];
        let outcome = refresh(&[], None, &said(&quotes), day(TODAY));
        assert_eq!(changed(outcome), [(TODAY.into(), true, rates(2, 2)), ("2027-01-01".into(), true, rates(3, 3))]);
        // An announcement that is withdrawn goes.
        let written = entry(&[("2026-06-01", true, rates(2, 2)), ("2027-01-01", true, rates(3, 3))]);
        let outcome = refresh(&[], Some(&written), &said(&quotes[..2]), day(TODAY));
        assert_eq!(changed(outcome), [("2026-06-01".into(), true, rates(2, 2))]);
        // Nothing is in force yet.
        assert_eq!(refresh(&[], None, &said(&[]), day(TODAY)), Outcome::Same);
    }

    #[test]
    fn the_operators_price_is_left_alone() {
        let plugin = [own("2026-01-01", rates(1, 2))];
        let written = entry(&[("2026-02-01", false, rates(9, 9))]);
        let outcome = refresh(&plugin, Some(&written), &said(&[quote(None, rates(5, 6))]), day(TODAY));
        let Outcome::Theirs(step) = outcome else { panic!("{outcome:?}") };
        assert_eq!((step.before.as_ref().unwrap().rates, step.after.rates), (rates(9, 9), rates(5, 6)));
        assert_eq!(refresh(&plugin, Some(&written), &said(&[quote(None, rates(9, 9))]), day(TODAY)), Outcome::Same);
    }

    #[test]
    fn a_tier_keeps_what_is_not_said_of_it() {
        let long = Rates { search: Some(7), ..rates(10, 20) };
        let before = Price { tiers: vec![Tier { above: 100, rates: long }], ..own("2026-01-01", rates(1, 2)) };
        let long = Quote { tiers: vec![Tier { above: 100, rates: rates(30, 40) }], ..quote(None, rates(1, 2)) };
        let Outcome::Changed { steps, .. } = refresh(&[before], None, &said(&[long]), day(TODAY)) else { panic!() };
        assert_eq!(steps[0].after.tiers, [Tier { above: 100, rates: Rates { search: Some(7), ..rates(30, 40) } }]);
    }
}
