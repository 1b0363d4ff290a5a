//! Reasoning that stands in the text, between `<think>` and `</think>` at its beginning: servers without a reasoning parser, and
//! Perplexity's reasoning models. Split at any byte.
//!
//! Invariant: joined, the pieces are the text without its tags and the blanks around them; at most a tag's length is held.

use serde::{Deserialize, Serialize};

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// Where in a text the splitter is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum Think {
    /// What has come may still become a tag.
    #[default]
    Undecided,
    /// As [`Undecided`](Self::Undecided), with what was held.
    Held(String),
    /// Within the tags, with what may be the closing one's beginning.
    Inside(String),
    /// Blanks after the closing tag are left out.
    After,
    Outside,
}

/// A piece of what was told.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    Reasoning(String),
    Text(String),
}

impl Think {
    /// The pieces that the next part of a text gives.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        match std::mem::take(self) {
            Think::Undecided => self.begin(text.to_owned()),
            Think::Held(held) => self.begin(held + text),
            Think::Inside(held) => self.inside(held + text),
            Think::After => self.after(text),
            Think::Outside => {
                *self = Think::Outside;
                vec![Piece::Text(text.to_owned())]
            }
        }
    }

    /// What is still held when the text ends.
    pub fn end(&mut self) -> Option<Piece> {
        let last = match std::mem::replace(self, Think::Outside) {
            Think::Held(held) => Piece::Text(held),
            Think::Inside(held) => Piece::Reasoning(held),
            Think::Undecided | Think::After | Think::Outside => return None,
        };
        let (Piece::Reasoning(text) | Piece::Text(text)) = &last;
        (!text.is_empty()).then_some(last)
    }

    fn begin(&mut self, text: String) -> Vec<Piece> {
        let start = text.trim_start();
        if let Some(rest) = start.strip_prefix(OPEN) {
            return self.inside(rest.trim_start_matches('\n').to_owned());
        }
        if OPEN.starts_with(start) {
            *self = Think::Held(text);
            return Vec::new();
        }
        *self = Think::Outside;
        vec![Piece::Text(text)]
    }

    fn inside(&mut self, text: String) -> Vec<Piece> {
        if let Some((thought, rest)) = text.split_once(CLOSE) {
            let mut pieces = reasoning(thought);
            pieces.extend(self.after(rest));
            return pieces;
        }
        let held = (1..CLOSE.len()).rev().find(|&length| text.ends_with(&CLOSE[..length])).unwrap_or(0);
        let (thought, held) = text.split_at(text.len() - held);
        let pieces = reasoning(thought);
        *self = Think::Inside(held.to_owned());
        pieces
    }

    fn after(&mut self, text: &str) -> Vec<Piece> {
        let text = text.trim_start();
        if text.is_empty() {
            *self = Think::After;
            return Vec::new();
        }
        *self = Think::Outside;
        vec![Piece::Text(text.to_owned())]
    }
}

fn reasoning(thought: &str) -> Vec<Piece> {
    if thought.is_empty() { Vec::new() } else { vec![Piece::Reasoning(thought.to_owned())] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The reasoning and the text of pieces of a text.
    fn split(pieces: impl IntoIterator<Item = String>) -> (String, String) {
        let (mut think, mut told) = (Think::default(), (String::new(), String::new()));
        let mut all = Vec::new();
        for piece in pieces {
            all.extend(think.push(&piece));
        }
        all.extend(think.end());
        for piece in all {
            match piece {
                Piece::Reasoning(text) => told.0 += &text,
                Piece::Text(text) => told.1 += &text,
            }
        }
        told
    }

    #[test]
    fn tags_are_taken_out_at_the_beginning_alone() {
        for (text, reasoning, rest) in [
            ("<think>\nhm</think>\n\n4", "hm", "4"),
            ("\n<think></think>4", "", "4"),
            ("4 <think>no</think>", "", "4 <think>no</think>"),
            ("<think>cut < /think> off", "cut < /think> off", ""),
            ("<thin", "", "<thin"),
            ("<think>a</thi", "a</thi", ""),
            ("", "", ""),
        ] {
            assert_eq!(split([text.to_owned()]), (reasoning.to_owned(), rest.to_owned()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            blank in "[ \n]{0,2}", thought in "[a-z</>é ]{0,20}", answer in "[a-z</>é ]{0,20}", tagged in any::<bool>(),
        ) {
            let text = if tagged { format!("{blank}<think>x{thought}</think>{answer}") } else { format!("{blank}{answer}") };
            let whole = split([text.clone()]);
            prop_assert_eq!(split(text.chars().map(String::from)), whole);
        }
    }
}
