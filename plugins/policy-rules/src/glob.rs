//! Names with `*`: any run of characters, the empty one and `/` included. Nothing else is special, and case counts.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error};

/// A pattern, cut at its stars once so that matching allocates nothing and never backtracks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    /// The literals around the stars; without a star just one.
    pieces: Vec<String>,
}

impl Glob {
    pub fn new(pattern: &str) -> Self {
        Glob { pieces: pattern.split('*').map(str::to_owned).collect() }
    }

    /// The name itself where the pattern has no star.
    pub fn literal(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    pub fn matches(&self, name: &str) -> bool {
        let [first, middle @ .., last] = self.pieces.as_slice() else {
            return self.literal() == Some(name);
        };
        let Some(mut rest) = name.strip_prefix(first.as_str()).and_then(|rest| rest.strip_suffix(last.as_str())) else {
            return false;
        };
        // The leftmost place for each literal leaves the most room for the next.
        middle.iter().all(|piece| match rest.find(piece.as_str()) {
            Some(at) => {
                rest = &rest[at + piece.len()..];
                true
            }
            None => false,
        })
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.pieces.join("*"))
    }
}

impl<'de> Deserialize<'de> for Glob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pattern = String::deserialize(deserializer)?;
        if pattern.is_empty() {
            return Err(D::Error::custom("an empty name matches nothing"));
        }
        Ok(Glob::new(&pattern))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_match_any_run() {
        for (pattern, name, expected) in [
            ("gpt-5", "gpt-5", true),
            ("gpt-5", "gpt-5-mini", false),
            ("gpt-5*", "gpt-5", true),
            ("gpt-5*", "gpt-5-mini", true),
            ("*", "", true),
            ("*/gpt-5", "openai/gpt-5", true),
            ("claude-*-4*", "claude-opus-4-1", true),
            ("claude-*-4*", "claude-4", false),
            ("a*a", "a", false),
            ("a*b*b", "ab", false),
            ("a*b*b", "abcb", true),
            ("GPT*", "gpt-5", false),
            ("é*é", "éé", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(name), expected, "{pattern} {name}");
        }
    }

    /// The definition, slow: every way of giving characters to a star.
    fn by_definition(pattern: &[char], name: &[char]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some(('*', rest)) => (0..=name.len()).any(|taken| by_definition(rest, &name[taken..])),
            Some((first, rest)) => name.first() == Some(first) && by_definition(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[abé*]{0,7}", name in "[abé]{0,8}") {
            let (p, n): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
            prop_assert_eq!(Glob::new(&pattern).matches(&name), by_definition(&p, &n));
        }
    }
}
