//! One walk over a frame's data: its strings, and what the text map knows of it.

use std::ops::Range;

use crate::json::{Binding, Kind, Place, ScanError, Visitor, walk};

use super::derived::{Derived, Owner};
use super::map::{Role, TextMap};

/// A value that the map has a pattern for.
pub(super) struct Hit {
    pub(super) role: Role,
    pub(super) range: Range<usize>,
    binding: Binding,
    wildcards: usize,
}

/// A string that is no channel's.
pub(super) struct FrameString {
    pub(super) at: String,
    /// The literal.
    pub(super) range: Range<usize>,
    pub(super) json: bool,
}

/// A string that is a piece of a channel.
pub(super) struct FramePiece {
    /// Which of the map's channels.
    pub(super) channel: usize,
    pub(super) at: String,
    pub(super) range: Range<usize>,
    /// What it is where it is no channel's: a string to be shown, read through if it is JSON.
    shown: Option<bool>,
    /// Where the key's values stand; empty where the frame does not have one.
    pub(super) key: Vec<Range<usize>>,
    binding: Binding,
    wildcards: usize,
}

/// What a frame says.
pub(super) struct FrameRead<'m> {
    map: &'m TextMap,
    pub(super) strings: Vec<FrameString>,
    pub(super) pieces: Vec<FramePiece>,
    pub(super) derived: Vec<Derived>,
    /// Where the number stands by which the protocol counts this frame.
    pub(super) counter: Option<Range<usize>>,
    hits: Vec<Hit>,
}

impl<'m> FrameRead<'m> {
    pub(super) fn read(map: &'m TextMap, data: &str) -> Result<Self, ScanError> {
        let mut read =
            Self { map, strings: Vec::new(), pieces: Vec::new(), derived: Vec::new(), counter: None, hits: Vec::new() };
        walk(data, &map.set, &mut read)?;
        let mut pieces = read.decided(data);
        for piece in &mut pieces {
            let keys = map.channels[piece.channel].keys;
            let key = |at| read.bound(Role::ChannelKey(piece.channel, at), &piece.binding, piece.wildcards);
            piece.key = (0..keys).map(key).collect();
        }
        read.pieces = pieces;
        read.find_owners(data);
        Ok(read)
    }

    /// Of the channels whose text stands at one place, the first that the frame leaves. A string that it leaves to none is one
    /// like any other.
    fn decided(&mut self, data: &str) -> Vec<FramePiece> {
        let mut decided: Vec<FramePiece> = Vec::with_capacity(self.pieces.len());
        let mut candidates = std::mem::take(&mut self.pieces).into_iter().peekable();
        while let Some(piece) = candidates.next() {
            let last = candidates.peek().is_none_or(|next| next.range != piece.range);
            if decided.last().is_some_and(|taken| taken.range == piece.range) {
                continue;
            }
            if self.is_of(piece.channel, data) {
                decided.push(piece);
            } else if let (true, Some(json)) = (last, piece.shown) {
                self.strings.push(FrameString { at: piece.at, range: piece.range, json });
            }
        }
        decided
    }

    /// Whether the frame is one of this channel's.
    fn is_of(&self, channel: usize, data: &str) -> bool {
        let when = &self.map.channels[channel].when;
        let holds = |hit: &Hit| match hit.role {
            Role::ChannelWhen(of, at) => of == channel && when[at].passes(&data[hit.range.clone()]),
            _ => false,
        };
        when.is_empty() || self.hits.iter().any(holds)
    }

    /// Finds the channels that derived strings belong to.
    fn find_owners(&mut self, data: &str) {
        let hits = self.hits.iter().filter_map(|hit| match hit.role {
            Role::Derived(at) => Some((hit, &self.map.derivations[at])),
            _ => None,
        });
        let mut owners = Vec::new();
        for (hit, derivation) in hits {
            let is_said = data[hit.range.clone()].starts_with('"') && hit.range.len() > 2;
            let channels = derivation.channels.iter().filter(|_| is_said);
            let own = channels.map(|&(declaration, keys)| {
                let value = |at| self.bound(Role::ChannelKey(declaration, at), &hit.binding, hit.wildcards);
                Owner { declaration, key: (0..keys).map(|at| data[value(at)].to_owned()).collect() }
            });
            owners.push(own.collect());
        }
        for (derived, own) in self.derived.iter_mut().zip(owners) {
            derived.owners = own;
        }
    }

    /// The value in this role whose wildcards stand for the same members.
    fn bound(&self, role: Role, binding: &Binding, wildcards: usize) -> Range<usize> {
        let same = |hit: &&Hit| {
            let shared = hit.wildcards.min(wildcards);
            hit.role == role && hit.binding[..shared] == binding[..shared]
        };
        self.hits.iter().find(same).map_or(0..0, |hit| hit.range.clone())
    }

    /// The channels that end with this frame: the declaration, and the values their keys start with.
    pub(super) fn ends<'r>(&'r self, data: &'r str) -> impl Iterator<Item = (usize, Vec<&'r str>)> + 'r {
        self.hits.iter().filter_map(move |hit| {
            let Role::EndWhen(channel, end) = hit.role else { return None };
            let known = &self.map.channels[channel].ends[end];
            if !known.when.passes(&data[hit.range.clone()]) {
                return None;
            }
            let key = |at| &data[self.bound(Role::EndKey(channel, end, at), &hit.binding, hit.wildcards)];
            Some((channel, (0..known.keys).map(key).collect()))
        })
    }

    /// Whether every channel ends with this frame.
    pub(super) fn is_terminator(&self, data: &str) -> bool {
        self.hits.iter().any(|hit| match hit.role {
            Role::Terminator(at) => self.map.terminators[at].passes(&data[hit.range.clone()]),
            _ => false,
        })
    }
}

impl Visitor for FrameRead<'_> {
    const MATCHES_ONLY: bool = false;

    fn value(&mut self, place: &Place<'_>, kind: Kind, range: Range<usize>) {
        let is_string = kind == Kind::String;
        let (mut json, mut opaque) = (false, false);
        let pieces = self.pieces.len();
        for id in place.hits() {
            let id = usize::from(id);
            let pattern = &self.map.patterns[id];
            match self.map.roles[id] {
                Role::JsonString => json = true,
                Role::Opaque => opaque = true,
                Role::ChannelText(channel) if is_string => {
                    self.pieces.push(FramePiece {
                        channel,
                        at: place.pointer(),
                        range: range.clone(),
                        shown: None,
                        key: Vec::new(),
                        binding: place.bind(pattern),
                        wildcards: pattern.wildcards(),
                    });
                }
                Role::ChannelText(_) => {}
                Role::Derived(_) if kind == Kind::Number => self.counter = Some(range.clone()),
                role => {
                    if let Role::Derived(at) = role {
                        self.derived.push(Derived::new(&self.map.derivations[at], place, range.clone()));
                    }
                    self.hits.push(Hit {
                        role,
                        range: range.clone(),
                        binding: place.bind(pattern),
                        wildcards: pattern.wildcards(),
                    });
                }
            }
        }
        let shown = (is_string && !opaque && range.len() > 2).then_some(json);
        match &mut self.pieces[pieces..] {
            [] => {
                if let Some(json) = shown {
                    self.strings.push(FrameString { at: place.pointer(), range, json });
                }
            }
            candidates => candidates.iter_mut().for_each(|piece| piece.shown = shown),
        }
    }
}
