//! Undoing the escapes of a string while copying it: one pass over blocks, in which a run between two escapes is copied as a block
//! whatever its length. Runs are short, and a copy of known length is a few moves.

use super::block::{BLOCK, Block, Escapes, load, ones};
use super::string::{Escape, SIMPLE, escape_at};
use super::widest::{Scan, widest};

/// What a block's copies may write past what they mean.
const SLACK: usize = 3 * BLOCK;

/// Copies what `source` says, up to where the string it is the inside of ends or is none, to `out` from the byte `written` on. Answers
/// how much of the source was read, up to a quote, a control character, a backslash that starts no escape, or the end; and how much of
/// `out` is written. What `out` has past that means nothing.
pub(super) fn copy_unescaped(source: &[u8], out: &mut Vec<u8>, written: usize) -> (usize, usize) {
    widest(CopyUnescaped { source, out, written })
}

struct CopyUnescaped<'r> {
    source: &'r [u8],
    out: &'r mut Vec<u8>,
    written: usize,
}

impl Scan for CopyUnescaped<'_> {
    type Answer = (usize, usize);

    #[inline(always)]
    fn run<B: Block>(self) -> (usize, usize) {
        let Self { source, out, written } = self;
        let (read, written) = copy_blocks::<B>(source, out, written);
        let rest = &source[read..];
        if rest.len() >= 2 * BLOCK {
            return (read, written);
        }
        // What stops the copy stops it again here, and so does the zero past the end.
        let mut padded = [0; 4 * BLOCK];
        padded[..rest.len()].copy_from_slice(rest);
        let (more, written) = copy_blocks::<B>(&padded, out, written);
        (read + more, written)
    }
}

/// As [`copy_unescaped`], but goes on only where two blocks are left.
#[inline(always)]
fn copy_blocks<B: Block>(source: &[u8], out: &mut Vec<u8>, written: usize) -> (usize, usize) {
    let mut escapes = Escapes::default();
    let (mut block, mut at, mut to) = (0, 0, written);
    while source.len() - block >= 2 * BLOCK {
        if out.len() < to + SLACK {
            out.resize(2 * to + SLACK, 0);
        }
        let masks = load::<B>(&source[block..]);
        let backslashes = masks.is(b'\\');
        let stops = (masks.ends() | backslashes) & !escapes.escaped(backslashes);
        for stop in ones(stops) {
            let stop = block + stop;
            // The second half of a surrogate pair.
            if stop < at {
                continue;
            }
            copy_block(source, at, out, to);
            to += stop - at;
            at = stop;
            if source[at] != b'\\' {
                return (at, to);
            }
            match SIMPLE[usize::from(source[at + 1])] {
                0 => {
                    let Escape::Char(found, length) = escape_at(&source[at..], false) else { return (at, to) };
                    to += found.encode_utf8(&mut out[to..]).len();
                    at += length;
                }
                simple => {
                    out[to] = simple;
                    to += 1;
                    at += 2;
                }
            }
        }
        block += BLOCK;
        if at < block {
            copy_block(source, at, out, to);
            to += block - at;
            at = block;
        }
    }
    (at, to)
}

#[inline(always)]
fn copy_block(source: &[u8], at: usize, out: &mut [u8], to: usize) {
    out[to..to + BLOCK].copy_from_slice(&source[at..at + BLOCK]);
}

/// As [`copy_unescaped`], without the copy: how much is read, and whether there are escapes.
pub(super) fn pass_string(source: &[u8]) -> (usize, bool) {
    widest(PassString(source))
}

struct PassString<'r>(&'r [u8]);

impl Scan for PassString<'_> {
    type Answer = (usize, bool);

    #[inline(always)]
    fn run<B: Block>(self) -> (usize, bool) {
        let source = self.0;
        let mut escapes = Escapes::default();
        let (mut at, mut has_escapes) = (0, false);
        while at < source.len() {
            let block: B = load(&source[at..]);
            let escaped = escapes.escaped(block.is(b'\\'));
            let ends = block.ends() & !escaped;
            let inside = if ends == 0 { u64::MAX } else { (ends & ends.wrapping_neg()) - 1 };
            if escaped & inside != 0 {
                has_escapes = true;
                for other in ones(escaped & inside & !block.simple_escapes()) {
                    if !is_unicode_escape(&source[at + other - 1..]) {
                        return (at + other - 1, true);
                    }
                }
            }
            if ends != 0 {
                return (at + ends.trailing_zeros() as usize, has_escapes);
            }
            at += BLOCK;
        }
        (source.len(), has_escapes)
    }
}

fn is_unicode_escape(escape: &[u8]) -> bool {
    escape.get(1) == Some(&b'u')
        && escape.get(2..6).is_some_and(|digits| digits.iter().all(|digit| digit.is_ascii_hexdigit()))
}
