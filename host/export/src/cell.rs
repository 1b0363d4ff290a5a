//! One value, and what values of a column are.

use portcullis_core::NanoUsd;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What a column holds; any of its values may be absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Count,
    Flag,
    /// Milliseconds since the Unix epoch; in CSV and JSON an RFC 3339 text in UTC.
    Time,
    /// nano-USD; in files a decimal of nine places, exact.
    Money,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    Absent,
    Text(String),
    Count(u64),
    Flag(bool),
    Time(u64),
    Money(NanoUsd),
}

impl Cell {
    pub fn text(text: impl Into<String>) -> Self {
        Cell::Text(text.into())
    }

    /// As files of text write it; `None` where it is absent.
    pub(crate) fn written(&self) -> Option<String> {
        Some(match self {
            Cell::Absent => return None,
            Cell::Text(text) => text.clone(),
            Cell::Count(count) => count.to_string(),
            Cell::Flag(flag) => flag.to_string(),
            Cell::Time(ms) => rfc3339(*ms),
            Cell::Money(amount) => decimal(amount.get()),
        })
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Cell::Absent, Into::into)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::Text(text)
    }
}

impl From<u64> for Cell {
    fn from(count: u64) -> Self {
        Cell::Count(count)
    }
}

impl From<bool> for Cell {
    fn from(flag: bool) -> Self {
        Cell::Flag(flag)
    }
}

impl From<NanoUsd> for Cell {
    fn from(amount: NanoUsd) -> Self {
        Cell::Money(amount)
    }
}

/// A time that no calendar has (it is not the store's own then) is written as its number.
fn rfc3339(ms: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok();
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| ms.to_string())
}

/// USD, to the last nano.
fn decimal(nano: u64) -> String {
    format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_as_text() {
        let written = |cell: Cell| cell.written().unwrap();
        assert_eq!(written(Cell::Time(1_780_000_000_001)), "2026-05-28T20:26:40.001Z");
        assert_eq!(written(Cell::Time(u64::MAX)), u64::MAX.to_string());
        assert_eq!(written(Cell::Money(NanoUsd::new(1_000_000_007).unwrap())), "1.000000007");
        assert_eq!(written(Cell::Money(NanoUsd::ZERO)), "0.000000000");
        assert_eq!((written(true.into()), written(7.into())), ("true".to_owned(), "7".to_owned()));
        assert_eq!(Cell::from(None::<u64>).written(), None);
    }
}
