//! Many bytes at a time: where strings end and brackets stand, as bit masks (bit n is byte n). The way to find
//! escaped characters and the insides of strings without a branch per byte is Langdale and Lemire's ("Parsing Gigabytes of JSON per
//! Second", 2019).

use wide::u8x16;

pub(super) const BLOCK: usize = 64;

/// What makes an escape of two characters with a backslash before it.
pub(super) const SIMPLE_ESCAPES: [u8; 8] = *b"\"\\/bfnrt";

/// Sixty-four bytes, by what compares them at once.
pub(super) trait Block: Sized {
    fn load(bytes: &[u8; BLOCK]) -> Self;

    fn is(&self, byte: u8) -> u64;

    /// What ends a string, or is wrong in it: quotes and control characters.
    fn ends(&self) -> u64;

    /// The characters of [`SIMPLE_ESCAPES`].
    fn simple_escapes(&self) -> u64;

    /// `{`, `[`, `}` and `]`.
    fn brackets(&self) -> u64;

    /// Each bit the parity of `bits` up to it.
    fn parity(bits: u64) -> u64;
}

/// The first bytes of `rest` as a block; what is missing reads as spaces.
#[inline(always)]
pub(super) fn load<B: Block>(rest: &[u8]) -> B {
    match rest.first_chunk() {
        Some(full) => B::load(full),
        None => {
            let mut padded = [b' '; BLOCK];
            padded[..rest.len()].copy_from_slice(rest);
            B::load(&padded)
        }
    }
}

/// For any processor: sixteen bytes at a time.
pub(super) struct Portable([u8x16; 4]);

impl Portable {
    #[inline(always)]
    fn mask(&self, test: impl Fn(u8x16) -> u8x16) -> u64 {
        let bits = |at: usize| u64::from(test(self.0[at]).to_bitmask());
        bits(0) | bits(1) << 16 | bits(2) << 32 | bits(3) << 48
    }
}

impl Block for Portable {
    #[inline(always)]
    fn load(bytes: &[u8; BLOCK]) -> Self {
        let (chunks, _) = bytes.as_chunks::<16>();
        Self([u8x16::new(chunks[0]), u8x16::new(chunks[1]), u8x16::new(chunks[2]), u8x16::new(chunks[3])])
    }

    #[inline(always)]
    fn is(&self, byte: u8) -> u64 {
        let wanted = u8x16::splat(byte);
        self.mask(|chunk| chunk.simd_eq(wanted))
    }

    #[inline(always)]
    fn ends(&self) -> u64 {
        self.mask(ends)
    }

    #[inline(always)]
    fn simple_escapes(&self) -> u64 {
        self.mask(|chunk| {
            let is = |byte: u8| chunk.simd_eq(u8x16::splat(byte));
            SIMPLE_ESCAPES.iter().fold(u8x16::splat(0), |found, &byte| found | is(byte))
        })
    }

    #[inline(always)]
    fn brackets(&self) -> u64 {
        let (case, open, close) = (u8x16::splat(0x20), u8x16::splat(b'{'), u8x16::splat(b'}'));
        self.mask(|chunk| {
            let folded = chunk | case;
            folded.simd_eq(open) | folded.simd_eq(close)
        })
    }

    #[inline(always)]
    fn parity(mut bits: u64) -> u64 {
        for shift in [1, 2, 4, 8, 16, 32] {
            bits ^= bits << shift;
        }
        bits
    }
}

/// The bytes of a string before the first that is a quote, a backslash or a control character.
#[inline]
pub(super) fn plain_run(rest: &[u8]) -> usize {
    let mut at = 0;
    while let Some(chunk) = rest[at..].first_chunk::<16>() {
        let chunk = u8x16::new(*chunk);
        let special = (ends(chunk) | chunk.simd_eq(u8x16::splat(b'\\'))).to_bitmask();
        if special != 0 {
            return at + special.trailing_zeros() as usize;
        }
        at += 16;
    }
    at + rest[at..].iter().position(|&byte| is_special(byte)).unwrap_or(rest.len() - at)
}

fn is_special(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < 0x20
}

/// Where quotes and control characters stand. With its second bit turned the quote is 0x20, and the space, `!` and `#` are above it.
#[inline]
fn ends(chunk: u8x16) -> u8x16 {
    let turned = chunk ^ u8x16::splat(2);
    turned.min(u8x16::splat(0x20)).simd_eq(turned)
}

/// Which characters a backslash escapes, over blocks in a row that start outside an escape.
#[derive(Default)]
pub(super) struct Escapes {
    /// One where the last block's last byte escapes the next one's first.
    carry: u64,
}

impl Escapes {
    /// `backslashes`: where the block's backslashes stand. An escaped backslash is itself in the answer.
    #[inline(always)]
    pub(super) fn escaped(&mut self, backslashes: u64) -> u64 {
        if backslashes == 0 {
            return std::mem::take(&mut self.carry);
        }
        const EVEN: u64 = 0x5555_5555_5555_5555;
        let backslashes = backslashes & !self.carry;
        let follows = backslashes << 1 | self.carry;
        let odd_starts = backslashes & !EVEN & !follows;
        let (even_runs, overflow) = odd_starts.overflowing_add(backslashes);
        self.carry = u64::from(overflow);
        (EVEN ^ (even_runs << 1)) & follows
    }
}

/// From unescaped quotes to the bytes within strings (opening quotes included), over blocks in a row.
#[derive(Default)]
pub(super) struct Strings {
    /// All ones where the last block ended within a string.
    carry: u64,
}

impl Strings {
    #[inline(always)]
    pub(super) fn inside<B: Block>(&mut self, quotes: u64) -> u64 {
        let mask = B::parity(quotes) ^ self.carry;
        self.carry = ((mask as i64) >> 63) as u64;
        mask
    }
}

/// The places of the ones, lowest first.
#[inline(always)]
pub(super) fn ones(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(
        #[inline(always)]
        move || {
            if mask == 0 {
                return None;
            }
            let at = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            Some(at)
        },
    )
}
