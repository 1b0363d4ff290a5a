//! Tool arguments in pieces: JSON that a stream cuts anywhere, read token by token as far as it goes.
//!
//! A guard reads it with the escapes of its strings undone. What a guard replaces never breaks it: only the insides
//! of strings, and numbers as a whole, are replaced; brackets, quotes, commas and words stay. What turns out to be no JSON is
//! plain text from there on, to be replaced like any other.

use std::ops::Range;

use memchr::memchr2;

use crate::json::{Escape, escape_at, escape_into, quote};

/// Where in its JSON a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Mode {
    #[default]
    Between,
    String,
    /// It was no JSON.
    Plain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Of a string, as it is.
    Inside,
    /// Of a string, one escape.
    Escape,
    /// Quotes, brackets, commas, colons, spaces.
    Structure,
    /// `true`, `false`, `null`.
    Word,
    Number,
    Plain,
}

/// A run of one class, by where it starts in both texts.
#[derive(Debug, Clone, Copy)]
struct Segment {
    class: Class,
    content: usize,
    source: usize,
}

/// Arguments read so far as they can be.
#[derive(Debug)]
pub(super) struct Lexed {
    /// Escapes undone.
    pub(super) content: String,
    /// How much of the source `content` shows: all but a token cut at its end.
    pub(super) shown: usize,
    mode: Mode,
    segments: Vec<Segment>,
}

/// A number or word longer than this is no sound JSON and is not waited for.
const LONGEST_TOKEN: usize = 64;

impl Lexed {
    /// Reads on from `mode`. With `open`, more may follow, and a token cut at the end is left out.
    pub(super) fn read(mode: Mode, source: &str, open: bool) -> Self {
        let content = String::with_capacity(source.len());
        let mut lexed = Self { content, shown: 0, mode, segments: Vec::new() };
        while lexed.shown < source.len() {
            let more = match lexed.mode {
                Mode::Between => lexed.between(source, open),
                Mode::String => lexed.string(source, open),
                Mode::Plain => lexed.take(Class::Plain, source, source.len() - lexed.shown),
            };
            if !more {
                break;
            }
        }
        lexed
    }

    /// The mode after the first `source` bytes, where a token ends.
    pub(super) fn mode_after(mode: Mode, source: &str) -> Mode {
        Self::read(mode, source, false).mode
    }

    fn take(&mut self, class: Class, source: &str, length: usize) -> bool {
        let text = &source[self.shown..self.shown + length];
        self.push(class, text, length)
    }

    fn push(&mut self, class: Class, content: &str, length: usize) -> bool {
        let joins = matches!(class, Class::Inside | Class::Structure | Class::Plain);
        if !(joins && self.segments.last().is_some_and(|last| last.class == class)) {
            self.segments.push(Segment { class, content: self.content.len(), source: self.shown });
        }
        self.content.push_str(content);
        self.shown += length;
        true
    }

    fn between(&mut self, source: &str, open: bool) -> bool {
        let rest = &source.as_bytes()[self.shown..];
        let run = |of: fn(&u8) -> bool| rest.iter().position(|byte| !of(byte)).unwrap_or(rest.len());
        match rest[0] {
            b'"' => {
                self.mode = Mode::String;
                self.take(Class::Structure, source, 1)
            }
            b' ' | b'\n' | b'\r' | b'\t' | b'{' | b'}' | b'[' | b']' | b',' | b':' => {
                self.take(Class::Structure, source, 1)
            }
            b'-' | b'0'..=b'9' => {
                let length = run(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
                if open && length == rest.len() && length <= LONGEST_TOKEN {
                    return false;
                }
                self.take(Class::Number, source, length)
            }
            b'a'..=b'z' => {
                let length = run(u8::is_ascii_lowercase);
                let word = &rest[..length];
                let known = ["true", "false", "null"].map(str::as_bytes);
                if known.contains(&word) {
                    return self.take(Class::Word, source, length);
                }
                if open && length == rest.len() && known.iter().any(|known| known.starts_with(word)) {
                    return false;
                }
                self.mode = Mode::Plain;
                true
            }
            _ => {
                self.mode = Mode::Plain;
                true
            }
        }
    }

    fn string(&mut self, source: &str, open: bool) -> bool {
        let rest = &source.as_bytes()[self.shown..];
        let run = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
        if run > 0 {
            return self.take(Class::Inside, source, run);
        }
        if rest[0] == b'"' {
            self.mode = Mode::Between;
            return self.take(Class::Structure, source, 1);
        }
        match escape_at(rest, open) {
            Escape::Char(found, length) => self.push(Class::Escape, found.encode_utf8(&mut [0; 4]), length),
            Escape::Incomplete if open => false,
            // No escape of JSON's: shown as it is, and replaced as a whole so that no half of it stays.
            Escape::Incomplete | Escape::Invalid => {
                let next = source[self.shown + 1..].chars().next().map_or(0, char::len_utf8);
                self.take(Class::Escape, source, 1 + next)
            }
        }
    }

    fn segments(&self) -> impl Iterator<Item = (Segment, Range<usize>, Range<usize>)> + '_ {
        let ends = self.segments.iter().skip(1).map(|next| (next.content, next.source));
        let ends = ends.chain([(self.content.len(), self.shown)]);
        self.segments
            .iter()
            .zip(ends)
            .map(|(segment, (content, source))| (*segment, segment.content..content, segment.source..source))
    }

    /// Where the token starts in the source that this offset of the content is in.
    pub(super) fn source_offset(&self, offset: usize) -> usize {
        let holds = self.segments().find(|(_, content, _)| content.contains(&offset));
        match holds {
            Some((segment, content, source)) => match segment.class {
                Class::Inside | Class::Structure | Class::Plain => source.start + (offset - content.start),
                Class::Escape | Class::Number | Class::Word => source.start,
            },
            None => self.shown,
        }
    }

    /// The changes to the source that put `replacement` in the place of the content's `range`.
    pub(super) fn splices(&self, range: &Range<usize>, replacement: &str, out: &mut Vec<(Range<usize>, String)>) {
        let mut written = false;
        // The class and the source's end of the change just made, which the next run may continue.
        let mut last: Option<(bool, usize)> = None;
        for (segment, content, source) in self.segments() {
            if content.end <= range.start || content.start >= range.end {
                continue;
            }
            let covered = match segment.class {
                Class::Structure | Class::Word => continue,
                Class::Escape | Class::Number => source.clone(),
                Class::Inside | Class::Plain => {
                    let start = source.start + range.start.max(content.start) - content.start;
                    start..source.start + range.end.min(content.end) - content.start
                }
            };
            let in_string = matches!(segment.class, Class::Inside | Class::Escape);
            if let Some((_, end)) = last.filter(|last| *last == (in_string, covered.start) && in_string)
                && let Some((known, _)) = out.last_mut().filter(|(known, _)| known.end == end)
            {
                known.end = covered.end;
                last = Some((in_string, covered.end));
                continue;
            }
            // A number that two findings share goes with the first.
            if out.last().is_some_and(|(known, _)| known.end > covered.start) {
                continue;
            }
            let text = if std::mem::replace(&mut written, true) { "" } else { replacement };
            let text = match segment.class {
                Class::Number => quote(text),
                Class::Plain => text.to_owned(),
                _ => {
                    let mut escaped = String::with_capacity(text.len() + 8);
                    escape_into(text, &mut escaped);
                    escaped
                }
            };
            last = Some((in_string, covered.end));
            out.push((covered, text));
        }
    }
}
