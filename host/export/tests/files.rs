//! Files as others read them.

use std::collections::BTreeMap;

use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use portcullis_core::{KeyId, NanoUsd, OrganisationId, Usage};
use portcullis_export::{AUDIT, Cell, Column, ExportError, Format, Kind, Sheet, audit_row, usage_columns, usage_row};
use portcullis_store::{Actor, AuditEvent, NewEvent, UsageGroup, UsageRow};
use proptest::prelude::*;
use serde_json::{Value, json};

fn columns() -> Vec<Column> {
    [("text", Kind::Text), ("count", Kind::Count), ("flag", Kind::Flag), ("at", Kind::Time), ("usd", Kind::Money)]
        .map(|(name, kind)| Column { name: name.into(), kind })
        .to_vec()
}

fn file(format: Format, columns: Vec<Column>, rows: &[Vec<Cell>]) -> Vec<u8> {
    let mut sheet = Sheet::new(format, columns, Vec::new()).unwrap();
    for row in rows {
        sheet.row(row.clone()).unwrap();
    }
    sheet.finish().unwrap()
}

#[test]
fn csv_is_for_spreadsheets_and_harmless_there() {
    let usd = NanoUsd::new(12_000_000_034).unwrap();
    let rows = [
        vec![Cell::text("a \"b\", c\nd"), Cell::Count(7), Cell::Flag(true), Cell::Time(0), Cell::Money(usd)],
        vec![Cell::text("=cmd()"), Cell::Absent, Cell::Absent, Cell::Absent, Cell::Absent],
    ];
    let text = String::from_utf8(file(Format::Csv, columns(), &rows)).unwrap();
    assert_eq!(
        text,
        "text,count,flag,at,usd\r\n\"a \"\"b\"\", c\nd\",7,true,1970-01-01T00:00:00Z,12.000000034\r\n'=cmd(),,,,\r\n"
    );
    assert_eq!(file(Format::Csv, columns(), &[]), b"text,count,flag,at,usd\r\n");
}

#[test]
fn a_row_that_does_not_fit_is_no_row() {
    let mut sheet = Sheet::new(Format::Jsonl, columns(), Vec::new()).unwrap();
    assert!(matches!(sheet.row(vec![Cell::Absent]), Err(ExportError::Shape { columns: 5, found: 1 })));
    let swapped = vec![Cell::Count(1), Cell::text("x"), Cell::Absent, Cell::Absent, Cell::Absent];
    assert!(matches!(sheet.row(swapped), Err(ExportError::Kind { .. })));
    assert!(sheet.finish().unwrap().is_empty());
    let mut sheet = Sheet::new(Format::Parquet, columns(), Vec::new()).unwrap();
    let huge = vec![Cell::Absent, Cell::Count(u64::MAX), Cell::Absent, Cell::Absent, Cell::Absent];
    assert!(matches!(sheet.row(huge), Err(ExportError::TooLarge { value: u64::MAX, .. })));
}

fn cell(kind: Kind) -> BoxedStrategy<Cell> {
    let value = match kind {
        Kind::Text => any::<String>().prop_map(Cell::Text).boxed(),
        Kind::Count => (0..=i64::MAX as u64).prop_map(Cell::Count).boxed(),
        Kind::Flag => any::<bool>().prop_map(Cell::Flag).boxed(),
        Kind::Time => (0..4_102_444_800_000_u64).prop_map(Cell::Time).boxed(),
        Kind::Money => {
            (0..999_999_999_999_999_999_u64).prop_map(|nano| Cell::Money(NanoUsd::new(nano).unwrap())).boxed()
        }
    };
    prop_oneof![1 => Just(Cell::Absent), 4 => value].boxed()
}

fn rows() -> impl Strategy<Value = Vec<Vec<Cell>>> {
    let row: Vec<_> = columns().iter().map(|column| cell(column.kind)).collect();
    prop::collection::vec(row, 0..40)
}

proptest! {
    #[test]
    fn json_lines_hold_every_value(rows in rows()) {
        let text = String::from_utf8(file(Format::Jsonl, columns(), &rows)).unwrap();
        let lines: Vec<BTreeMap<String, Value>> =
            text.split_terminator('\n').map(|line| serde_json::from_str(line).unwrap()).collect();
        prop_assert_eq!(lines.len(), rows.len());
        for (line, row) in lines.iter().zip(&rows) {
            prop_assert_eq!(line.len(), 5);
            for (column, cell) in columns().iter().zip(row) {
                let read = &line[&*column.name];
                match cell {
                    Cell::Absent => prop_assert_eq!(read, &Value::Null),
                    Cell::Text(text) => prop_assert_eq!(read, &json!(text)),
                    Cell::Count(count) => prop_assert_eq!(read, &json!(count)),
                    Cell::Flag(flag) => prop_assert_eq!(read, &json!(flag)),
                    Cell::Time(_) => prop_assert!(read.as_str().unwrap().ends_with('Z')),
                    Cell::Money(amount) => {
                        let digits: String = read.as_str().unwrap().chars().filter(char::is_ascii_digit).collect();
                        prop_assert_eq!(digits.parse::<u64>().unwrap(), amount.get());
                    }
                }
            }
        }
    }

    #[test]
    fn parquet_holds_every_value(rows in rows()) {
        let bytes = Bytes::from(file(Format::Parquet, columns(), &rows));
        let reader = SerializedFileReader::new(bytes).unwrap();
        let read: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(read.len(), rows.len());
        for (read, row) in read.iter().zip(&rows) {
            for ((_, field), cell) in read.get_column_iter().zip(row) {
                match (field, cell) {
                    (Field::Null, Cell::Absent) => {}
                    (Field::Str(read), Cell::Text(text)) => prop_assert_eq!(read, text),
                    (Field::Long(read), Cell::Count(count)) => prop_assert_eq!(*read as u64, *count),
                    (Field::Bool(read), Cell::Flag(flag)) => prop_assert_eq!(read, flag),
                    (Field::TimestampMillis(read), Cell::Time(ms)) => prop_assert_eq!(*read as u64, *ms),
                    (Field::Decimal(read), Cell::Money(amount)) => {
                        prop_assert_eq!((read.scale(), read.precision()), (9, 18));
                        let mut wide = [0; 8];
                        wide[8 - read.data().len()..].copy_from_slice(read.data());
                        prop_assert_eq!(u64::from_be_bytes(wide), amount.get());
                    }
                    (field, cell) => prop_assert!(false, "{field:?} was {cell:?}"),
                }
            }
        }
    }
}

#[test]
fn many_rows_are_several_groups() {
    let columns = vec![Column { name: "n".into(), kind: Kind::Count }];
    let rows: Vec<_> = (0..40_000).map(|n| vec![Cell::Count(n)]).collect();
    let reader = SerializedFileReader::new(Bytes::from(file(Format::Parquet, columns, &rows))).unwrap();
    assert_eq!(reader.metadata().num_row_groups(), 3);
    let read = reader.get_row_iter(None).unwrap().map(|row| row.unwrap().get_column_iter().next().unwrap().1.clone());
    assert!(read.eq((0..40_000).map(Field::Long)));
}

#[test]
fn rows_are_as_their_columns() {
    let groups = [
        UsageGroup::Day,
        UsageGroup::Organisation,
        UsageGroup::Team,
        UsageGroup::Key,
        UsageGroup::User,
        UsageGroup::Environment,
        UsageGroup::Provider,
        UsageGroup::Model,
        UsageGroup::Tag,
    ];
    let row = UsageRow {
        day: Some("2026-05-28".into()),
        organisation: Some(OrganisationId::DEFAULT),
        key: Some(KeyId::from_bytes([1; 16])),
        user: Some("ada".into()),
        tag: Some("x".into()),
        requests: 2,
        usage: Usage { input: 3, estimated: true, ..Usage::default() },
        cost: NanoUsd::new(5).unwrap(),
        ..UsageRow::default()
    };
    let bytes = file(Format::Jsonl, usage_columns(&groups, Some("project")), &[usage_row(&groups, row)]);
    let line: Value = serde_json::from_slice(&bytes).unwrap();
    let expected = json!({
        "day": "2026-05-28", "organisation": OrganisationId::DEFAULT, "team": null, "key": KeyId::from_bytes([1; 16]),
        "user": "ada", "environment": null, "provider": null, "model": null, "tag_project": "x",
        "requests": 2, "failed": 0, "input_tokens": 3, "cache_read_tokens": 0, "cache_write_short_tokens": 0,
        "cache_write_long_tokens": 0, "output_tokens": 0, "reasoning_tokens": 0, "audio_input_tokens": 0,
        "audio_output_tokens": 0, "images": 0, "searches": 0, "estimated": true, "unpriced_requests": 0,
        "cost_usd": "0.000000005", "cost_nano_usd": 5,
    });
    assert_eq!(line, expected);

    let event =
        NewEvent::new(&Actor::cli("ada"), 1, None, "key.edit", "key_1").changed(Some(json!({"name": "a"})), None);
    let bytes = file(Format::Jsonl, AUDIT.to_vec(), &[audit_row(AuditEvent { seq: 9, event })]);
    let line: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!((&line["seq"], &line["time"]), (&json!(9), &json!("1970-01-01T00:00:00.001Z")));
    assert_eq!(
        (&line["action"], &line["before"], &line["after"]),
        (&json!("key.edit"), &json!(r#"{"name":"a"}"#), &Value::Null)
    );
}
