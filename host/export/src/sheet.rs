//! A file that is being written, whatever its format.

use std::fmt;
use std::io::Write;
use std::str::FromStr;

use serde::Deserialize;

use crate::columns::Column;
use crate::comma::CommaFile;
use crate::error::ExportError;
use crate::json::JsonFile;
use crate::parquet_file::ParquetFile;
use crate::{Cell, Kind};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Csv,
    Jsonl,
    Parquet,
}

impl Format {
    /// Also what a file's name ends in.
    pub const fn as_str(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::Jsonl => "jsonl",
            Format::Parquet => "parquet",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Format::Csv, Format::Jsonl, Format::Parquet]
            .into_iter()
            .find(|format| format.as_str() == text)
            .ok_or_else(|| "one of csv, jsonl, parquet".to_owned())
    }
}

/// Rows go in one by one; the file is whole after [`finish`](Self::finish).
pub struct Sheet<W: Write + Send> {
    columns: Vec<Column>,
    writing: Writing<W>,
}

enum Writing<W: Write + Send> {
    Comma(Box<CommaFile<W>>),
    Json(JsonFile<W>),
    Parquet(Box<ParquetFile<W>>),
}

impl<W: Write + Send> Sheet<W> {
    /// Begins a file; CSV has its head line at once, also where no row follows.
    ///
    /// # Errors
    /// When `out` takes nothing.
    pub fn new(format: Format, columns: Vec<Column>, out: W) -> Result<Self, ExportError> {
        let writing = match format {
            Format::Csv => Writing::Comma(Box::new(CommaFile::new(&columns, out)?)),
            Format::Jsonl => Writing::Json(JsonFile::new(out)),
            Format::Parquet => Writing::Parquet(Box::new(ParquetFile::new(&columns, out)?)),
        };
        Ok(Sheet { columns, writing })
    }

    /// # Errors
    /// When the row is not as the columns say, or `out` does not take it.
    pub fn row(&mut self, row: Vec<Cell>) -> Result<(), ExportError> {
        self.check(&row)?;
        match &mut self.writing {
            Writing::Comma(file) => file.row(&row),
            Writing::Json(file) => file.row(&self.columns, &row),
            Writing::Parquet(file) => file.row(&self.columns, row),
        }
    }

    /// # Errors
    /// When `out` does not take what is left.
    pub fn finish(self) -> Result<W, ExportError> {
        match self.writing {
            Writing::Comma(file) => file.finish(),
            Writing::Json(file) => file.finish(),
            Writing::Parquet(file) => file.finish(&self.columns),
        }
    }

    fn check(&self, row: &[Cell]) -> Result<(), ExportError> {
        if row.len() != self.columns.len() {
            return Err(ExportError::Shape { columns: self.columns.len(), found: row.len() });
        }
        for (column, cell) in self.columns.iter().zip(row) {
            let fits = match cell {
                Cell::Absent => true,
                Cell::Text(_) => column.kind == Kind::Text,
                Cell::Count(_) => column.kind == Kind::Count,
                Cell::Flag(_) => column.kind == Kind::Flag,
                Cell::Time(_) => column.kind == Kind::Time,
                Cell::Money(_) => column.kind == Kind::Money,
            };
            if !fits {
                let (column, kind) = (column.name.to_string(), column.kind);
                return Err(ExportError::Kind { column, kind, found: format!("{cell:?}") });
            }
        }
        Ok(())
    }
}
