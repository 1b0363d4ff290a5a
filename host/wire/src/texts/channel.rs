//! One text of a stream over all its frames: what of it was released, what is held, and how it is given out.

use std::ops::Range;

use bytes::Bytes;

use crate::framing::Frame;
use crate::json::{Edits, Pointer, locate, members, quote, unescape};

use super::arguments::{Lexed, Mode};
use super::counter::Counter;
use super::derived::emptied;
use super::findings::replaced;
use super::{PlaceKind, Text};

#[derive(Debug)]
pub(super) struct Channel {
    /// Which of the map's channels.
    pub(super) declaration: usize,
    /// The values that tell it from others of its declaration, as they stand in the frames.
    pub(super) key: Vec<String>,
    pub(super) kind: PlaceKind,
    /// The end of what was released, as a guard reads it.
    context: String,
    /// What was not released yet, as the frames have it (unescaped once).
    pub(super) held: String,
    /// For tool arguments: where in its JSON `held` starts.
    mode: Mode,
    /// Gives out what is held when no frame of its own comes any more.
    pub(super) template: Option<Template>,
}

impl Channel {
    pub(super) fn new(declaration: usize, key: Vec<String>, kind: PlaceKind) -> Self {
        Self {
            declaration,
            key,
            kind,
            context: String::new(),
            held: String::new(),
            mode: Mode::Between,
            template: None,
        }
    }

    pub(super) fn is(&self, declaration: usize, key: &[&str]) -> bool {
        self.declaration == declaration && self.key.iter().eq(key)
    }

    /// Whether it is of this declaration and its key starts with these values.
    pub(super) fn is_led_by(&self, declaration: usize, key: &[&str]) -> bool {
        self.declaration == declaration && self.key.iter().take(key.len()).eq(key)
    }

    fn remember(&mut self, released: &str, limit: usize) {
        self.context.push_str(released);
        let mut cut = self.context.len().saturating_sub(limit);
        while !self.context.is_char_boundary(cut) {
            cut += 1;
        }
        self.context.drain(..cut);
    }

    /// Replaces what is held, all but a token cut at its end, and gives it out.
    pub(super) fn redact(&mut self, replacement: &str, context: usize, counter: &mut Counter) -> Option<Bytes> {
        if self.held.is_empty() {
            return None;
        }
        let source = std::mem::take(&mut self.held);
        let view = View::of(self, &source, true);
        let whole = 0..view.content(&source).len();
        let (splices, end) = view.splices(&[(whole, replacement)], &source);
        let text = emitted(&source, &splices, 0, end);
        self.advance(&source, end);
        self.remember(replacement, context);
        self.template.as_ref().filter(|_| end > 0).map(|template| template.render(&text, counter.add()))
    }

    fn advance(&mut self, source: &str, end: usize) {
        if self.kind == PlaceKind::ToolArguments {
            self.mode = Lexed::mode_after(self.mode, &source[..end]);
        }
        source[end..].clone_into(&mut self.held);
    }
}

/// How a guard sees the part of a channel that is not released.
#[derive(Debug)]
pub(super) enum View {
    /// As it is.
    Plain,
    Arguments(Lexed),
}

impl View {
    fn of(channel: &Channel, source: &str, open: bool) -> Self {
        match channel.kind {
            PlaceKind::ToolArguments => Self::Arguments(Lexed::read(channel.mode, source, open)),
            _ => Self::Plain,
        }
    }

    fn content<'v>(&'v self, source: &'v str) -> &'v str {
        match self {
            Self::Plain => source,
            Self::Arguments(lexed) => &lexed.content,
        }
    }

    /// Changes to the source for replacements in the content, and where the source ends that is shown.
    fn splices(&self, replacements: &[(Range<usize>, &str)], source: &str) -> (Vec<(Range<usize>, String)>, usize) {
        let mut out = Vec::with_capacity(replacements.len());
        match self {
            Self::Plain => {
                out.extend(replacements.iter().map(|(range, text)| (range.clone(), (*text).to_owned())));
                (out, source.len())
            }
            Self::Arguments(lexed) => {
                for (range, text) in replacements {
                    lexed.splices(range, text, &mut out);
                }
                (out, lexed.shown)
            }
        }
    }

    fn source_offset(&self, offset: usize) -> usize {
        match self {
            Self::Plain => offset,
            Self::Arguments(lexed) => lexed.source_offset(offset),
        }
    }
}

/// A piece of a channel in one frame of a batch.
#[derive(Debug)]
pub(super) struct Piece {
    /// Place in the batch.
    pub(super) frame: usize,
    /// The string literal in the frame's data.
    pub(super) range: Range<usize>,
    /// Where the key's values start in the frame's data.
    pub(super) keys: Vec<usize>,
    /// Where the piece starts in the run's source.
    pub(super) start: usize,
    /// JSON pointer.
    pub(super) at: String,
}

/// What a batch of frames brings of one channel.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) channel: Channel,
    /// What was held, then the pieces.
    pub(super) source: String,
    pub(super) held: usize,
    pub(super) pieces: Vec<Piece>,
    pub(super) open: bool,
    /// Where there are no pieces: before which frame what was held goes out.
    pub(super) flush: usize,
    view: View,
    /// Which of the batch's texts.
    pub(super) text: Option<u32>,
    /// Once decided: its text is another now.
    pub(super) changed: bool,
}

/// A frame to be added: the template with this text.
#[derive(Debug)]
pub(super) struct Added {
    template: Template,
    text: String,
}

impl Added {
    pub(super) fn render(&self, counter: &mut Counter) -> Bytes {
        self.template.render(&self.text, counter.add())
    }
}

/// A piece's new text.
pub(super) struct Change {
    pub(super) piece: usize,
    pub(super) text: String,
}

impl Run {
    pub(super) fn new(mut channel: Channel, flush: usize) -> Self {
        let source = std::mem::take(&mut channel.held);
        let held = source.len();
        Self {
            channel,
            source,
            held,
            pieces: Vec::new(),
            open: true,
            flush,
            view: View::Plain,
            text: None,
            changed: false,
        }
    }

    /// Whether there is something for a guard to decide: new text, or the end.
    fn is_due(&self) -> bool {
        !self.source.is_empty() && (!self.open || self.source.len() > self.held)
    }

    /// The text to show; none where nothing can be read of it yet.
    pub(super) fn show(&mut self) -> Option<Text> {
        if !self.is_due() {
            return None;
        }
        self.view = View::of(&self.channel, &self.source, self.open);
        let content = self.view.content(&self.source);
        if content.is_empty() {
            return None;
        }
        Some(Text {
            kind: self.channel.kind,
            at: self.at(),
            content: [&self.channel.context, content].concat(),
            released: self.channel.context.len() as u32,
            open: self.open,
        })
    }

    /// The first of the batch's frames that it speaks in.
    pub(super) fn first_frame(&self) -> usize {
        self.pieces.first().map_or(self.flush, |piece| piece.frame)
    }

    fn at(&self) -> String {
        let newest = self.pieces.last().map(|piece| piece.at.clone());
        newest.or_else(|| self.channel.template.as_ref().map(|template| template.at.clone())).unwrap_or_default()
    }

    /// What was shown of it, after what was released before.
    pub(super) fn content(&self) -> String {
        [&self.channel.context, self.view.content(&self.source)].concat()
    }

    pub(super) fn released(&self) -> usize {
        self.channel.context.len()
    }

    /// Decides the run. `replacements` and `hold` are offsets into [`Run::content`]. Answers with the pieces that change,
    /// and with what goes out by a frame of its own.
    pub(super) fn resolve(
        &mut self,
        replacements: &[(Range<usize>, &str)],
        hold: Option<usize>,
        context: usize,
    ) -> (Vec<Change>, Option<Added>) {
        if !self.is_due() {
            self.channel.held = std::mem::take(&mut self.source);
            return (Vec::new(), None);
        }
        let released = self.released();
        let own: Vec<_> =
            replacements.iter().map(|(range, text)| (range.start - released..range.end - released, *text)).collect();
        let content = self.view.content(&self.source);
        let mut keep = hold.filter(|_| self.open).map_or(content.len(), |hold| hold - released);
        // What is replaced is decided: a hold within it starts at its end, and what lies past the hold will be found again.
        let made = own.iter().take_while(|(range, _)| range.start < keep).count();
        let own = &own[..made];
        keep = keep.max(own.last().map_or(0, |(range, _)| range.end));
        self.changed = own.iter().any(|(range, text)| content[range.clone()] != **text);
        let (splices, shown) = self.view.splices(own, &self.source);
        let mut end = if keep == content.len() { shown } else { self.view.source_offset(keep) };
        // A replaced number was widened to its end.
        end = end.max(splices.last().map_or(0, |(range, _)| range.end));
        let seen = replaced(&content[..keep], own);
        let changes = self.changes(&splices, end);
        // Where no piece of it came it is at its end, and needs its template no more.
        let template = if self.pieces.is_empty() { self.channel.template.take() } else { None };
        let flushed = template.and_then(|template| {
            let text = emitted(&self.source, &splices, 0, end);
            (!text.is_empty()).then_some(Added { template, text })
        });
        self.channel.remember(&seen, context);
        let source = std::mem::take(&mut self.source);
        self.channel.advance(&source, end);
        (changes, flushed)
    }

    fn changes(&self, splices: &[(Range<usize>, String)], end: usize) -> Vec<Change> {
        let mut changes = Vec::new();
        for (at, piece) in self.pieces.iter().enumerate() {
            let to = self.pieces.get(at + 1).map_or(self.source.len(), |next| next.start);
            // What was held goes before the first piece.
            let from = if at == 0 { 0 } else { piece.start };
            let text = emitted(&self.source, splices, from.min(end), to.min(end));
            if text != self.source[piece.start..to] {
                changes.push(Change { piece: at, text });
            }
        }
        changes
    }
}

/// The source's bytes from `from` to `to` with the splices that start there; those that started before are gone on with.
fn emitted(source: &str, splices: &[(Range<usize>, String)], from: usize, to: usize) -> String {
    let mut out = String::with_capacity(to - from);
    let mut done = from;
    for (range, text) in splices.iter().filter(|(range, _)| range.end > from && range.start < to) {
        if range.start >= from {
            out.push_str(&source[done..range.start]);
            out.push_str(text);
        }
        done = range.end.min(to);
    }
    out.push_str(&source[done..to]);
    out
}

/// The last frame that a channel had a piece in, to be sent once more with another text in its place.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) frame: Frame,
    /// The piece's literal.
    pub(super) range: Range<usize>,
    pub(super) at: String,
    /// What else was changed in the frame, and other channels' pieces, emptied.
    pub(super) changes: Vec<(Range<usize>, String)>,
    /// Values derived from text.
    pub(super) derived: Vec<Range<usize>>,
    /// Where values of the key start.
    pub(super) keys: Vec<usize>,
    /// The frame's number in the stream.
    pub(super) counter: Option<Range<usize>>,
    /// The depth of the outermost list on the way to the text.
    pub(super) list: Option<usize>,
}

impl Template {
    /// `number` is the new frame's in the stream.
    pub(super) fn render(&self, text: &str, number: Option<String>) -> Bytes {
        let data = self.frame.data();
        let mut edits = Edits::new();
        edits.cover(self.range.clone(), &quote(text));
        for (range, text) in self.changes.iter().filter(|(range, _)| *range != self.range) {
            edits.cover(range.clone(), text);
        }
        for range in &self.derived {
            edits.cover(range.clone(), emptied(data, range));
        }
        if let (Some(range), Some(number)) = (&self.counter, number) {
            edits.cover(range.clone(), &number);
        }
        self.drop_said(data, &mut edits);
        self.frame.again_with_data(&edits.apply(data))
    }

    /// Leaves only this text's item of the lists on the way to it, and drops what an item's first frame says once (a
    /// tool call's id and name, a message's role): clients put pieces together by appending strings, and would have it twice.
    fn drop_said(&self, data: &str, edits: &mut Edits) {
        let Some(outermost) = self.list else { return };
        let Ok(pointer) = Pointer::parse(&self.at) else { return };
        let segments = pointer.segments();
        for depth in outermost..segments.len() {
            let holder = Pointer::of(&segments[..depth]);
            let (Some(whole), Some(own)) = (locate(data, &holder), locate(data, &Pointer::of(&segments[..=depth])))
            else {
                return;
            };
            if data.as_bytes()[whole.start] == b'[' {
                edits.cover(whole.start + 1..own.start, "");
                edits.cover(own.end..whole.end - 1, "");
                continue;
            }
            for member in members(data, whole.start).unwrap_or_default() {
                let is_string = data.as_bytes()[member.value.start] == b'"';
                let stays = member.value == self.range || self.keys.contains(&member.value.start);
                if is_string && !stays && !member.is(data, "type") {
                    let name = unescape(&data[member.key.start + 1..member.key.end - 1]).into_owned();
                    edits.remove(data, &holder.child(name));
                }
            }
        }
    }
}
