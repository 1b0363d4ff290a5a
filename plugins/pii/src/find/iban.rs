//! International bank account numbers (ISO 13616), in one run or in groups of four.

use crate::window::{Growing, Parsed, Window, is_word};

/// Country codes with the length of their numbers (SWIFT's IBAN registry, release 99).
const LENGTHS: &[(&[u8; 2], u8)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// A number whose country code stands at `start`.
pub fn find(window: &Window, start: usize) -> Parsed {
    let Some(first) = letter(window, start)? else { return Ok(None) };
    if window.in_word(start) || window.open && !LENGTHS.iter().any(|(country, _)| country[0] == first) {
        return Ok(None);
    }
    let Some(second) = letter(window, start + 1)? else { return Ok(None) };
    let Ok(country) = LENGTHS.binary_search_by_key(&[first, second], |(country, _)| **country) else { return Ok(None) };
    let length = LENGTHS[country].1;
    // The check digits move behind the account, and 97 divides what is left but one.
    let head = (u32::from(first - b'A') + 10) * 100 + u32::from(second - b'A') + 10;
    let (mut rest, mut check, mut grouped, mut i) = (0, 0, None, start + 2);
    for place in 2..length {
        if place % 4 == 0 {
            let next = gap(window, i)?;
            if *grouped.get_or_insert(next.is_some()) != next.is_some() {
                return Ok(None);
            }
            i = next.unwrap_or(i);
        }
        match window.at(i)?.map(|byte| byte.to_ascii_uppercase()) {
            Some(digit @ b'0'..=b'9') if place < 4 => check = check * 10 + u32::from(digit - b'0'),
            Some(digit @ b'0'..=b'9') => rest = (rest * 10 + u32::from(digit - b'0')) % 97,
            Some(letter @ b'A'..=b'Z') if place >= 4 => rest = (rest * 100 + u32::from(letter - b'A') + 10) % 97,
            _ => return Ok(None),
        }
        i += 1;
    }
    let valid = ((rest * 10_000 + head) % 97 * 100 + check) % 97 == 1;
    Ok((valid && !window.at(i)?.is_some_and(is_word)).then_some(i))
}

fn letter(window: &Window, i: usize) -> Result<Option<u8>, Growing> {
    Ok(window.at(i)?.filter(u8::is_ascii_alphabetic).map(|byte| byte.to_ascii_uppercase()))
}

/// Behind one space or hyphen at `i`, if there is one.
fn gap(window: &Window, i: usize) -> Parsed {
    Ok(match window.at(i)? {
        Some(b' ' | b'-') => Some(i + 1),
        Some(0xC2 | 0xE2) => match window.text[i..].chars().next() {
            Some(space @ ('\u{a0}' | '\u{202f}')) => Some(i + space.len_utf8()),
            _ => None,
        },
        _ => None,
    })
}
