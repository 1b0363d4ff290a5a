//! Whole documents: requests and answers that are one JSON text.

use std::collections::HashSet;
use std::ops::Range;

use crate::json::{Edits, Kind, Literal, Place, ScanError, StringAhead, Visitor, walk};

use super::derived::Derived;
use super::findings::{SpliceError, by_text};
use super::map::{Role, TextKind, TextMap};
use super::spot::{Cut, Form, Spot, is_long_number, telling_key};
use super::{Finding, PlaceKind, Texts};

/// Which way a document goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Request,
    Answer,
}

/// A document's texts and where each stands.
#[derive(Debug)]
pub struct DocumentTexts {
    texts: Texts,
    spots: Vec<Spot>,
    derived: Vec<Derived>,
}

impl DocumentTexts {
    /// Cuts a document into its texts: every string that is not empty; in requests also telling keys and long numbers, and the
    /// map's `opaque` strings, which guards are spared in answers.
    ///
    /// # Errors
    /// The body is not JSON, at whatever depth.
    pub fn cut(body: &str, map: &TextMap, direction: Direction) -> Result<Self, ScanError> {
        let mut cutter = Cutter { map, direction, cut: Cut::with_room(body.len()), derived: Vec::new() };
        walk(body, &map.set, &mut cutter)?;
        let Cutter { cut, derived, .. } = cutter;
        Ok(Self { texts: cut.texts, spots: cut.spots, derived })
    }

    pub fn texts(&self) -> &Texts {
        &self.texts
    }

    /// The texts, to be given away without a copy; splicing does not need them.
    pub fn take_texts(&mut self) -> Texts {
        std::mem::take(&mut self.texts)
    }

    /// The body with every finding's replacement in its place.
    ///
    /// # Errors
    /// As [`DocumentTexts::edits`].
    pub fn splice(&self, body: &str, findings: &[Finding]) -> Result<String, SpliceError> {
        Ok(self.edits(body, findings)?.apply(body))
    }

    /// The splices alone; empty where nothing changes, so that the bytes can be passed as they are.
    ///
    /// # Errors
    /// A finding that does not fit its text.
    pub fn edits(&self, body: &str, findings: &[Finding]) -> Result<Edits, SpliceError> {
        let mut edits = Edits::new();
        let mut names = HashSet::new();
        let mut changed = Vec::new();
        for (text, found) in by_text(findings, self.spots.len())? {
            let spot = &self.spots[text as usize];
            let mut splices = spot.splices(body, &found)?;
            if let Some(change) = spot.new_key(body, &found)? {
                // Two names masked alike would be one member twice, of which most parsers keep the last only.
                let mut count = 1;
                let mut name = change.name.clone();
                while !names.insert((change.object, name.clone())) {
                    count += 1;
                    name = format!("{}_{count}", change.name);
                }
                if let Some((_, last)) = splices.last_mut().filter(|_| count > 1) {
                    last.push_str(&format!("_{count}"));
                }
            }
            for (range, text) in splices {
                changed.push(range.clone());
                // Spots do not overlap, nor do the splices within one.
                let _ = edits.replace(range, text);
            }
        }
        for derived in self.derived.iter().filter(|_| !changed.is_empty()) {
            if derived.is_touched(body, &changed) {
                edits.cover(derived.range.clone(), derived.emptied(body));
            }
        }
        Ok(edits)
    }
}

struct Cutter<'c> {
    map: &'c TextMap,
    direction: Direction,
    cut: Cut,
    derived: Vec<Derived>,
}

impl Cutter<'_> {
    #[inline]
    fn note_derived(&mut self, place: &Place<'_>, range: &Range<usize>) {
        for id in place.hits() {
            if let Role::Derived(at) = self.map.roles[usize::from(id)] {
                self.derived.push(Derived::new(&self.map.derivations[at], place, range.clone()));
            }
        }
    }
}

impl Visitor for Cutter<'_> {
    const MATCHES_ONLY: bool = false;

    fn key(&mut self, place: &Place<'_>, key: &Literal) {
        if self.direction == Direction::Answer {
            return;
        }
        if let Some(name) = telling_key(place.body(), key) {
            let spot = Spot { outer: None, form: Form::Key { object: place.container() }, range: key.with_quotes() };
            self.cut.push_here(PlaceKind::Key, place, &name, spot);
        }
    }

    fn value(&mut self, place: &Place<'_>, kind: Kind, range: Range<usize>) {
        self.note_derived(place, &range);
        let body = place.body();
        if self.direction == Direction::Request && kind == Kind::Number && is_long_number(&body[range.clone()]) {
            let spot = Spot { outer: None, form: Form::Number, range: range.clone() };
            self.cut.push_here(PlaceKind::Number, place, &body[range], spot);
        }
    }

    fn string(&mut self, place: &Place<'_>, string: StringAhead<'_, '_>) -> Result<(), ScanError> {
        let (mut kind, mut json, mut opaque) = (PlaceKind::Value, false, false);
        for id in place.hits() {
            match self.map.roles[usize::from(id)] {
                Role::JsonString => json = true,
                Role::Opaque => opaque = self.direction == Direction::Answer,
                // One that is a stream's in some frames only says nothing of a document.
                Role::ChannelText(channel) if self.map.channels[channel].when.is_empty() => {
                    let found = self.map.channels[channel].kind;
                    json |= found == TextKind::ToolArguments;
                    kind = found.place();
                }
                _ => {}
            }
        }
        if opaque {
            let range = string.pass()?;
            self.note_derived(place, &range);
            return Ok(());
        }
        let (range, text) = string.text()?;
        self.note_derived(place, &range);
        if json && !text.is_empty() {
            self.cut.push_json_string(text, &place.pointer(), range);
        } else if !text.is_empty() {
            self.cut.push_here(kind, place, text, Spot::string(range));
        }
        Ok(())
    }
}
