//! Finds personal data and secrets in requests and answers, and masks, blocks or reports them.
//!
//! A text goes through `scan` (the finders, where `trigger` bytes stand), then `resolve` (one list, no overlaps). In a
//! stream the last bytes from which a match may still grow are held; a secret longer than that is masked as it goes, and
//! `stream` remembers that it does. Built-in kinds are scanned by hand-written finders, so that a fresh instance costs
//! nothing to set up; regular expressions exist only for the operator's own patterns.
//!
//! Invariant: what is masked in a whole text is masked in a stream, wherever it was cut, and nothing else where values stand
//! in words of their own. (A stream sees masks, not values, at its left; behind a value within a word it may find more.)

mod config;
mod find;
mod resolve;
mod scan;
mod stream;
mod trigger;
mod window;

#[cfg(test)]
mod tests;

use portcullis_plugin::prelude::*;

use config::{Action, Config, Rules};
use stream::{Streams, Unfinished};
use window::Window;

/// The guard.
pub struct Pii {
    rules: Rules,
}

impl Plugin for Pii {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest {
            access: Access::WRITE,
            ..Manifest::new(
                "pii",
                env!("CARGO_PKG_VERSION"),
                "masks, blocks or reports personal data and secrets in requests and answers",
            )
        }
    }

    fn configure(config: Config) -> Result<Self, String> {
        Rules::new(config).map(|rules| Pii { rules })
    }
}

impl Guard for Pii {
    type State = Streams;

    fn inspect(
        &self,
        _: &Context,
        direction: Direction,
        streams: &mut Streams,
        texts: &[Text<'_>],
    ) -> Result<Inspected, Failure> {
        let mut inspected = Inspected::clean();
        if self.rules.applies(direction) {
            for (index, text) in texts.iter().enumerate() {
                self.text(index as u32, text, streams, &mut inspected);
            }
        }
        Ok(inspected)
    }
}

impl Pii {
    fn text(&self, index: u32, text: &Text<'_>, streams: &mut Streams, inspected: &mut Inspected) {
        let content = text.content;
        let from = content.floor_char_boundary(text.released as usize);
        let mut window = Window { text: content, from, open: text.open, clear: 0, last: None };
        let resumed = streams.resume(text, &window, &self.rules);
        window.last = resumed.map(|(unfinished, _)| unfinished.last);
        let rest = resumed.map(|(_, rest)| rest).filter(|rest| rest.start < rest.end || rest.tail.is_some());
        let mut scan = scan::scan(&self.rules, &window, text.kind == PlaceKind::Number, rest);
        resolve::resolve(&self.rules, &mut scan.found, &mut scan.hold, content.len());
        for found in &scan.found {
            let mask = if found.rest { String::new() } else { self.rules.rules[found.rule].mask.clone() };
            self.report(index, found.start, found.end, found.rule, mask, inspected);
        }
        let rest_held = rest.is_some() && !scan.found.iter().any(|found| found.rest);
        let unfinished = scan.found.last().and_then(|found| {
            let changes = self.rules.rules[found.rule].action > Action::Report;
            let tail = found.tail.filter(|_| changes)?;
            Some(Unfinished::new(found.rule, tail, content.as_bytes()[found.end - 1]))
        });
        if let Some(unfinished) = unfinished.or(resumed.map(|(unfinished, _)| unfinished).filter(|_| rest_held)) {
            streams.keep(text, unfinished);
        }
        if let Some(start) = scan.hold {
            inspected.holds.push(Hold { text: index, start: start as u32 });
        }
    }

    fn report(&self, text: u32, start: usize, end: usize, rule: usize, mask: String, inspected: &mut Inspected) {
        let rule = &self.rules.rules[rule];
        if rule.action == Action::Block && matches!(inspected.verdict, GuardVerdict::Pass) {
            inspected.verdict = GuardVerdict::Block(format!("pii.{}", rule.code));
        }
        // A blocked value is masked too, for whatever is done with the text all the same.
        let replacement = if rule.action == Action::Report { Replacement::None } else { Replacement::Mask(mask) };
        let (start, end) = (start as u32, end as u32);
        inspected.findings.push(Finding { text, start, end, kind: rule.code.clone(), replacement });
    }
}

portcullis_plugin::export!(Pii: guard);
portcullis_plugin::golden_vectors!(Pii: guard);
