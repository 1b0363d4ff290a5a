//! The operator's own patterns.
//!
//! In a stream a pattern holds back just what it may yet match: beside the pattern stands a second one for its beginnings,
//! derived from its syntax tree, so that nothing is compiled for it before the first open text.

use std::sync::OnceLock;

use memchr::memmem;
use regex_lite::Regex;
use regex_syntax::ast::{self, Ast, GroupKind, RepetitionKind, RepetitionRange};

use crate::window::Window;

/// A compiled pattern.
#[derive(Debug)]
pub struct Pattern {
    source: String,
    regex: Regex,
    /// What every match begins with, so that most texts need no search.
    literal: String,
    /// The longest match held for in streams, in bytes.
    pub max_length: usize,
    /// Finds the beginning of a match at the end of a text; none where it cannot be derived.
    beginnings: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// An error is a sentence.
    pub fn new(source: &str, max_length: usize) -> Result<Pattern, String> {
        let regex = Regex::new(source).map_err(|error| format!("is not a regular expression: {error}"))?;
        if regex.is_match("") {
            return Err("matches the empty text, so it would match everywhere".to_owned());
        }
        let literal = parse(source).map(|tree| literal(&tree)).unwrap_or_default();
        Ok(Pattern { source: source.to_owned(), regex, literal, max_length, beginnings: OnceLock::new() })
    }

    /// Calls `found` with the range of every match, from the left, none overlapping.
    pub fn matches(&self, window: &Window, mut found: impl FnMut(usize, usize)) {
        let mut from = window.from;
        while self.next_literal(window, from).is_some()
            && let Some(hit) = self.regex.find_at(window.text, from)
        {
            from = hit.end();
            if hit.start() < hit.end() {
                found(hit.start(), hit.end());
            } else if from < window.len() {
                from = window.text.ceil_char_boundary(from + 1);
            } else {
                break;
            }
        }
    }

    /// From where on an open window may yet become a match.
    pub fn growing(&self, window: &Window) -> Option<usize> {
        let from = self.next_literal(window, window.from).or_else(|| self.split_literal(window))?;
        let beginnings = self.beginnings.get_or_init(|| {
            let tree = parse(&self.source)?;
            Regex::new(&format!("(?:{})\\z", beginning(&self.source, &tree)?)).ok()
        });
        let start = match beginnings {
            // The literal stands where the match begins, or after assertions, which take no room.
            Some(beginnings) => beginnings.find_at(window.text, from)?.start(),
            None => window.text.ceil_char_boundary(window.len().saturating_sub(self.max_length).max(window.from)),
        };
        (start < window.len()).then_some(start)
    }

    fn next_literal(&self, window: &Window, from: usize) -> Option<usize> {
        if self.literal.is_empty() {
            return Some(from);
        }
        memmem::find(&window.bytes()[from..], self.literal.as_bytes()).map(|at| from + at)
    }

    /// Where the literal begins that the window's end cuts.
    fn split_literal(&self, window: &Window) -> Option<usize> {
        let rest = &window.text[window.from..];
        let cut = self.literal.char_indices().map(|(cut, _)| cut).skip(1);
        cut.filter(|&cut| rest.ends_with(&self.literal[..cut])).max().map(|cut| window.len() - cut)
    }
}

fn parse(source: &str) -> Option<Ast> {
    ast::parse::Parser::new().parse(source).ok()
}

/// The characters that every match begins with.
fn literal(tree: &Ast) -> String {
    match tree {
        Ast::Literal(literal) => literal.c.to_string(),
        Ast::Group(group) if !matches!(group.kind, GroupKind::NonCapturing(ref flags) if !flags.items.is_empty()) => {
            literal(&group.ast)
        }
        Ast::Concat(concat) => {
            let parts = concat.asts.iter().skip_while(|part| matches!(part, Ast::Assertion(_)));
            let mut parts = parts.peekable();
            if let Some(Ast::Group(_)) = parts.peek() {
                return parts.next().map(literal).unwrap_or_default();
            }
            parts.map_while(|part| if let Ast::Literal(literal) = part { Some(literal.c) } else { None }).collect()
        }
        _ => String::new(),
    }
}

/// A pattern for whatever a match may begin with, the whole match among it. None for what cannot be put together anew.
fn beginning(source: &str, tree: &Ast) -> Option<String> {
    Some(match tree {
        Ast::Empty(_) | Ast::Assertion(_) => String::new(),
        Ast::Flags(_) => whole(source, tree)?,
        Ast::Literal(_) | Ast::Dot(_) | Ast::ClassUnicode(_) | Ast::ClassPerl(_) | Ast::ClassBracketed(_) => {
            format!("(?:{})?", whole(source, tree)?)
        }
        Ast::Repetition(repetition) => {
            let before = match &repetition.op.kind {
                RepetitionKind::ZeroOrOne => "{0}".to_owned(),
                RepetitionKind::ZeroOrMore | RepetitionKind::OneOrMore => "*".to_owned(),
                RepetitionKind::Range(RepetitionRange::AtLeast(_)) => "*".to_owned(),
                RepetitionKind::Range(RepetitionRange::Exactly(most) | RepetitionRange::Bounded(_, most)) => {
                    format!("{{0,{}}}", most.saturating_sub(1))
                }
            };
            format!("(?:{}){before}(?:{})", whole(source, &repetition.ast)?, beginning(source, &repetition.ast)?)
        }
        Ast::Group(group) => format!("({}{})", group_head(source, group)?, beginning(source, &group.ast)?),
        Ast::Alternation(alternation) => {
            let parts: Option<Vec<_>> = alternation.asts.iter().map(|part| beginning(source, part)).collect();
            format!("(?:{})", parts?.join("|"))
        }
        Ast::Concat(concat) => {
            // `abc` begins with a beginning of `a`, or with `a` and a beginning of `bc`.
            let flags = |part: &Ast| matches!(part, Ast::Flags(_));
            let last = concat.asts.iter().rposition(|part| !flags(part));
            let mut text = String::new();
            for (index, part) in concat.asts.iter().enumerate() {
                if flags(part) {
                    text += &whole(source, part)?;
                } else if Some(index) == last {
                    text += &beginning(source, part)?;
                } else {
                    text += &format!("(?:{}(?:", whole(source, part)?);
                }
            }
            // Closed from the inside: `(?:a(?:REST)|BEGINNING-OF-a)`.
            for part in concat.asts.iter().rev().filter(|part| !flags(part)).skip(1) {
                text += &format!(")|{})", beginning(source, part)?);
            }
            text
        }
    })
}

/// A part of a pattern as it stands, its groups no longer captured (they may now stand twice).
fn whole(source: &str, tree: &Ast) -> Option<String> {
    let span = |span: &ast::Span| source[span.start.offset..span.end.offset].to_owned();
    Some(match tree {
        Ast::Flags(flags) if verbose(&flags.flags) => return None,
        Ast::Repetition(repetition) => {
            format!("(?:{}){}", whole(source, &repetition.ast)?, span(&repetition.op.span))
        }
        Ast::Group(group) => format!("({}{})", group_head(source, group)?, whole(source, &group.ast)?),
        Ast::Alternation(alternation) => {
            let parts: Option<Vec<_>> = alternation.asts.iter().map(|part| whole(source, part)).collect();
            format!("(?:{})", parts?.join("|"))
        }
        Ast::Concat(concat) => concat.asts.iter().map(|part| whole(source, part)).collect::<Option<String>>()?,
        leaf => span(leaf.span()),
    })
}

fn group_head(source: &str, group: &ast::Group) -> Option<String> {
    match &group.kind {
        GroupKind::NonCapturing(flags) if verbose(flags) => None,
        GroupKind::NonCapturing(flags) => {
            Some(format!("?{}:", &source[flags.span.start.offset..flags.span.end.offset]))
        }
        _ => Some("?:".to_owned()),
    }
}

/// White space and comments do not survive being put together anew.
fn verbose(flags: &ast::Flags) -> bool {
    flags.flag_state(ast::Flag::IgnoreWhitespace).is_some()
}
