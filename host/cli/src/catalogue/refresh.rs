//! What a price file changes of one model's prices: a pure function of what is known, what is said and a day.
//!
//! The operator's own prices are never touched, and what the price file does not speak of stays as it is: nothing that has a price
//! loses it here (invariant 4).

use portcullis_core::price::{Price, PriceList, Rates, Tier};
use portcullis_gateway::config::{CatalogueEntry, CataloguePrice, overlaid};
use time::Date;

use super::prices::{Notes, Quote, over};

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

/// Compares. `own` is what the plugin's catalogue says, `entry` what the operator's file says; of `quotes` the one in force on `day`
/// takes effect that day, and later ones on theirs.
pub fn refresh(own: &[Price], entry: Option<&CatalogueEntry>, quotes: &[Quote], source: &str, day: Date) -> Outcome {
    let written: &[CataloguePrice] = entry.map_or(&[], |entry| &entry.prices);
    let theirs = written.iter().any(|price| !price.refreshed);
    let is_past = |price: &&CataloguePrice| theirs || price.price().is_some_and(|price| price.effective < day);
    let mut prices: Vec<CataloguePrice> = written.iter().filter(is_past).cloned().collect();
    let later = quotes.iter().filter_map(|quote| quote.from.filter(|from| *from > day));
    let mut days: Vec<Date> = std::iter::once(day).chain(later).collect();
    days.sort_unstable();
    days.dedup();
    let mut steps = Vec::new();
    for day in days {
        let Some(quote) = quotes.iter().rfind(|quote| quote.from.is_none_or(|from| from <= day)) else { continue };
        let list = overlaid(own.to_vec(), &prices);
        let before = in_force(&list, day);
        let after = price(quote, before, source, day);
        if before.is_some_and(|before| before.rates == after.rates && before.tiers == after.tiers) {
            continue;
        }
        let step = Step { before: before.cloned(), after, notes: quote.notes };
        if theirs {
            return Outcome::Theirs(Box::new(step));
        }
        prices.push(CataloguePrice::refreshed(&step.after));
        steps.push(step);
    }
    if prices == written { Outcome::Same } else { Outcome::Changed { prices, steps } }
}

fn in_force(list: &PriceList, day: Date) -> Option<&Price> {
    list.iter().take_while(|price| price.effective <= day).last()
}

/// The quote over what was.
fn price(quote: &Quote, before: Option<&Price>, source: &str, effective: Date) -> Price {
    let former = |above: u64| before?.tiers.iter().find(|tier| tier.above == above).map(|tier| tier.rates);
    let rates = over(quote.rates, before.map_or(Rates::default(), |before| before.rates));
    let tiers = quote
        .tiers
        .iter()
        .map(|tier| Tier { above: tier.above, rates: over(tier.rates, former(tier.above).unwrap_or(rates)) });
    Price { effective, source: source.to_owned(), rates, tiers: tiers.collect() }
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
        Price { effective: day(from), source: "plugin".into(), rates, tiers: Vec::new() }
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

    const TODAY: &str = "2026-11-20";

    #[test]
    fn an_equal_price_changes_nothing() {
        let plugin = [own("2026-01-01", rates(1, 2))];
        assert_eq!(refresh(&plugin, None, &[quote(None, rates(1, 2))], "s", day(TODAY)), Outcome::Same);
        let written = entry(&[("2026-06-01", true, rates(3, 4))]);
        assert_eq!(refresh(&plugin, Some(&written), &[quote(None, rates(3, 4))], "s", day(TODAY)), Outcome::Same);
    }

    #[test]
    fn a_new_price_holds_from_the_day_and_the_old_one_until_then() {
        let plugin = [own("2026-01-01", Rates { search: Some(7), ..rates(1, 2) })];
        let written = entry(&[("2026-06-01", true, rates(3, 4)), (TODAY, true, rates(8, 8))]);
        let outcome = refresh(&plugin, Some(&written), &[quote(None, rates(5, 6))], "s", day(TODAY));
        assert_eq!(changed(outcome), [("2026-06-01".into(), true, rates(3, 4)), (TODAY.into(), true, rates(5, 6))]);
        // What the price file does not speak of stays.
        let outcome = refresh(&plugin, None, &[quote(None, rates(5, 6))], "s", day(TODAY));
        assert_eq!(changed(outcome), [(TODAY.into(), true, Rates { search: Some(7), ..rates(5, 6) })]);
    }

    #[test]
    fn of_dated_prices_the_last_in_force_counts_and_later_ones_are_announced() {
        let quotes =
            [quote(None, rates(1, 1)), quote(Some("2026-05-01"), rates(2, 2)), quote(Some("2027-01-01"), rates(3, 3))];
        let outcome = refresh(&[], None, &quotes, "s", day(TODAY));
        assert_eq!(changed(outcome), [(TODAY.into(), true, rates(2, 2)), ("2027-01-01".into(), true, rates(3, 3))]);
        // An announcement that is withdrawn goes.
        let written = entry(&[("2026-06-01", true, rates(2, 2)), ("2027-01-01", true, rates(3, 3))]);
        let outcome = refresh(&[], Some(&written), &quotes[..2], "s", day(TODAY));
        assert_eq!(changed(outcome), [("2026-06-01".into(), true, rates(2, 2))]);
        // Nothing is in force yet.
        assert_eq!(refresh(&[], None, &[], "s", day(TODAY)), Outcome::Same);
    }

    #[test]
    fn the_operators_price_is_left_alone() {
        let plugin = [own("2026-01-01", rates(1, 2))];
        let written = entry(&[("2026-02-01", false, rates(9, 9))]);
        let outcome = refresh(&plugin, Some(&written), &[quote(None, rates(5, 6))], "s", day(TODAY));
        let Outcome::Theirs(step) = outcome else { panic!("{outcome:?}") };
        assert_eq!((step.before.as_ref().unwrap().rates, step.after.rates), (rates(9, 9), rates(5, 6)));
        assert_eq!(refresh(&plugin, Some(&written), &[quote(None, rates(9, 9))], "s", day(TODAY)), Outcome::Same);
    }

    #[test]
    fn a_tier_keeps_what_is_not_said_of_it() {
        let long = Rates { search: Some(7), ..rates(10, 20) };
        let before = Price { tiers: vec![Tier { above: 100, rates: long }], ..own("2026-01-01", rates(1, 2)) };
        let said = Quote { tiers: vec![Tier { above: 100, rates: rates(30, 40) }], ..quote(None, rates(1, 2)) };
        let Outcome::Changed { steps, .. } = refresh(&[before], None, &[said], "s", day(TODAY)) else { panic!() };
        assert_eq!(steps[0].after.tiers, [Tier { above: 100, rates: Rates { search: Some(7), ..rates(30, 40) } }]);
    }
}
