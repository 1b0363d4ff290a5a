//! One JSON document a line. Lines end with LF; a CR before it is no part of the document.

use bytes::Bytes;
use memchr::memchr;

use super::frame::{Frame, Layout, Piece};
use super::pending::Pending;
use super::{FRAME_LIMIT, FramingError};

/// Cuts a stream of bytes into lines, wherever its chunks end. A blank line is a frame without data.
#[derive(Debug)]
pub struct Splitter {
    pending: Pending,
    limit: usize,
}

impl Default for Splitter {
    fn default() -> Self {
        Self::with_limit(FRAME_LIMIT)
    }
}

impl Splitter {
    /// `limit`: bytes that one line may have.
    pub fn with_limit(limit: usize) -> Self {
        Self { pending: Pending::default(), limit }
    }

    /// # Errors
    /// A line is longer than the limit.
    pub fn push(&mut self, chunk: &Bytes, out: &mut Vec<Frame>) -> Result<(), FramingError> {
        let mut start = 0;
        while let Some(found) = memchr(b'\n', &chunk[start..]) {
            let end = start + found + 1;
            out.push(frame(self.pending.complete(chunk, start, end, self.limit)?));
            start = end;
        }
        self.pending.keep(&chunk[start..], self.limit)
    }

    /// Ends the stream: a last line needs no line feed.
    ///
    /// # Errors
    /// None as yet; framings share the signature.
    pub fn finish(&mut self, out: &mut Vec<Frame>) -> Result<(), FramingError> {
        if !self.pending.is_empty() {
            out.push(frame(self.pending.take()));
        }
        Ok(())
    }
}

fn frame(raw: Bytes) -> Frame {
    let data = Piece::of(&raw, 0..line_end(&raw));
    Frame::new(raw, Piece::Span(0..0), data, Layout::Ndjson)
}

/// Where the line's end mark starts.
pub(super) fn line_end(raw: &[u8]) -> usize {
    let line = raw.strip_suffix(b"\n").unwrap_or(raw);
    line.strip_suffix(b"\r").unwrap_or(line).len()
}

/// Appends a line. Line breaks between the tokens of `data` become spaces.
pub fn encode(data: &str, out: &mut Vec<u8>) {
    out.extend(data.bytes().map(|byte| if byte == b'\n' || byte == b'\r' { b' ' } else { byte }));
    out.push(b'\n');
}
