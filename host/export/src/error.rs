//! Why there is no file.

use std::io;

use thiserror::Error;

#[derive(Debug, Error)]
pub enum ExportError {
    #[error("a row has {found} values where there are {columns} columns")]
    Shape { columns: usize, found: usize },
    #[error("column {column} takes {kind:?} and was given {found}")]
    Kind { column: String, kind: crate::Kind, found: String },
    /// Parquet's integers have a sign.
    #[error("column {column}: {value} is more than a file can hold")]
    TooLarge { column: String, value: u64 },
    #[error("writing: {0}")]
    Io(#[from] io::Error),
    #[error("writing CSV: {0}")]
    Csv(#[from] csv::Error),
    #[error("writing JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("writing Parquet: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    #[error("{0} is no folder and no s3:// address")]
    Destination(String),
    #[error("no time zone is called `{0}`: name one as `Europe/Berlin`")]
    Zone(String),
    #[error("`{0}` is no day since 1970, as `2026-05-28`")]
    Day(String),
    #[error("the store: {0}")]
    Store(#[from] portcullis_store::StoreError),
    #[error("storage: {0}")]
    Storage(#[from] object_store::Error),
}
