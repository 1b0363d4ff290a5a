//! Ids and names in the alphabet the API takes: `^[a-zA-Z0-9_-]+$`, names at most 128 characters long
//! (<https://platform.claude.com/docs/en/agents-and-tools/tool-use/define-tools>).
//!
//! Invariant: the same text always becomes the same id, so a call and its result still belong together and a repeated
//! prefix encodes to the same bytes; texts that are fine already are not changed; two texts that differ only in refused
//! characters stay apart.

use std::borrow::Cow;

const MAX_NAME: usize = 128;
/// An underscore and a hash in hexadecimal.
const SUFFIX: usize = 9;

/// A tool call's id.
pub fn id(text: &str) -> Cow<'_, str> {
    fit(text, usize::MAX)
}

/// A tool's name.
pub fn name(text: &str) -> Cow<'_, str> {
    fit(text, MAX_NAME)
}

fn fit(text: &str, max: usize) -> Cow<'_, str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !text.is_empty() && text.len() <= max && text.bytes().all(allowed) {
        return Cow::Borrowed(text);
    }
    let mut fitted: String =
        text.chars().map(|char| if char.is_ascii() && allowed(char as u8) { char } else { '_' }).collect();
    fitted.truncate(MAX_NAME - SUFFIX);
    fitted.push_str(&format!("_{:08x}", fnv(text)));
    Cow::Owned(fitted)
}

/// FNV-1a, which needs no seed and is the same in every instance.
fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_text_fits_and_fitting_is_stable(text in any::<String>()) {
            let fitted = name(&text).into_owned();
            prop_assert!(!fitted.is_empty() && fitted.len() <= MAX_NAME);
            prop_assert!(fitted.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'));
            prop_assert_eq!(name(&fitted), fitted.as_str());
        }
    }

    #[test]
    fn own_ids_pass_and_others_stay_apart() {
        assert_eq!(id("toolu_01A-b"), "toolu_01A-b");
        assert_ne!(id("call:1"), id("call.1"));
        assert_eq!(id("call:1"), id("call:1"));
    }
}
