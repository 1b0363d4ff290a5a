//! `application/vnd.amazon.eventstream`, as AWS documents it ("Event stream encoding", Amazon Lex V2 and Transcribe developer
//! guides). All numbers are big-endian: total length (4), headers' length (4), CRC-32 of these eight (4), headers,
//! payload, CRC-32 of all before it (4). A header: length of the name (1), name, type (1), value.

use bytes::Bytes;

use super::frame::{Frame, Layout, Piece};
use super::pending::Pending;
use super::{FRAME_LIMIT, FramingError};

const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;

/// Cuts a stream of bytes into messages, wherever its chunks end. Both checksums are verified.
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
    /// `limit`: bytes that one message may have.
    pub fn with_limit(limit: usize) -> Self {
        Self { pending: Pending::default(), limit }
    }

    /// # Errors
    /// A length or checksum that is wrong, or a message longer than the limit. After an error the stream is lost.
    pub fn push(&mut self, chunk: &Bytes, out: &mut Vec<Frame>) -> Result<(), FramingError> {
        let mut start = 0;
        while start < chunk.len() {
            let held = self.pending.len();
            if held < PRELUDE && held + (chunk.len() - start) < PRELUDE {
                break;
            }
            if held < PRELUDE && held > 0 {
                let end = start + PRELUDE - held;
                self.pending.keep(&chunk[start..end], self.limit)?;
                start = end;
            }
            let prelude = if self.pending.is_empty() { &chunk[start..start + PRELUDE] } else { self.pending.bytes() };
            let total = total_length(prelude, self.limit)?;
            let end = start + total - self.pending.len();
            if end > chunk.len() {
                break;
            }
            out.push(frame(self.pending.complete(chunk, start, end, self.limit)?)?);
            start = end;
        }
        self.pending.keep(&chunk[start..], self.limit)
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// It ends within a message.
    pub fn finish(&mut self, _out: &mut Vec<Frame>) -> Result<(), FramingError> {
        if self.pending.is_empty() { Ok(()) } else { Err(FramingError::Cut(self.pending.len())) }
    }
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte))
}

fn total_length(prelude: &[u8], limit: usize) -> Result<usize, FramingError> {
    let (total, headers) = (number(&prelude[..4]), number(&prelude[4..8]));
    if number(&prelude[8..PRELUDE]) != crc32fast::hash(&prelude[..8]) as usize {
        return Err(FramingError::Checksum("prelude"));
    }
    if total < PRELUDE + CHECKSUM + headers {
        return Err(FramingError::Malformed("a message's lengths disagree"));
    }
    if total > limit {
        return Err(FramingError::TooLong(limit));
    }
    Ok(total)
}

fn frame(raw: Bytes) -> Result<Frame, FramingError> {
    let end = raw.len() - CHECKSUM;
    if number(&raw[end..]) != crc32fast::hash(&raw[..end]) as usize {
        return Err(FramingError::Checksum("message"));
    }
    let headers = PRELUDE..PRELUDE + number(&raw[4..8]);
    let event = event_type(&raw[headers.clone()])?;
    let event = Piece::of(&raw, headers.start + event.start..headers.start + event.end);
    let data = Piece::of(&raw, headers.end..end);
    Ok(Frame::new(raw, event, data, Layout::Aws { headers }))
}

/// Where the header's value stands that says what kind of message this is.
fn event_type(headers: &[u8]) -> Result<std::ops::Range<usize>, FramingError> {
    let cut = || FramingError::Malformed("a header does not end");
    let (mut pos, mut found) = (0, 0..0);
    while pos < headers.len() {
        let name_end = pos + 1 + usize::from(headers[pos]);
        let name = headers.get(pos + 1..name_end).ok_or_else(cut)?;
        let kind = *headers.get(name_end).ok_or_else(cut)?;
        let mut start = name_end + 1;
        let length = match kind {
            // true, false
            0 | 1 => 0,
            // byte, short, integer, long
            2..=5 => 1 << (kind - 2),
            // byte array, string: with a length of two bytes
            6 | 7 => {
                let length = number(headers.get(start..start + 2).ok_or_else(cut)?);
                start += 2;
                length
            }
            // timestamp
            8 => 8,
            // UUID
            9 => 16,
            _ => return Err(FramingError::Malformed("a header of unknown type")),
        };
        pos = start + length;
        if pos > headers.len() {
            return Err(cut());
        }
        if kind == 7 && matches!(name, b":event-type" | b":exception-type" | b":error-code") {
            found = start..pos;
        }
    }
    Ok(found)
}

/// A message of these encoded headers and this payload.
pub(super) fn message(headers: &[u8], payload: &[u8]) -> Bytes {
    let total = PRELUDE + headers.len() + payload.len() + CHECKSUM;
    let mut out = Vec::with_capacity(total);
    out.extend_from_slice(&(total as u32).to_be_bytes());
    out.extend_from_slice(&(headers.len() as u32).to_be_bytes());
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    out.extend_from_slice(headers);
    out.extend_from_slice(payload);
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    out.into()
}

/// Appends an event message with a JSON payload. A name of an event past 65,535 bytes is cut.
pub fn encode(event: &str, data: &str, out: &mut Vec<u8>) {
    let mut headers = Vec::with_capacity(96);
    let pairs = [(":event-type", event), (":content-type", "application/json"), (":message-type", "event")];
    for (name, value) in pairs {
        let value = &value.as_bytes()[..value.len().min(usize::from(u16::MAX))];
        headers.push(name.len() as u8);
        headers.extend_from_slice(name.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&(value.len() as u16).to_be_bytes());
        headers.extend_from_slice(value);
    }
    out.extend_from_slice(&message(&headers, data.as_bytes()));
}
