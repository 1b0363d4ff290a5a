//! Addresses of the Internet Protocol, versions 4 and 6.

use std::net::Ipv6Addr;

use crate::window::{Growing, HEX, Parsed, Window, is, is_word};

/// Eight groups, or six and an address of version 4.
const MOST: usize = 45;

/// An address of version 4 whose first digit stands at `start`: four numbers to 255. Versions (`v1.2.3.4`, `1.2.3.4-rc1`)
/// and host names are not addresses.
pub fn find_v4(window: &Window, start: usize) -> Parsed {
    let range = window.in_number(start) && window.before(start) == Some(b'-');
    if window.in_word(start) || matches!(window.before(start), Some(b'.' | b'-')) && !range {
        return Ok(None);
    }
    let mut i = start;
    for part in 0..4 {
        let (mut value, first) = (0, i);
        while i < first + 4
            && let Some(digit @ b'0'..=b'9') = window.at(i)?
        {
            value = value * 10 + u32::from(digit - b'0');
            i += 1;
        }
        let length = i - first;
        if length == 0 || value > 255 || length > 1 && window.bytes()[first] == b'0' {
            return Ok(None);
        }
        if part < 3 {
            if window.at(i)? != Some(b'.') {
                return Ok(None);
            }
            i += 1;
        }
    }
    let ends = match window.at(i)? {
        Some(b'.') => !window.at(i + 1)?.is_some_and(is_word),
        Some(b'-') => !window.at(i + 1)?.is_some_and(|next| next.is_ascii_alphabetic()),
        Some(byte) => !is_word(byte),
        None => true,
    };
    Ok(ends.then_some(i))
}

/// An address of version 6 within the run of hexadecimal digits and colons that begins at `start`.
pub fn find_v6(window: &Window, start: usize) -> Parsed {
    let first = window.bytes()[start];
    if window.in_word(start) || !first.is_ascii_hexdigit() {
        return Ok(None);
    }
    let bytes = window.bytes();
    let group = bytes[start..].iter().take(5).take_while(|byte| byte.is_ascii_hexdigit()).count();
    if group > 4 || bytes.get(start + group).is_some_and(|&byte| byte != b':') {
        return Ok(None);
    }
    let mut end = start;
    while end <= start + MOST + 1 && bytes.get(end).is_some_and(|&byte| is(byte, HEX)) {
        end += 1;
    }
    if end - start > MOST + 1 {
        return Ok(None);
    }
    if end == window.len() && window.open {
        return Err(Growing);
    }
    // A full stop, or one colon, ends the sentence.
    let run = window.text[start..end].trim_end_matches('.');
    let run = run.strip_suffix(':').filter(|rest| !rest.ends_with(':')).unwrap_or(run);
    // `12::30` or `a::b` are more likely anything else.
    let colons = run.bytes().filter(|&byte| byte == b':').count();
    let address = (colons >= 6 || group >= 3 && run.contains("::"))
        && run.bytes().any(|byte| byte.is_ascii_digit())
        && run.parse::<Ipv6Addr>().is_ok();
    let end = start + run.len();
    Ok((address && !window.at(end)?.is_some_and(is_word)).then_some(end))
}

/// Where the run of hexadecimal digits and colons that reaches `i` begins, if it can be an address.
pub fn v6_start(window: &Window, i: usize) -> Option<usize> {
    let bytes = window.bytes();
    let mut start = window.run_back(i, HEX, MOST + 1);
    if i - start > MOST {
        return None;
    }
    // `address:2001:db8::1`
    while start < i && matches!(bytes[start], b':' | b'.') {
        start += 1;
    }
    Some(start)
}
