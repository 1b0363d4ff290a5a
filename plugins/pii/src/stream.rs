//! What is remembered within one answer: the secrets longer than any hold, which are masked as they go.

use portcullis_plugin::guard::{PlaceKind, Text};
use serde::{Deserialize, Serialize};

use crate::config::Rules;
use crate::find::token::{Tail, resume};
use crate::resolve::Found;
use crate::window::Window;

/// A secret that goes on past a window.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Unfinished {
    /// The rule's index.
    rule: u16,
    tail: Tail,
    /// What its last byte was like: of the secret itself nothing is kept.
    pub last: u8,
}

impl Unfinished {
    pub fn new(rule: usize, tail: Tail, last: u8) -> Self {
        let last = match last {
            b'0'..=b'9' => b'0',
            last if last.is_ascii_punctuation() => last,
            _ => b'x',
        };
        Unfinished { rule: rule as u16, tail, last }
    }
}

/// Secrets under way at a time; past that the oldest, most likely of a text that ended within it, is forgotten.
const MOST: usize = 64;

/// The unfinished secrets by their texts.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Streams(Vec<Stream>);

#[derive(Debug, Serialize, Deserialize)]
struct Stream {
    kind: u8,
    at: String,
    unfinished: Unfinished,
}

impl Streams {
    /// What a text's unfinished secret goes on with at the head of its next window; empty where that is not known yet.
    ///
    /// Two texts may stand at one place (choices whose pieces come in turn), so a secret is gone on with only where its mask
    /// was the last that was released, the newest first, and is forgotten only by the text that ended it.
    pub fn resume(&mut self, text: &Text<'_>, window: &Window, rules: &Rules) -> Option<(Unfinished, Found)> {
        let released = &window.text[..window.from];
        let (index, found) = self.0.iter().enumerate().rev().find_map(|(index, stream)| {
            let Unfinished { rule, tail, .. } = stream.unfinished;
            let mask = &rules.rules[usize::from(rule)].mask;
            let same = stream.kind == place(text.kind) && stream.at == text.at;
            if !same || released.is_empty() || !(released.ends_with(mask) || mask.ends_with(released)) {
                return None;
            }
            let (end, still) = resume(window, tail);
            let (rule, tail) = (usize::from(rule), still.then_some(tail));
            let goes_on = end > window.from || still;
            goes_on.then_some((index, Found { start: window.from, end, rule, tail, whole: !still, rest: true }))
        })?;
        Some((self.0.remove(index).unfinished, found))
    }

    /// Remembers that a text's last secret goes on.
    pub fn keep(&mut self, text: &Text<'_>, unfinished: Unfinished) {
        if self.0.len() == MOST {
            self.0.remove(0);
        }
        self.0.push(Stream { kind: place(text.kind), at: text.at.to_owned(), unfinished });
    }
}

/// State crosses calls as bytes; the contract's enumeration has no number of its own.
fn place(kind: PlaceKind) -> u8 {
    match kind {
        PlaceKind::Text => 0,
        PlaceKind::Reasoning => 1,
        PlaceKind::Refusal => 2,
        PlaceKind::ToolArguments => 3,
        PlaceKind::Value => 4,
        PlaceKind::Key => 5,
        PlaceKind::Number => 6,
    }
}
