//! Stream state crosses as opaque bytes; here it is a value again.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ir::{Failure, FailureKind};

/// Empty bytes are the state of a stream that has not begun.
pub(crate) fn restore<S: DeserializeOwned + Default>(bytes: &[u8]) -> Result<S, Failure> {
    if bytes.is_empty() {
        return Ok(S::default());
    }
    postcard::from_bytes(bytes).map_err(|error| failure("restored", &error))
}

pub(crate) fn save<S: Serialize>(state: &S) -> Result<Vec<u8>, Failure> {
    postcard::to_allocvec(state).map_err(|error| failure("saved", &error))
}

fn failure(what: &str, error: &postcard::Error) -> Failure {
    Failure::new(FailureKind::Internal, format!("stream state cannot be {what}: {error}"))
}
