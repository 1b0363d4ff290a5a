//! JSON pointers (RFC 6901), and patterns: pointers with `*` for every member.

use std::ops::Range;

use super::cursor::Cursor;
use super::string::unescape;

/// A pointer or pattern that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    #[error("the pointer {0:?} must be empty or start with a slash")]
    NoSlash(String),
    #[error("the pointer {0:?} has a tilde that is neither ~0 nor ~1")]
    Tilde(String),
}

/// A JSON pointer: the way to one place. The empty one is the whole document.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pointer {
    segments: Vec<String>,
}

impl Pointer {
    /// # Errors
    /// No leading slash, or a tilde that escapes nothing.
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        if text.is_empty() {
            return Ok(Self { segments: Vec::new() });
        }
        let Some(rest) = text.strip_prefix('/') else { return Err(PointerError::NoSlash(text.to_owned())) };
        let segments = rest.split('/').map(|part| segment(part).ok_or_else(|| PointerError::Tilde(text.to_owned())));
        Ok(Self { segments: segments.collect::<Result<_, _>>()? })
    }

    pub(crate) fn of(segments: &[String]) -> Self {
        Self { segments: segments.to_vec() }
    }

    pub(crate) fn child(&self, name: String) -> Self {
        let mut segments = self.segments.clone();
        segments.push(name);
        Self { segments }
    }

    /// Unescaped.
    pub fn segments(&self) -> &[String] {
        &self.segments
    }
}

impl std::str::FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        Self::parse(text)
    }
}

impl std::fmt::Display for Pointer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        for segment in &self.segments {
            push_segment(segment, &mut text);
        }
        f.write_str(&text)
    }
}

fn segment(part: &str) -> Option<String> {
    let mut out = String::with_capacity(part.len());
    let mut chars = part.chars();
    while let Some(found) = chars.next() {
        out.push(match found {
            '~' => match chars.next() {
                Some('0') => '~',
                Some('1') => '/',
                _ => return None,
            },
            other => other,
        });
    }
    Some(out)
}

/// Appends `/segment`, escaped.
pub(crate) fn push_segment(segment: &str, out: &mut String) {
    out.push('/');
    if !segment.bytes().any(|byte| byte == b'~' || byte == b'/') {
        out.push_str(segment);
        return;
    }
    for found in segment.chars() {
        match found {
            '~' => out.push_str("~0"),
            '/' => out.push_str("~1"),
            other => out.push(other),
        }
    }
}

/// An array index as a pointer may write it: no sign, no leading zero.
pub(crate) fn index(segment: &str) -> Option<usize> {
    let canonical = segment == "0" || !segment.starts_with('0');
    if canonical && segment.bytes().all(|byte| byte.is_ascii_digit()) { segment.parse().ok() } else { None }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Name(String),
    /// `*`
    Every,
}

/// A pointer in which a segment `*` stands for every member of an array or object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    pub(crate) steps: Vec<Step>,
}

impl Pattern {
    /// # Errors
    /// As [`Pointer::parse`].
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        let pointer = Pointer::parse(text)?;
        let steps = pointer.segments.into_iter().map(|name| if name == "*" { Step::Every } else { Step::Name(name) });
        Ok(Self { steps: steps.collect() })
    }

    /// The member of the top level that it begins with; `None` where it begins with `*` or is the whole document.
    pub fn head(&self) -> Option<&str> {
        match self.steps.first()? {
            Step::Name(name) => Some(name),
            Step::Every => None,
        }
    }

    pub(crate) fn first_wildcard(&self) -> Option<usize> {
        self.steps.iter().position(|step| *step == Step::Every)
    }

    /// The last `*` on the way to the value, which is not the value's own.
    pub(crate) fn last_wildcard(&self) -> Option<usize> {
        let way = self.steps.len().saturating_sub(1);
        self.steps[..way].iter().rposition(|step| *step == Step::Every)
    }

    /// How many of its first steps are `*`.
    pub(crate) fn wildcards_before(&self, depth: usize) -> usize {
        self.steps.iter().take(depth).filter(|step| **step == Step::Every).count()
    }

    /// Whether it names one member of the top level.
    pub fn is_member(&self) -> bool {
        self.steps.len() == 1 && self.head().is_some()
    }

    /// How many of its segments are `*`.
    pub fn wildcards(&self) -> usize {
        self.wildcards_before(self.steps.len())
    }
}

impl std::str::FromStr for Pattern {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        Self::parse(text)
    }
}

/// Where the pointer's value stands, if it is there. Of members with one name below the top level the last counts, as
/// in most parsers. A malformed body has nothing past its fault.
pub fn locate(body: &str, pointer: &Pointer) -> Option<Range<usize>> {
    let mut cursor = Cursor::new(body);
    cursor.space();
    let mut start = cursor.pos;
    for segment in &pointer.segments {
        start = member(body, start, segment)?;
    }
    Cursor::at(body, start).skip_value().ok()
}

/// The value that starts there; none where it is malformed.
pub(crate) fn value_at(body: &str, start: usize) -> Option<Range<usize>> {
    Cursor::at(body, start).skip_value().ok()
}

/// Where the value of the container's member starts.
pub(super) fn member(body: &str, container: usize, segment: &str) -> Option<usize> {
    match body.as_bytes().get(container)? {
        b'{' => {
            let members = members(body, container)?;
            members.iter().rev().find(|member| member.is(body, segment)).map(|member| member.value.start)
        }
        b'[' => {
            let wanted = index(segment)?;
            let mut cursor = Cursor::at(body, container + 1);
            for at in 0.. {
                cursor.space();
                if cursor.peek() == Some(b']') {
                    return None;
                }
                if at == wanted {
                    return Some(cursor.pos);
                }
                cursor.skip_value().ok()?;
                cursor.space();
                cursor.expect(b',', "").ok()?;
            }
            None
        }
        _ => None,
    }
}

/// A member of an object anywhere in a body, by byte ranges.
#[derive(Debug, Clone)]
pub(crate) struct MemberRange {
    /// Quotes included.
    pub(crate) key: Range<usize>,
    pub(crate) value: Range<usize>,
}

impl MemberRange {
    pub(crate) fn is(&self, body: &str, name: &str) -> bool {
        unescape(&body[self.key.start + 1..self.key.end - 1]) == name
    }
}

/// The members of the object that starts at `object`; none where it is malformed.
pub(crate) fn members(body: &str, object: usize) -> Option<Vec<MemberRange>> {
    let mut cursor = Cursor::at(body, object);
    cursor.expect(b'{', "").ok()?;
    let mut found = Vec::new();
    cursor.space();
    if cursor.peek() == Some(b'}') {
        return Some(found);
    }
    loop {
        cursor.space();
        let key = cursor.string().ok()?.with_quotes();
        cursor.space();
        cursor.expect(b':', "").ok()?;
        cursor.space();
        let value = cursor.skip_value().ok()?;
        found.push(MemberRange { key, value });
        cursor.space();
        match cursor.peek()? {
            b',' => cursor.pos += 1,
            b'}' => return Some(found),
            _ => return None,
        }
    }
}
