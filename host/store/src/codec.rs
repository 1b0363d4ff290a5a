//! Between columns and types. What no version writes is [`StoreError::Corrupt`], never a panic.

use std::borrow::Cow;

use portcullis_core::NanoUsd;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::StoreError;

/// Counts and times fit 63 bits but for nonsense a provider claims, which is kept as the largest number.
pub(crate) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn uint(value: i64, what: &'static str) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Corrupt { what })
}

pub(crate) fn id(bytes: &[u8], what: &'static str) -> Result<[u8; 16], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Corrupt { what })
}

/// What PostgreSQL stores of a text: all but NUL, which becomes U+FFFD. Clients choose some texts, and none of them may keep a
/// group of rows out.
pub(crate) fn text(value: &str) -> Cow<'_, str> {
    if value.contains('\0') { Cow::Owned(value.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(value) }
}

/// As [`text`] for JSON, in which NUL is an escape that PostgreSQL's functions refuse.
pub(crate) fn json(value: &str) -> Cow<'_, str> {
    const NUL: &str = "\\u0000";
    if !value.contains(NUL) {
        return text(value);
    }
    let mut clean = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        clean.push_str(before);
        // An escape is two characters at least, the second of them ASCII; `\\u0000` may be a backslash and a text.
        let (escape, behind) = match escape.strip_prefix(NUL) {
            Some(behind) => ("\\ufffd", behind),
            None => escape.split_at(escape.len().min(2)),
        };
        clean.push_str(escape);
        rest = behind;
    }
    clean.push_str(rest);
    Cow::Owned(clean)
}

/// A record as JSON that either database stores.
pub(crate) fn to_json(value: &impl Serialize) -> String {
    match json(&serde_json::to_string(value).expect("records are plain data")) {
        Cow::Owned(clean) => clean,
        Cow::Borrowed(clean) => clean.to_owned(),
    }
}

pub(crate) fn from_json<T: DeserializeOwned>(text: &str, what: &'static str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Corrupt { what })
}

pub(crate) fn nano(value: i64) -> Result<NanoUsd, StoreError> {
    NanoUsd::try_from(value).map_err(|_| StoreError::Corrupt { what: "amount" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nul_goes_and_nothing_else(value in proptest::collection::vec("[a\\\\\"u0é\0]{0,12}", 0..4)) {
            let written = serde_json::to_string(&value).unwrap();
            let read: Vec<String> = serde_json::from_str(&json(&written)).unwrap();
            let expected: Vec<String> = value.iter().map(|one| one.replace('\0', "\u{fffd}")).collect();
            prop_assert_eq!(&read, &expected);
            prop_assert_eq!(value.iter().map(|one| text(one).into_owned()).collect::<Vec<_>>(), expected);
        }
    }
}
