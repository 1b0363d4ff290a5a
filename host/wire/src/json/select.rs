//! Finding values by patterns, and testing them.

use std::ops::Range;

use memchr::memmem;

use super::cursor::Cursor;
use super::pointer::{Pattern, Step, index};
use super::string::unescape;
use super::walk::{Kind, PatternSet, Place, Visitor, walk};

impl PatternSet {
    /// Every value that a pattern names: the pattern's place in the list, and the value's bytes, in the body's order. A
    /// malformed body has nothing past its fault; values that no pattern reaches are not read.
    pub fn select(&self, body: &str) -> Vec<(usize, Range<usize>)> {
        let mut found = Found(Vec::with_capacity(8));
        // What was found before a fault stands; who must know of the fault reads the leaves.
        let _ = walk(body, self, &mut found);
        found.0.sort_by_key(|(_, range)| range.start);
        found.0
    }
}

/// As [`PatternSet::select`], for patterns used once.
pub fn select(body: &str, patterns: &[Pattern]) -> Vec<(usize, Range<usize>)> {
    PatternSet::new(patterns).select(body)
}

struct Found(Vec<(usize, Range<usize>)>);

impl Visitor for Found {
    const MATCHES_ONLY: bool = true;

    fn value(&mut self, place: &Place<'_>, _kind: Kind, range: Range<usize>) {
        self.0.extend(place.hits().map(|id| (usize::from(id), range.clone())));
    }
}

/// What a value must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// There, and not null.
    Present,
    /// This JSON text.
    Equals(String),
    /// A string whose text begins with this one.
    StartsWith(String),
}

/// A test on the places of a document that a pattern names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub at: Pattern,
    pub test: Test,
}

impl Condition {
    /// True where one of the named values passes.
    pub fn holds(&self, body: &str) -> bool {
        if !self.may_hold(body) {
            return false;
        }
        let found = select(body, std::slice::from_ref(&self.at));
        found.into_iter().any(|(_, range)| self.passes(&body[range]))
    }

    /// False where a look at the bytes tells that it does not hold: an empty string can be written in one way only, so
    /// that without one behind a key of the wanted name there is nothing to walk for.
    fn may_hold(&self, body: &str) -> bool {
        let Some(Step::Name(name)) = self.at.steps.last() else { return true };
        match &self.test {
            Test::Equals(json) if json == "\"\"" => {}
            // Escaped, it has a backslash; else it is there as it is.
            Test::StartsWith(start) => {
                return memmem::find(body.as_bytes(), start.as_bytes()).is_some() || body.contains('\\');
            }
            Test::Present | Test::Equals(_) => return true,
        }
        if index(name).is_some() {
            return true;
        }
        let body = body.as_bytes();
        memmem::find_iter(body, "\"\"").any(|at| {
            let key = body[..at].trim_ascii_end().strip_suffix(b":").map(<[u8]>::trim_ascii_end);
            let Some(key) = key.and_then(|key| key.strip_suffix(b"\"")) else { return false };
            // Written with escapes, each character takes up to six bytes.
            let written = &key[key.len().saturating_sub(6 * name.len())..];
            written.ends_with(name.as_bytes()) || written.contains(&b'\\')
        })
    }

    /// True where this value, which stands at the named place, passes.
    pub fn passes(&self, value: &str) -> bool {
        match &self.test {
            Test::Present => value != "null",
            Test::Equals(wanted) => same_json(value, wanted),
            Test::StartsWith(start) => {
                let text = value.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
                text.is_some_and(|text| unescape(text).starts_with(start.as_str()))
            }
        }
    }
}

/// Whether two JSON texts are the same but for white space between tokens and the escapes within strings. The order of
/// members and the way a number is written count.
pub fn same_json(left: &str, right: &str) -> bool {
    let (mut a, mut b) = (Cursor::new(left), Cursor::new(right));
    loop {
        a.space();
        b.space();
        match (a.peek(), b.peek()) {
            (None, None) => return true,
            (Some(b'"'), Some(b'"')) => {
                let (Ok(found), Ok(wanted)) = (a.string(), b.string()) else { return false };
                if unescape(&left[found.inside]) != unescape(&right[wanted.inside]) {
                    return false;
                }
            }
            (Some(found), Some(wanted)) if is_token(found) && is_token(wanted) => {
                let (Ok(found), Ok(wanted)) = (a.scalar(), b.scalar()) else { return false };
                if left[found] != right[wanted] {
                    return false;
                }
            }
            (Some(found), Some(wanted)) if found == wanted => {
                a.pos += 1;
                b.pos += 1;
            }
            _ => return false,
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte == b'-' || byte.is_ascii_alphanumeric()
}
