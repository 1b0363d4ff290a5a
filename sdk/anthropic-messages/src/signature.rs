//! Signatures of reasoning that another provider signed, on their way through an Anthropic client.
//!
//! The Messages protocol has one place for a signature and none for who signed it. So that signed reasoning comes back to the
//! provider that signed it, and to no other, a foreign signature is written with the format in front. Invariant: what
//! `wrap` writes, `unwrap` takes apart into the same two strings; Anthropic's own signatures pass untouched.

use std::borrow::Cow;

use crate::FORMAT;

/// No base64, which signatures are, has a colon.
const MARK: &str = "portcullis:";

/// The signature as an Anthropic client carries it.
pub fn wrap<'a>(format: &str, signature: &'a str) -> Cow<'a, str> {
    if format == FORMAT {
        return Cow::Borrowed(signature);
    }
    Cow::Owned(format!("{}{signature}", prefix(format)))
}

/// What a streamed foreign signature begins with; its pieces follow as they are.
pub fn prefix(format: &str) -> String {
    if format == FORMAT { String::new() } else { format!("{MARK}{format}:") }
}

/// The format that signed and its signature.
pub fn unwrap(carried: &str) -> (&str, &str) {
    carried.strip_prefix(MARK).and_then(|rest| rest.split_once(':')).unwrap_or((FORMAT, carried))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_wrapped_unwraps(format in "[a-z][a-z-]{0,20}", signature in "[^:]{0,60}") {
            let carried = wrap(&format, &signature);
            prop_assert_eq!(unwrap(&carried), (format.as_str(), signature.as_str()));
        }
    }

    #[test]
    fn own_signatures_pass_untouched() {
        assert_eq!(wrap(FORMAT, "EqoBCk=="), "EqoBCk==");
        assert_eq!(unwrap("EqoBCk=="), (FORMAT, "EqoBCk=="));
    }
}
