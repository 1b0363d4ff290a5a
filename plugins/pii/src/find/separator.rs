//! What stands between the groups of a written number.

use crate::window::{Growing, Window};

/// The sort of a separator; numbers keep to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    Space,
    Hyphen,
    Stop,
    Slash,
}

/// The separator at `i` and its end, if a digit follows. Models like to write no-break spaces and no-break hyphens.
pub fn one(window: &Window, i: usize) -> Result<Option<(Sort, usize)>, Growing> {
    let Some(first) = window.at(i)? else { return Ok(None) };
    let (mut sort, mut end) = match first {
        b' ' => (Sort::Space, i + 1),
        b'-' => (Sort::Hyphen, i + 1),
        b'.' => (Sort::Stop, i + 1),
        b'/' => (Sort::Slash, i + 1),
        0xC2 | 0xE2 => match window.text[i..].chars().next() {
            Some(space @ ('\u{a0}' | '\u{2007}' | '\u{2009}' | '\u{202f}')) => (Sort::Space, i + space.len_utf8()),
            Some(dash @ ('\u{2010}'..='\u{2013}' | '\u{2212}')) => (Sort::Hyphen, i + dash.len_utf8()),
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    if sort == Sort::Space && window.at(end)? == Some(b'-') {
        (sort, end) = (Sort::Hyphen, end + 1);
        if window.at(end)? == Some(b' ') {
            end += 1;
        }
    }
    Ok(window.at(end)?.filter(u8::is_ascii_digit).map(|_| (sort, end)))
}

/// Where the digits that begin at `i` end. More than `most` of them are read as `most + 1`.
pub fn digits(window: &Window, i: usize, most: usize) -> Result<usize, Growing> {
    let mut end = i;
    while end <= i + most && window.at(end)?.is_some_and(|byte| byte.is_ascii_digit()) {
        end += 1;
    }
    Ok(end)
}
