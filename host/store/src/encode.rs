//! Postcard into a buffer that is used again.
//!
//! A receipt is some sixty numbers and lengths, nearly all of one byte, and as many short strings. postcard's own ways copy each by
//! a call to `memcpy`, or ask a vector for room each time.

use postcard::ser_flavors::Flavor;
use serde::Serialize;

/// What a buffer has at first, and what it may keep.
const FIRST: usize = 2 << 10;
const KEPT: usize = 64 << 10;

/// Writes `value` to the beginning of `buffer`, which grows as it must; says how many bytes it takes. The rest is void.
pub(crate) fn into(value: &impl Serialize, buffer: &mut Vec<u8>) -> usize {
    loop {
        match postcard::serialize_with_flavor(value, Fill { room: buffer, at: 0 }) {
            Ok(length) => return length,
            Err(postcard::Error::SerializeBufferFull) => {
                let longer = (buffer.len() * 2).max(FIRST);
                buffer.resize(longer, 0);
            }
            Err(error) => unreachable!("what the ledger writes has lengths and no maps: {error}"),
        }
    }
}

/// Gives back what an uncommonly long value needed.
pub(crate) fn trim(buffer: &mut Vec<u8>) {
    buffer.truncate(KEPT);
    buffer.shrink_to(KEPT);
}

struct Fill<'b> {
    room: &'b mut [u8],
    at: usize,
}

impl Flavor for Fill<'_> {
    type Output = usize;

    #[inline(always)]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        *self.room.get_mut(self.at).ok_or(postcard::Error::SerializeBufferFull)? = byte;
        self.at += 1;
        Ok(())
    }

    #[inline(always)]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if let &[byte] = bytes {
            return self.try_push(byte);
        }
        let end = self.at + bytes.len();
        let room = self.room.get_mut(self.at..end).ok_or(postcard::Error::SerializeBufferFull)?;
        match (room, bytes) {
            ([a, b], &[c, d]) => (*a, *b) = (c, d),
            ([a, b, c], &[d, e, f]) => (*a, *b, *c) = (d, e, f),
            (room, bytes) => room.copy_from_slice(bytes),
        }
        self.at = end;
        Ok(())
    }

    fn finalize(self) -> postcard::Result<usize> {
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_postcard_whatever_the_buffer_was(
            value in any::<(u64, String, Vec<u16>, Option<(u8, String)>, i32)>(),
            before in 0usize..9_000,
        ) {
            let mut buffer = vec![7; before];
            let length = into(&value, &mut buffer);
            prop_assert_eq!(&buffer[..length], postcard::to_stdvec(&value).unwrap());
            trim(&mut buffer);
            let length = into(&value, &mut buffer);
            prop_assert_eq!(&buffer[..length], postcard::to_stdvec(&value).unwrap());
        }
    }

    #[test]
    fn an_uncommon_length_is_given_back() {
        let mut buffer = vec![];
        let long = "x".repeat(300_000);
        let length = into(&long, &mut buffer);
        assert_eq!(&buffer[..length], postcard::to_stdvec(&long).unwrap());
        trim(&mut buffer);
        assert!(buffer.capacity() < 2 * KEPT);
    }
}
