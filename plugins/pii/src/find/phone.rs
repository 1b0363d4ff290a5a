//! Telephone numbers: international with `+`, North American, and national ones with their trunk prefix 0. A bare run of
//! digits is never one, since most are identifiers.

use super::separator::{self, Sort};
use crate::window::{Parsed, Window, is_word};

/// ITU-T E.164.
const MOST: usize = 15;

/// A number that begins at `start`, with its `+`, `(` or first digit.
pub fn find(window: &Window, start: usize) -> Parsed {
    if window.in_word(start) || window.in_number(start) {
        return Ok(None);
    }
    match window.bytes()[start] {
        b'+' => international(window, start + 1),
        b'(' => bracketed(window, start + 1),
        b'0' => trunk(window, start),
        b'1' => match separator::one(window, start + 1)? {
            Some((_, area)) => north_american(window, area, None),
            None if window.at(start + 1)? == Some(b' ') && window.at(start + 2)? == Some(b'(') => {
                bracketed(window, start + 3)
            }
            None => Ok(None),
        },
        b'2'..=b'9' => north_american(window, start, None),
        _ => Ok(None),
    }
}

/// After the `+`.
fn international(window: &Window, start: usize) -> Parsed {
    if !matches!(window.at(start)?, Some(b'1'..=b'9')) {
        return Ok(None);
    }
    // Where numbers of country code 1 are whole, and the others usually are.
    let whole = 11;
    let (mut i, mut end, mut count, mut groups) = (start, start, 0, 0);
    loop {
        let next = separator::digits(window, i, MOST)?;
        // A group that makes the number too long is not of it.
        if count + next - i > MOST {
            break;
        }
        (count, end, groups) = (count + next - i, next, groups + 1);
        if count >= whole {
            break;
        }
        match gap(window, end)? {
            Some(next) => i = next,
            None => break,
        }
    }
    let digits = &window.bytes()[start..end];
    let decimal = groups == 2 && digits.contains(&b'.');
    let long = match digits {
        [b'1', ..] => {
            count == whole && !matches!(digits.iter().filter(|byte| byte.is_ascii_digit()).nth(1), Some(b'0' | b'1'))
        }
        _ => count >= 9,
    };
    Ok((long && !decimal && !window.at(end)?.is_some_and(is_word)).then_some(end))
}

/// Where the next digit stands behind a separator or a bracket with one.
fn gap(window: &Window, i: usize) -> Parsed {
    if let Some((_, next)) = separator::one(window, i)? {
        return Ok(Some(next));
    }
    let mut next = i;
    while next < i + 3 && matches!(window.at(next)?, Some(b' ' | b'(' | b')' | b'-')) {
        next += 1;
    }
    Ok((next > i && window.at(next)?.is_some_and(|byte| byte.is_ascii_digit())).then_some(next))
}

/// After the `(` of an area code.
fn bracketed(window: &Window, area: usize) -> Parsed {
    match window.at(area)? {
        Some(b'0') => {
            let end = separator::digits(window, area, 5)?;
            if !(3..=6).contains(&(end - area)) || window.at(end)? != Some(b')') {
                return Ok(None);
            }
            rest_of_trunk(window, end, end - area)
        }
        Some(b'2'..=b'9') => north_american(window, area, Some(b')')),
        _ => Ok(None),
    }
}

/// `NPA NXX XXXX` (nationalnanpa.com: neither NPA nor NXX begins with 0 or 1, neither is N11).
fn north_american(window: &Window, area: usize, closing: Option<u8>) -> Parsed {
    let area_end = separator::digits(window, area, 3)?;
    if area_end - area != 3
        || !assigned(&window.bytes()[area..area_end])
        || &window.bytes()[area + 1..area_end] == b"00" && window.bytes()[area] < b'8'
    {
        return Ok(None);
    }
    let (sort, exchange) = match closing {
        Some(closing) => {
            if window.at(area_end)? != Some(closing) {
                return Ok(None);
            }
            match window.at(area_end + 1)? {
                Some(byte) if byte.is_ascii_digit() => (None, area_end + 1),
                _ => match separator::one(window, area_end + 1)? {
                    Some((_, next)) => (None, next),
                    None => return Ok(None),
                },
            }
        }
        None => match separator::one(window, area_end)? {
            Some((sort, next)) if sort != Sort::Slash => (Some(sort), next),
            _ => return Ok(None),
        },
    };
    let exchange_end = separator::digits(window, exchange, 3)?;
    if exchange_end - exchange != 3 || !assigned(&window.bytes()[exchange..exchange_end]) {
        return Ok(None);
    }
    // `415 555-2671` mixes the two that people mix.
    let line = match separator::one(window, exchange_end)? {
        Some((second, line))
            if sort.is_none_or(|sort| sort == second || sort == Sort::Space && second == Sort::Hyphen) =>
        {
            line
        }
        _ => return Ok(None),
    };
    let end = separator::digits(window, line, 4)?;
    Ok((end - line == 4 && window.number_ends(end)?).then_some(end))
}

fn assigned(code: &[u8]) -> bool {
    matches!(code, [b'2'..=b'9', second, third] if (*second, *third) != (b'1', b'1'))
}

/// National numbers: nine to eleven digits in two to five groups, the first with the trunk prefix.
fn trunk(window: &Window, start: usize) -> Parsed {
    let end = separator::digits(window, start, 5)?;
    if !(2..=5).contains(&(end - start)) || window.bytes()[start + 1] == b'0' {
        return Ok(None);
    }
    rest_of_trunk(window, end, end - start)
}

/// The groups behind the first one, whose digits, or closing bracket, end before `i`.
fn rest_of_trunk(window: &Window, i: usize, first: usize) -> Parsed {
    let bracket = window.at(i)? == Some(b')');
    let (mut end, mut count, mut groups, mut zeros, mut sort) = (i, first, 1, 1, None);
    while groups < 5 && count < 11 {
        let next = if bracket && groups == 1 {
            let next = i + 1 + usize::from(window.at(i + 1)? == Some(b' '));
            window.at(next)?.filter(u8::is_ascii_digit).map(|_| next)
        } else {
            // `030/1234 567`: the slash only behind an area code, or it is a date.
            separator::one(window, end)?.and_then(|(found, next)| match found {
                Sort::Slash => (groups == 1 && first >= 3).then_some(next),
                _ => (*sort.get_or_insert(found) == found).then_some(next),
            })
        };
        let Some(next) = next else { break };
        let next_end = separator::digits(window, next, 9)?;
        // A group too long for the number is not of it.
        if !(2..=8).contains(&(next_end - next)) || count + next_end - next > 11 {
            break;
        }
        zeros += usize::from(window.bytes()[next] == b'0');
        (end, count, groups) = (next_end, count + next_end - next, groups + 1);
    }
    // `01 02 03 04 05` counts.
    let number = count >= 9 && groups >= 2 && zeros < groups;
    Ok((number && window.number_ends(end)?).then_some(end))
}
