//! What a refresh tells the operator.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use portcullis_core::price::{Rates, format_day};

use super::decimal::show;
use super::prices::{PER_MILLION, PER_PIECE};
use super::refresh::Step;

#[derive(Default)]
pub struct Report {
    lines: String,
    changed: usize,
    same: usize,
    theirs: usize,
    missing: BTreeMap<String, Vec<String>>,
}

impl Report {
    pub fn same(&mut self) {
        self.same += 1;
    }

    pub fn changed(&mut self, plugin: &str, id: &str, steps: &[Step]) {
        self.changed += 1;
        if steps.is_empty() {
            self.line(plugin, id, "a price that was announced is withdrawn");
        }
        for step in steps {
            let day = format_day(step.after.effective);
            self.line(plugin, id, &format!("from {day}: {}", difference(step)));
        }
    }

    pub fn theirs(&mut self, plugin: &str, id: &str, step: &Step) {
        self.theirs += 1;
        self.line(plugin, id, &format!("yours stays; the price file has {}", difference(step)));
    }

    pub fn missing(&mut self, plugin: &str, id: &str) {
        self.missing.entry(plugin.to_owned()).or_default().push(id.to_owned());
    }

    pub fn unusable(&mut self, plugin: &str, id: &str, reason: &str) {
        self.line(plugin, id, &format!("left alone: {reason}"));
    }

    pub fn has_changes(&self) -> bool {
        self.changed > 0
    }

    /// The whole, of lines.
    pub fn text(&self) -> String {
        let mut text = self.lines.clone();
        for (plugin, models) in &self.missing {
            // Writing to memory does not fail.
            let _ = writeln!(text, "{plugin}: not in the price file: {}", models.join(", "));
        }
        let missing: usize = self.missing.values().map(Vec::len).sum();
        let _ = writeln!(
            text,
            "{} changed, {} as before, {} of yours left alone, {missing} without a price in the file",
            self.changed, self.same, self.theirs
        );
        text
    }

    fn line(&mut self, plugin: &str, id: &str, words: &str) {
        let _ = writeln!(self.lines, "{plugin} {id}: {words}");
    }
}

/// What is other than before, in USD per million tokens or a piece.
fn difference(step: &Step) -> String {
    let before = step.before.as_ref();
    let mut parts = Vec::new();
    let base = rates(before.map(|before| before.rates).unwrap_or_default(), step.after.rates);
    parts.extend((!base.is_empty()).then_some(base));
    let former = |above: u64| before?.tiers.iter().find(|tier| tier.above == above).map(|tier| tier.rates);
    for tier in &step.after.tiers {
        let words = rates(former(tier.above).unwrap_or_default(), tier.rates);
        parts.extend((!words.is_empty()).then(|| format!("above {} tokens {words}", tier.above)));
    }
    let gone = before.into_iter().flat_map(|before| &before.tiers);
    for tier in gone.filter(|tier| !step.after.tiers.iter().any(|after| after.above == tier.above)) {
        parts.push(format!("no other price above {} tokens", tier.above));
    }
    if step.notes.rounded {
        parts.push("rounded up to a pico-USD a token".to_owned());
    }
    if step.notes.dearest {
        parts.push("the dearest of the day's hours".to_owned());
    }
    parts.join("; ")
}

fn rates(before: Rates, after: Rates) -> String {
    let all = [
        ("input", before.input, after.input, PER_MILLION),
        ("output", before.output, after.output, PER_MILLION),
        ("cache read", before.cache_read, after.cache_read, PER_MILLION),
        ("cache write", before.cache_write_short, after.cache_write_short, PER_MILLION),
        ("long cache write", before.cache_write_long, after.cache_write_long, PER_MILLION),
        ("reasoning", before.reasoning, after.reasoning, PER_MILLION),
        ("audio input", before.audio_input, after.audio_input, PER_MILLION),
        ("audio output", before.audio_output, after.audio_output, PER_MILLION),
        ("an image", before.image, after.image, PER_PIECE),
        ("a search", before.search, after.search, PER_PIECE),
    ];
    let changed = all.into_iter().filter(|(_, before, after, _)| before != after);
    let words = changed.map(|(name, before, after, places)| {
        let show = |rate: Option<u64>| rate.map_or("unknown".to_owned(), |rate| show(rate, places));
        format!("{name} {} -> {}", show(before), show(after))
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::prices::Notes;
    use portcullis_core::price::{Price, Tier, parse_day};

    #[test]
    fn differences_are_in_dollars() {
        let rates = |input, output| Rates { input: Some(input), output: Some(output), ..Rates::default() };
        let price = |rates, tiers| Price { tiers, ..Price::of(parse_day("2026-11-20").unwrap(), String::new(), rates) };
        let before = price(rates(2_500_000, 10_000_000), vec![Tier { above: 5, rates: rates(1, 1) }]);
        let after = price(
            Rates { search: Some(12_000_000), ..rates(2_250_000, 10_000_000) },
            vec![Tier { above: 7, rates: rates(3_000_000, 4_000_000) }],
        );
        let notes = Notes { rounded: true, dearest: false };
        let mut report = Report::default();
        report.changed("openai", "gpt-x", &[Step { before: Some(before), after, notes }]);
        report.missing("openai", "gpt-y");
        report.same();
        let text = report.text();
        let expected = "openai gpt-x: from 2026-11-20: input 2.5 -> 2.25, a search unknown -> 0.012; above 7 tokens input unknown -> 3, \
             output unknown -> 4; no other price above 5 tokens; rounded up to a pico-USD a token\n\
             openai: not in the price file: gpt-y\n\
             1 changed, 1 as before, 0 of yours left alone, 1 without a price in the file\n";
        assert_eq!(text, expected);
    }
}
