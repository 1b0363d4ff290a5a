//! Tables for people: columns as wide as what is in them.

use time::OffsetDateTime;
use time::macros::format_description;

/// Prints a heading and rows. The last column is as long as it likes.
pub fn print(columns: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = columns.iter().map(|column| column.chars().count()).collect();
    for row in rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.chars().count());
        }
    }
    line(&widths, columns.iter().copied());
    for row in rows {
        line(&widths, row.iter().map(String::as_str));
    }
}

fn line<'a>(widths: &[usize], texts: impl ExactSizeIterator<Item = &'a str>) {
    let last = texts.len().saturating_sub(1);
    let mut out = String::new();
    for (at, (width, text)) in widths.iter().zip(texts).enumerate() {
        // A name may hold what would move the cursor.
        let text: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        if at == last {
            out.push_str(&text);
        } else {
            out.push_str(&format!("{text:<width$}  "));
        }
    }
    println!("{}", out.trim_end());
}

/// Milliseconds since the Unix epoch as `2026-05-28 20:26:40Z`.
pub fn time(ms: Option<u64>) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]Z");
    ms.and_then(|ms| OffsetDateTime::from_unix_timestamp(i64::try_from(ms / 1_000).ok()?).ok())
        .and_then(|at| at.format(format).ok())
        .unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_shown_in_utc() {
        assert_eq!(super::time(Some(1_780_000_000_999)), "2026-05-28 20:26:40Z");
        assert_eq!(super::time(None), "-");
        assert_eq!(super::time(Some(u64::MAX)), "-");
    }
}
