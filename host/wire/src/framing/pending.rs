use bytes::{Bytes, BytesMut};

use super::FramingError;

/// The bytes of a frame that has not ended, over the chunks it came in.
#[derive(Debug, Default)]
pub(super) struct Pending {
    bytes: BytesMut,
}

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn keep(&mut self, rest: &[u8], limit: usize) -> Result<(), FramingError> {
        if self.bytes.len() + rest.len() > limit {
            return Err(FramingError::TooLong(limit));
        }
        self.bytes.extend_from_slice(rest);
        Ok(())
    }

    /// What is pending and the chunk's part that ends it, as one; not copied where nothing was pending.
    pub(super) fn complete(
        &mut self,
        chunk: &Bytes,
        from: usize,
        to: usize,
        limit: usize,
    ) -> Result<Bytes, FramingError> {
        if self.bytes.len() + (to - from) > limit {
            return Err(FramingError::TooLong(limit));
        }
        if self.bytes.is_empty() {
            return Ok(chunk.slice(from..to));
        }
        self.bytes.extend_from_slice(&chunk[from..to]);
        Ok(self.take())
    }

    pub(super) fn take(&mut self) -> Bytes {
        self.bytes.split().freeze()
    }
}
