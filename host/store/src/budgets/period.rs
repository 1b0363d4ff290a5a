//! The spans of time that budgets count by, as windows of milliseconds. Pure: the time is a parameter.
//!
//! A calendar span begins and ends where its time zone says, so a day may have 23 hours or 25. A rolling span is counted in
//! buckets, and the bucket that is partly too old still counts whole: never less than the span is looked at, and at most one
//! bucket more.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Span {
    Day,
    /// Of the calendar: from Monday on.
    Week,
    /// Rolling: 30 days.
    Month,
}

impl Span {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// Milliseconds of a rolling span, and of its buckets.
    const fn rolling(self) -> (u64, u64) {
        match self {
            Self::Day => (DAY, HOUR),
            Self::Week => (7 * DAY, 6 * HOUR),
            Self::Month => (30 * DAY, DAY),
        }
    }
}

/// A time zone by its IANA name.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    pub const UTC: Self = Self(TimeZone::UTC);

    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }
}

/// No time zone of this name is known to the system or to this program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no time zone is called `{0}`: name one as `Europe/Berlin`")]
pub struct UnknownZone(pub String);

impl FromStr for Zone {
    type Err = UnknownZone;

    fn from_str(name: &str) -> Result<Self, UnknownZone> {
        if name == "UTC" {
            return Ok(Self::UTC);
        }
        let zone = TimeZone::get(name).map_err(|_| UnknownZone(name.to_owned()))?;
        // A zone whose name does not come back would be another one when it is read again.
        if zone.iana_name().is_none() { Err(UnknownZone(name.to_owned())) } else { Ok(Self(zone)) }
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How long a budget's limit is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Period {
    /// Each request has the limit to itself.
    Request,
    Calendar(Span, Zone),
    /// The last day, seven days or thirty, at any moment.
    Rolling(Span),
    /// For ever: prepaid credit, which is topped up.
    Total,
}

/// A stretch of time that is counted for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Names it among its budget's. Milliseconds since the Unix epoch.
    pub start_ms: u64,
    /// Windows that begin here or later count against the same limit.
    pub from_ms: u64,
    /// What is spent from here on counts in another; `None` where there is no other.
    pub end_ms: Option<u64>,
}

impl Window {
    /// Windows that begin later than this do not count against the same limit. Of a rolling period they do: they are those of
    /// processes whose clocks are ahead.
    pub fn to_ms(&self) -> u64 {
        if self.from_ms < self.start_ms { u64::MAX } else { self.start_ms }
    }

    pub fn holds(&self, at_ms: u64) -> bool {
        self.end_ms.is_none_or(|end| at_ms < end)
    }
}

impl Period {
    /// The window of a moment. `None`: there is nothing to be counted beyond one request.
    pub fn window(&self, at_ms: u64) -> Option<Window> {
        match self {
            Self::Request => None,
            Self::Total => Some(Window { start_ms: 0, from_ms: 0, end_ms: None }),
            Self::Rolling(span) => {
                let (_, bucket) = span.rolling();
                let start_ms = at_ms - at_ms % bucket;
                Some(Window { start_ms, from_ms: self.counted_from(start_ms), end_ms: Some(start_ms + bucket) })
            }
            Self::Calendar(span, zone) => {
                let (start, end) = calendar(*span, &zone.0, at_ms);
                Some(Window { start_ms: start, from_ms: start, end_ms: end })
            }
        }
    }

    /// From where on windows count against the limit together with the one that starts at `start_ms`.
    pub fn counted_from(&self, start_ms: u64) -> u64 {
        match self {
            Self::Rolling(span) => start_ms.saturating_sub(span.rolling().0),
            Self::Request | Self::Calendar(..) | Self::Total => start_ms,
        }
    }

    pub const fn name(&self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Calendar(span, _) | Self::Rolling(span) => span.as_str(),
            Self::Total => "total",
        }
    }

    pub const fn is_rolling(&self) -> bool {
        matches!(self, Self::Rolling(_))
    }

    pub fn zone(&self) -> Option<&str> {
        match self {
            Self::Calendar(_, zone) => Some(zone.name()),
            _ => None,
        }
    }

    /// From the parts that are stored and shown. A calendar period without a zone is one of UTC.
    pub fn from_parts(name: &str, rolling: bool, zone: Option<&str>) -> Result<Self, PeriodError> {
        let span = match name {
            "request" | "total" if rolling || zone.is_some() => return Err(PeriodError::Timeless),
            "request" => return Ok(Self::Request),
            "total" => return Ok(Self::Total),
            "day" => Span::Day,
            "week" => Span::Week,
            "month" => Span::Month,
            _ => return Err(PeriodError::Unknown(name.to_owned())),
        };
        match (rolling, zone) {
            (true, Some(_)) => Err(PeriodError::RollingZone),
            (true, None) => Ok(Self::Rolling(span)),
            (false, zone) => Ok(Self::Calendar(span, zone.map_or(Ok(Zone::UTC), str::parse)?)),
        }
    }
}

/// Why there is no such period.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    #[error("no period is called `{0}`: name one of request, day, week, month, total")]
    Unknown(String),
    #[error("a period of a request, or in total, neither rolls nor has a time zone")]
    Timeless,
    #[error("a rolling period has no time zone")]
    RollingZone,
    #[error(transparent)]
    Zone(#[from] UnknownZone),
}

/// Where the span that holds `at_ms` begins and ends.
fn calendar(span: Span, zone: &TimeZone, at_ms: u64) -> (u64, Option<u64>) {
    let at = i64::try_from(at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX);
    let day = at.to_zoned(zone.clone()).date();
    let first = match span {
        Span::Day => day,
        Span::Week => day.saturating_sub(i64::from(day.weekday().since(Weekday::Monday)).days()),
        Span::Month => day.first_of_month(),
    };
    let next = match span {
        Span::Day => first.checked_add(1.day()),
        Span::Week => first.checked_add(7.days()),
        Span::Month => first.checked_add(1.month()),
    };
    let starts = |date: Date| {
        let ms = date.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond();
        // Before 1970 there was no request: what counts is that the window's name is not below zero.
        Some(u64::try_from(ms).unwrap_or(0))
    };
    (starts(first).unwrap_or(0), next.ok().and_then(starts))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> u64 {
        text.parse::<Timestamp>().unwrap().as_millisecond() as u64
    }

    fn of(name: &str, zone: &str) -> Period {
        Period::from_parts(name, false, Some(zone)).unwrap()
    }

    #[test]
    fn a_day_is_as_long_as_its_zone_has_it() {
        let berlin = of("day", "Europe/Berlin");
        let window = |text| berlin.window(at(text)).unwrap();
        // Clocks go forward on 2026-03-29 and back on 2026-10-25.
        let short = window("2026-03-29T10:00:00Z");
        assert_eq!((short.start_ms, short.end_ms), (at("2026-03-28T23:00:00Z"), Some(at("2026-03-29T22:00:00Z"))));
        let long = window("2026-10-25T10:00:00Z");
        assert_eq!((long.start_ms, long.end_ms), (at("2026-10-24T22:00:00Z"), Some(at("2026-10-25T23:00:00Z"))));
        // The repeated hour is one day's.
        assert_eq!(window("2026-10-25T00:30:00Z"), window("2026-10-25T01:30:00Z"));
    }

    #[test]
    fn a_day_without_a_midnight_begins_where_it_begins() {
        // On 2018-11-04 São Paulo went from 23:59:59 to 01:00.
        let day = of("day", "America/Sao_Paulo").window(at("2018-11-04T12:00:00Z")).unwrap();
        assert_eq!((day.start_ms, day.end_ms), (at("2018-11-04T03:00:00Z"), Some(at("2018-11-05T02:00:00Z"))));
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_the_first() {
        let week = of("week", "Asia/Tokyo").window(at("2026-11-22T14:59:59Z")).unwrap();
        assert_eq!((week.start_ms, week.end_ms), (at("2026-11-15T15:00:00Z"), Some(at("2026-11-22T15:00:00Z"))));
        let month = of("month", "America/New_York").window(at("2026-03-01T03:00:00Z")).unwrap();
        assert_eq!((month.start_ms, month.end_ms), (at("2026-02-01T05:00:00Z"), Some(at("2026-03-01T05:00:00Z"))));
    }

    #[test]
    fn parts_read_back_and_nonsense_is_refused() {
        for (name, rolling, zone) in [
            ("request", false, None),
            ("total", false, None),
            ("day", true, None),
            ("month", false, Some("UTC")),
            ("week", false, Some("Asia/Kathmandu")),
        ] {
            let period = Period::from_parts(name, rolling, zone).unwrap();
            assert_eq!((period.name(), period.is_rolling(), period.zone()), (name, rolling, zone));
        }
        assert_eq!(Period::from_parts("day", false, None).unwrap().zone(), Some("UTC"));
        assert_eq!(Period::from_parts("total", true, None), Err(PeriodError::Timeless));
        assert_eq!(Period::from_parts("request", false, Some("UTC")), Err(PeriodError::Timeless));
        assert_eq!(Period::from_parts("day", true, Some("UTC")), Err(PeriodError::RollingZone));
        assert!(matches!(Period::from_parts("year", false, None), Err(PeriodError::Unknown(_))));
        assert!(matches!(Period::from_parts("day", false, Some("Europe/Nowhere")), Err(PeriodError::Zone(_))));
    }

    const ZONES: [&str; 7] = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "Pacific/Apia",
        "Africa/Casablanca",
    ];

    fn any_period() -> impl Strategy<Value = Period> {
        let name = prop::sample::select(vec!["day", "week", "month"]);
        (name, prop::option::of(prop::sample::select(ZONES.to_vec())))
            .prop_map(|(name, zone)| Period::from_parts(name, zone.is_none(), zone).unwrap())
    }

    proptest! {
        /// Every moment lies in one window, and the next begins where it ends.
        #[test]
        fn windows_follow_each_other(period in any_period(), at_ms in 1_000_000_000_000_u64..4_000_000_000_000) {
            let window = period.window(at_ms).unwrap();
            let end = window.end_ms.unwrap();
            prop_assert!(window.start_ms <= at_ms && at_ms < end);
            prop_assert_eq!(period.window(window.start_ms).unwrap(), window);
            prop_assert_eq!(period.window(end - 1).unwrap(), window);
            prop_assert_eq!(period.window(end).unwrap().start_ms, end);
            prop_assert!(window.from_ms <= window.start_ms);
            prop_assert_eq!(period.counted_from(window.start_ms), window.from_ms);
        }

        /// What was spent within the span always counts, and what was spent more than a bucket earlier never.
        #[test]
        fn a_rolling_span_is_never_cut_short(
            span in prop::sample::select(vec![Span::Day, Span::Week, Span::Month]),
            now in 4_000_000_000_u64..4_000_000_000_000,
            ago in 0..40 * DAY,
        ) {
            let period = Period::Rolling(span);
            let (length, bucket) = span.rolling();
            let spent = period.window(now - ago.min(now)).unwrap().start_ms;
            let counts = spent >= period.window(now).unwrap().from_ms;
            prop_assert!(counts || ago > length);
            prop_assert!(!counts || ago <= length + bucket);
        }
    }
}
