//! The bytes of strings, sixteen at a time: how far a text is plain, and appending what is.
//!
//! One code for WebAssembly's SIMD and for everything else, so that native tests run what guests run; only [`Block`] differs.

/// Bytes in a block.
const WIDTH: usize = 16;

/// Bytes for which room is made at once: a text may be the rest of a long document.
const ROOM: usize = 256 * WIDTH;

/// Whether a byte cannot stand in a JSON string as it is: quotes, backslashes, control characters.
fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// How many bytes from the start are plain.
pub fn plain_run(text: &[u8]) -> usize {
    let (blocks, rest) = text.as_chunks();
    let mut run = 0;
    for block in blocks {
        let special = Block::load(block).special();
        if special != 0 {
            return run + special.trailing_zeros() as usize;
        }
        run += WIDTH;
    }
    run + rest.iter().take_while(|&&byte| !is_special(byte)).count()
}

/// Appends the plain bytes at the start of `text`; returns how many.
pub fn append_plain(out: &mut Vec<u8>, text: &[u8]) -> usize {
    let mut run = 0;
    for piece in text.chunks(ROOM) {
        out.reserve(piece.len() + WIDTH);
        // SAFETY: there is room for the piece and a block more; so many bytes have been written.
        let plain = unsafe {
            let plain = write_plain(out.as_mut_ptr().add(out.len()), piece);
            out.set_len(out.len() + plain);
            plain
        };
        run += plain;
        if plain < piece.len() {
            break;
        }
    }
    run
}

/// Appends a text as the inside of a JSON string.
pub fn append_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while !rest.is_empty() {
        rest = &rest[append_some_escaped(out, rest)..];
    }
}

/// As far as there is room for escapes; returns how far that is.
fn append_some_escaped(out: &mut Vec<u8>, text: &[u8]) -> usize {
    out.reserve(text.len() + text.len() / 8 + 2 * WIDTH);
    // SAFETY: the end of what there is.
    let into = unsafe { out.as_mut_ptr().add(out.len()) };
    // By so much escapes may be longer than what they stand for, when there is room for the text and a block more.
    let mut slack = out.capacity() - out.len() - text.len() - WIDTH;
    let (mut read, mut written) = (0, 0);
    while slack >= LONGEST_ESCAPE {
        // SAFETY: what is written and the slack are no longer than what is read and the room for more than the text.
        unsafe {
            let plain = write_plain(into.add(written), &text[read..]);
            read += plain;
            written += plain;
            let Some(&special) = text.get(read) else { break };
            let escape = write_escape(into.add(written), special);
            read += 1;
            written += escape;
            slack -= escape - 1;
        }
    }
    // SAFETY: so many bytes have been written.
    unsafe { out.set_len(out.len() + written) };
    read
}

/// Writes the plain bytes at the start of `text`; returns how many. Each block is written whole and then counted as far as it is
/// plain, which for short runs costs less than calls that copy exactly so much.
///
/// # Safety
/// `into` must be valid for writes of the text's length and a block more.
#[inline(always)]
unsafe fn write_plain(into: *mut u8, text: &[u8]) -> usize {
    let (blocks, rest) = text.as_chunks();
    let mut run = 0;
    for block in blocks {
        let block = Block::load(block);
        // SAFETY: the caller's promise.
        unsafe { block.store(into.add(run)) };
        let special = block.special();
        if special != 0 {
            return run + special.trailing_zeros() as usize;
        }
        run += WIDTH;
    }
    // Names of members are shorter than a block.
    let (words, rest) = rest.as_chunks::<4>();
    for word in words {
        // SAFETY: the caller's promise.
        unsafe { into.add(run).cast::<[u8; 4]>().write_unaligned(*word) };
        if has_special(*word) {
            return run + word.iter().take_while(|&&byte| !is_special(byte)).count();
        }
        run += 4;
    }
    for &byte in rest.iter().take_while(|&&byte| !is_special(byte)) {
        // SAFETY: the caller's promise.
        unsafe { into.add(run).write(byte) };
        run += 1;
    }
    run
}

/// Whether one of four bytes is not plain. Subtraction borrows from the next byte only where a byte is special, so that the answer
/// is right for all of them together.
fn has_special(bytes: [u8; 4]) -> bool {
    const EACH: u32 = 0x0101_0101;
    let word = u32::from_le_bytes(bytes);
    let (quote, backslash) = (word ^ (EACH * 0x22), word ^ (EACH * 0x5C));
    let below = |word: u32, limit: u32| word.wrapping_sub(EACH * limit) & !word;
    (below(word, 0x20) | below(quote, 1) | below(backslash, 1)) & (EACH * 0x80) != 0
}

const LONGEST_ESCAPE: usize = r"\u0000".len();

/// Writes what stands for a byte that is not plain; returns how long that is.
///
/// # Safety
/// `into` must be valid for writes of the longest escape.
#[inline(always)]
unsafe fn write_escape(into: *mut u8, special: u8) -> usize {
    let letter = match special {
        b'"' | b'\\' => special,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        control => {
            let digit = |value: u8| b"0123456789abcdef"[usize::from(value)];
            // SAFETY: the caller's promise.
            unsafe {
                into.cast::<[u8; LONGEST_ESCAPE]>().write_unaligned([
                    b'\\',
                    b'u',
                    b'0',
                    b'0',
                    digit(control >> 4 & 0xF),
                    digit(control & 0xF),
                ]);
            }
            return LONGEST_ESCAPE;
        }
    };
    // SAFETY: the caller's promise.
    unsafe { into.cast::<[u8; 2]>().write_unaligned([b'\\', letter]) };
    2
}

#[cfg(target_feature = "simd128")]
#[derive(Clone, Copy)]
struct Block(std::arch::wasm32::v128);

#[cfg(target_feature = "simd128")]
impl Block {
    fn load(bytes: &[u8; WIDTH]) -> Self {
        // SAFETY: as many bytes as are loaded, and the load needs no alignment.
        Block(unsafe { std::arch::wasm32::v128_load(bytes.as_ptr().cast()) })
    }

    /// # Safety
    /// `into` must be valid for writes of a block.
    unsafe fn store(self, into: *mut u8) {
        // SAFETY: the caller's promise; the store needs no alignment.
        unsafe { std::arch::wasm32::v128_store(into.cast(), self.0) }
    }

    /// A bit for each byte that is not plain.
    fn special(self) -> u32 {
        use std::arch::wasm32::{u8x16_bitmask, u8x16_eq, u8x16_lt, u8x16_splat, v128_or};
        let quoting = v128_or(u8x16_eq(self.0, u8x16_splat(b'"')), u8x16_eq(self.0, u8x16_splat(b'\\')));
        u32::from(u8x16_bitmask(v128_or(u8x16_lt(self.0, u8x16_splat(0x20)), quoting)))
    }
}

#[cfg(not(target_feature = "simd128"))]
#[derive(Clone, Copy)]
struct Block([u8; WIDTH]);

#[cfg(not(target_feature = "simd128"))]
impl Block {
    fn load(bytes: &[u8; WIDTH]) -> Self {
        Block(*bytes)
    }

    /// # Safety
    /// `into` must be valid for writes of a block.
    unsafe fn store(self, into: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { into.cast::<[u8; WIDTH]>().write_unaligned(self.0) }
    }

    /// A bit for each byte that is not plain.
    fn special(self) -> u32 {
        self.0.iter().enumerate().fold(0, |bits, (i, &byte)| bits | u32::from(is_special(byte)) << i)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_run_ends_at_the_first_special_byte(text in "[a-zé東]{0,40}([a-z]{5000})?[\"\\\\\u{0}\u{1f} a-z]{0,3}[a-z\"]{0,20}", head in "[a-z]{0,20}") {
            let expected = text.bytes().take_while(|&byte| !is_special(byte)).count();
            prop_assert_eq!(plain_run(text.as_bytes()), expected);
            let mut out = head.clone().into_bytes();
            prop_assert_eq!(append_plain(&mut out, text.as_bytes()), expected);
            prop_assert_eq!(out, [head.as_bytes(), &text.as_bytes()[..expected]].concat());
        }

        #[test]
        fn four_bytes_at_once(bytes: [u8; 4], plain in "[a-z]{4}", at in 0_usize..4) {
            prop_assert_eq!(has_special(bytes), bytes.into_iter().any(is_special));
            let mut one: [u8; 4] = plain.as_bytes().try_into().unwrap();
            one[at] = bytes[0];
            prop_assert_eq!(has_special(one), is_special(bytes[0]));
        }
    }
}
