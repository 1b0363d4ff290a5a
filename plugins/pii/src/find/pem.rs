//! Private keys as PEM blocks (RFC 7468), their line breaks real or spelt out.

use super::token::{CERTAIN, Key, Tail};
use crate::window::{PEM, Window, is};

const DASHES: &[u8] = b"-----";
const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
/// `ENCRYPTED PRIVATE KEY`, `PGP PRIVATE KEY BLOCK`, …
const LABEL_MAX: usize = 40;

/// A block whose first dash stands at `start`. Without an end line it goes as far as a key could.
pub fn find(window: &Window, start: usize) -> Key {
    let rest = &window.bytes()[start..];
    if !rest.starts_with(BEGIN) {
        return if window.open && BEGIN.starts_with(rest) { Key::Growing } else { Key::No };
    }
    let (label, rest) = label(&rest[BEGIN.len()..]);
    if !rest.starts_with(DASHES) {
        let open = window.open && label.len() <= LABEL_MAX && DASHES.starts_with(rest);
        return if open { Key::Growing } else { Key::No };
    }
    let private = label == b"PRIVATE KEY" || label.ends_with(b" PRIVATE KEY") || label.ends_with(b"PRIVATE KEY BLOCK");
    if !private {
        return Key::No;
    }
    match body(window, window.len() - rest.len() + DASHES.len()) {
        (end, true) => Key::Match(end),
        (_, false) if !window.open => Key::Match(window.len()),
        (end, false) if end - start > CERTAIN => Key::Endless(end, Tail::Pem),
        (_, false) => Key::Growing,
    }
}

fn label(text: &[u8]) -> (&[u8], &[u8]) {
    let length = text.iter().take(LABEL_MAX + 1).take_while(|&&byte| byte.is_ascii_uppercase() || byte == b' ').count();
    text.split_at(length)
}

/// Where the body that goes on at `from` ends, and whether it does; if not, from where on it is not yet known.
pub fn body(window: &Window, from: usize) -> (usize, bool) {
    let bytes = window.bytes();
    let mut i = from;
    while i < bytes.len() {
        if is(bytes[i], PEM) {
            i += 1;
            continue;
        }
        if bytes[i] != b'-' {
            return (i, true);
        }
        let rest = &bytes[i..];
        let undecided = if rest.starts_with(END) {
            let (label, closing) = label(&rest[END.len()..]);
            if closing.starts_with(DASHES) {
                return (i + END.len() + label.len() + DASHES.len(), true);
            }
            label.len() <= LABEL_MAX && DASHES.starts_with(closing)
        } else {
            END.starts_with(rest)
        };
        if undecided && window.open {
            return (i, false);
        }
        // A hyphen within a header, such as `Proc-Type`.
        if !bytes.get(i + 1).is_some_and(u8::is_ascii_alphabetic) {
            return (i, true);
        }
        i += 1;
    }
    (i, false)
}
