//! Splices into a body: what is replaced, set or removed changes, every other byte stays (invariant 5 of the design).

use std::borrow::Cow;
use std::ops::Range;

use super::cursor::Cursor;
use super::pointer::{MemberRange, Pointer, locate, member, members};
use super::string::quote;

/// A splice that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// Two changes of one place.
    #[error("two changes of the body overlap at byte {0}")]
    Overlap(usize),
    /// A part of the pointer stands in something that has no members by name, or an array has no such item.
    #[error("the body has no object to hold {0}")]
    NoParent(String),
    #[error("the range {0:?} is not within the body")]
    Range(Range<usize>),
}

/// A set of changes to one body, made together. The body handed to each call must be the same.
#[derive(Debug, Clone, Default)]
pub struct Edits {
    replaced: Vec<(Range<usize>, String)>,
    objects: Vec<ObjectEdit>,
    /// Objects that take the place of a `null`.
    filled: Vec<(Range<usize>, Tree)>,
}

/// Changes to the members of one object of the body.
#[derive(Debug, Clone)]
struct ObjectEdit {
    /// Where it starts.
    object: usize,
    members: Vec<MemberRange>,
    removed: Vec<bool>,
    added: Tree,
}

/// Members to add: by name, each raw JSON or an object with members of its own.
#[derive(Debug, Clone, Default)]
struct Tree(Vec<(String, Branch)>);

#[derive(Debug, Clone)]
enum Branch {
    Raw(String),
    Object(Tree),
}

impl Tree {
    fn put(&mut self, path: &[String], raw: &str) -> bool {
        let Some((name, rest)) = path.split_first() else { return false };
        let at = match self.0.iter().position(|(known, _)| known == name) {
            Some(at) => at,
            None => {
                self.0.push((name.clone(), Branch::Object(Tree::default())));
                self.0.len() - 1
            }
        };
        match &mut self.0[at].1 {
            branch if rest.is_empty() => {
                *branch = Branch::Raw(raw.to_owned());
                true
            }
            Branch::Object(tree) => tree.put(rest, raw),
            Branch::Raw(_) => false,
        }
    }

    fn write_members(&self, out: &mut String) {
        for (at, (name, branch)) in self.0.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            out.push_str(&quote(name));
            out.push(':');
            match branch {
                Branch::Raw(raw) => out.push_str(raw),
                Branch::Object(tree) => tree.write(out),
            }
        }
    }

    fn write(&self, out: &mut String) {
        out.push('{');
        self.write_members(out);
        out.push('}');
    }
}

impl Edits {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_empty(&self) -> bool {
        self.replaced.is_empty() && self.objects.is_empty() && self.filled.is_empty()
    }

    /// Puts `text` in the place of the body's bytes `range`, which stand on character boundaries.
    ///
    /// # Errors
    /// The range is backwards, or shares a byte with one replaced before. A range past the body is the caller's fault and
    /// panics when applied.
    pub fn replace(&mut self, range: Range<usize>, text: impl Into<String>) -> Result<(), EditError> {
        if range.start > range.end {
            return Err(EditError::Range(range));
        }
        let at = self.replaced.partition_point(|(known, _)| known.start < range.start);
        let before = at.checked_sub(1).is_some_and(|before| self.replaced[before].0.end > range.start);
        let after = self.replaced.get(at).is_some_and(|(next, _)| next.start < range.end || *next == range);
        if before || after {
            return Err(EditError::Overlap(range.start));
        }
        self.replaced.insert(at, (range, text.into()));
        Ok(())
    }

    /// Puts `text` in the place of the range and of all that was replaced within it.
    pub(crate) fn cover(&mut self, range: Range<usize>, text: &str) {
        if range.is_empty() && text.is_empty() {
            return;
        }
        self.replaced.retain(|(known, _)| known.start < range.start || known.end > range.end);
        let at = self.replaced.partition_point(|(known, _)| known.start < range.start);
        self.replaced.insert(at, (range, text.to_owned()));
    }

    /// Sets the pointer's value to `raw` JSON: replaces it where it is; else adds the member to its object, and the
    /// objects missing on the way. A `null` on the way becomes an object.
    ///
    /// # Errors
    /// Something on the way is neither object nor null, an array has no such item, or the place is changed already.
    pub fn set(&mut self, body: &str, pointer: &Pointer, raw: &str) -> Result<(), EditError> {
        if let Some(range) = locate(body, pointer) {
            return self.replace(range, raw);
        }
        let segments = pointer.segments();
        let no_parent = || EditError::NoParent(pointer.to_string());
        let (mut start, mut depth) = (0, 0);
        while let Some(range) = parent(body, segments, depth) {
            (start, depth) = (range.start, depth + 1);
        }
        let depth = depth.checked_sub(1).ok_or_else(no_parent)?;
        let missing = &segments[depth..];
        let put = match body.as_bytes().get(start) {
            Some(b'{') => self.object(body, start).ok_or_else(no_parent)?.added.put(missing, raw),
            Some(b'n') => self.fill(start..start + 4).put(missing, raw),
            _ => return Err(no_parent()),
        };
        if put { Ok(()) } else { Err(EditError::Overlap(start)) }
    }

    /// Removes the pointer's member with its comma; false where there is none. Items of arrays are not removed.
    pub fn remove(&mut self, body: &str, pointer: &Pointer) -> bool {
        let segments = pointer.segments();
        let Some(last) = segments.last() else { return false };
        let Some(holder) = parent(body, segments, segments.len() - 1) else { return false };
        let Some(edit) = self.object(body, holder.start) else { return false };
        let mut found = false;
        for (member, removed) in edit.members.iter().zip(&mut edit.removed) {
            if member.is(body, last) {
                *removed = true;
                found = true;
            }
        }
        found
    }

    fn object(&mut self, body: &str, object: usize) -> Option<&mut ObjectEdit> {
        let at = match self.objects.iter().position(|edit| edit.object == object) {
            Some(at) => at,
            None => {
                let members = members(body, object)?;
                let removed = vec![false; members.len()];
                self.objects.push(ObjectEdit { object, members, removed, added: Tree::default() });
                self.objects.len() - 1
            }
        };
        Some(&mut self.objects[at])
    }

    fn fill(&mut self, null: Range<usize>) -> &mut Tree {
        let at = match self.filled.iter().position(|(known, _)| *known == null) {
            Some(at) => at,
            None => {
                self.filled.push((null, Tree::default()));
                self.filled.len() - 1
            }
        };
        &mut self.filled[at].1
    }

    /// The body with all changes. A change within something removed or replaced goes with it.
    pub fn apply(&self, body: &str) -> String {
        let mut splices: Vec<(Range<usize>, Cow<'_, str>)> = Vec::with_capacity(self.replaced.len());
        splices.extend(self.replaced.iter().map(|(range, text)| (range.clone(), Cow::Borrowed(text.as_str()))));
        for (range, tree) in &self.filled {
            let mut text = String::new();
            tree.write(&mut text);
            splices.push((range.clone(), Cow::Owned(text)));
        }
        for edit in &self.objects {
            edit.splices(&mut splices);
        }
        // An outer change before the ones within it, which it swallows.
        splices.sort_by(|(a, _), (b, _)| a.start.cmp(&b.start).then(b.end.cmp(&a.end)));
        let grown: usize = splices.iter().map(|(_, text)| text.len()).sum();
        let mut out = String::with_capacity(body.len() + grown);
        let mut done = 0;
        for (range, text) in splices {
            if range.start < done {
                continue;
            }
            out.push_str(&body[done..range.start]);
            out.push_str(&text);
            done = range.end;
        }
        out.push_str(&body[done..]);
        out
    }
}

impl ObjectEdit {
    fn splices<'e>(&'e self, splices: &mut Vec<(Range<usize>, Cow<'e, str>)>) {
        let last_kept = self.removed.iter().rposition(|removed| !removed);
        let first_dropped = last_kept.map_or(0, |last| last + 1);
        for (at, _) in self.removed[..first_dropped].iter().enumerate().filter(|(_, removed)| **removed) {
            let next = self.members[at + 1].key.start;
            splices.push((self.members[at].key.start..next, Cow::Borrowed("")));
        }
        let mut added = String::new();
        if !self.added.0.is_empty() {
            if last_kept.is_some() {
                added.push(',');
            }
            self.added.write_members(&mut added);
        }
        let at = match (last_kept, self.members.first()) {
            (Some(last), _) => self.members[last].value.end,
            (None, Some(first)) => first.key.start,
            (None, None) => self.object + 1,
        };
        let end = match self.members.last() {
            Some(last) if first_dropped < self.members.len() => last.value.end,
            _ => at,
        };
        if end > at || !added.is_empty() {
            splices.push((at..end, Cow::Owned(added)));
        }
    }
}

/// Where the value of the first `depth` segments stands.
fn parent(body: &str, segments: &[String], depth: usize) -> Option<Range<usize>> {
    if depth > segments.len() {
        return None;
    }
    let mut cursor = Cursor::new(body);
    cursor.space();
    let mut start = cursor.pos;
    for segment in &segments[..depth] {
        start = member(body, start, segment)?;
    }
    Cursor::at(body, start).skip_value().ok()
}
