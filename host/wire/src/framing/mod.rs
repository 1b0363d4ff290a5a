//! Cutting streams of bytes into frames and writing frames.
//!
//! Keeps invariant 5 of the design for streams: a frame keeps its exact bytes, and the bytes of all frames put
//! together are the stream's, wherever its chunks were cut.

pub mod aws;
mod frame;
pub mod json_array;
pub mod ndjson;
mod pending;
pub mod sse;

use bytes::Bytes;

pub use frame::Frame;

/// Bytes that one frame may have unless told otherwise.
pub const FRAME_LIMIT: usize = 8 << 20;

/// A stream that is not framed as it must be. After one nothing more of the stream can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    #[error("a frame is longer than {0} bytes")]
    TooLong(usize),
    #[error("the stream ends {0} bytes into a frame")]
    Cut(usize),
    #[error("the {0}'s checksum is wrong")]
    Checksum(&'static str),
    #[error("{0}")]
    Malformed(&'static str),
}

/// How a stream is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    Sse,
    /// One JSON document a line.
    Ndjson,
    /// `application/vnd.amazon.eventstream`.
    AwsEventStream,
    /// One JSON array, an item a frame.
    JsonArray,
}

impl Framing {
    /// With a limit of [`FRAME_LIMIT`].
    pub fn splitter(self) -> Splitter {
        match self {
            Self::Sse => Splitter::Sse(sse::Splitter::default()),
            Self::Ndjson => Splitter::Ndjson(ndjson::Splitter::default()),
            Self::AwsEventStream => Splitter::Aws(aws::Splitter::default()),
            Self::JsonArray => Splitter::JsonArray(json_array::Splitter::default()),
        }
    }

    /// For the beginning of a stream.
    pub fn encoder(self) -> Encoder {
        Encoder { framing: self, begun: false, ended: false }
    }
}

/// Writes a stream's frames.
#[derive(Debug)]
pub struct Encoder {
    framing: Framing,
    begun: bool,
    ended: bool,
}

impl Encoder {
    /// Appends a frame; NDJSON and arrays have no place for the event's name. Nothing follows an array's end.
    pub fn frame(&mut self, event: &str, data: &str, out: &mut Vec<u8>) {
        match self.framing {
            Framing::Sse => sse::encode(event, data, out),
            Framing::Ndjson => ndjson::encode(data, out),
            Framing::AwsEventStream => aws::encode(event, data, out),
            Framing::JsonArray if self.ended => {}
            Framing::JsonArray => json_array::encode(data, !self.begun, out),
        }
        self.begun = true;
    }

    /// Appends what ends the stream, once; only an array has such.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.framing == Framing::JsonArray && !self.ended {
            json_array::close(!self.begun, out);
        }
        self.ended = true;
    }

    /// These frames, which somebody else wrote, are part of the stream.
    pub fn passed(&mut self, frames: &[Frame]) {
        self.begun |= frames.iter().any(|frame| !frame.data().is_empty());
        self.ended |= frames.iter().any(Frame::closes);
    }
}

/// The splitter of any framing.
#[derive(Debug)]
pub enum Splitter {
    Sse(sse::Splitter),
    Ndjson(ndjson::Splitter),
    Aws(aws::Splitter),
    JsonArray(json_array::Splitter),
}

impl Splitter {
    /// Takes the next bytes and appends the frames they complete.
    ///
    /// # Errors
    /// See each framing's own.
    pub fn push(&mut self, chunk: &Bytes, out: &mut Vec<Frame>) -> Result<(), FramingError> {
        match self {
            Self::Sse(splitter) => splitter.push(chunk, out),
            Self::Ndjson(splitter) => splitter.push(chunk, out),
            Self::Aws(splitter) => splitter.push(chunk, out),
            Self::JsonArray(splitter) => splitter.push(chunk, out),
        }
    }

    /// Ends the stream and appends what was left.
    ///
    /// # Errors
    /// See each framing's own.
    pub fn finish(&mut self, out: &mut Vec<Frame>) -> Result<(), FramingError> {
        match self {
            Self::Sse(splitter) => splitter.finish(out),
            Self::Ndjson(splitter) => splitter.finish(out),
            Self::Aws(splitter) => splitter.finish(out),
            Self::JsonArray(splitter) => splitter.finish(out),
        }
    }
}
