//! What the store knows, as files for others: usage and chargeback, request records, the audit trail, as CSV, JSON lines and Parquet, to a
//! folder or to S3-compatible storage.
//!
//! Money stays exact: an integer of nano-USD everywhere but in the columns meant for people, which are decimal and exact too.

mod cell;
mod columns;
mod comma;
mod destination;
mod error;
mod export;
mod json;
mod parquet_file;
mod period;
mod sheet;

pub use cell::{Cell, Kind};
pub use columns::{AUDIT, Column, LEDGER, REQUESTS, audit_row, entry_row, request_row, usage_columns, usage_row};
pub use destination::{Destination, S3Options};
pub use error::ExportError;
pub use export::{Export, What, Written};
pub use period::{Every, Period, Zone};
pub use sheet::{Format, Sheet};
