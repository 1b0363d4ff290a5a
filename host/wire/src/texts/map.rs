//! The contract's text map (`wit/describe.wit`), compiled: every pattern of it is one entry of a single set, so that one walk
//! over a document or frame finds them all.

use crate::json::{Condition, MAX_WILDCARDS, Pattern, PatternSet, PointerError, Test};

use super::PlaceKind;
use super::derived::Derivation;

/// The contract's `text-map`, not compiled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextMapSpec {
    pub json_strings: Vec<String>,
    pub opaque: Vec<String>,
    /// In streams a number among them counts frames.
    pub derived: Vec<String>,
    /// In documents a channel only says what kind of text stands at its place.
    pub channels: Vec<ChannelSpec>,
    pub terminators: Vec<ConditionSpec>,
}

/// The contract's `channel`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelSpec {
    pub text: String,
    pub kind: TextKind,
    pub when: Vec<ConditionSpec>,
    pub key: Vec<String>,
    pub ends: Vec<ChannelEndSpec>,
}

/// The contract's `channel-end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelEndSpec {
    pub when: ConditionSpec,
    pub key: Vec<String>,
}

/// The contract's `condition`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionSpec {
    pub at: String,
    pub test: Test,
}

/// The contract's `text-kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextKind {
    Text,
    Reasoning,
    Refusal,
    ToolArguments,
}

impl TextKind {
    pub(super) fn place(self) -> PlaceKind {
        match self {
            Self::Text => PlaceKind::Text,
            Self::Reasoning => PlaceKind::Reasoning,
            Self::Refusal => PlaceKind::Refusal,
            Self::ToolArguments => PlaceKind::ToolArguments,
        }
    }
}

/// A text map that cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    #[error(transparent)]
    Pattern(#[from] PointerError),
    #[error("the pattern {0:?} has more than {MAX_WILDCARDS} wildcards")]
    Wildcards(String),
    #[error("the key pattern {key:?} has more wildcards than {anchor:?}, to whose members they are bound")]
    Unbound { key: String, anchor: String },
    #[error("a channel's end has {found} key values, the channel {known}")]
    EndKeys { found: usize, known: usize },
    #[error("a text map has at most {} patterns", u16::MAX)]
    TooMany,
}

/// What a pattern of the map is for. Numbers are places in the map's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    JsonString,
    Opaque,
    /// Of this derivation.
    Derived(usize),
    /// Of this channel.
    ChannelText(usize),
    ChannelKey(usize, usize),
    ChannelWhen(usize, usize),
    EndWhen(usize, usize),
    /// Channel, end, place in the key.
    EndKey(usize, usize, usize),
    Terminator(usize),
}

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) kind: TextKind,
    pub(super) when: Vec<Condition>,
    pub(super) keys: usize,
    pub(super) ends: Vec<ChannelEnd>,
}

#[derive(Debug)]
pub(super) struct ChannelEnd {
    pub(super) when: Condition,
    pub(super) keys: usize,
}

/// How to read the texts of one kind of document or stream.
#[derive(Debug)]
pub struct TextMap {
    pub(super) set: PatternSet,
    /// By pattern.
    pub(super) roles: Vec<Role>,
    /// By pattern.
    pub(super) patterns: Vec<Pattern>,
    pub(super) channels: Vec<Channel>,
    pub(super) derivations: Vec<Derivation>,
    pub(super) terminators: Vec<Condition>,
}

impl TextMap {
    /// # Errors
    /// A pattern that is none, or whose wildcards cannot be bound.
    pub fn new(spec: &TextMapSpec) -> Result<Self, MapError> {
        let mut map = Self {
            set: PatternSet::default(),
            roles: Vec::new(),
            patterns: Vec::new(),
            channels: Vec::new(),
            derivations: Vec::new(),
            terminators: Vec::new(),
        };
        for (list, role) in [(&spec.json_strings, Role::JsonString), (&spec.opaque, Role::Opaque)] {
            for pattern in list {
                map.add(Pattern::parse(pattern)?, role);
            }
        }
        for channel in &spec.channels {
            map.add_channel(channel)?;
        }
        for derived in &spec.derived {
            let pattern = bindable(derived)?;
            let derivation = Derivation::new(&pattern, &spec.channels)?;
            map.add(pattern, Role::Derived(map.derivations.len()));
            map.derivations.push(derivation);
        }
        for terminator in &spec.terminators {
            let condition = terminator.compile()?;
            map.add(condition.at.clone(), Role::Terminator(map.terminators.len()));
            map.terminators.push(condition);
        }
        if map.patterns.len() > usize::from(u16::MAX) {
            return Err(MapError::TooMany);
        }
        map.set = PatternSet::new(&map.patterns);
        Ok(map)
    }

    /// How deep the outermost list stands that the channel's text is in.
    pub(super) fn list_depth(&self, channel: usize) -> Option<usize> {
        let text = self.roles.iter().position(|role| *role == Role::ChannelText(channel))?;
        self.patterns[text].first_wildcard()
    }

    fn add(&mut self, pattern: Pattern, role: Role) {
        self.patterns.push(pattern);
        self.roles.push(role);
    }

    fn add_channel(&mut self, spec: &ChannelSpec) -> Result<(), MapError> {
        let channel = self.channels.len();
        self.add(bindable(&spec.text)?, Role::ChannelText(channel));
        for (at, key) in spec.key.iter().enumerate() {
            self.add(bound(key, &spec.text)?, Role::ChannelKey(channel, at));
        }
        let mut when = Vec::with_capacity(spec.when.len());
        for (at, condition) in spec.when.iter().enumerate() {
            let condition = condition.compile()?;
            self.add(condition.at.clone(), Role::ChannelWhen(channel, at));
            when.push(condition);
        }
        let mut ends = Vec::with_capacity(spec.ends.len());
        for (end, found) in spec.ends.iter().enumerate() {
            bindable(&found.when.at)?;
            if found.key.len() > spec.key.len() {
                return Err(MapError::EndKeys { found: found.key.len(), known: spec.key.len() });
            }
            let when = found.when.compile()?;
            self.add(when.at.clone(), Role::EndWhen(channel, end));
            for (at, key) in found.key.iter().enumerate() {
                self.add(bound(key, &found.when.at)?, Role::EndKey(channel, end, at));
            }
            ends.push(ChannelEnd { when, keys: found.key.len() });
        }
        self.channels.push(Channel { kind: spec.kind, when, keys: spec.key.len(), ends });
        Ok(())
    }
}

impl ConditionSpec {
    fn compile(&self) -> Result<Condition, PointerError> {
        Ok(Condition { at: Pattern::parse(&self.at)?, test: self.test.clone() })
    }
}

pub(super) fn bindable(text: &str) -> Result<Pattern, MapError> {
    let pattern = Pattern::parse(text)?;
    if pattern.wildcards() > MAX_WILDCARDS { Err(MapError::Wildcards(text.to_owned())) } else { Ok(pattern) }
}

/// A key pattern, whose `*` stand for the same members as the anchor's first ones.
fn bound(key: &str, anchor: &str) -> Result<Pattern, MapError> {
    let pattern = bindable(key)?;
    if pattern.wildcards() > Pattern::parse(anchor)?.wildcards() {
        return Err(MapError::Unbound { key: key.to_owned(), anchor: anchor.to_owned() });
    }
    Ok(pattern)
}
