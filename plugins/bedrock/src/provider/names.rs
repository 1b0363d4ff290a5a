//! Ids and names in the alphabets that Converse takes (service model: `ToolUseId` is `[a-zA-Z0-9_.:-]+`, `ToolName`
//! `[a-zA-Z0-9_-]+`, both of at most 64 characters; `DocumentBlock` says what a document's name may hold).
//!
//! Invariant: the same text always becomes the same name, so that a call and its result still belong together and a repeated prefix
//! encodes to the same bytes; what is fine already is not changed.

use std::borrow::Cow;

const MAX: usize = 64;
/// An underscore and a hash in hexadecimal.
const SUFFIX: usize = 9;
const MAX_DOCUMENT: usize = 200;

/// A tool call's id.
pub fn id(text: &str) -> Cow<'_, str> {
    fit(text, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-'))
}

/// A tool's name.
pub fn tool(text: &str) -> Cow<'_, str> {
    fit(text, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

fn fit(text: &str, allowed: impl Fn(u8) -> bool) -> Cow<'_, str> {
    if !text.is_empty() && text.len() <= MAX && text.bytes().all(&allowed) {
        return Cow::Borrowed(text);
    }
    let char = |char: char| if char.is_ascii() && allowed(char as u8) { char } else { '_' };
    let mut fitted: String = text.chars().map(char).take(MAX - SUFFIX).collect();
    // FNV-1a, which needs no seed and is the same in every instance.
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    fitted.push_str(&format!("_{hash:08x}"));
    Cow::Owned(fitted)
}

/// Names of a request's documents: letters, digits, single spaces, hyphens, parentheses and brackets, each name once.
#[derive(Debug, Default)]
pub struct Documents {
    given: Vec<String>,
}

impl Documents {
    /// The next document's name: its own without the extension, in that alphabet, or its number.
    pub fn name(&mut self, own: Option<&str>) -> String {
        let own = own.unwrap_or_default();
        let stem = own
            .rsplit_once('.')
            .filter(|(_, extension)| {
                (1..=4).contains(&extension.len()) && extension.bytes().all(|byte| byte.is_ascii_alphanumeric())
            })
            .map_or(own, |(stem, _)| stem);
        let char = |char: char| match char {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '(' | ')' | '[' | ']' => char,
            _ if char.is_whitespace() || char == '_' => ' ',
            _ => '-',
        };
        let mapped: String = stem.chars().map(char).take(MAX_DOCUMENT - 16).collect();
        let mut name = mapped.split_whitespace().collect::<Vec<_>>().join(" ");
        if !name.contains(|char: char| char.is_ascii_alphanumeric()) {
            name = format!("Document {}", self.given.len() + 1);
        }
        let base = name.clone();
        let mut count = 1;
        while self.given.contains(&name) {
            count += 1;
            name = format!("{base} ({count})");
        }
        self.given.push(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_text_fits_and_fitting_is_stable(text in any::<String>()) {
            let fitted = tool(&text).into_owned();
            prop_assert!(!fitted.is_empty() && fitted.len() <= MAX);
            prop_assert!(fitted.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'));
            prop_assert_eq!(tool(&fitted), fitted.as_str());
            prop_assert!(id(&text).len() <= MAX);
        }

        #[test]
        fn documents_have_names_of_their_own(names in prop::collection::vec(prop::option::of("[a-c._ éé/]{0,6}|.{0,300}"), 1..8)) {
            let mut documents = Documents::default();
            let mut given = Vec::new();
            for own in &names {
                let name = documents.name(own.as_deref());
                prop_assert!(!name.is_empty() && name.len() <= MAX_DOCUMENT, "{}", name.len());
                let fine = |char: char| char.is_ascii_alphanumeric() || " -()[]".contains(char);
                prop_assert!(name.chars().all(fine) && !name.contains("  ") && name.trim() == name, "{name}");
                prop_assert!(!given.contains(&name));
                given.push(name);
            }
            let mut again = Documents::default();
            let repeated: Vec<_> = names.iter().map(|own| again.name(own.as_deref())).collect();
            prop_assert_eq!(repeated, given);
        }
    }

    #[test]
    fn own_ids_pass_and_others_stay_apart() {
        assert_eq!(id("functions.get_temperature:0"), "functions.get_temperature:0");
        assert_eq!(id("tooluse_dV5ehBNfl1hUE-UTM9cIww"), "tooluse_dV5ehBNfl1hUE-UTM9cIww");
        assert_ne!(tool("a.b"), tool("a:b"));
    }

    #[test]
    fn documents_keep_what_they_may() {
        let mut documents = Documents::default();
        let names =
            [Some("Q3 report_(final).pdf"), Some("Q3 report (final).docx"), None, Some("../../x"), Some("été.v2")];
        let given: Vec<_> = names.into_iter().map(|name| documents.name(name)).collect();
        assert_eq!(given, ["Q3 report (final)", "Q3 report (final) (2)", "Document 3", "------x", "-t-"]);
    }
}
