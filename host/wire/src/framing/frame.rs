use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::{aws, sse};

/// One frame of a stream: its exact bytes, and what they say. The raw bytes of a stream's frames, put together, are the
/// stream's.
#[derive(Debug, Clone)]
pub struct Frame {
    raw: Bytes,
    event: Piece,
    data: Piece,
    pub(super) layout: Layout,
}

/// How a frame's data stands in its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Layout {
    /// `first`: of its stream. `single`: all data stands on one `data:` line.
    Sse {
        first: bool,
        single: bool,
    },
    Ndjson,
    Aws {
        headers: Range<usize>,
    },
    /// `item`: where it starts; the frame's end where there is none.
    JsonArray {
        item: usize,
    },
}

/// A part of a frame's text.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    /// These of the raw bytes, which are known to be UTF-8.
    Span(Range<usize>),
    /// Put together from lines, or repaired where it was no UTF-8.
    Own(String),
}

impl Piece {
    /// The part of `raw` at `range`; bytes that are not UTF-8 read as U+FFFD, as every SSE client reads them.
    pub(super) fn of(raw: &[u8], range: Range<usize>) -> Self {
        match simdutf8::basic::from_utf8(&raw[range.clone()]) {
            Ok(_) => Self::Span(range),
            Err(_) => Self::Own(String::from_utf8_lossy(&raw[range]).into_owned()),
        }
    }

    fn get<'f>(&'f self, raw: &'f [u8]) -> &'f str {
        match self {
            // SAFETY: `Piece::of` is the only maker of spans and has validated these bytes; `raw` is immutable.
            Self::Span(range) => unsafe { std::str::from_utf8_unchecked(&raw[range.clone()]) },
            Self::Own(text) => text,
        }
    }
}

impl Frame {
    pub(super) fn new(raw: Bytes, event: Piece, data: Piece, layout: Layout) -> Self {
        Self { raw, event, data, layout }
    }

    /// The frame as it came: with its terminator, and comments and blank lines before it.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    pub fn into_raw(self) -> Bytes {
        self.raw
    }

    /// SSE's `event`, an AWS event stream's `:event-type` (of an exception `:exception-type`, of an error `:error-code`);
    /// else empty.
    pub fn event(&self) -> &str {
        self.event.get(&self.raw)
    }

    /// SSE's `data` lines joined by line feeds, the line of NDJSON, the payload of an AWS event stream, the item of an array; empty
    /// where there is none.
    pub fn data(&self) -> &str {
        self.data.get(&self.raw)
    }

    /// The bytes of this frame with other data: everything else of it stays byte for byte.
    pub fn with_data(&self, data: &str) -> Bytes {
        match &self.layout {
            Layout::Sse { .. } | Layout::Ndjson if self.is_direct(data) => self.replaced(data),
            Layout::Sse { first, .. } => sse::with_data(&self.raw, *first, data),
            Layout::Ndjson => {
                let line: Cow<'_, str> =
                    if data.contains(['\n', '\r']) { data.replace(['\n', '\r'], " ").into() } else { data.into() };
                self.replaced(&line)
            }
            Layout::JsonArray { item } => {
                let mut out = Vec::with_capacity(item + data.len());
                out.extend_from_slice(&self.raw[..*item]);
                out.extend_from_slice(data.as_bytes());
                out.into()
            }
            Layout::Aws { headers } => aws::message(&self.raw[headers.clone()], data.as_bytes()),
        }
    }

    /// A frame like this one with other data, for later in its stream: what only a stream's first bytes can be is not repeated.
    pub fn again_with_data(&self, data: &str) -> Bytes {
        let frame = self.with_data(data);
        match &self.layout {
            Layout::JsonArray { item } => {
                let mut out = frame.to_vec();
                out[..*item].iter_mut().filter(|byte| **byte == b'[').for_each(|byte| *byte = b',');
                out.into()
            }
            Layout::Sse { first: true, .. } if frame.starts_with(sse::BYTE_ORDER_MARK) => {
                frame.slice(sse::BYTE_ORDER_MARK.len()..)
            }
            _ => frame,
        }
    }

    /// Whether it ends an array: nothing may follow it.
    pub fn closes(&self) -> bool {
        matches!(self.layout, Layout::JsonArray { item } if item == self.raw.len()) && self.raw.contains(&b']')
    }

    /// Whether the data can be put in the old one's place as it is.
    fn is_direct(&self, data: &str) -> bool {
        let single = !matches!(self.layout, Layout::Sse { single: false, .. });
        single && matches!(self.data, Piece::Span(_)) && memchr::memchr2(b'\n', b'\r', data.as_bytes()).is_none()
    }

    fn replaced(&self, data: &str) -> Bytes {
        let range = match &self.data {
            Piece::Span(range) => range.clone(),
            // A line of NDJSON that was no UTF-8: it is the whole frame but its end.
            Piece::Own(_) => 0..super::ndjson::line_end(&self.raw),
        };
        let mut out = Vec::with_capacity(self.raw.len() + data.len() - range.len().min(data.len()));
        out.extend_from_slice(&self.raw[..range.start]);
        out.extend_from_slice(data.as_bytes());
        out.extend_from_slice(&self.raw[range.end..]);
        out.into()
    }
}
