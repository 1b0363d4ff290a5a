//! What one scheduled file covers: an hour of UTC, or a day or month as a time zone has it, which may have an hour more or less.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::Deserialize;

use crate::error::ExportError;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Every {
    Hour,
    Day,
    Month,
}

const HOUR: u64 = 3_600_000;

/// A time zone by its IANA name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Zone(TimeZone);

impl Zone {
    pub const UTC: Self = Zone(TimeZone::UTC);

    /// The first millisecond of a day, as `2026-05-28`.
    ///
    /// # Errors
    /// When it is no day, or none since 1970.
    pub fn midnight(&self, day: &str) -> Result<u64, ExportError> {
        let date: Date = day.parse().map_err(|_| ExportError::Day(day.to_owned()))?;
        self.start(date).filter(|ms| *ms > 0).ok_or_else(|| ExportError::Day(day.to_owned()))
    }

    fn date(&self, at_ms: u64) -> Date {
        moment(at_ms).to_zoned(self.0.clone()).date()
    }

    fn start(&self, date: Date) -> Option<u64> {
        u64::try_from(date.to_zoned(self.0.clone()).ok()?.timestamp().as_millisecond()).ok()
    }
}

impl FromStr for Zone {
    type Err = ExportError;

    fn from_str(name: &str) -> Result<Self, ExportError> {
        if name == "UTC" {
            return Ok(Self::UTC);
        }
        TimeZone::get(name).map(Zone).map_err(|_| ExportError::Zone(name.to_owned()))
    }
}

impl TryFrom<String> for Zone {
    type Error = ExportError;

    fn try_from(name: String) -> Result<Self, ExportError> {
        name.parse()
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::UTC
    }
}

/// Times that no calendar has are its last.
fn moment(at_ms: u64) -> Timestamp {
    i64::try_from(at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX)
}

/// From `start_ms`, with it, to `end_ms`, without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period {
    every: Every,
    zone: Zone,
    pub start_ms: u64,
    pub end_ms: u64,
}

impl Period {
    /// The one that `at_ms` is in.
    pub fn at(every: Every, zone: &Zone, at_ms: u64) -> Self {
        let date = zone.date(at_ms);
        let (first, next) = match every {
            Every::Hour => {
                let start_ms = at_ms - at_ms % HOUR;
                return Period { every, zone: Zone::UTC, start_ms, end_ms: start_ms.saturating_add(HOUR) };
            }
            Every::Day => (date, date.checked_add(1.day())),
            Every::Month => (date.first_of_month(), date.first_of_month().checked_add(1.month())),
        };
        Period {
            every,
            zone: zone.clone(),
            start_ms: zone.start(first).unwrap_or(0),
            end_ms: next.ok().and_then(|next| zone.start(next)).unwrap_or(u64::MAX),
        }
    }

    /// Its days, each with its name: one where it is a day or an hour.
    pub fn days(&self) -> Vec<(String, Period)> {
        let mut days = Vec::new();
        let mut at = self.start_ms;
        while at < self.end_ms {
            let day = Period::at(Every::Day, &self.zone, at);
            let end_ms = day.end_ms.min(self.end_ms);
            days.push((day.to_string(), Period { start_ms: at, end_ms, ..day }));
            at = end_ms;
        }
        days
    }

    /// Whether its days are those of UTC.
    pub fn is_utc(&self) -> bool {
        self.zone == Zone::UTC
    }
}

/// As files are named: `2026-05`, `2026-05-28` or `2026-05-28T20`.
impl fmt::Display for Period {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = moment(self.start_ms).to_zoned(self.zone.0.clone());
        match self.every {
            Every::Month => write!(formatter, "{:04}-{:02}", start.year(), start.month()),
            Every::Day => write!(formatter, "{}", start.date()),
            Every::Hour => write!(formatter, "{}T{:02}", start.date(), start.hour()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 1_780_000_000_001;

    fn next(period: &Period, zone: &Zone) -> Period {
        Period::at(period.every, zone, period.end_ms)
    }

    #[test]
    fn periods_lie_end_to_end() {
        for (every, names) in [
            (Every::Hour, ["2026-05-28T20", "2026-05-28T21"]),
            (Every::Day, ["2026-05-28", "2026-05-29"]),
            (Every::Month, ["2026-05", "2026-06"]),
        ] {
            let one = Period::at(every, &Zone::UTC, AT);
            let following = next(&one, &Zone::UTC);
            assert_eq!([one.to_string(), following.to_string()], names);
            assert_eq!(one.end_ms, following.start_ms);
            assert!(one.start_ms <= AT && AT < one.end_ms);
        }
    }

    #[test]
    fn days_and_months_are_the_zones() {
        let berlin: Zone = "Europe/Berlin".parse().unwrap();
        let day = Period::at(Every::Day, &berlin, berlin.midnight("2026-10-25").unwrap());
        assert_eq!((day.to_string().as_str(), day.end_ms - day.start_ms), ("2026-10-25", 25 * HOUR));
        assert_eq!(Period::at(Every::Day, &berlin, day.start_ms - 1).to_string(), "2026-10-24");
        let month = Period::at(Every::Month, &berlin, day.start_ms);
        assert_eq!((month.to_string().as_str(), month.end_ms - month.start_ms), ("2026-10", (31 * 24 + 1) * HOUR));
        let days = month.days();
        assert_eq!((days.len(), days[24].0.as_str(), &days[24].1), (31, "2026-10-25", &day));
        assert_eq!((days[0].1.start_ms, days[30].1.end_ms), (month.start_ms, month.end_ms));
        // An hour is one of UTC wherever one is: its name then means one hour only.
        let hour = Period::at(Every::Hour, &berlin, AT);
        assert_eq!((hour.to_string().as_str(), hour.is_utc(), hour.days().len()), ("2026-05-28T20", true, 1));
        assert!("Europe/Atlantis".parse::<Zone>().is_err());
        assert!(Zone::UTC.midnight("yesterday").is_err() && Zone::UTC.midnight("1960-01-01").is_err());
    }

    #[test]
    fn no_time_is_a_panic() {
        for every in [Every::Hour, Every::Day, Every::Month] {
            for at in [0, 1, u64::MAX - 1, u64::MAX, 1 << 53] {
                let period = Period::at(every, &Zone::UTC, at);
                assert!(period.start_ms <= period.end_ms, "{period:?}");
            }
        }
    }
}
