//! What is remembered within one answer: the secrets longer than any hold, which are masked as they go.

use portcullis_plugin::guard::{PlaceKind, Text};
use serde::{Deserialize, Serialize};

use crate::find::token::{Tail, resume};
use crate::resolve::Found;
use crate::window::Window;

/// A rule by its index, and how its secret goes on.
pub type Unfinished = (u16, Tail);

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
    pub fn resume(&mut self, text: &Text, window: &Window) -> Option<(Unfinished, Found)> {
        if self.0.is_empty() {
            return None;
        }
        let stream = self.0.iter().position(|stream| stream.kind == place(text.kind) && stream.at == text.at)?;
        let unfinished = self.0.swap_remove(stream).unfinished;
        // Another text begins where that one was.
        if window.from == 0 {
            return None;
        }
        let (rule, tail) = unfinished;
        let (end, still) = resume(window, tail);
        let (rule, tail) = (usize::from(rule), still.then_some(tail));
        Some((unfinished, Found { start: window.from, end, rule, tail, whole: !still, rest: true }))
    }

    /// Remembers that a text's last secret goes on.
    pub fn keep(&mut self, text: &Text, unfinished: Unfinished) {
        self.0.push(Stream { kind: place(text.kind), at: text.at.clone(), unfinished });
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
