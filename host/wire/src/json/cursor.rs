//! Reading JSON byte by byte: strings and their ends by SIMD, nesting without recursion.
//!
//! Two manners. The *strict* one accepts exactly JSON (RFC 8259; lone surrogate escapes allowed, as the grammar does).
//! The *skipping* one passes over a value that nobody reads by masks of sixty-four bytes: it matches brackets by
//! kind and strings by their quotes, and leaves the rest to whoever reads the value.

use std::ops::Range;

use super::ScanError;
use super::block::{BLOCK, Block, Escapes, Strings, load, ones, plain_run};
use super::unescape::{copy_unescaped, pass_string};
use super::widest::{Scan, widest};

/// Containers within containers that a body may have.
pub const MAX_DEPTH: usize = 512;

/// A string literal: where its inside stands (without quotes) and whether it has escapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Literal {
    pub(crate) inside: Range<usize>,
    pub(crate) escaped: bool,
}

impl Literal {
    pub(crate) fn with_quotes(&self) -> Range<usize> {
        self.inside.start - 1..self.inside.end + 1
    }
}

pub(crate) struct Cursor<'a> {
    body: &'a str,
    bytes: &'a [u8],
    pub(crate) pos: usize,
}

/// Bytes looked at before a scan by blocks is worth its set-up.
const SHORT: usize = 64;

impl<'a> Cursor<'a> {
    pub(crate) fn new(body: &'a str) -> Self {
        Self::at(body, 0)
    }

    pub(crate) fn at(body: &'a str, pos: usize) -> Self {
        Self { body, bytes: body.as_bytes(), pos }
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.pos).copied()
    }

    pub(crate) fn error(&self, message: &'static str) -> ScanError {
        ScanError::new(self.pos.min(self.bytes.len()), message)
    }

    #[inline]
    pub(crate) fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.pos += 1;
        }
    }

    #[inline]
    pub(crate) fn expect(&mut self, byte: u8, message: &'static str) -> Result<(), ScanError> {
        if self.peek() != Some(byte) {
            return Err(self.error(message));
        }
        self.pos += 1;
        Ok(())
    }

    pub(crate) fn end(&mut self) -> Result<(), ScanError> {
        self.space();
        if self.pos < self.bytes.len() { Err(self.error("something follows the value")) } else { Ok(()) }
    }

    /// Reads a string strictly, from its opening quote.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Literal, ScanError> {
        self.expect(b'"', "a string must stand here")?;
        let start = self.pos;
        let rest = &self.bytes[start..];
        let run = plain_run(&rest[..rest.len().min(SHORT)]);
        if rest.get(run) == Some(&b'"') {
            self.pos += run + 1;
            return Ok(Literal { inside: start..start + run, escaped: false });
        }
        let (read, escaped) = pass_string(&rest[run..]);
        self.pos += run + read;
        self.closing_quote()?;
        Ok(Literal { inside: start..self.pos - 1, escaped })
    }

    /// As [`Cursor::string`], and answers what the string says: as it stands, or with its escapes undone in `scratch`.
    #[inline]
    pub(crate) fn text<'t>(&mut self, scratch: &'t mut Vec<u8>) -> Result<(Range<usize>, &'t str), ScanError>
    where
        'a: 't,
    {
        let open = self.pos;
        self.expect(b'"', "a string must stand here")?;
        let start = self.pos;
        self.pos += plain_run(&self.bytes[start..]);
        if self.peek() == Some(b'"') {
            self.pos += 1;
            return Ok((open..self.pos, &self.body[start..self.pos - 1]));
        }
        let (read, written) = copy_unescaped(&self.bytes[start..], scratch, 0);
        self.pos = start + read;
        self.closing_quote()?;
        // SAFETY: runs of the body, which is UTF-8, between ASCII characters, and whole characters for the escapes.
        Ok((open..self.pos, unsafe { std::str::from_utf8_unchecked(&scratch[..written]) }))
    }

    /// Steps over what ended the reading of a string, if that is its quote.
    fn closing_quote(&mut self) -> Result<(), ScanError> {
        match self.peek() {
            Some(b'"') => {
                self.pos += 1;
                Ok(())
            }
            Some(b'\\') => Err(self.error("no such escape")),
            Some(_) => Err(self.error("a control character in a string must be escaped")),
            None => Err(self.error("a string does not end")),
        }
    }

    /// Passes over a string, from its opening quote.
    #[inline]
    fn skip_string(&mut self) -> Result<(), ScanError> {
        self.pos += 1;
        let rest = &self.bytes[self.pos..];
        let run = plain_run(&rest[..rest.len().min(SHORT)]);
        if rest.get(run) == Some(&b'"') {
            self.pos += run + 1;
            return Ok(());
        }
        self.pos += widest(ToQuote(rest)).ok_or_else(|| ScanError::new(self.bytes.len(), "a string does not end"))?;
        Ok(())
    }

    /// Passes over one value. Scalars are read strictly, containers as the module's head says.
    pub(crate) fn skip_value(&mut self) -> Result<Range<usize>, ScanError> {
        let start = self.pos;
        match self.peek() {
            Some(b'"') => self.skip_string()?,
            Some(b'{' | b'[') => self.skip_container()?,
            _ => {
                self.scalar()?;
            }
        }
        Ok(start..self.pos)
    }

    fn skip_container(&mut self) -> Result<(), ScanError> {
        match widest(ToBracket(&self.bytes[self.pos..])) {
            Ok(length) => {
                self.pos += length;
                Ok(())
            }
            Err((at, message)) => Err(ScanError::new(self.pos + at, message)),
        }
    }

    /// Reads a number, `true`, `false` or `null` strictly.
    pub(crate) fn scalar(&mut self) -> Result<Range<usize>, ScanError> {
        let start = self.pos;
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word(b"true")?,
            Some(b'f') => self.word(b"false")?,
            Some(b'n') => self.word(b"null")?,
            Some(_) => return Err(self.error("a value must stand here")),
            None => return Err(self.error("the text ends where a value must stand")),
        }
        Ok(start..self.pos)
    }

    fn word(&mut self, word: &[u8]) -> Result<(), ScanError> {
        if !self.bytes[self.pos..].starts_with(word) {
            return Err(self.error("a value must stand here"));
        }
        self.pos += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), ScanError> {
        if self.peek() == Some(b'-') {
            self.pos += 1;
        }
        if self.peek() == Some(b'0') {
            self.pos += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.pos += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.pos += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.pos += 1;
            }
            self.digits()?;
        }
        // What follows must be no part of a number: `01` and `1.2.3` are refused here and not by what comes next.
        if let Some(b'0'..=b'9' | b'.' | b'+' | b'-' | b'e' | b'E') = self.peek() {
            return Err(self.error("no such number"));
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), ScanError> {
        let start = self.pos;
        while let Some(b'0'..=b'9') = self.peek() {
            self.pos += 1;
        }
        if self.pos == start { Err(self.error("no such number")) } else { Ok(()) }
    }
}

/// From a string's inside to after its closing quote.
struct ToQuote<'b>(&'b [u8]);

impl Scan for ToQuote<'_> {
    type Answer = Option<usize>;

    #[inline(always)]
    fn run<B: Block>(self) -> Option<usize> {
        let mut escapes = Escapes::default();
        let mut at = 0;
        while at < self.0.len() {
            let block: B = load(&self.0[at..]);
            let quotes = block.is(b'"') & !escapes.escaped(block.is(b'\\'));
            if quotes != 0 {
                return Some(at + quotes.trailing_zeros() as usize + 1);
            }
            at += BLOCK;
        }
        None
    }
}

/// From a container's opening bracket to after the one that closes it.
struct ToBracket<'b>(&'b [u8]);

impl Scan for ToBracket<'_> {
    type Answer = Result<usize, (usize, &'static str)>;

    #[inline(always)]
    fn run<B: Block>(self) -> Self::Answer {
        let bytes = self.0;
        let (mut escapes, mut strings) = (Escapes::default(), Strings::default());
        let mut kinds = [0u64; MAX_DEPTH / 64];
        let (mut depth, mut pos) = (0, 0);
        while pos < bytes.len() {
            let block: B = load(&bytes[pos..]);
            let escaped = escapes.escaped(block.is(b'\\'));
            let inside = strings.inside::<B>(block.is(b'"') & !escaped);
            for at in ones(block.brackets() & !inside) {
                let at = pos + at;
                let byte = bytes[at];
                if byte == b'{' || byte == b'[' {
                    if depth == MAX_DEPTH {
                        return Err((at, "nested too deeply"));
                    }
                    let (word, bit) = (depth / 64, 1u64 << (depth % 64));
                    if byte == b'{' {
                        kinds[word] |= bit;
                    } else {
                        kinds[word] &= !bit;
                    }
                    depth += 1;
                    continue;
                }
                depth -= 1;
                let object = kinds[depth / 64] >> (depth % 64) & 1 == 1;
                if object != (byte == b'}') {
                    return Err((at, "this bracket closes nothing"));
                }
                if depth == 0 {
                    return Ok(at + 1);
                }
            }
            pos += BLOCK;
        }
        Err((bytes.len(), "an object or array does not end"))
    }
}
