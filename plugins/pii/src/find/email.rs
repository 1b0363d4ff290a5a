//! Email addresses: `local@domain.tld`.

use crate::window::{DOMAIN, Growing, LOCAL, Window, is};

/// RFC 5321, 4.5.3.1.
const LOCAL_MAX: usize = 64;
const DOMAIN_MAX: usize = 253;

/// Endings of file names: `icon@2x.png` is no address, and none of these is a top-level domain.
const FILES: &[&str] = &["css", "gif", "html", "jpeg", "jpg", "js", "json", "png", "svg", "webp", "woff"];

/// The address whose `@` stands at `at`: its start, and its end if that is known.
pub fn find(window: &Window, at: usize) -> Option<(usize, Result<usize, Growing>)> {
    let start = local_start(window, at)?;
    let bytes = window.bytes();
    let (mut end, limit) = (at + 1, at + 1 + DOMAIN_MAX);
    while end < limit && end < bytes.len() {
        match letter(bytes, end, DOMAIN) {
            0 => break,
            length => end += length,
        }
    }
    let ended = end < bytes.len() || end >= limit || !window.open;
    if ended {
        return domain(&window.text[at + 1..end]).map(|length| (start, Ok(at + 1 + length)));
    }
    let possible = bytes.get(at + 1).is_none_or(|&first| !matches!(first, b'.' | b'-'));
    possible.then_some((start, Err(Growing)))
}

/// Where a local part that reaches the end of an open window begins: an `@` may follow.
pub fn tail(window: &Window) -> Option<usize> {
    local_start(window, window.len())
}

/// Where the local part that ends at `end` begins.
fn local_start(window: &Window, end: usize) -> Option<usize> {
    let bytes = window.bytes();
    let mut start = end;
    // Two more than the limit: a longer run is not an address, whatever its head.
    while start > 0 && start != window.clear && end - start <= LOCAL_MAX {
        match letter_back(bytes, start) {
            0 => break,
            length => start -= length,
        }
    }
    let longer = end - start > LOCAL_MAX;
    while start < end && matches!(bytes[start], b'.' | b'-' | b'+' | b'%') {
        start += 1;
    }
    if start < end && window.after_escape(start + 1) {
        start += 1;
    }
    (!longer && start < end && start >= window.from).then_some(start)
}

/// The length of the letter of a class at `i`, or 0. Letters beyond ASCII count where words are set apart by spaces (Latin,
/// Greek, Cyrillic: two bytes, led by 0xC3 to 0xD4), or one Chinese sentence would be one address.
fn letter(bytes: &[u8], i: usize, class: u8) -> usize {
    match bytes[i] {
        byte if is(byte, class) => 1,
        0xC3..=0xD4 => 2,
        _ => 0,
    }
}

fn letter_back(bytes: &[u8], end: usize) -> usize {
    match bytes[end - 1] {
        byte if is(byte, LOCAL) => 1,
        0x80..=0xBF if end >= 2 && matches!(bytes[end - 2], 0xC3..=0xD4) => 2,
        _ => 0,
    }
}

/// The length of the longest domain that `run` begins with: two labels or more, the last one letters.
fn domain(run: &str) -> Option<usize> {
    let (mut end, mut best) = (0, None);
    for (index, label) in run.split('.').enumerate() {
        let trimmed = label.trim_end_matches('-');
        if trimmed.is_empty() || trimmed.starts_with('-') {
            break;
        }
        if index > 0 && top_level(trimmed) {
            best = Some((end + trimmed.len(), trimmed));
        }
        if trimmed.len() < label.len() {
            break;
        }
        end += label.len() + 1;
    }
    best.filter(|(_, last)| !FILES.iter().any(|file| last.eq_ignore_ascii_case(file))).map(|(end, _)| end)
}

fn top_level(label: &str) -> bool {
    let letters = label.chars().filter(|letter| letter.is_alphabetic()).count();
    let all = letters == label.chars().count();
    letters >= 2 && (all || label.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("xn--")))
}
