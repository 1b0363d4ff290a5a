//! Streams: texts over many frames, cut for guards and put back into the frames.
//!
//! A batch of frames goes in by [`StreamTexts::cut`], which answers with the texts to be read; [`StreamTexts::resolve`] takes
//! what was found and gives the frames out. Text that a guard holds is left out of its frame and goes before
//! the channel's next piece, or at the channel's end in a frame of its own; it is never released unread, and never lost. A frame
//! that nothing changes passes as the bytes it came as (invariant 5 of the design).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::framing::Frame;
use crate::json::{Edits, quote, unescape};

use super::channel::{Added, Channel, Piece, Run, Template};
use super::counter::Counter;
use super::derived::{ChangedChannels, Derived};
use super::findings::{SpliceError, by_text, hold, replacements};
use super::frame::{FrameRead, FrameString};
use super::map::TextMap;
use super::spot::{Cut, Form, Spot};
use super::{Finding, Hold, PlaceKind, Texts};

/// How much of a stream is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// Bytes held of one channel; more is an overflow.
    pub max_held_bytes: usize,
    /// Bytes of released text shown before the rest.
    pub context_bytes: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self { max_held_bytes: 4096, context_bytes: 64 }
    }
}

/// Channels known at a time: past that the oldest that holds nothing is forgotten, and with it only its context.
const MAX_CHANNELS: usize = 256;

/// Strings remembered as read, and the longest of them in bytes.
const MAX_KNOWN: usize = 128;
const MAX_KNOWN_LENGTH: usize = 256;

/// The texts of one stream.
#[derive(Debug)]
pub struct StreamTexts {
    map: Arc<TextMap>,
    limits: StreamLimits,
    channels: Vec<Channel>,
    /// By pointer, the literal that stood there last and how far it is read: most strings of a frame are the last one's.
    known: HashMap<String, (String, Known)>,
    changed: ChangedChannels,
    counter: Counter,
    batch: Option<Batch>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    /// A guard read it and found nothing.
    Clean,
    /// Its texts of the batch at hand.
    Shown(Range<u32>),
}

#[derive(Debug, Default)]
struct Batch {
    frames: Vec<CutFrame>,
    cut: Cut,
    runs: Vec<Run>,
    texts: usize,
}

#[derive(Debug)]
struct CutFrame {
    frame: Frame,
    leaves: Vec<Leaf>,
    /// The literals of channels' pieces.
    pieces: Vec<Range<usize>>,
    derived: Vec<Derived>,
    /// The literal of its number in the stream.
    counter: Option<Range<usize>>,
}

/// A string of a frame that is no channel's. Its spots count from the literal's start, since frames share them.
#[derive(Debug)]
struct Leaf {
    range: Range<usize>,
    texts: Range<u32>,
}

/// A batch's frames, ready to be written.
#[derive(Debug, Default)]
pub struct Resolved {
    /// In order.
    pub frames: Vec<Bytes>,
    /// A channel holds more than the limit: redact what is held, or abort the stream.
    pub overflow: bool,
    /// These are not the bytes that came.
    pub changed: bool,
}

impl StreamTexts {
    pub fn new(map: Arc<TextMap>, limits: StreamLimits) -> Self {
        Self {
            map,
            limits,
            channels: Vec::new(),
            known: HashMap::new(),
            changed: ChangedChannels::default(),
            counter: Counter::default(),
            batch: None,
        }
    }

    /// Whether text is held.
    pub fn has_held(&self) -> bool {
        self.channels.iter().any(|channel| !channel.held.is_empty())
    }

    /// Cuts a batch of frames into the texts to be read; with `last` no frame follows. [`StreamTexts::resolve`] must follow, also
    /// where there are no texts.
    ///
    /// # Panics
    /// The batch before was not resolved.
    pub fn cut(&mut self, frames: Vec<Frame>, last: bool) -> Texts {
        assert!(self.batch.is_none(), "each cut is resolved before the next");
        let mut batch = Batch::default();
        for frame in frames {
            self.cut_frame(frame, &mut batch);
        }
        if last {
            self.end(&mut batch, |_| true);
        }
        let mut texts = std::mem::take(&mut batch.cut.texts);
        for run in &mut batch.runs {
            if let Some(text) = run.show() {
                run.text = Some(texts.len() as u32);
                texts.push(&text);
            }
        }
        batch.texts = texts.len();
        self.batch = Some(batch);
        texts
    }

    fn cut_frame(&mut self, frame: Frame, batch: &mut Batch) {
        let map = Arc::clone(&self.map);
        let data = frame.data();
        let (leaves, pieces, derived) = (Vec::new(), Vec::new(), Vec::new());
        let mut cut = CutFrame { frame: frame.clone(), leaves, pieces, derived, counter: None };
        if data.is_empty() {
            if frame.closes() {
                self.end(batch, |_| true);
            }
            batch.frames.push(cut);
            return;
        }
        match FrameRead::read(&map, data) {
            Ok(mut read) => {
                for string in std::mem::take(&mut read.strings) {
                    cut.leaves.extend(self.leaf(data, string, batch));
                }
                for piece in std::mem::take(&mut read.pieces) {
                    cut.pieces.push(piece.range.clone());
                    let key: Vec<&str> = piece.key.iter().map(|range| &data[range.clone()]).collect();
                    let frame = batch.frames.len();
                    let run = self.run(piece.channel, &key, batch);
                    let start = run.source.len();
                    run.source.push_str(&unescape(&data[piece.range.start + 1..piece.range.end - 1]));
                    let keys = piece.key.iter().map(|range| range.start).collect();
                    run.pieces.push(Piece { frame, range: piece.range, keys, start, at: piece.at });
                }
                // What is derived from a text comes after it, so that the text must be decided first.
                for owner in read.derived.iter().flat_map(|derived| &derived.owners) {
                    self.end(batch, |channel| owner.owns(channel));
                }
                for (declaration, key) in read.ends(data) {
                    self.end(batch, |channel| channel.is_led_by(declaration, &key));
                }
                if read.is_terminator(data) {
                    self.end(batch, |_| true);
                }
                cut.counter = read.counter.take();
                cut.derived = read.derived;
            }
            Err(_) => {
                self.end(batch, |_| true);
                if data != "[DONE]" {
                    let text = batch.cut.texts.len() as u32;
                    let spot = Spot { outer: None, form: Form::Plain, range: 0..data.len() };
                    batch.cut.push(PlaceKind::Value, "", data, spot);
                    cut.leaves.push(Leaf { range: 0..data.len(), texts: text..text + 1 });
                }
            }
        }
        batch.frames.push(cut);
    }

    /// Shows a string, unless a guard has read the same at the same place.
    fn leaf(&mut self, data: &str, string: FrameString, batch: &mut Batch) -> Option<Leaf> {
        let literal = &data[string.range.clone()];
        if let Some((known, state)) = self.known.get(&string.at)
            && known == literal
        {
            return match state {
                Known::Clean => None,
                Known::Shown(texts) => Some(Leaf { range: string.range, texts: texts.clone() }),
            };
        }
        let first = batch.cut.texts.len() as u32;
        if string.json {
            let text = unescape(&literal[1..literal.len() - 1]);
            batch.cut.push_json_string(&text, &string.at, 0..literal.len());
        } else {
            let content = unescape(&literal[1..literal.len() - 1]);
            batch.cut.push(PlaceKind::Value, &string.at, &content, Spot::string(0..literal.len()));
        }
        let texts = first..batch.cut.texts.len() as u32;
        if literal.len() <= MAX_KNOWN_LENGTH {
            let full = self.known.len() >= MAX_KNOWN;
            let entry = (literal.to_owned(), Known::Shown(texts.clone()));
            match self.known.entry(string.at) {
                Entry::Occupied(mut slot) => {
                    slot.insert(entry);
                }
                Entry::Vacant(slot) if !full => {
                    slot.insert(entry);
                }
                Entry::Vacant(_) => {}
            }
        }
        Some(Leaf { range: string.range, texts })
    }

    /// The batch's run of this channel.
    fn run<'b>(&mut self, declaration: usize, key: &[&str], batch: &'b mut Batch) -> &'b mut Run {
        let known = batch.runs.iter().position(|run| run.open && run.channel.is(declaration, key));
        let at = known.unwrap_or_else(|| {
            let waiting = self.channels.iter().position(|channel| channel.is(declaration, key));
            let channel = match waiting {
                Some(at) => self.channels.remove(at),
                None => {
                    let kind = self.map.channels[declaration].kind.place();
                    Channel::new(declaration, key.iter().map(|&value| value.to_owned()).collect(), kind)
                }
            };
            batch.runs.push(Run::new(channel, 0));
            batch.runs.len() - 1
        });
        &mut batch.runs[at]
    }

    /// Ends these channels before the frame at hand, or with it where it has a piece of them.
    fn end(&mut self, batch: &mut Batch, ends: impl Fn(&Channel) -> bool) {
        for run in batch.runs.iter_mut().filter(|run| run.open && ends(&run.channel)) {
            run.open = false;
        }
        for channel in self.channels.extract_if(.., |channel| ends(channel)) {
            if !channel.held.is_empty() {
                let mut run = Run::new(channel, batch.frames.len());
                run.open = false;
                batch.runs.push(run);
            }
        }
    }

    /// Puts what was found into the batch's frames and gives them out.
    ///
    /// # Errors
    /// A finding or hold that does not fit its text. The batch is lost: the stream must be aborted.
    pub fn resolve(&mut self, findings: &[Finding], holds: &[Hold]) -> Result<Resolved, SpliceError> {
        let Some(mut batch) = self.batch.take() else { return Ok(Resolved::default()) };
        let found = by_text(findings, batch.texts)?;
        if let Some(hold) = holds.iter().find(|hold| hold.text as usize >= batch.texts) {
            return Err(SpliceError::NoText(hold.text));
        }
        let mut changes: Vec<Vec<(Range<usize>, String)>> = batch.frames.iter().map(|_| Vec::new()).collect();
        let mut flushed = Vec::new();
        for run in &mut batch.runs {
            let (mut own, mut kept) = (Vec::new(), None);
            if let Some(text) = run.text {
                let content = run.content();
                if let Some(found) = found.get(&text) {
                    own = replacements(found, &content, run.released())?;
                }
                kept = hold(holds, text, &content, run.released())?;
            }
            let (changed, extra) = run.resolve(&own, kept, self.limits.context_bytes);
            for change in changed {
                let piece = &run.pieces[change.piece];
                changes[piece.frame].push((piece.range.clone(), quote(&change.text)));
            }
            flushed.extend(extra.map(|added| (run.flush, added)));
        }
        let mut gone = Vec::with_capacity(batch.frames.len());
        for (at, (cut, changes)) in batch.frames.iter().zip(&mut changes).enumerate() {
            let pieces = changes.len();
            for leaf in &cut.leaves {
                for text in leaf.texts.clone() {
                    let Some(found) = found.get(&text) else { continue };
                    let splices =
                        batch.cut.spots[text as usize].splices(&cut.frame.data()[leaf.range.clone()], found)?;
                    let at = leaf.range.start;
                    changes.extend(splices.into_iter().map(|(range, new)| (at + range.start..at + range.end, new)));
                }
            }
            gone.push(self.gone(at, cut, changes, pieces, &batch.runs));
        }
        for run in batch.runs.iter().filter(|run| run.changed) {
            self.changed.add(&run.channel);
        }
        self.known.retain(|_, (_, state)| {
            let Known::Shown(texts) = state else { return true };
            let clean = found.range(texts.clone()).next().is_none();
            *state = Known::Clean;
            clean
        });
        self.keep_channels(&mut batch, &changes);
        let frames = give_out(batch.frames, changes, gone, &flushed, &mut self.counter);
        let overflow = self.channels.iter().any(|channel| channel.held.len() > self.limits.max_held_bytes);
        Ok(Resolved { overflow, ..frames })
    }

    /// The derived values of a frame that go, since their text is another: of strings that belong to channels, since a channel's
    /// was changed in this frame or before; of others, since something is changed beside them. The first `pieces` of
    /// the frame's changes are those of channels.
    fn gone(
        &self,
        at: usize,
        cut: &CutFrame,
        changes: &[(Range<usize>, String)],
        pieces: usize,
        runs: &[Run],
    ) -> Vec<Derived> {
        let data = cut.frame.data();
        let changes: Vec<_> = changes.iter().map(|(range, _)| range.clone()).collect();
        let is_gone = |derived: &&Derived| {
            if derived.owners.is_empty() {
                return derived.is_touched(data, &changes);
            }
            let mut before = runs.iter().filter(|run| run.changed && run.first_frame() <= at);
            derived.owners.iter().any(|owner| self.changed.any_of(owner))
                || before.any(|run| derived.owners.iter().any(|owner| owner.owns(&run.channel)))
                || derived.is_touched(data, &changes[pieces..])
        };
        cut.derived.iter().filter(is_gone).cloned().collect()
    }

    /// Keeps the channels that go on, each with a frame to give out what it holds.
    fn keep_channels(&mut self, batch: &mut Batch, changes: &[Vec<(Range<usize>, String)>]) {
        for mut run in batch.runs.drain(..).filter(|run| run.open) {
            if run.channel.held.is_empty() {
                run.channel.template = None;
            } else if let Some(last) = run.pieces.pop() {
                let cut = &batch.frames[last.frame];
                let emptied = cut.pieces.iter().map(|range| (range.clone(), "\"\"".to_owned()));
                let list = self.map.list_depth(run.channel.declaration);
                run.channel.template = Some(Template {
                    frame: cut.frame.clone(),
                    range: last.range,
                    at: last.at,
                    changes: changes[last.frame].iter().cloned().chain(emptied).collect(),
                    derived: cut.derived.iter().map(|derived| derived.range.clone()).collect(),
                    keys: last.keys,
                    counter: cut.counter.clone(),
                    list,
                });
            }
            self.channels.push(run.channel);
        }
        while self.channels.len() > MAX_CHANNELS {
            let Some(idle) = self.channels.iter().position(|channel| channel.held.is_empty()) else { break };
            self.channels.remove(idle);
        }
    }

    /// Gives out `replacement` in the place of all that is held, one frame a channel. Of tool arguments the strings and
    /// numbers are replaced, and a token cut at the end stays held. What follows may be the rest of what was
    /// redacted: a guard that held it must still watch for it.
    pub fn redact_held(&mut self, replacement: &str) -> Vec<Bytes> {
        let context = self.limits.context_bytes;
        for channel in self.channels.iter().filter(|channel| !channel.held.is_empty()) {
            self.changed.add(channel);
        }
        let counter = &mut self.counter;
        self.channels.iter_mut().filter_map(|channel| channel.redact(replacement, context, counter)).collect()
    }
}

/// The frames with their changes, and each frame of held text before the one it goes before.
fn give_out(
    frames: Vec<CutFrame>,
    changes: Vec<Vec<(Range<usize>, String)>>,
    gone: Vec<Vec<Derived>>,
    flushed: &[(usize, Added)],
    counter: &mut Counter,
) -> Resolved {
    let mut out = Resolved { frames: Vec::with_capacity(frames.len() + flushed.len()), ..Resolved::default() };
    let before = |at: usize, out: &mut Resolved, counter: &mut Counter| {
        for (_, added) in flushed.iter().filter(|(place, _)| *place == at) {
            out.frames.push(added.render(counter));
            out.changed = true;
        }
    };
    let count = frames.len();
    for (at, ((cut, changes), gone)) in frames.into_iter().zip(changes).zip(gone).enumerate() {
        before(at, &mut out, counter);
        let number = cut.counter.as_ref().and_then(|range| counter.own(cut.frame.data(), range));
        if changes.is_empty() && gone.is_empty() && number.is_none() {
            out.frames.push(cut.frame.into_raw());
            continue;
        }
        let data = cut.frame.data();
        let mut edits = Edits::new();
        for (range, text) in &changes {
            edits.cover(range.clone(), text);
        }
        for derived in &gone {
            edits.cover(derived.range.clone(), derived.emptied(data));
        }
        if let (Some(range), Some(number)) = (&cut.counter, number) {
            edits.cover(range.clone(), &number);
        }
        out.frames.push(cut.frame.with_data(&edits.apply(data)));
        out.changed = true;
    }
    before(count, &mut out, counter);
    out
}
