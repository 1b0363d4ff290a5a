//! CSV (RFC 4180), with a head line.
//!
//! A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a formula, and some of these texts are a client's own (users, tags,
//! model names): such a cell gets an apostrophe before it (<https://owasp.org/www-community/attacks/CSV_Injection>). The other formats
//! hold every text as it is.

use std::io::Write;

use crate::Cell;
use crate::columns::Column;
use crate::error::ExportError;

pub(crate) struct CommaFile<W: Write>(csv::Writer<W>);

impl<W: Write> CommaFile<W> {
    pub fn new(columns: &[Column], out: W) -> Result<Self, ExportError> {
        let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out);
        writer.write_record(columns.iter().map(|column| &*column.name))?;
        Ok(CommaFile(writer))
    }

    pub fn row(&mut self, row: &[Cell]) -> Result<(), ExportError> {
        self.0.write_record(row.iter().map(|cell| match cell {
            Cell::Text(text) => harmless(text),
            other => other.written().unwrap_or_default(),
        }))?;
        Ok(())
    }

    pub fn finish(self) -> Result<W, ExportError> {
        self.0.into_inner().map_err(|error| error.into_error().into())
    }
}

fn harmless(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if formula { format!("'{text}") } else { text.to_owned() }
}
