//! Server-sent events, as the WHATWG HTML standard reads them (section 9.2.6, "Interpreting an event stream"): lines end
//! with LF, CRLF or CR, a blank line ends a frame, a byte order mark may lead. In one thing clients of LLM APIs differ from it and so
//! do we: a last frame without its blank line counts.

use std::ops::Range;

use bytes::Bytes;
use memchr::memchr2;

use super::frame::{Frame, Layout, Piece};
use super::pending::Pending;
use super::{FRAME_LIMIT, FramingError};

pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Cuts a stream of bytes into frames, wherever its chunks end.
///
/// A frame that ends with CR at a chunk's end is given out at once; if the next chunk leads with that line's LF, the LF
/// stands at the start of the next frame's bytes.
#[derive(Debug)]
pub struct Splitter {
    pending: Pending,
    limit: usize,
    /// Bytes so far of the line at hand.
    line: usize,
    /// The last byte was a CR that ended a line.
    after_cr: bool,
    /// The stream's first line is not over.
    first_line: bool,
    /// No frame was given out yet.
    first_frame: bool,
}

impl Default for Splitter {
    fn default() -> Self {
        Self::with_limit(FRAME_LIMIT)
    }
}

impl Splitter {
    /// `limit`: bytes that one frame may have.
    pub fn with_limit(limit: usize) -> Self {
        Self { pending: Pending::default(), limit, line: 0, after_cr: false, first_line: true, first_frame: true }
    }

    /// # Errors
    /// A frame is longer than the limit.
    pub fn push(&mut self, chunk: &Bytes, out: &mut Vec<Frame>) -> Result<(), FramingError> {
        let (mut start, mut pos) = (0, 0);
        if self.after_cr && chunk.first() == Some(&b'\n') {
            pos = 1;
        }
        if !chunk.is_empty() {
            self.after_cr = false;
        }
        while let Some(found) = memchr2(b'\n', b'\r', &chunk[pos..]) {
            let end_of_line = pos + found;
            let blank = self.line + found == 0 || self.is_mark(&chunk[start..end_of_line], found);
            pos = end_of_line + 1;
            if chunk[end_of_line] == b'\r' {
                match chunk.get(pos) {
                    Some(b'\n') => pos += 1,
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            self.line = 0;
            self.first_line = false;
            if blank {
                let raw = self.pending.complete(chunk, start, pos, self.limit)?;
                out.push(self.frame(raw));
                start = pos;
            }
        }
        self.line += chunk.len() - pos;
        self.pending.keep(&chunk[start..], self.limit)
    }

    /// Whether the line that ends here, `found` bytes of it in this chunk, is the byte order mark alone.
    fn is_mark(&self, of_chunk: &[u8], found: usize) -> bool {
        self.first_line
            && self.line + found == BYTE_ORDER_MARK.len()
            && self.pending.bytes().iter().chain(of_chunk).copied().eq(BYTE_ORDER_MARK.iter().copied())
    }

    /// Ends the stream: what is left counts as a frame.
    ///
    /// # Errors
    /// None as yet; framings share the signature.
    pub fn finish(&mut self, out: &mut Vec<Frame>) -> Result<(), FramingError> {
        if !self.pending.is_empty() {
            let raw = self.pending.take();
            out.push(self.frame(raw));
        }
        self.line = 0;
        Ok(())
    }

    fn frame(&mut self, raw: Bytes) -> Frame {
        let first = std::mem::take(&mut self.first_frame);
        let mut event = 0..0;
        let mut data = Data::None;
        for line in lines(&raw, first) {
            let (name, value) = field(&raw, &line.text);
            match name {
                b"event" => event = value,
                b"data" => data.add(&raw, value),
                _ => {}
            }
        }
        let event = Piece::of(&raw, event);
        let (data, single) = match data {
            Data::None => (Piece::Span(0..0), false),
            Data::One(range) => {
                // A line `data` without a colon has no place to put data in.
                let single = matches!(raw[range.start - 1], b':' | b' ');
                (Piece::of(&raw, range), single)
            }
            Data::Joined(bytes) => (Piece::Own(lossy(bytes)), false),
        };
        Frame::new(raw, event, data, Layout::Sse { first, single })
    }
}

enum Data {
    None,
    One(Range<usize>),
    Joined(Vec<u8>),
}

impl Data {
    fn add(&mut self, raw: &[u8], value: Range<usize>) {
        match self {
            Self::None => *self = Self::One(value),
            Self::One(first) => *self = Self::Joined([&raw[first.clone()], b"\n", &raw[value]].concat()),
            Self::Joined(all) => {
                all.push(b'\n');
                all.extend_from_slice(&raw[value]);
            }
        }
    }
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|fault| String::from_utf8_lossy(fault.as_bytes()).into_owned())
}

struct Line {
    /// Without its end.
    text: Range<usize>,
    /// With it.
    whole: Range<usize>,
}

fn lines(raw: &[u8], first: bool) -> impl Iterator<Item = Line> + '_ {
    let mut pos = if first && raw.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    std::iter::from_fn(move || {
        if pos == raw.len() {
            return None;
        }
        let start = pos;
        let end = memchr2(b'\n', b'\r', &raw[pos..]).map_or(raw.len(), |found| pos + found);
        pos = match raw.get(end..end + 2) {
            Some(b"\r\n") => end + 2,
            _ => (end + 1).min(raw.len()),
        };
        Some(Line { text: start..end, whole: start..pos })
    })
}

/// A line's field name and where its value stands. A comment has the empty name.
fn field<'l>(raw: &'l [u8], line: &Range<usize>) -> (&'l [u8], Range<usize>) {
    let text = &raw[line.clone()];
    let Some(colon) = memchr::memchr(b':', text) else { return (text, line.end..line.end) };
    let mut start = line.start + colon + 1;
    if raw.get(start) == Some(&b' ') && start < line.end {
        start += 1;
    }
    (&text[..colon], start..line.end)
}

/// A frame's bytes with other data; every line but the `data` ones stays.
pub(super) fn with_data(raw: &[u8], first: bool, data: &str) -> Bytes {
    let mut out = Vec::with_capacity(raw.len() + data.len());
    let mut written = false;
    let mut done = 0;
    for line in lines(raw, first) {
        out.extend_from_slice(&raw[done..line.whole.start]);
        done = line.whole.end;
        let is_data = field(raw, &line.text).0 == b"data";
        // A frame that had no data gets it before its blank line.
        let blank = line.text.is_empty() && line.whole.start > 0;
        if !written && (is_data || blank) {
            written = true;
            let end: &[u8] = if line.whole.end > line.text.end { &raw[line.text.end..line.whole.end] } else { b"\n" };
            write_data(data, end, &mut out);
        }
        if !is_data {
            out.extend_from_slice(&raw[line.whole]);
        }
    }
    out.extend_from_slice(&raw[done..]);
    if !written {
        if !matches!(out.last(), None | Some(b'\n' | b'\r')) {
            out.push(b'\n');
        }
        write_data(data, b"\n", &mut out);
        out.push(b'\n');
    }
    out.into()
}

fn write_data(data: &str, end: &[u8], out: &mut Vec<u8>) {
    for line in data_lines(data) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(end);
    }
}

/// The lines that data must be sent as: SSE cannot carry a CR within one.
fn data_lines(data: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(data);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = memchr2(b'\n', b'\r', text.as_bytes()) else {
            rest = None;
            return Some(text);
        };
        let next = if text[end..].starts_with("\r\n") { end + 2 } else { end + 1 };
        rest = Some(&text[next..]);
        Some(&text[..end])
    })
}

/// Appends a frame. An empty `event` writes no such line; an event's name ends at its first line break.
pub fn encode(event: &str, data: &str, out: &mut Vec<u8>) {
    let event = event.split(['\n', '\r']).next().unwrap_or_default();
    if !event.is_empty() {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(event.as_bytes());
        out.push(b'\n');
    }
    write_data(data, b"\n", out);
    out.push(b'\n');
}
