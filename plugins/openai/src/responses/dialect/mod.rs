//! The client's side: Responses as this gateway speaks it to applications.

pub mod error;
pub mod request;
pub mod response;
pub mod stream;

use portcullis_plugin::ir::Context;

use crate::provider::Fnv;

/// An id for what another protocol's answer gives none: the same for a repetition of this request, and new in every other.
fn mint(context: &Context, prefix: &str, index: u32) -> String {
    let mut hash = Fnv::new();
    hash.write(context.request_id.as_bytes());
    hash.write(&context.seed.to_le_bytes());
    let request = hash.value();
    hash.write(&index.to_le_bytes());
    format!("{prefix}_{request:016x}{:016x}", hash.value())
}
