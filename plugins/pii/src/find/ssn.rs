//! United States social security numbers: `AAA-GG-SSSS`, or nine digits right after their name.

use super::separator;
use crate::window::{Parsed, Window};

/// A number whose first digit stands at `start`.
pub fn find(window: &Window, start: usize) -> Parsed {
    if window.in_word(start) || window.in_number(start) {
        return Ok(None);
    }
    let area_end = separator::digits(window, start, 9)?;
    let group = match area_end - start {
        3 => {
            let Some((sort, group)) = separator::one(window, area_end)? else { return Ok(None) };
            let group_end = separator::digits(window, group, 2)?;
            if group_end - group != 2 {
                return Ok(None);
            }
            match separator::one(window, group_end)? {
                Some((second, serial)) if second == sort => (group, serial),
                _ => return Ok(None),
            }
        }
        9 if named(window, start) => (start + 3, start + 5),
        _ => return Ok(None),
    };
    let (group, serial) = group;
    let end = separator::digits(window, serial, 4)?;
    let issued = end - serial == 4 && issued(window.bytes(), start, group, serial);
    Ok((issued && window.number_ends(end)?).then_some(end))
}

/// Areas 000, 666 and from 900 on, group 00 and serial 0000 are never issued (ssa.gov/employer/stateweb.htm).
fn issued(bytes: &[u8], area: usize, group: usize, serial: usize) -> bool {
    let area = &bytes[area..area + 3];
    area != b"000"
        && area != b"666"
        && area[0] != b'9'
        && bytes[group..group + 2] != *b"00"
        && bytes[serial..serial + 4] != *b"0000"
}

/// Whether the words right before a bare number name it. They are looked at no further back than a host shows.
fn named(window: &Window, start: usize) -> bool {
    let before = &window.bytes()[start.saturating_sub(40)..start];
    let mut before = trim(before, b" \t\"'#:=");
    for filler in [&b"is"[..], b"number", b"no."] {
        if let Some(rest) = strip(before, filler) {
            before = trim(rest, b" \t\"'#:=_-");
        }
    }
    strip(before, b"ssn").is_some()
        || strip(before, b"social security").is_some()
        || strip(before, b"social_security").is_some()
}

fn trim<'a>(text: &'a [u8], set: &[u8]) -> &'a [u8] {
    &text[..text.iter().rposition(|byte| !set.contains(byte)).map_or(0, |last| last + 1)]
}

fn strip<'a>(text: &'a [u8], end: &[u8]) -> Option<&'a [u8]> {
    let (rest, last) = text.split_at_checked(text.len().checked_sub(end.len())?)?;
    last.eq_ignore_ascii_case(end).then_some(rest)
}
