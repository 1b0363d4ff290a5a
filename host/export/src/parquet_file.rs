//! Parquet: every column optional; texts are UTF-8 strings, counts 64-bit integers, times timestamps in UTC milliseconds, money
//! DECIMAL(18, 9) over 64-bit integers, which holds nano-USD exactly (<https://github.com/apache/parquet-format/blob/master/LogicalTypes.md>).

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::Type;

use crate::columns::Column;
use crate::error::ExportError;
use crate::{Cell, Kind};

/// Rows that are held before they are written: a reader takes so many at a time.
const GROUP: usize = 16_384;

const NANO_DIGITS: i32 = 9;
const MONEY_DIGITS: i32 = 18;

pub(crate) struct ParquetFile<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    rows: Vec<Vec<Cell>>,
}

impl<W: Write + Send> ParquetFile<W> {
    pub fn new(columns: &[Column], out: W) -> Result<Self, ExportError> {
        let fields = columns.iter().map(|column| Ok(Arc::new(field(column)?)));
        let fields = fields.collect::<Result<Vec<_>, ExportError>>()?;
        let schema = Type::group_type_builder("schema").with_fields(fields).build()?;
        let properties = WriterProperties::builder().set_compression(Compression::LZ4_RAW).build();
        let writer = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))?;
        Ok(ParquetFile { writer, rows: Vec::new() })
    }

    pub fn row(&mut self, columns: &[Column], row: Vec<Cell>) -> Result<(), ExportError> {
        for (column, cell) in columns.iter().zip(&row) {
            integer(&column.name, cell)?;
        }
        self.rows.push(row);
        if self.rows.len() >= GROUP { self.write_group(columns) } else { Ok(()) }
    }

    pub fn finish(mut self, columns: &[Column]) -> Result<W, ExportError> {
        if !self.rows.is_empty() {
            self.write_group(columns)?;
        }
        Ok(self.writer.into_inner()?)
    }

    fn write_group(&mut self, columns: &[Column]) -> Result<(), ExportError> {
        let mut group = self.writer.next_row_group()?;
        for (at, column) in columns.iter().enumerate() {
            let Some(mut writer) = group.next_column()? else { break };
            write_column(&mut writer, column, self.rows.iter().map(|row| &row[at]))?;
            writer.close()?;
        }
        group.close()?;
        self.rows.clear();
        Ok(())
    }
}

fn field(column: &Column) -> Result<Type, ExportError> {
    let physical = match column.kind {
        Kind::Text => Physical::BYTE_ARRAY,
        Kind::Flag => Physical::BOOLEAN,
        Kind::Count | Kind::Time | Kind::Money => Physical::INT64,
    };
    let builder = Type::primitive_type_builder(&column.name, physical).with_repetition(Repetition::OPTIONAL);
    let builder = match column.kind {
        Kind::Text => builder.with_logical_type(Some(LogicalType::String)),
        Kind::Time => builder.with_logical_type(Some(LogicalType::timestamp(true, TimeUnit::MILLIS))),
        Kind::Money => builder
            .with_logical_type(Some(LogicalType::decimal(NANO_DIGITS, MONEY_DIGITS)))
            .with_scale(NANO_DIGITS)
            .with_precision(MONEY_DIGITS),
        Kind::Count | Kind::Flag => builder,
    };
    Ok(builder.build()?)
}

/// A value's integer, where it has one that a signed column can hold.
fn integer(column: &str, cell: &Cell) -> Result<Option<i64>, ExportError> {
    let value = match cell {
        Cell::Count(value) | Cell::Time(value) => *value,
        Cell::Money(amount) => amount.get(),
        Cell::Absent | Cell::Text(_) | Cell::Flag(_) => return Ok(None),
    };
    i64::try_from(value).map(Some).map_err(|_| ExportError::TooLarge { column: column.to_owned(), value })
}

fn write_column<'a>(
    writer: &mut SerializedColumnWriter<'_>,
    column: &Column,
    cells: impl Iterator<Item = &'a Cell> + Clone,
) -> Result<(), ExportError> {
    let present: Vec<i16> = cells.clone().map(|cell| i16::from(*cell != Cell::Absent)).collect();
    match column.kind {
        Kind::Text => {
            let texts = cells.filter_map(|cell| match cell {
                Cell::Text(text) => Some(ByteArray::from(text.as_str())),
                _ => None,
            });
            writer.typed::<ByteArrayType>().write_batch(&texts.collect::<Vec<_>>(), Some(&present), None)?;
        }
        Kind::Flag => {
            let flags = cells.filter_map(|cell| match cell {
                Cell::Flag(flag) => Some(*flag),
                _ => None,
            });
            writer.typed::<BoolType>().write_batch(&flags.collect::<Vec<_>>(), Some(&present), None)?;
        }
        Kind::Count | Kind::Time | Kind::Money => {
            let mut integers = Vec::with_capacity(present.len());
            for cell in cells {
                integers.extend(integer(&column.name, cell)?);
            }
            writer.typed::<Int64Type>().write_batch(&integers, Some(&present), None)?;
        }
    }
    Ok(())
}
