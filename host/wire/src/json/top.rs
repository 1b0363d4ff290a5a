//! The scan of a body's top level: what routing needs to know of a request that nobody decodes.
//!
//! Keeps invariant 1 of the design, no parser differential: keys are compared unescaped, and a key that stands twice is
//! refused, since parsers differ on which of the two counts.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use super::ScanError;
use super::cursor::Cursor;
use super::string::unescape;

/// One member of the top-level object, by byte ranges into the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'a> {
    /// Unescaped.
    pub name: Cow<'a, str>,
    /// The key as it stands, quotes included.
    pub key: Range<usize>,
    pub value: Range<usize>,
}

/// The members of a body that is one JSON object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopLevel<'a> {
    members: Vec<Member<'a>>,
}

/// Up to so many members are compared one with another; past that a set does it, so that no body costs quadratic time.
const COMPARED: usize = 24;

impl<'a> TopLevel<'a> {
    /// Reads the whole top level. Nested values are passed over by their brackets and quotes: a body whose depths are
    /// malformed may pass here and fails where they are read.
    ///
    /// # Errors
    /// Not one object, something after it, a key twice, a string or bracket left open, or nesting past [`super::MAX_DEPTH`].
    pub fn scan(body: &'a str) -> Result<Self, ScanError> {
        let mut cursor = Cursor::new(body);
        cursor.space();
        cursor.expect(b'{', "the body must be a JSON object")?;
        let mut members = Vec::with_capacity(16);
        let mut names = HashSet::new();
        cursor.space();
        if cursor.peek() == Some(b'}') {
            cursor.pos += 1;
            cursor.end()?;
            return Ok(Self { members });
        }
        loop {
            cursor.space();
            let key = cursor.string()?;
            let inside = &body[key.inside.clone()];
            let name = if key.escaped { unescape(inside) } else { Cow::Borrowed(inside) };
            cursor.space();
            cursor.expect(b':', "a colon must follow the key")?;
            cursor.space();
            let value = cursor.skip_value()?;
            let member = Member { name, key: key.with_quotes(), value };
            if is_known(&members, &mut names, &member.name) {
                let message = format!("the key \"{}\" stands twice", member.name.escape_debug());
                return Err(ScanError::new(member.key.start, message));
            }
            members.push(member);
            cursor.space();
            match cursor.peek() {
                Some(b',') => cursor.pos += 1,
                Some(b'}') => break,
                _ => return Err(cursor.error("a comma or the object's end must stand here")),
            }
        }
        cursor.pos += 1;
        cursor.end()?;
        Ok(Self { members })
    }

    /// Where the value of a top-level member stands.
    pub fn get(&self, name: &str) -> Option<Range<usize>> {
        self.members.iter().find(|member| member.name == name).map(|member| member.value.clone())
    }

    /// In the body's order.
    pub fn members(&self) -> &[Member<'a>] {
        &self.members
    }
}

fn is_known(members: &[Member<'_>], names: &mut HashSet<String>, name: &str) -> bool {
    if members.len() < COMPARED {
        return members.iter().any(|member| member.name == name);
    }
    if names.is_empty() {
        names.extend(members.iter().map(|member| member.name.clone().into_owned()));
    }
    !names.insert(name.to_owned())
}
