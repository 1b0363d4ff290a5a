//! Tokens as this server counts them. Invariant: joined, the pieces of a text are the text, and a count is the number of
//! pieces, so a stream, a whole answer and its usage always agree.

/// Letters and digits of one token. Longer words are several tokens, as with real tokenisers.
const LONGEST: usize = 8;

/// Splits a text into tokens: a run of white space, then one run of letters and digits or one other character.
pub fn split(text: &str) -> Tokens<'_> {
    Tokens { rest: text }
}

/// How many tokens a text has.
pub fn count(text: &str) -> u64 {
    split(text).count() as u64
}

/// The first `limit` tokens of a text.
pub fn truncate(text: &str, limit: u64) -> &str {
    let length: usize = split(text).take(usize::try_from(limit).unwrap_or(usize::MAX)).map(str::len).sum();
    &text[..length]
}

pub struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let mut letters = 0;
        let mut end = 0;
        for (at, character) in self.rest.char_indices() {
            let after = at + character.len_utf8();
            if letters == 0 && character.is_whitespace() {
                end = after;
                continue;
            }
            if character.is_alphanumeric() && letters < LONGEST {
                letters += 1;
                end = after;
                continue;
            }
            if letters == 0 {
                end = after;
            }
            break;
        }
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_and_marks() {
        assert_eq!(split("Hello, wide world!").collect::<Vec<_>>(), ["Hello", ",", " wide", " world", "!"]);
        assert_eq!(split("internationalise  ").collect::<Vec<_>>(), ["internat", "ionalise", "  "]);
        assert_eq!(truncate("one two three", 2), "one two");
    }

    proptest! {
        #[test]
        fn pieces_join_to_the_text(text in "\\PC*|[ \n\ta-z0-9€]*") {
            prop_assert_eq!(split(&text).collect::<String>(), text.clone());
            prop_assert!(split(&text).all(|token| !token.is_empty()));
            prop_assert_eq!(truncate(&text, count(&text)), text.as_str());
        }
    }
}
