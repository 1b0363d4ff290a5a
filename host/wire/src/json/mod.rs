//! Reading JSON without building it: byte ranges into the text, patterns, and splices.

mod block;
mod cursor;
mod edits;
mod error;
mod pointer;
mod select;
mod string;
mod top;
mod unescape;
mod walk;
mod widest;

pub(crate) use cursor::Literal;
pub use cursor::MAX_DEPTH;
pub use edits::{EditError, Edits};
pub use error::ScanError;
pub use pointer::{Pattern, Pointer, PointerError, locate};
pub(crate) use pointer::{members, value_at};
pub use select::{Condition, Test, same_json, select};
pub(crate) use string::{Escape, OffsetMap, escape_at};
pub use string::{escape_into, quote, unescape};
pub use top::{Member, TopLevel};
pub use walk::PatternSet;
pub(crate) use walk::{Binding, Kind, MAX_WILDCARDS, Place, StringAhead, Visitor, walk};

/// A body's bytes as text, validated by SIMD: once, where it enters.
///
/// # Errors
/// The bytes are not UTF-8.
pub fn utf8(body: &[u8]) -> Result<&str, ScanError> {
    simdutf8::basic::from_utf8(body).map_err(|_| {
        let valid = simdutf8::compat::from_utf8(body).map_or_else(|fault| fault.valid_up_to(), str::len);
        ScanError::new(valid, "not UTF-8")
    })
}
