//! Reading JSON byte by byte: strings and their ends by SIMD, nesting without recursion.
//!
//! Two manners. The *strict* one accepts exactly JSON (RFC 8259; lone surrogate escapes allowed, as the grammar does).
//! The *skipping* one passes over a value that nobody reads by masks of sixty-four bytes: it matches brackets by
//! kind and strings by their quotes, and leaves the rest to whoever reads the value.

use std::ops::Range;

use super::ScanError;
use super::block::{BLOCK, Block, Escapes, Strings, ones};

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
    bytes: &'a [u8],
    pub(crate) pos: usize,
}

/// Bytes checked one by one before a block is worth its set-up: most keys are shorter.
const SHORT: usize = 16;

impl<'a> Cursor<'a> {
    pub(crate) fn new(body: &'a str) -> Self {
        Self { bytes: body.as_bytes(), pos: 0 }
    }

    pub(crate) fn at(body: &'a str, pos: usize) -> Self {
        Self { bytes: body.as_bytes(), pos }
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
        if let Some(run) = rest.iter().take(SHORT).position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20)
            && rest[run] == b'"'
        {
            self.pos += run + 1;
            return Ok(Literal { inside: start..start + run, escaped: false });
        }
        let escaped = self.string_end::<true>()?;
        Ok(Literal { inside: start..self.pos - 1, escaped })
    }

    /// Passes over a string, from its opening quote.
    #[inline]
    fn skip_string(&mut self) -> Result<(), ScanError> {
        self.pos += 1;
        let rest = &self.bytes[self.pos..];
        if let Some(run) = rest.iter().take(SHORT).position(|&byte| byte == b'"' || byte == b'\\')
            && rest[run] == b'"'
        {
            self.pos += run + 1;
            return Ok(());
        }
        self.string_end::<false>().map(|_| ())
    }

    /// Goes from a string's inside to after its closing quote; answers whether it has escapes. Where strict, escapes must be
    /// JSON's and control characters escaped.
    fn string_end<const STRICT: bool>(&mut self) -> Result<bool, ScanError> {
        let mut escapes = Escapes::default();
        let mut has_escapes = false;
        while self.pos < self.bytes.len() {
            let block = Block::load(&self.bytes[self.pos..]);
            let backslashes = block.is(b'\\');
            let escaped = escapes.escaped(backslashes);
            let quotes = block.is(b'"') & !escaped;
            // The bytes before the closing quote.
            let inside = if quotes == 0 { u64::MAX } else { (quotes & quotes.wrapping_neg()) - 1 };
            if STRICT {
                let controls = block.controls() & inside;
                if controls != 0 {
                    self.pos += controls.trailing_zeros() as usize;
                    return Err(self.error("a control character in a string must be escaped"));
                }
                for at in ones(backslashes & !escaped & inside) {
                    self.check_escape(self.pos + at)?;
                }
            }
            has_escapes |= backslashes & inside != 0;
            if quotes != 0 {
                self.pos += quotes.trailing_zeros() as usize + 1;
                return Ok(has_escapes);
            }
            self.pos += BLOCK;
        }
        Err(self.error("a string does not end"))
    }

    #[inline]
    fn check_escape(&self, at: usize) -> Result<(), ScanError> {
        let sound = match self.bytes.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => true,
            Some(b'u') => self.bytes.get(at + 2..at + 6).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)),
            _ => false,
        };
        if sound { Ok(()) } else { Err(ScanError::new(at, "no such escape")) }
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
        let (mut escapes, mut strings) = (Escapes::default(), Strings::default());
        let mut kinds = [0u64; MAX_DEPTH / 64];
        let mut depth = 0;
        while self.pos < self.bytes.len() {
            let block = Block::load(&self.bytes[self.pos..]);
            let escaped = escapes.escaped(block.is(b'\\'));
            let inside = strings.inside(block.is(b'"') & !escaped);
            for at in ones(block.brackets() & !inside) {
                let byte = self.bytes[self.pos + at];
                if byte == b'{' || byte == b'[' {
                    if depth == MAX_DEPTH {
                        return Err(ScanError::new(self.pos + at, "nested too deeply"));
                    }
                    let (word, bit) = (depth / 64, 1u64 << (depth % 64));
                    if byte == b'{' {
                        kinds[word] |= bit
                    } else {
                        kinds[word] &= !bit
                    }
                    depth += 1;
                    continue;
                }
                depth -= 1;
                let object = kinds[depth / 64] >> (depth % 64) & 1 == 1;
                if object != (byte == b'}') {
                    return Err(ScanError::new(self.pos + at, "this bracket closes nothing"));
                }
                if depth == 0 {
                    self.pos += at + 1;
                    return Ok(());
                }
            }
            self.pos += BLOCK;
        }
        Err(self.error("an object or array does not end"))
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
