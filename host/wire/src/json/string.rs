//! String literals: undoing escapes, making them, and finding a decoded offset again in the escaped text.

use std::borrow::Cow;

use memchr::memchr;

use super::block::BLOCK;
use super::unescape::copy_unescaped;

/// What stands at a backslash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Escape {
    /// The character and the bytes of its escape.
    Char(char, usize),
    /// More bytes are needed to tell.
    Incomplete,
    Invalid,
}

/// What the escapes of two characters mean, by the second; all are ASCII, and zero is none.
pub(super) static SIMPLE: [u8; 256] = {
    let mut table = [0; 256];
    let pairs = *b"\"\"\\\\//b\x08f\x0cn\nr\rt\t";
    let mut at = 0;
    while at < pairs.len() {
        table[pairs[at] as usize] = pairs[at + 1];
        at += 2;
    }
    table
};

/// Reads the escape at the start of `raw` (a backslash). With `open`, more text may follow, so that a leading
/// surrogate at the end waits for its other half; otherwise a lone surrogate reads as U+FFFD, as JavaScript's and
/// Python's writers produce them from cut strings.
pub(crate) fn escape_at(raw: &[u8], open: bool) -> Escape {
    let Some(&kind) = raw.get(1) else { return Escape::Incomplete };
    match SIMPLE[usize::from(kind)] {
        0 if kind == b'u' => unicode_escape(raw, open),
        0 => Escape::Invalid,
        simple => Escape::Char(simple.into(), 2),
    }
}

fn unicode_escape(raw: &[u8], open: bool) -> Escape {
    let first = match hex4(&raw[2..]) {
        Ok(unit) => unit,
        Err(other) => return other,
    };
    if !(0xD800..0xE000).contains(&first) {
        return char::from_u32(first).map_or(Escape::Invalid, |found| Escape::Char(found, 6));
    }
    let lone = Escape::Char(char::REPLACEMENT_CHARACTER, 6);
    if first >= 0xDC00 {
        return lone;
    }
    let rest = &raw[6..];
    match rest {
        [] | [b'\\'] if open => return Escape::Incomplete,
        [b'\\', b'u', ..] => {}
        _ => return lone,
    }
    match hex4(&rest[2..]) {
        Ok(second) if (0xDC00..0xE000).contains(&second) => {
            let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
            char::from_u32(code).map_or(lone, |found| Escape::Char(found, 12))
        }
        Err(Escape::Incomplete) if open => Escape::Incomplete,
        _ => lone,
    }
}

fn hex4(digits: &[u8]) -> Result<u32, Escape> {
    let mut unit = 0;
    for at in 0..4 {
        let Some(&digit) = digits.get(at) else { return Err(Escape::Incomplete) };
        let value = (digit as char).to_digit(16).ok_or(Escape::Invalid)?;
        unit = unit << 4 | value;
    }
    Ok(unit)
}

/// Undoes the escapes of a string literal's inside (no quotes). Lone surrogates become U+FFFD; a backslash that
/// starts no escape stays.
pub fn unescape(raw: &str) -> Cow<'_, str> {
    let Some(first) = memchr(b'\\', raw.as_bytes()) else { return Cow::Borrowed(raw) };
    let bytes = raw.as_bytes();
    let mut out = vec![0; raw.len() + 4 * BLOCK];
    out[..first].copy_from_slice(&bytes[..first]);
    let (mut pos, mut length) = (first, first);
    while pos < bytes.len() {
        let (read, written) = copy_unescaped(&bytes[pos..], &mut out, length);
        (pos, length) = (pos + read, written);
        if let Some(&other) = bytes.get(pos) {
            // No escape, or what no literal has unescaped: it stays.
            out[length] = other;
            (pos, length) = (pos + 1, length + 1);
        }
    }
    out.truncate(length);
    // SAFETY: runs of a text between ASCII characters, and whole characters for the escapes.
    Cow::Owned(unsafe { String::from_utf8_unchecked(out) })
}

/// Appends `text` escaped for the inside of a string literal: quotes, backslashes and control characters only.
pub fn escape_into(text: &str, out: &mut String) {
    let mut clean = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[clean..at]);
        clean = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            other => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.push_str("\\u00");
                out.push(HEX[usize::from(other >> 4)] as char);
                out.push(HEX[usize::from(other & 15)] as char);
            }
        }
    }
    out.push_str(&text[clean..]);
}

/// `text` as a string literal, quotes included.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    escape_into(text, &mut out);
    out.push('"');
    out
}

/// Finds, for ever greater offsets into the unescaped text, the offset in the escaped one.
pub(crate) struct OffsetMap<'a> {
    raw: &'a [u8],
    raw_pos: usize,
    text_pos: usize,
}

impl<'a> OffsetMap<'a> {
    pub(crate) fn new(raw: &'a str) -> Self {
        Self { raw: raw.as_bytes(), raw_pos: 0, text_pos: 0 }
    }

    /// `offset` is at least the one asked for before and stands on a character boundary of the unescaped text.
    pub(crate) fn raw_offset(&mut self, offset: usize) -> usize {
        while self.text_pos < offset {
            let rest = &self.raw[self.raw_pos..];
            let run = memchr(b'\\', rest).unwrap_or(rest.len()).min(offset - self.text_pos);
            self.raw_pos += run;
            self.text_pos += run;
            if self.text_pos == offset || self.raw_pos == self.raw.len() {
                break;
            }
            let (text, raw) = match escape_at(&self.raw[self.raw_pos..], false) {
                Escape::Char(found, length) => (found.len_utf8(), length),
                _ => (1, 1),
            };
            self.text_pos += text;
            self.raw_pos += raw;
        }
        self.raw_pos
    }
}
