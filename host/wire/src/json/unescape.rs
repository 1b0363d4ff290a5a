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
    widest(ReadString::<true> { source, out, written })
}

/// As [`copy_unescaped`], without a copy: how much is read, and what would be written.
pub(super) fn pass_string(source: &[u8]) -> (usize, usize) {
    widest(ReadString::<false> { source, out: &mut Vec::new(), written: 0 })
}

struct ReadString<'r, const COPY: bool> {
    source: &'r [u8],
    out: &'r mut Vec<u8>,
    written: usize,
}

impl<const COPY: bool> Scan for ReadString<'_, COPY> {
    type Answer = (usize, usize);

    #[inline(always)]
    fn run<B: Block>(self) -> (usize, usize) {
        let Self { source, out, written } = self;
        let (read, written) = read_blocks::<B, COPY>(source, out, written);
        let rest = &source[read..];
        if rest.len() >= 2 * BLOCK {
            return (read, written);
        }
        // What stops the copy stops it again here, and so does the zero past the end.
        let mut padded = [0; 4 * BLOCK];
        padded[..rest.len()].copy_from_slice(rest);
        let (more, written) = read_blocks::<B, COPY>(&padded, out, written);
        (read + more, written)
    }
}

/// As [`copy_unescaped`], but goes on only where two blocks are left.
#[inline(always)]
fn read_blocks<B: Block, const COPY: bool>(source: &[u8], out: &mut Vec<u8>, written: usize) -> (usize, usize) {
    let mut escapes = Escapes::default();
    let (mut block, mut at, mut to) = (0, 0, written);
    while source.len() - block >= 2 * BLOCK {
        if COPY && out.len() < to + SLACK {
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
            if COPY {
                copy_block(source, at, out, to);
            }
            to += stop - at;
            at = stop;
            if source[at] != b'\\' {
                return (at, to);
            }
            match SIMPLE[usize::from(source[at + 1])] {
                0 => {
                    let Escape::Char(found, length) = escape_at(&source[at..], false) else { return (at, to) };
                    if COPY {
                        found.encode_utf8(&mut out[to..]);
                    }
                    to += found.len_utf8();
                    at += length;
                }
                simple => {
                    if COPY {
                        out[to] = simple;
                    }
                    to += 1;
                    at += 2;
                }
            }
        }
        block += BLOCK;
        if at < block {
            if COPY {
                copy_block(source, at, out, to);
            }
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
