//! The one walk over a document's values, with every pattern matched on the way.
//!
//! Nesting stands on a list and not on the stack, so no body overflows it. Patterns are one trie; a subtree none of them
//! reaches costs nothing more, and is passed over unread where the visitor reads nothing but matches.

use std::borrow::Cow;
use std::ops::Range;

use super::ScanError;
use super::cursor::{Cursor, Literal, MAX_DEPTH};
use super::pointer::{Pattern, Step, index, push_segment};
use super::string::unescape;

/// Patterns compiled to be looked for in one walk. A pattern is known by its place in the list it was made of.
#[derive(Debug, Clone, Default)]
pub struct PatternSet {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    names: Vec<(String, Option<usize>, u32)>,
    every: Option<u32>,
    ends: Vec<u16>,
}

impl Node {
    fn leads_on(&self) -> bool {
        self.every.is_some() || !self.names.is_empty()
    }
}

impl PatternSet {
    /// At most 65,535 patterns; those past it are never found.
    pub fn new<'p>(patterns: impl IntoIterator<Item = &'p Pattern>) -> Self {
        let mut set = Self { nodes: vec![Node::default()] };
        for (id, pattern) in patterns.into_iter().enumerate() {
            let Ok(id) = u16::try_from(id) else { break };
            let mut at = 0;
            for step in &pattern.steps {
                at = set.child(at, step);
            }
            set.nodes[at as usize].ends.push(id);
        }
        set
    }

    fn child(&mut self, at: u32, step: &Step) -> u32 {
        let next = self.nodes.len() as u32;
        let node = &mut self.nodes[at as usize];
        let known = match step {
            Step::Every => node.every,
            Step::Name(name) => node.names.iter().find(|(known, ..)| known == name).map(|&(.., child)| child),
        };
        if let Some(known) = known {
            return known;
        }
        match step {
            Step::Every => node.every = Some(next),
            Step::Name(name) => node.names.push((name.clone(), index(name), next)),
        }
        self.nodes.push(Node::default());
        next
    }
}

/// What kind of value stands at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    String,
    Number,
    /// `true`, `false`, `null`.
    Word,
    /// An object or array, told when it ends.
    Container,
}

/// Receives a walk's values in the document's order, containers at their end.
pub(crate) trait Visitor {
    /// True where only matched values are wanted: the rest is passed over unread.
    const MATCHES_ONLY: bool;

    /// An object's key, before its value; `place` is the member's.
    fn key(&mut self, _place: &Place<'_>, _key: &Literal) {}

    fn value(&mut self, place: &Place<'_>, kind: Kind, range: Range<usize>);

    /// A string, to be read by whoever wants to know what it says; which is most of the cost of a walk.
    #[inline]
    fn string(&mut self, place: &Place<'_>, string: StringAhead<'_, '_>) -> Result<(), ScanError> {
        let range = string.pass()?;
        self.value(place, Kind::String, range);
        Ok(())
    }
}

/// A string that the walk stands before. It must be read, one way or the other.
pub(crate) struct StringAhead<'r, 'b> {
    cursor: &'r mut Cursor<'b>,
    scratch: &'r mut Vec<u8>,
}

impl<'r> StringAhead<'r, '_> {
    /// Where the literal stands.
    #[inline]
    pub(crate) fn pass(self) -> Result<Range<usize>, ScanError> {
        self.cursor.string().map(|literal| literal.with_quotes())
    }

    /// As [`StringAhead::pass`], and what it says.
    #[inline]
    pub(crate) fn text(self) -> Result<(Range<usize>, &'r str), ScanError> {
        self.cursor.text(self.scratch)
    }
}

/// A container that the walk is in.
struct Level {
    object: bool,
    /// Where the container starts.
    start: usize,
    /// Which member, of an array.
    index: usize,
    /// The member's key, of an object.
    key: Literal,
    /// Where the member's value starts.
    member: usize,
    /// The container's own nodes of the trie, within the walk's list.
    nodes: Range<usize>,
}

/// Where the value stands that a visitor is told of.
pub(crate) struct Place<'w> {
    body: &'w str,
    levels: &'w [Level],
    set: &'w PatternSet,
    nodes: &'w [u32],
}

/// How many `*` of a pattern can be bound to members.
pub(crate) const MAX_WILDCARDS: usize = 4;

/// The members that a pattern's `*` stand for, each by where its value starts: two patterns' `*` mean the same member when
/// these are equal. Unused ones are zero.
pub(crate) type Binding = [u32; MAX_WILDCARDS];

impl Place<'_> {
    /// The patterns that end here.
    pub(crate) fn hits(&self) -> impl Iterator<Item = u16> + '_ {
        self.nodes.iter().flat_map(|&node| self.set.nodes[node as usize].ends.iter().copied())
    }

    pub(crate) fn body(&self) -> &str {
        self.body
    }

    pub(crate) fn pointer(&self) -> String {
        let mut out = String::with_capacity(self.levels.len() * 12 + SHORT_KEY);
        self.write_pointer(&mut out);
        out
    }

    /// Adds the pointer to what is written already.
    pub(crate) fn write_pointer(&self, out: &mut String) {
        for level in self.levels {
            if level.object {
                push_key(self.body, &level.key, out);
            } else {
                push_index(level.index, out);
            }
        }
    }

    /// Where the innermost container starts, zero at the root.
    pub(crate) fn container(&self) -> usize {
        self.levels.last().map_or(0, |level| level.start)
    }

    /// Where the value starts that a pattern's step of this depth led to.
    pub(crate) fn member(&self, depth: usize) -> Option<usize> {
        self.levels.get(depth).map(|level| level.member)
    }

    pub(crate) fn bind(&self, pattern: &Pattern) -> Binding {
        let mut binding = Binding::default();
        let wild = pattern.steps.iter().zip(self.levels).filter(|(step, _)| **step == Step::Every);
        for (slot, (_, level)) in binding.iter_mut().zip(wild) {
            *slot = level.member as u32;
        }
        binding
    }
}

/// Keys of so many bytes are copied as if they had all of them: a copy of known length needs no call.
const SHORT_KEY: usize = 16;

fn push_key(body: &str, key: &Literal, out: &mut String) {
    let start = key.inside.start;
    if let Some(around) = body.get(start..start + SHORT_KEY)
        && !key.escaped
        && key.inside.len() <= SHORT_KEY
        && !around.bytes().fold(false, |found, byte| found | (byte == b'~') | (byte == b'/'))
    {
        out.push('/');
        let end = out.len() + key.inside.len();
        out.push_str(around);
        out.truncate(end);
    } else {
        push_segment(&key_text(body, key), out);
    }
}

fn push_index(index: usize, out: &mut String) {
    out.push('/');
    if index < 10 {
        out.push((b'0' + index as u8) as char);
    } else {
        out.push_str(&index.to_string());
    }
}

fn key_text<'b>(body: &'b str, key: &Literal) -> Cow<'b, str> {
    let inside = &body[key.inside.clone()];
    if key.escaped { unescape(inside) } else { Cow::Borrowed(inside) }
}

/// Walks the document, strictly but for what a visitor of matches passes over.
pub(crate) fn walk<V: Visitor>(body: &str, set: &PatternSet, visitor: &mut V) -> Result<(), ScanError> {
    let mut walk = Walk {
        body,
        set,
        cursor: Cursor::new(body),
        levels: Vec::with_capacity(8),
        nodes: Vec::with_capacity(16),
        scratch: Vec::new(),
    };
    if !set.nodes.is_empty() {
        walk.nodes.push(0);
    }
    walk.run(visitor)
}

struct Walk<'w> {
    body: &'w str,
    set: &'w PatternSet,
    cursor: Cursor<'w>,
    levels: Vec<Level>,
    /// The trie's nodes that match the containers the walk is in, and at the end those of the value at hand.
    nodes: Vec<u32>,
    /// For the strings that have escapes.
    scratch: Vec<u8>,
}

impl Walk<'_> {
    fn run<V: Visitor>(&mut self, visitor: &mut V) -> Result<(), ScanError> {
        let mut own = 0..self.nodes.len();
        loop {
            self.cursor.space();
            if !self.enter(visitor, &own)? {
                loop {
                    self.nodes.truncate(own.start);
                    if self.levels.is_empty() {
                        return self.cursor.end();
                    }
                    if self.another_member()? {
                        break;
                    }
                    own = self.leave(visitor);
                }
            }
            own = self.member(visitor)?;
        }
    }

    fn tell<V: Visitor>(&self, visitor: &mut V, own: &Range<usize>, kind: Kind, range: Range<usize>) {
        if V::MATCHES_ONLY && own.is_empty() {
            return;
        }
        let place = Place { body: self.body, levels: &self.levels, set: self.set, nodes: &self.nodes[own.clone()] };
        visitor.value(&place, kind, range);
    }

    /// Reads the value at hand. True where it is a container with members, now entered.
    fn enter<V: Visitor>(&mut self, visitor: &mut V, own: &Range<usize>) -> Result<bool, ScanError> {
        let start = self.cursor.pos;
        let first = self.cursor.peek();
        let leads_on = || self.nodes[own.clone()].iter().any(|&node| self.set.nodes[node as usize].leads_on());
        if V::MATCHES_ONLY && !leads_on() {
            let range = self.cursor.skip_value()?;
            let kind = match first {
                Some(b'"') => Kind::String,
                Some(b'{' | b'[') => Kind::Container,
                Some(b't' | b'f' | b'n') => Kind::Word,
                _ => Kind::Number,
            };
            self.tell(visitor, own, kind, range);
            return Ok(false);
        }
        match first {
            Some(b'"') => {
                let place =
                    Place { body: self.body, levels: &self.levels, set: self.set, nodes: &self.nodes[own.clone()] };
                let ahead = StringAhead { cursor: &mut self.cursor, scratch: &mut self.scratch };
                visitor.string(&place, ahead)?;
                Ok(false)
            }
            Some(open @ (b'{' | b'[')) => {
                self.cursor.pos += 1;
                self.cursor.space();
                if self.cursor.peek() == Some(open + 2) {
                    self.cursor.pos += 1;
                    self.tell(visitor, own, Kind::Container, start..self.cursor.pos);
                    return Ok(false);
                }
                if self.levels.len() == MAX_DEPTH {
                    return Err(self.cursor.error("nested too deeply"));
                }
                self.levels.push(Level {
                    object: open == b'{',
                    start,
                    index: 0,
                    key: Literal { inside: 0..0, escaped: false },
                    member: 0,
                    nodes: own.clone(),
                });
                Ok(true)
            }
            first => {
                let range = self.cursor.scalar()?;
                let word = matches!(first, Some(b't' | b'f' | b'n'));
                self.tell(visitor, own, if word { Kind::Word } else { Kind::Number }, range);
                Ok(false)
            }
        }
    }

    /// After a member: true where another follows, false where the container ends.
    fn another_member(&mut self) -> Result<bool, ScanError> {
        self.cursor.space();
        let Some(level) = self.levels.last_mut() else { return Ok(false) };
        let close = if level.object { b'}' } else { b']' };
        let more = match self.cursor.peek() {
            Some(b',') => true,
            Some(byte) if byte == close => false,
            _ => return Err(self.cursor.error("a comma or the end of the object or array must stand here")),
        };
        level.index += 1;
        self.cursor.pos += 1;
        Ok(more)
    }

    /// Tells of the container that just ended; answers with its nodes.
    fn leave<V: Visitor>(&mut self, visitor: &mut V) -> Range<usize> {
        let Some(level) = self.levels.pop() else { return 0..0 };
        self.tell(visitor, &level.nodes, Kind::Container, level.start..self.cursor.pos);
        level.nodes
    }

    /// Goes to the next member's value and matches the trie for it; answers with its nodes.
    fn member<V: Visitor>(&mut self, visitor: &mut V) -> Result<Range<usize>, ScanError> {
        self.cursor.space();
        let key = match self.levels.last() {
            Some(level) if level.object => {
                let key = self.cursor.string()?;
                self.cursor.space();
                self.cursor.expect(b':', "a colon must follow the key")?;
                self.cursor.space();
                Some(key)
            }
            _ => None,
        };
        let Some(level) = self.levels.last_mut() else { return Ok(0..0) };
        level.member = self.cursor.pos;
        let from = self.nodes.len();
        let told = key.is_some();
        if let Some(key) = key {
            level.key = key;
        }
        if !level.nodes.is_empty() {
            let name = if level.object { key_text(self.body, &level.key) } else { Cow::Borrowed("") };
            for at in level.nodes.clone() {
                let node = &self.set.nodes[self.nodes[at] as usize];
                self.nodes.extend(node.every);
                let named = node
                    .names
                    .iter()
                    .find(|(known, index, _)| if level.object { *known == name } else { *index == Some(level.index) });
                self.nodes.extend(named.map(|&(.., child)| child));
            }
        }
        if told && !V::MATCHES_ONLY {
            let place = Place { body: self.body, levels: &self.levels, set: self.set, nodes: &self.nodes[from..] };
            visitor.key(&place, &self.levels[self.levels.len() - 1].key);
        }
        Ok(from..self.nodes.len())
    }
}
