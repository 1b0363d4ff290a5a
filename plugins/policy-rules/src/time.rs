//! Windows of local time: days of the week and hours of the day at a fixed offset from UTC.
//!
//! Offsets are fixed because a plugin has no time-zone database: where clocks change in summer, the operator changes the
//! offset. A window that runs past midnight belongs to the day it began: Friday's `22:00-06:00` covers Saturday 03:00.

use serde::de::{Deserialize, Deserializer, Error};

const MINUTES_PER_DAY: i64 = 24 * 60;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Minutes east of UTC, from `+02:00`, `-03:30`, `Z` or `UTC`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offset(i64);

impl Offset {
    fn parse(text: &str) -> Option<Self> {
        if matches!(text, "Z" | "UTC") {
            return Some(Offset(0));
        }
        let (sign, rest) = match text.split_at_checked(1)? {
            ("+", rest) => (1, rest),
            ("-", rest) => (-1, rest),
            _ => return None,
        };
        let minutes = clock(rest)?;
        // The places furthest from UTC are at -12:00 and +14:00.
        let offset = sign * minutes;
        (-12 * 60..=14 * 60).contains(&offset).then_some(Offset(offset))
    }
}

/// Minutes since midnight of `HH:MM`, up to `24:00`.
fn clock(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |digits: &str| -> Option<i64> {
        (digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let total = hours * 60 + minutes;
    (minutes < 60 && total <= MINUTES_PER_DAY).then_some(total)
}

/// Days of the week, one bit each, Monday lowest. From `sat` or `mon-fri`; `sat-mon` runs over the week's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Days(u8);

impl Days {
    fn parse(text: &str) -> Option<Self> {
        let day = |name: &str| DAYS.iter().position(|&day| day == name);
        let (from, to) = match text.split_once('-') {
            Some((from, to)) => (day(from)?, day(to)?),
            None => (day(text)?, day(text)?),
        };
        let length = (to + 7 - from) % 7;
        Some(Days((0..=length).fold(0, |bits, step| bits | 1 << ((from + step) % 7))))
    }

    fn contains(self, day: i64) -> bool {
        self.0 & (1 << day.rem_euclid(7)) != 0
    }
}

/// Minutes of a day: from the first, up to and without the second; past midnight where `until <= from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hours {
    from: i64,
    until: i64,
}

impl Hours {
    const ALL: Hours = Hours { from: 0, until: MINUTES_PER_DAY };

    fn parse(text: &str) -> Option<Self> {
        let (from, until) = text.split_once('-')?;
        let (from, until) = (clock(from)?, clock(until)?);
        (from != until && from < MINUTES_PER_DAY).then_some(Hours { from, until })
    }
}

macro_rules! from_text {
    ($type:ident, $expected:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                $type::parse(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is not {}", $expected)))
            }
        }
    };
}

from_text!(Offset, "an offset from UTC such as `+02:00`, between -12:00 and +14:00");
from_text!(Days, "a day or a run of days: `sat`, `mon-fri`");
from_text!(Hours, "a stretch of the day such as `09:00-17:30` or `22:00-06:00`");

/// When: any of the days and, counted from those days, any of the hours.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    days: Option<Vec<Days>>,
    hours: Option<Vec<Hours>>,
    time_zone: Option<Offset>,
}

impl Window {
    /// What is wrong with it, if anything is.
    pub fn fault(&self) -> Option<&'static str> {
        if self.days.is_none() && self.hours.is_none() {
            return Some("needs `days`, `hours` or both");
        }
        let empty = |length: Option<usize>| length == Some(0);
        (empty(self.days.as_ref().map(Vec::len)) || empty(self.hours.as_ref().map(Vec::len)))
            .then_some("holds an empty list, which never matches")
    }

    /// Whether this moment (milliseconds since the Unix epoch) falls into it. `default` is the offset of windows that
    /// name none.
    pub fn contains(&self, now: u64, default: Offset) -> bool {
        let Offset(offset) = self.time_zone.unwrap_or(default);
        let minutes = i64::try_from(now / 60_000).unwrap_or(i64::MAX / 2) + offset;
        // 1 January 1970 was a Thursday.
        let (day, minute) = (minutes.div_euclid(MINUTES_PER_DAY) + 3, minutes.rem_euclid(MINUTES_PER_DAY));
        let on = |day: i64| self.days.as_ref().is_none_or(|days| days.iter().any(|days| days.contains(day)));
        let within = |hours: &Hours| {
            if hours.from < hours.until {
                on(day) && (hours.from..hours.until).contains(&minute)
            } else {
                (minute >= hours.from && on(day)) || (minute < hours.until && on(day - 1))
            }
        };
        match &self.hours {
            Some(hours) => hours.iter().any(within),
            None => within(&Hours::ALL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: u64 = 60_000;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    /// Monday 2 March 2026, 00:00 UTC.
    const MONDAY: u64 = 1_772_409_600_000;

    fn window(json: &str) -> Window {
        serde_json::from_str(json).expect("a window")
    }

    fn utc(json: &str, now: u64) -> bool {
        window(json).contains(now, Offset::default())
    }

    #[test]
    fn a_day_has_its_edges() {
        let office = r#"{"days":["mon-fri"],"hours":["09:00-17:30"]}"#;
        assert!(!utc(office, MONDAY + 9 * HOUR - 1));
        assert!(utc(office, MONDAY + 9 * HOUR));
        assert!(utc(office, MONDAY + 17 * HOUR + 30 * MINUTE - 1));
        assert!(!utc(office, MONDAY + 17 * HOUR + 30 * MINUTE));
        assert!(utc(office, MONDAY + 4 * DAY + 9 * HOUR));
        assert!(!utc(office, MONDAY + 5 * DAY + 9 * HOUR));
    }

    #[test]
    fn a_night_belongs_to_the_day_it_began() {
        let friday_night = r#"{"days":["fri"],"hours":["22:00-06:00"]}"#;
        let (friday, saturday) = (MONDAY + 4 * DAY, MONDAY + 5 * DAY);
        assert!(!utc(friday_night, friday + 3 * HOUR));
        assert!(!utc(friday_night, friday + 22 * HOUR - 1));
        assert!(utc(friday_night, friday + 22 * HOUR));
        assert!(utc(friday_night, saturday));
        assert!(utc(friday_night, saturday + 6 * HOUR - 1));
        assert!(!utc(friday_night, saturday + 6 * HOUR));
        assert!(!utc(friday_night, saturday + 22 * HOUR));
    }

    #[test]
    fn the_week_wraps() {
        let long_weekend = r#"{"days":["sat-mon"]}"#;
        assert_eq!([0, 1, 4, 5, 6].map(|day| utc(long_weekend, MONDAY + day * DAY)), [true, false, false, true, true]);
        // Sunday's night reaches into Monday, also before the Unix epoch's first Monday.
        assert!(utc(r#"{"days":["sun"],"hours":["23:00-01:00"]}"#, MONDAY + HOUR / 2));
    }

    #[test]
    fn the_offset_moves_the_day() {
        let monday = r#"{"days":["mon"],"time_zone":"+02:00"}"#;
        assert!(utc(monday, MONDAY - 2 * HOUR));
        assert!(!utc(monday, MONDAY + 22 * HOUR));
        let west = Offset::parse("-03:30").expect("an offset");
        assert!(window(r#"{"hours":["20:30-21:00"]}"#).contains(MONDAY, west));
        // A window's own offset goes before the configuration's.
        assert!(window(r#"{"hours":["00:00-00:01"],"time_zone":"UTC"}"#).contains(MONDAY, west));
        assert!(utc(r#"{"days":["wed"],"time_zone":"-01:00"}"#, 0), "the epoch's eve was a Wednesday");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["25:00-26:00", "9:00-17:00", "09:00", "08:00-08:00", "24:00-06:00", "09:60-10:00", "+9:00-10:00"] {
            assert_eq!(Hours::parse(text), None, "{text}");
        }
        for text in ["monday", "mon-", "Mon", ""] {
            assert_eq!(Days::parse(text), None, "{text}");
        }
        for text in ["Europe/Berlin", "02:00", "+14:01", "-12:30", "+2:00", "", "+é0:00"] {
            assert_eq!(Offset::parse(text), None, "{text}");
        }
        assert!(window("{}").fault().is_some());
        assert!(window(r#"{"days":[]}"#).fault().is_some());
        assert_eq!(Days::parse("tue-mon"), Some(Days(0x7f)));
    }

    proptest! {
        /// A stretch and its complement share no moment and leave none out.
        #[test]
        fn a_stretch_and_its_complement(from in 0_i64..1440, until in 0_i64..1440, now in 0_u64..4_000_000_000_000) {
            prop_assume!(from != until);
            let hours = |from, until| Window { days: None, hours: Some(vec![Hours { from, until }]), time_zone: None };
            let inside = hours(from, until).contains(now, Offset(0));
            prop_assert_ne!(inside, hours(until, from).contains(now, Offset(0)));
        }
    }
}
