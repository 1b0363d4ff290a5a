//! Finds keywords in a prompt: whole words, ASCII letters without case.
//!
//! The prompt is read once. A word is compared with those keywords alone that begin with its first letter, and only if one of
//! them has its length, which rules out most words for the price of one table access; the standard keywords are constant, since
//! a fresh instance pays for what configuring builds.

use std::borrow::Cow;

/// No word of a keyword is longer, in bytes.
pub const LONGEST_WORD: usize = 24;

/// A word, or several with one space between them, in lower case; and the class it speaks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Keyword {
    pub text: Cow<'static, str>,
    pub class: u8,
    /// Bytes of the first word.
    first: usize,
    pub words: u32,
}

impl Keyword {
    pub const fn new(text: &'static str, class: u8) -> Self {
        let (first, words) = shape(text);
        Keyword { text: Cow::Borrowed(text), class, first, words }
    }

    pub fn owned(text: String, class: u8) -> Self {
        let (first, words) = shape(&text);
        Keyword { text: Cow::Owned(text), class, first, words }
    }

    fn first_word(&self) -> &[u8] {
        &self.text.as_bytes()[..self.first]
    }
}

/// The first word's length, and how many words there are.
const fn shape(text: &str) -> (usize, u32) {
    let text = text.as_bytes();
    let (mut at, mut first, mut words) = (0, text.len(), 1);
    while at < text.len() {
        if text[at] == b' ' {
            words += 1;
            if words == 2 {
                first = at;
            }
        }
        at += 1;
    }
    (first, words)
}

/// Whether a text can be a keyword: words of word bytes, none too long, in lower case.
pub fn is_keyword(text: &str) -> bool {
    !text.is_empty()
        && text.split(' ').all(|word| {
            let fits = (1..=LONGEST_WORD).contains(&word.len());
            fits && word.bytes().all(|byte| is_word(byte) && !byte.is_ascii_uppercase())
        })
}

/// Keywords in order, with what is needed to look at few of them.
#[derive(Debug)]
pub struct Table {
    keywords: Cow<'static, [Keyword]>,
    /// Where the keywords of each first byte end; they begin where the last byte's end.
    ends: [u32; 256],
    /// By the first byte, a bit for every length of a first word, and one for the low bits of every second byte.
    lengths: [u32; 256],
    seconds: [u32; 256],
}

impl Table {
    /// The keywords must be sorted: those that begin with the same byte, and the same word, stand together.
    pub fn new(keywords: Cow<'static, [Keyword]>) -> Self {
        debug_assert!(keywords.is_sorted());
        let (mut ends, mut lengths, mut seconds) = ([0; 256], [0; 256], [0; 256]);
        let mut last = 0;
        for (index, keyword) in (0_u32..).zip(keywords.iter()) {
            let first = usize::from(keyword.first_word().first().copied().unwrap_or_default());
            ends[last..first].fill(index);
            lengths[first] |= 1 << keyword.first;
            seconds[first] |= second(keyword.first_word());
            last = first;
        }
        ends[last..].fill(u32::try_from(keywords.len()).unwrap_or(u32::MAX));
        Table { keywords, ends, lengths, seconds }
    }

    /// Calls `found` with each keyword that stands in the text, as often as it stands there.
    pub fn find(&self, text: &str, mut found: impl FnMut(&Keyword)) {
        let mut words = Words::of(text);
        while let Some(word) = words.next() {
            let first = usize::from(word[0].to_ascii_lowercase());
            if word.len() > LONGEST_WORD
                || self.lengths[first] & (1 << word.len()) == 0
                || self.seconds[first] & second(word) == 0
            {
                continue;
            }
            let begin = first.checked_sub(1).map_or(0, |before| self.ends[before]);
            for keyword in &self.keywords[begin as usize..self.ends[first] as usize] {
                if keyword.first != word.len() || !keyword.first_word().eq_ignore_ascii_case(word) {
                    continue;
                }
                let mut ahead = words.clone();
                let mut rest = keyword.text.split(' ').skip(1);
                if rest.all(|word| ahead.next().is_some_and(|next| next.eq_ignore_ascii_case(word.as_bytes()))) {
                    found(keyword);
                }
            }
        }
    }
}

/// The bit of a word's second byte, the same for both cases of a letter.
fn second(word: &[u8]) -> u32 {
    1 << (word.get(1).copied().unwrap_or_default() & 0x1f)
}

/// Bytes outside ASCII belong to words, so that no word is cut at an accent.
const WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = byte >= 0x80 || (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'+' | b'#');
        byte += 1;
    }
    table
};

fn is_word(byte: u8) -> bool {
    WORD[usize::from(byte)]
}

/// A bit for each byte of a word.
#[cfg(target_feature = "simd128")]
fn words_of(block: &[u8; BLOCK]) -> u16 {
    use std::arch::wasm32::{i8x16_bitmask, i8x16_eq, u8x16_ge, u8x16_lt, u8x16_splat, u8x16_sub, v128_load, v128_or};
    // SAFETY: as many bytes as are loaded, and the load needs no alignment.
    let bytes = unsafe { v128_load(block.as_ptr().cast()) };
    let letter = u8x16_lt(u8x16_sub(v128_or(bytes, u8x16_splat(0x20)), u8x16_splat(b'a')), u8x16_splat(26));
    let digit = u8x16_lt(u8x16_sub(bytes, u8x16_splat(b'0')), u8x16_splat(10));
    let sign = v128_or(i8x16_eq(bytes, u8x16_splat(b'+')), i8x16_eq(bytes, u8x16_splat(b'#')));
    let beyond = u8x16_ge(bytes, u8x16_splat(0x80));
    i8x16_bitmask(v128_or(v128_or(letter, digit), v128_or(sign, beyond)))
}

#[cfg(not(target_feature = "simd128"))]
fn words_of(block: &[u8; BLOCK]) -> u16 {
    block.iter().enumerate().fold(0, |bits, (i, &byte)| bits | u16::from(is_word(byte)) << i)
}

const BLOCK: usize = 16;

/// Words in their order.
#[derive(Clone)]
struct Words<'a> {
    bytes: &'a [u8],
    /// The last word's end.
    at: usize,
    /// The block in which that stands: where it begins, and its bytes of words.
    base: usize,
    words: u16,
}

impl<'a> Words<'a> {
    fn of(text: &'a str) -> Self {
        let mut words = Words { bytes: text.as_bytes(), at: 0, base: 0, words: 0 };
        words.look();
        words
    }

    fn look(&mut self) {
        let rest = &self.bytes[self.base.min(self.bytes.len())..];
        self.words = match rest.first_chunk() {
            Some(block) => words_of(block),
            // What is missing is of no word, so that the last one ends with the text.
            None => rest.iter().enumerate().fold(0, |bits, (i, &byte)| bits | u16::from(is_word(byte)) << i),
        };
    }

    /// Goes on to the next byte that is of a word, or is of none. Nothing of a word comes after the end.
    fn seek(&mut self, of_word: bool) {
        loop {
            let hits = if of_word { self.words } else { !self.words };
            let hits = hits.unbounded_shr((self.at - self.base) as u32);
            if hits != 0 {
                self.at += hits.trailing_zeros() as usize;
                return;
            }
            self.base += BLOCK;
            self.at = self.base;
            if of_word && self.at >= self.bytes.len() {
                return;
            }
            self.look();
        }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.seek(true);
        let start = self.at;
        if start >= self.bytes.len() {
            return None;
        }
        self.seek(false);
        Some(&self.bytes[start..self.at])
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
        #[test]
        fn words_are_what_lies_between(text in "[a-zA-Z0-9+#é東_ .@\\[`{/:-]{0,80}") {
            let expected: Vec<_> = text.as_bytes().split(|&byte| !is_word(byte)).filter(|word| !word.is_empty()).collect();
            prop_assert_eq!(Words::of(&text).collect::<Vec<_>>(), expected);
        }

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
