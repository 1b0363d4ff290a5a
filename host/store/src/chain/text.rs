//! Keys and hashes as text.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

pub(crate) fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

/// What `text` says in hex or in base64, where it is `N` bytes.
pub(crate) fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() == 2 * N {
        hex::decode_to_slice(text, &mut bytes).ok()?;
        return Some(bytes);
    }
    BASE64_STANDARD.decode(text).ok()?.try_into().ok()
}
