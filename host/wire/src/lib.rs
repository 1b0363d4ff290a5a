//! What stands on the wire: the framing of streams, the native scan of JSON, and the cutting of documents and streams
//! into texts for guards, with splices back.
//!
//! Pure functions over bytes: no I/O, no clock, no plugin. The crate keeps two invariants of the design: no parser
//! differential (1), and every byte that nobody changed passes as it came (5).

pub mod framing;
pub mod json;
pub mod multipart;
pub mod texts;
