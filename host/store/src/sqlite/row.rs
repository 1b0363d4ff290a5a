//! What rows hold that may be missing.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::codec::{id, uint};
use crate::error::StoreError;

pub(super) fn optional_id(row: &SqliteRow, column: &'static str) -> Result<Option<[u8; 16]>, StoreError> {
    row.try_get::<Option<&[u8]>, _>(column)?.map(|bytes| id(bytes, column)).transpose()
}

pub(super) fn optional_time(row: &SqliteRow, column: &'static str) -> Result<Option<u64>, StoreError> {
    row.try_get::<Option<i64>, _>(column)?.map(|value| uint(value, column)).transpose()
}

pub(super) fn optional_days(row: &SqliteRow, column: &'static str) -> Result<Option<u16>, StoreError> {
    let days = row.try_get::<Option<i64>, _>(column)?;
    days.map(|days| u16::try_from(days).map_err(|_| StoreError::Corrupt { what: column })).transpose()
}
