//! The bytes without which no built-in kind occurs: digits, `@`, `_`, `-`, and the `KI` or `SI` of an AWS key. Prose has few of
//! them, so the finders look at little of it.

/// Positions of triggers, ascending.
pub struct Triggers<'a> {
    bytes: &'a [u8],
    /// Where the next block begins.
    next: usize,
    /// Triggers of the last block, as bits from `base` on.
    hits: u32,
    base: usize,
}

const BLOCK: usize = if cfg!(target_feature = "simd128") { 16 } else { 32 };

impl<'a> Triggers<'a> {
    pub fn new(bytes: &'a [u8], from: usize) -> Self {
        Triggers { bytes, next: from, hits: 0, base: from }
    }

    /// Leaves out what stands before `to`.
    pub fn skip_to(&mut self, to: usize) {
        if to >= self.next {
            (self.next, self.hits) = (to, 0);
        } else {
            self.hits &= u32::MAX.unbounded_shl((to.saturating_sub(self.base)) as u32);
        }
    }
}

impl Iterator for Triggers<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        while self.hits == 0 {
            let rest = self.bytes.get(self.next..).filter(|rest| !rest.is_empty())?;
            self.base = self.next;
            // One byte more than the block, since a pair may begin at its last.
            if rest.len() > BLOCK {
                self.hits = block(rest);
                self.next += BLOCK;
            } else {
                let pairs = rest.iter().zip(rest[1..].iter().chain(&[0]));
                self.hits =
                    pairs.enumerate().fold(0, |hits, (i, (&byte, &after))| hits | u32::from(hit(byte, after)) << i);
                self.next += rest.len();
            }
        }
        let at = self.base + self.hits.trailing_zeros() as usize;
        self.hits &= self.hits - 1;
        Some(at)
    }
}

fn hit(byte: u8, after: u8) -> bool {
    byte.wrapping_sub(b'0') < 10
        || matches!(byte, b'@' | b'_' | b'-')
        || (byte == b'K' || byte == b'S') && after == b'I'
}

#[cfg(target_feature = "simd128")]
fn block(rest: &[u8]) -> u32 {
    use std::arch::wasm32::{
        i8x16_bitmask, i8x16_eq, u8x16_lt, u8x16_splat, u8x16_sub, v128, v128_and, v128_load, v128_or,
    };
    assert!(rest.len() > BLOCK);
    // SAFETY: the assertion leaves 16 bytes from each of both places.
    let (bytes, after) =
        unsafe { (v128_load(rest.as_ptr().cast::<v128>()), v128_load(rest.as_ptr().add(1).cast::<v128>())) };
    let is = |bytes, byte| i8x16_eq(bytes, u8x16_splat(byte));
    let digit = u8x16_lt(u8x16_sub(bytes, u8x16_splat(b'0')), u8x16_splat(10));
    let sign = v128_or(v128_or(is(bytes, b'@'), is(bytes, b'_')), is(bytes, b'-'));
    let pair = v128_and(v128_or(is(bytes, b'K'), is(bytes, b'S')), is(after, b'I'));
    u32::from(i8x16_bitmask(v128_or(v128_or(digit, sign), pair)))
}

/// Written so that compilers vectorise the first loop; the second runs for few blocks.
#[cfg(not(target_feature = "simd128"))]
fn block(rest: &[u8]) -> u32 {
    let (bytes, after) = (&rest[..BLOCK], &rest[1..=BLOCK]);
    let mut hits = [0_u8; BLOCK];
    for i in 0..BLOCK {
        hits[i] = u8::from(bytes[i].wrapping_sub(b'0') < 10)
            | u8::from(bytes[i] == b'@')
            | u8::from(bytes[i] == b'_')
            | u8::from(bytes[i] == b'-')
            | (u8::from(bytes[i] == b'K') | u8::from(bytes[i] == b'S')) & u8::from(after[i] == b'I');
    }
    if hits.iter().fold(0, |any, hit| any | hit) == 0 {
        return 0;
    }
    hits.iter().enumerate().fold(0, |bits, (i, &hit)| bits | u32::from(hit) << i)
}

/// Where the run of base64, of either alphabet and without its `=`, that begins at `start` ends.
pub fn base64_end(bytes: &[u8], start: usize) -> usize {
    let mut end = start;
    while let Some(block) = bytes.get(end..end + 64) {
        let other = block.iter().fold(0, |other, &byte| {
            let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
            // `/` and the digits follow one another.
            let digit = byte.wrapping_sub(b'/') < 11;
            other | u8::from(!(letter | digit | (byte == b'+') | (byte == b'-') | (byte == b'_')))
        });
        if other != 0 {
            break;
        }
        end += 64;
    }
    while bytes.get(end).is_some_and(|&byte| crate::window::is(byte, crate::window::BASE64)) {
        end += 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_trigger_is_found_once(text in "[a-zKSI0-9@_. é-]{0,150}", from in 0_usize..10, skip in 0_usize..160) {
            let bytes = text.as_bytes();
            let from = from.min(bytes.len());
            let after = |i: usize| bytes.get(i + 1).copied().unwrap_or(0);
            let expected: Vec<_> = (from..bytes.len()).filter(|&i| hit(bytes[i], after(i))).collect();
            prop_assert_eq!(Triggers::new(bytes, from).collect::<Vec<_>>(), expected.clone());

            let mut triggers = Triggers::new(bytes, from);
            let first = triggers.next();
            triggers.skip_to(skip);
            let rest: Vec<_> = expected.into_iter().filter(|&i| i >= skip && Some(i) > first).collect();
            prop_assert_eq!(triggers.collect::<Vec<_>>(), rest);
        }

        #[test]
        fn base64_ends_at_the_first_other_byte(head in "[A-Za-z0-9+/_-]{0,200}", rest in "([^A-Za-z0-9+/_-].{0,3})?") {
            prop_assert_eq!(base64_end((head.clone() + &rest).as_bytes(), 0), head.len());
        }
    }
}
