//! What one scheduled file covers: an hour or a day, in UTC.

use std::fmt;

use serde::Deserialize;
use time::OffsetDateTime;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Every {
    Hour,
    Day,
}

impl Every {
    const fn ms(self) -> u64 {
        match self {
            Every::Hour => 3_600_000,
            Every::Day => 86_400_000,
        }
    }
}

/// From `start_ms`, with it, to `end_ms`, without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    every: Every,
    pub start_ms: u64,
    pub end_ms: u64,
}

impl Period {
    /// The one that `now_ms` is in.
    pub fn at(every: Every, now_ms: u64) -> Self {
        let start_ms = now_ms - now_ms % every.ms();
        Period { every, start_ms, end_ms: start_ms + every.ms() }
    }

    #[must_use]
    pub fn next(self) -> Self {
        Period::at(self.every, self.end_ms)
    }

    #[must_use]
    pub fn previous(self) -> Self {
        Period::at(self.every, self.start_ms.saturating_sub(1))
    }
}

/// As files are named: `2026-05-28` or `2026-05-28T20`.
impl fmt::Display for Period {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = i64::try_from(self.start_ms / 1000).unwrap_or(0);
        let start = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        write!(formatter, "{}", start.date())?;
        match self.every {
            Every::Hour => write!(formatter, "T{:02}", start.hour()),
            Every::Day => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_lie_end_to_end() {
        let hour = Period::at(Every::Hour, 1_780_000_000_001);
        assert_eq!(hour.to_string(), "2026-05-28T20");
        assert_eq!((hour.next().start_ms, hour.previous().end_ms), (hour.end_ms, hour.start_ms));
        let day = Period::at(Every::Day, 1_780_000_000_001);
        assert_eq!((day.to_string().as_str(), day.next().to_string().as_str()), ("2026-05-28", "2026-05-29"));
        assert_eq!(Period::at(Every::Day, day.end_ms), day.next());
        assert_eq!(Period::at(Every::Day, 5).previous().start_ms, 0);
    }
}
