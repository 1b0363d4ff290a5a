//! Bodies as text: validated once, with SIMD, and never copied.

use bytes::Bytes;
use bytestring::ByteString;

/// The bytes as text; `None` where they are not UTF-8.
pub fn utf8(bytes: Bytes) -> Option<ByteString> {
    portcullis_wire::json::utf8(&bytes).ok()?;
    // SAFETY: validated on the line above, and `Bytes` never change.
    Some(unsafe { ByteString::from_bytes_unchecked(bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_utf8_is_text() {
        assert_eq!(utf8(Bytes::from_static("ä".as_bytes())).unwrap(), "ä");
        assert!(utf8(Bytes::from_static(b"\xc3")).is_none());
    }
}
