//! `data:` URLs (RFC 2397), which need no network.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

use super::{Inline, MediaError};

/// As browsers read it: padding may be missing.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The file in a `data:` URL; `None` for any other.
pub(crate) fn inline(url: &str) -> Option<Result<Inline, MediaError>> {
    let scheme = url.get(..5)?;
    scheme.eq_ignore_ascii_case("data:").then(|| read(&url[5..]))
}

fn read(rest: &str) -> Result<Inline, MediaError> {
    let (head, data) = rest.split_once(',').ok_or(MediaError::Data)?;
    let (head, is_base64) = match head.rsplit_once(';') {
        Some((head, word)) if word.trim().eq_ignore_ascii_case("base64") => (head, true),
        _ => (head, false),
    };
    let bytes = unescape(data)?;
    let base64 = if !is_base64 {
        STANDARD.encode(&bytes)
    } else if STANDARD.decode(&*bytes).is_ok() {
        String::from_utf8(bytes.into_owned()).map_err(|_| MediaError::Data)?
    } else {
        let dense: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        STANDARD.encode(LENIENT.decode(dense).map_err(|_| MediaError::Data)?)
    };
    let media_type = head.split(';').next().unwrap_or_default().trim();
    let media_type = (!media_type.is_empty()).then(|| media_type.to_ascii_lowercase());
    // "If <mediatype> is omitted, it defaults to text/plain;charset=US-ASCII."
    Ok(Inline { base64, media_type: media_type.or_else(|| Some("text/plain".to_owned())) })
}

fn unescape(text: &str) -> Result<Cow<'_, [u8]>, MediaError> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text.as_bytes()));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = rest.split_at_checked(2).ok_or(MediaError::Data)?;
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(MediaError::Data);
        bytes.push(u8::try_from(digit(digits.0[0])? * 16 + digit(digits.0[1])?).map_err(|_| MediaError::Data)?);
        rest = digits.1;
    }
    Ok(Cow::Owned(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(url: &str) -> Option<(String, String)> {
        let inline = inline(url)?.ok()?;
        Some((inline.media_type.unwrap(), inline.base64))
    }

    #[test]
    fn every_way_to_write_one() {
        for (url, kind, base64) in [
            ("data:image/png;base64,AQID", "image/png", "AQID"),
            ("DATA:IMAGE/PNG;BASE64,AQID", "image/png", "AQID"),
            ("data:image/png;name=a.png;base64,AQ==", "image/png", "AQ=="),
            ("data:image/png;base64,AQ", "image/png", "AQ=="),
            ("data:image/png;base64,AQ%3D%3D", "image/png", "AQ=="),
            ("data:image/png;base64,AQ ID", "image/png", "AQID"),
            ("data:text/plain;charset=utf-8,a%20b", "text/plain", "YSBi"),
            ("data:,a", "text/plain", "YQ=="),
            ("data:;base64,", "text/plain", ""),
        ] {
            assert_eq!(read(url), Some((kind.to_owned(), base64.to_owned())), "{url}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error_and_what_is_none_is_left() {
        for url in ["data:image/png;base64", "data:image/png;base64,A!", "data:,%f", "data:,%zz", "data:,%+1"] {
            assert_eq!(inline(url), Some(Err(MediaError::Data)), "{url}");
        }
        for url in ["https://example.org/data:,a", "dat", "", "\u{e9}\u{e9}\u{e9}"] {
            assert_eq!(inline(url), None, "{url}");
        }
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes: Vec<u8>, escaped: bool) {
            let data = if escaped {
                format!("data:a/b,{}", bytes.iter().map(|byte| format!("%{byte:02x}")).collect::<String>())
            } else {
                format!("data:a/b;base64,{}", STANDARD.encode(&bytes))
            };
            prop_assert_eq!(read(&data), Some(("a/b".to_owned(), STANDARD.encode(&bytes))));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = inline(&format!("data:{text}"));
            let _ = inline(&text);
        }
    }
}
