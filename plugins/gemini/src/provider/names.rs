//! Function names in the alphabet the API takes: letters, digits, `_`, `.`, `:` and `-`, a letter or underscore first, at most
//! 128 long (`FunctionDeclaration.name` in `google-genai`'s types).
//!
//! Invariant: the same text always becomes the same name, so a declaration, its calls and their results still belong
//! together; names that are fine already are not changed; two that differ only in refused characters stay apart.

use std::borrow::Cow;

const MAX: usize = 128;
/// An underscore and a hash in hexadecimal.
const SUFFIX: usize = 9;

pub fn fit(text: &str) -> Cow<'_, str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-');
    let leads = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    if text.len() <= MAX && text.bytes().next().is_some_and(leads) && text.bytes().all(allowed) {
        return Cow::Borrowed(text);
    }
    let mut fitted = String::with_capacity(text.len() + SUFFIX + 1);
    if !text.bytes().next().is_some_and(leads) {
        fitted.push('_');
    }
    fitted.extend(text.chars().map(|char| if char.is_ascii() && allowed(char as u8) { char } else { '_' }));
    fitted.truncate(MAX - SUFFIX);
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
            let fitted = fit(&text).into_owned();
            prop_assert!(!fitted.is_empty() && fitted.len() <= MAX);
            prop_assert_eq!(fit(&fitted), fitted.as_str());
        }
    }

    #[test]
    fn good_names_pass_and_others_stay_apart() {
        assert_eq!(fit("mcp.server:get-weather_2"), "mcp.server:get-weather_2");
        assert_ne!(fit("a b"), fit("a/b"));
        assert!(fit("2fast").starts_with("_2fast_"));
    }
}
