//! Cutting streams of bytes into frames and writing frames.
//!
//! Keeps invariant 5 of the design for streams: a frame keeps its exact bytes, and the bytes of all frames put
//! together are the stream's, wherever its chunks were cut.

pub mod aws;
mod frame;
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
}

impl Framing {
    /// With a limit of [`FRAME_LIMIT`].
    pub fn splitter(self) -> Splitter {
        match self {
            Self::Sse => Splitter::Sse(sse::Splitter::default()),
            Self::Ndjson => Splitter::Ndjson(ndjson::Splitter::default()),
            Self::AwsEventStream => Splitter::Aws(aws::Splitter::default()),
        }
    }

    /// Appends a frame; NDJSON has no place for the event's name.
    pub fn encode(self, event: &str, data: &str, out: &mut Vec<u8>) {
        match self {
            Self::Sse => sse::encode(event, data, out),
            Self::Ndjson => ndjson::encode(data, out),
            Self::AwsEventStream => aws::encode(event, data, out),
        }
    }
}

/// The splitter of any framing.
#[derive(Debug)]
pub enum Splitter {
    Sse(sse::Splitter),
    Ndjson(ndjson::Splitter),
    Aws(aws::Splitter),
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
        }
    }
}
