//! Values derived from text: token logprobs, signatures. They go where the text they belong to is not what it was.
//!
//! A value belongs to the texts within the innermost member of a list that its pattern names, or of the whole document where it
//! names none. In a stream these texts are channels: the value belongs to those with its key. Invariant: no signature
//! passes beside a text that is not the one that was signed, nor ahead of it.

use std::ops::Range;

use crate::json::{Pattern, Place, value_at};

use super::channel::Channel;
use super::map::{ChannelSpec, MapError, bindable};

/// A pattern of derived values, compiled.
#[derive(Debug)]
pub(super) struct Derivation {
    /// The step of the pattern that leads to the member in which the texts stand, if it is one of a list.
    depth: Option<usize>,
    /// The channels of texts there: the declaration, and how many values of its key the derived value's place tells.
    pub(super) channels: Vec<(usize, usize)>,
}

impl Derivation {
    pub(super) fn new(pattern: &Pattern, channels: &[ChannelSpec]) -> Result<Self, MapError> {
        let depth = pattern.last_wildcard();
        let shared = depth.map_or(0, |depth| depth + 1);
        let mut derivation = Self { depth, channels: Vec::new() };
        for (at, channel) in channels.iter().enumerate() {
            if bindable(&channel.text)?.steps.get(..shared) != pattern.steps.get(..shared) {
                continue;
            }
            let own = pattern.wildcards_before(shared);
            let keys = channel.key.iter().map(|key| Ok(bindable(key)?.wildcards() <= own));
            let keys = keys.collect::<Result<Vec<_>, MapError>>()?;
            derivation.channels.push((at, keys.iter().take_while(|told| **told).count()));
        }
        Ok(derivation)
    }
}

/// A value derived from text.
#[derive(Debug, Clone)]
pub(super) struct Derived {
    pub(super) range: Range<usize>,
    /// Where the member starts that its texts stand in; the whole document without.
    member: Option<usize>,
    /// Of a string in a stream: the channels it belongs to.
    pub(super) owners: Vec<Owner>,
}

/// Channels of one declaration, by the values that their keys start with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) declaration: usize,
    pub(super) key: Vec<String>,
}

impl Owner {
    pub(super) fn owns(&self, channel: &Channel) -> bool {
        let key: Vec<&str> = self.key.iter().map(String::as_str).collect();
        channel.is_led_by(self.declaration, &key)
    }
}

impl Derived {
    pub(super) fn new(derivation: &Derivation, place: &Place<'_>, range: Range<usize>) -> Self {
        Self { range, member: derivation.depth.and_then(|depth| place.member(depth)), owners: Vec::new() }
    }

    /// Whether one of these changes is within the member that it belongs to.
    pub(super) fn is_touched(&self, body: &str, changed: &[Range<usize>]) -> bool {
        let member = self.member.and_then(|start| value_at(body, start)).unwrap_or(0..body.len());
        changed.iter().any(|range| member.start <= range.start && range.end <= member.end)
    }

    pub(super) fn emptied(&self, body: &str) -> &'static str {
        emptied(body, &self.range)
    }
}

/// What takes the place of a derived value: a string stays one, and a list, since readers that know the field expect it.
pub(super) fn emptied(body: &str, range: &Range<usize>) -> &'static str {
    match body.as_bytes().get(range.start) {
        Some(b'"') => "\"\"",
        Some(b'[') => "[]",
        _ => "null",
    }
}

/// The channels of a stream whose text was changed.
#[derive(Debug, Default)]
pub(super) struct ChangedChannels {
    known: Vec<Owner>,
    /// There were too many to remember: every channel counts as changed.
    all: bool,
}

impl ChangedChannels {
    /// More than a stream has in earnest.
    const MOST: usize = 256;

    pub(super) fn add(&mut self, channel: &Channel) {
        let own = Owner { declaration: channel.declaration, key: channel.key.clone() };
        if self.all || self.known.contains(&own) {
            return;
        }
        if self.known.len() == Self::MOST {
            self.known = Vec::new();
            self.all = true;
        } else {
            self.known.push(own);
        }
    }

    pub(super) fn any_of(&self, owner: &Owner) -> bool {
        let is = |known: &Owner| known.declaration == owner.declaration && known.key.starts_with(&owner.key);
        self.all || self.known.iter().any(is)
    }
}
