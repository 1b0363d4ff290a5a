//! Ids as PostgreSQL has them, and what rows hold that may be missing.

use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::codec::uint;
use crate::error::StoreError;

pub(super) fn uuid(id: &[u8; 16]) -> Uuid {
    Uuid::from_bytes(*id)
}

pub(super) fn id(row: &PgRow, column: &'static str) -> Result<[u8; 16], StoreError> {
    Ok(row.try_get::<Uuid, _>(column)?.into_bytes())
}

pub(super) fn optional_id(row: &PgRow, column: &'static str) -> Result<Option<[u8; 16]>, StoreError> {
    Ok(row.try_get::<Option<Uuid>, _>(column)?.map(Uuid::into_bytes))
}

pub(super) fn optional_time(row: &PgRow, column: &'static str) -> Result<Option<u64>, StoreError> {
    row.try_get::<Option<i64>, _>(column)?.map(|value| uint(value, column)).transpose()
}

pub(super) fn optional_days(row: &PgRow, column: &'static str) -> Result<Option<u16>, StoreError> {
    let days = row.try_get::<Option<i64>, _>(column)?;
    days.map(|days| u16::try_from(days).map_err(|_| StoreError::Corrupt { what: column })).transpose()
}
