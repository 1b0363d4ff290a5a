//! Cutting documents and streams into the texts that guards read, and splicing what they find back.
//!
//! Every string of a document is a text, so nothing hides in a field that nobody models; a splice changes the bytes of what
//! was found and no other (invariant 5 of the design). The records are the contract's (`wit/guard.wit`) as plain Rust.

mod arguments;
mod channel;
mod counter;
mod derived;
mod document;
mod findings;
mod frame;
mod map;
mod packed;
mod spot;
mod stream;

pub use document::{Direction, DocumentTexts};
pub use findings::SpliceError;
pub use map::{ChannelEndSpec, ChannelSpec, ConditionSpec, MapError, TextKind, TextMap, TextMapSpec};
pub use packed::{Span, Texts};
pub use stream::{Resolved, StreamLimits, StreamTexts};

/// What kind of place a text stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlaceKind {
    /// A text of a message.
    Text,
    Reasoning,
    Refusal,
    /// Within the arguments of a tool call.
    ToolArguments,
    /// Any other string leaf.
    Value,
    /// The name of an object's member.
    Key,
    /// A JSON number of nine digits or more.
    Number,
}

/// A text to be read by a guard. Offsets are bytes of `content`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pub kind: PlaceKind,
    /// JSON pointer to where it stands; in streams, to where the newest piece stands in its frame.
    pub at: String,
    /// Unescaped.
    pub content: String,
    /// Bytes at the start of `content` that were released before: to be read, not to be changed.
    pub released: u32,
    /// More of the same text may follow.
    pub open: bool,
}

/// Something a guard found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which of the texts.
    pub text: u32,
    pub start: u32,
    pub end: u32,
    /// A code: `email`, `card`, …
    pub kind: String,
    /// What takes its place; absent where it is only reported.
    pub replacement: Option<String>,
}

/// From here on an open text may yet become a match and is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    pub text: u32,
    pub start: u32,
}
