//! JSON lines: one object a row, absent values as null, so that every line has every name. Counts are numbers; money is text, since
//! readers take numbers for floats.

use std::io::Write;

use serde_json::{Map, Value};

use crate::Cell;
use crate::columns::Column;
use crate::error::ExportError;

pub(crate) struct JsonFile<W: Write>(W);

impl<W: Write> JsonFile<W> {
    pub fn new(out: W) -> Self {
        JsonFile(out)
    }

    pub fn row(&mut self, columns: &[Column], row: &[Cell]) -> Result<(), ExportError> {
        let line: Map<String, Value> =
            columns.iter().zip(row).map(|(column, cell)| (column.name.to_string(), value(cell))).collect();
        serde_json::to_writer(&mut self.0, &line)?;
        self.0.write_all(b"\n")?;
        Ok(())
    }

    pub fn finish(mut self) -> Result<W, ExportError> {
        self.0.flush()?;
        Ok(self.0)
    }
}

fn value(cell: &Cell) -> Value {
    match cell {
        Cell::Count(count) => Value::from(*count),
        Cell::Flag(flag) => Value::from(*flag),
        other => other.written().map_or(Value::Null, Value::from),
    }
}
