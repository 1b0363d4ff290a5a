//! Finds keywords in a prompt: whole words, ASCII letters without case.
//!
//! The prompt is read once. A word is looked up only if some keyword begins with its first byte and has its length, which
//! rules out most words for the price of one table access; the standard table is constant, since a fresh instance pays for
//! what configuring builds.

use std::borrow::Cow;

/// No word of a keyword is longer, in bytes.
pub const LONGEST_WORD: usize = 24;

/// A word, or several with one space between them, in lower case; and the class it speaks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Keyword {
    pub text: Cow<'static, str>,
    pub class: u8,
}

impl Keyword {
    pub const fn new(text: &'static str, class: u8) -> Self {
        Keyword { text: Cow::Borrowed(text), class }
    }

    fn first_word(&self) -> &[u8] {
        self.text.split(' ').next().unwrap_or_default().as_bytes()
    }
}

/// Whether a text can be a keyword: words of word bytes, none too long, in lower case.
pub fn is_keyword(text: &str) -> bool {
    !text.is_empty()
        && text.split(' ').all(|word| {
            let fits = (1..=LONGEST_WORD).contains(&word.len());
            fits && word.bytes().all(|byte| is_word(byte) && !byte.is_ascii_uppercase())
        })
}

/// Keywords in order, with the filter over them.
#[derive(Debug)]
pub struct Table {
    keywords: Cow<'static, [Keyword]>,
    /// By the first byte's low five bits, a bit for every length that occurs.
    lengths: [u32; 32],
}

impl Table {
    /// The keywords must be sorted: those that begin with the same word stand together.
    pub fn new(keywords: Cow<'static, [Keyword]>) -> Self {
        debug_assert!(keywords.is_sorted());
        let mut lengths = [0; 32];
        for keyword in keywords.iter() {
            let word = keyword.first_word();
            lengths[slot(word)] |= 1 << word.len();
        }
        Table { keywords, lengths }
    }

    /// Calls `found` with each keyword that stands in the text, as often as it stands there.
    pub fn find(&self, text: &str, mut found: impl FnMut(&Keyword)) {
        let mut words = Words { bytes: text.as_bytes() };
        let mut buffer = [0; LONGEST_WORD];
        while let Some(word) = words.next() {
            if word.len() > LONGEST_WORD || self.lengths[slot(word)] & (1 << word.len()) == 0 {
                continue;
            }
            let lower = &mut buffer[..word.len()];
            lower.copy_from_slice(word);
            lower.make_ascii_lowercase();
            let start = self.keywords.partition_point(|keyword| keyword.first_word() < &*lower);
            for keyword in self.keywords[start..].iter().take_while(|keyword| keyword.first_word() == lower) {
                let mut ahead = words.clone();
                let mut rest = keyword.text.split(' ').skip(1);
                if rest.all(|word| ahead.next().is_some_and(|next| next.eq_ignore_ascii_case(word.as_bytes()))) {
                    found(keyword);
                }
            }
        }
    }
}

/// Upper and lower case of a letter share a slot.
fn slot(word: &[u8]) -> usize {
    word.first().map_or(0, |byte| usize::from(byte & 0x1f))
}

/// Bytes outside ASCII belong to words, so that no word is cut at an accent.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'+' | b'#')
}

#[derive(Clone)]
struct Words<'a> {
    bytes: &'a [u8],
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.bytes.iter().position(|&byte| is_word(byte))?;
        let rest = &self.bytes[start..];
        let end = rest.iter().position(|&byte| !is_word(byte)).unwrap_or(rest.len());
        self.bytes = &rest[end..];
        Some(&rest[..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(words: &[&'static str]) -> Table {
        let mut keywords: Vec<_> = words.iter().map(|&word| Keyword::new(word, 0)).collect();
        keywords.sort();
        Table::new(Cow::Owned(keywords))
    }

    fn found(table: &Table, text: &str) -> Vec<String> {
        let mut all = Vec::new();
        table.find(text, |keyword| all.push(keyword.text.to_string()));
        all
    }

    #[test]
    fn whole_words_without_case() {
        let table = table(&["code", "c++", "step by step", "step", "naïve"]);
        assert_eq!(found(&table, "CODE, decoder codec (code)"), ["code", "code"]);
        assert_eq!(found(&table, "C++? c"), ["c++"]);
        assert_eq!(found(&table, "Step\nby-step steps"), ["step", "step by step", "step"]);
        assert_eq!(found(&table, "step by"), ["step"]);
        assert_eq!(found(&table, "naïve na ve"), ["naïve"]);
        assert_eq!(found(&table, ""), [""; 0]);
        assert_eq!(found(&table, &"x".repeat(5000)), [""; 0]);
    }

    #[test]
    fn what_a_keyword_may_be() {
        for (text, expected) in [
            ("code", true),
            ("step by step", true),
            ("c#", true),
            ("", false),
            ("two  spaces", false),
            ("Code", false),
            ("don't", false),
            ("abcdefghijklmnopqrstuvwxyz", false),
        ] {
            assert_eq!(is_keyword(text), expected, "{text}");
        }
    }

    proptest! {
        /// Against a search that compares every keyword at every word.
        #[test]
        fn finds_what_a_plain_search_finds(text in "([abAB]{1,3}[ .]{0,2}){0,12}") {
            let words = ["a", "ab", "ab a", "b", "bab", "a b a"];
            let lower = text.to_ascii_lowercase();
            let split: Vec<&str> = lower.split([' ', '.']).filter(|word| !word.is_empty()).collect();
            let mut expected: Vec<String> = Vec::new();
            for word in words {
                let parts: Vec<&str> = word.split(' ').collect();
                expected.extend(split.windows(parts.len()).filter(|window| *window == parts).map(|_| word.to_owned()));
            }
            let mut actual = found(&table(&words), &text);
            expected.sort();
            actual.sort();
            prop_assert_eq!(actual, expected);
        }
    }
}
