use std::borrow::Cow;

/// A body that is not the JSON it must be. The message names no content but keys, and is fit for a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid JSON at byte {offset}: {message}")]
pub struct ScanError {
    /// Bytes from the start of the text.
    pub offset: usize,
    pub message: Cow<'static, str>,
}

impl ScanError {
    pub(crate) fn new(offset: usize, message: impl Into<Cow<'static, str>>) -> Self {
        Self { offset, message: message.into() }
    }
}
