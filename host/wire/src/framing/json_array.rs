//! One JSON array, an item a frame: what Gemini streams without `alt=sse`
//! (<https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference>, `streamGenerateContent`).
//!
//! A frame's bytes begin with what stands before its item, the bracket or a comma; the closing bracket is a frame without data.

use bytes::Bytes;
use memchr::memchr2;

use super::frame::{Frame, Layout, Piece};
use super::pending::Pending;
use super::{FRAME_LIMIT, FramingError};

/// Cuts a stream of bytes into the items of its array, wherever its chunks end. Within an item brackets are counted and no more:
/// whether it is JSON is for whoever reads it.
#[derive(Debug)]
pub struct Splitter {
    pending: Pending,
    limit: usize,
    state: State,
    /// Where the item at hand starts within its frame.
    item: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the opening bracket.
    Outside,
    /// An item may begin, or, unless a comma was before, the array end.
    Item { after_comma: bool },
    /// In an item that is a number or a word.
    Scalar,
    /// Within so many brackets of the item.
    Nested(usize),
    /// In a string within so many brackets; the flag says that a backslash was before.
    Text(usize, bool),
    /// An item is over.
    Between,
    /// After the closing bracket.
    Over,
}

impl Default for Splitter {
    fn default() -> Self {
        Self::with_limit(FRAME_LIMIT)
    }
}

/// What a byte means for the frames.
enum Step {
    On,
    /// The item begins with this byte.
    Begins,
    /// The item's last byte was this one.
    EndsWith,
    /// The item's last byte was the one before this, which is read again.
    EndsBefore,
    /// The array's end.
    Closes,
}

impl Splitter {
    /// `limit`: bytes that one item may have, with what stands before it.
    pub fn with_limit(limit: usize) -> Self {
        Self { pending: Pending::default(), limit, state: State::Outside, item: 0 }
    }

    /// # Errors
    /// It is no array, or an item is longer than the limit. After an error the stream is lost.
    pub fn push(&mut self, chunk: &Bytes, out: &mut Vec<Frame>) -> Result<(), FramingError> {
        let (mut start, mut pos) = (0, 0);
        while pos < chunk.len() {
            if let State::Text(_, false) = self.state {
                let Some(found) = memchr2(b'"', b'\\', &chunk[pos..]) else { break };
                pos += found;
            }
            match self.step(chunk[pos])? {
                Step::On => pos += 1,
                Step::Begins => {
                    self.item = self.pending.len() + pos - start;
                    pos += 1;
                }
                Step::EndsWith => {
                    pos += 1;
                    self.complete(chunk, start, pos, out)?;
                    start = pos;
                }
                Step::EndsBefore => {
                    self.complete(chunk, start, pos, out)?;
                    start = pos;
                }
                Step::Closes => {
                    pos += 1;
                    out.push(empty(self.pending.complete(chunk, start, pos, self.limit)?));
                    start = pos;
                }
            }
        }
        self.pending.keep(&chunk[start..], self.limit)
    }

    /// Ends the stream. One that ends between two items is not complained of: what it lacks is for whoever reads the items.
    ///
    /// # Errors
    /// It ends within an item.
    pub fn finish(&mut self, out: &mut Vec<Frame>) -> Result<(), FramingError> {
        match self.state {
            State::Scalar | State::Nested(_) | State::Text(..) => return Err(FramingError::Cut(self.pending.len())),
            State::Outside | State::Item { .. } | State::Between | State::Over => {}
        }
        if !self.pending.is_empty() {
            out.push(empty(self.pending.take()));
        }
        Ok(())
    }

    fn step(&mut self, byte: u8) -> Result<Step, FramingError> {
        let space = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        let (state, step) = match (self.state, byte) {
            (State::Text(depth, true), _) => (State::Text(depth, false), Step::On),
            (State::Text(depth, false), b'\\') => (State::Text(depth, true), Step::On),
            (State::Text(0, false), b'"') => (State::Between, Step::EndsWith),
            (State::Text(depth, false), b'"') => (State::Nested(depth), Step::On),
            (state @ State::Text(..), _) => (state, Step::On),
            (State::Nested(depth), b'"') => (State::Text(depth, false), Step::On),
            (State::Nested(depth), b'{' | b'[') => (State::Nested(depth + 1), Step::On),
            (State::Nested(1), b'}' | b']') => (State::Between, Step::EndsWith),
            (State::Nested(depth), b'}' | b']') => (State::Nested(depth - 1), Step::On),
            (state @ State::Nested(_), _) => (state, Step::On),
            (State::Scalar, b',' | b']') => (State::Between, Step::EndsBefore),
            (State::Scalar, _) if space => (State::Between, Step::EndsBefore),
            (State::Scalar, _) => (State::Scalar, Step::On),
            (state, _) if space => (state, Step::On),
            (State::Outside, b'[') => (State::Item { after_comma: false }, Step::On),
            (State::Item { after_comma: false } | State::Between, b']') => (State::Over, Step::Closes),
            (State::Item { .. }, b'"') => (State::Text(0, false), Step::Begins),
            (State::Item { .. }, b'{' | b'[') => (State::Nested(1), Step::Begins),
            (State::Item { .. }, b'-' | b'0'..=b'9' | b'a'..=b'z') => (State::Scalar, Step::Begins),
            (State::Between, b',') => (State::Item { after_comma: true }, Step::On),
            _ => return Err(FramingError::Malformed("the stream is no JSON array")),
        };
        self.state = state;
        Ok(step)
    }

    fn complete(&mut self, chunk: &Bytes, start: usize, end: usize, out: &mut Vec<Frame>) -> Result<(), FramingError> {
        let raw = self.pending.complete(chunk, start, end, self.limit)?;
        let data = Piece::of(&raw, self.item..raw.len());
        out.push(Frame::new(raw, Piece::Span(0..0), data, Layout::JsonArray { item: self.item }));
        Ok(())
    }
}

fn empty(raw: Bytes) -> Frame {
    let item = raw.len();
    Frame::new(raw, Piece::Span(0..0), Piece::Span(0..0), Layout::JsonArray { item })
}

/// Appends an item; `first` opens the array.
pub fn encode(data: &str, first: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if first { b"[" } else { b",\n" });
    out.extend_from_slice(data.as_bytes());
}

/// Appends the array's end; `empty` where nothing was written before.
pub fn close(empty: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if empty { b"[]" } else { b"]" });
}
