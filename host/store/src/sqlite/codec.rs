//! Between columns and types. What no version writes is [`StoreError::Corrupt`], never a panic.

use portcullis_core::NanoUsd;

use crate::error::StoreError;

/// Counts and times fit 63 bits but for nonsense a provider claims, which is kept as the largest number.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn uint(value: i64, what: &'static str) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Corrupt { what })
}

pub(super) fn id(bytes: &[u8], what: &'static str) -> Result<[u8; 16], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Corrupt { what })
}

pub(super) fn nano(value: i64) -> Result<NanoUsd, StoreError> {
    NanoUsd::try_from(value).map_err(|_| StoreError::Corrupt { what: "amount" })
}
