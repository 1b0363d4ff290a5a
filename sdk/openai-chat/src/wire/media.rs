//! Data URLs and audio formats.

use portcullis_plugin::ir::Source;

/// A URL, or the bytes inside a base64 `data:` URL (RFC 2397) with their type.
pub fn from_url(url: String) -> (Source, Option<String>) {
    let Some(rest) = url.strip_prefix("data:") else { return (Source::Url(url), None) };
    let Some((head, data)) = rest.split_once(',') else { return (Source::Url(url), None) };
    let Some(media_type) = head.strip_suffix(";base64") else { return (Source::Url(url), None) };
    let media_type = (!media_type.is_empty()).then(|| media_type.to_owned());
    (Source::Base64(data.to_owned()), media_type)
}

/// A base64 `data:` URL.
pub fn data_url(media_type: &str, data: &str) -> String {
    let mut url = String::with_capacity(media_type.len() + data.len() + 13);
    for piece in ["data:", media_type, ";base64,", data] {
        url.push_str(piece);
    }
    url
}

/// The MIME type of an `input_audio.format`.
pub fn audio_type(format: &str) -> String {
    match format {
        "mp3" => "audio/mpeg".to_owned(),
        other => format!("audio/{other}"),
    }
}

/// The `input_audio.format` of a MIME type.
pub fn audio_format(media_type: &str) -> &str {
    match media_type {
        "audio/mpeg" => "mp3",
        "audio/x-wav" | "audio/wave" | "audio/vnd.wave" => "wav",
        other => other.strip_prefix("audio/").unwrap_or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_data_url_that_is_not_base64_stays_a_url() {
        for url in ["data:text/plain,hello", "data:,", "data:image/png;base64", "https://example.com/a.png"] {
            assert_eq!(from_url(url.to_owned()), (Source::Url(url.to_owned()), None));
        }
    }

    proptest! {
        #[test]
        fn data_urls_read_back(data in "[A-Za-z0-9+/]{0,64}={0,2}") {
            let (source, media_type) = from_url(data_url("image/webp", &data));
            prop_assert_eq!(source, Source::Base64(data));
            prop_assert_eq!(media_type.as_deref(), Some("image/webp"));
        }
    }

    #[test]
    fn audio_formats_read_back() {
        for format in ["wav", "mp3", "flac", "opus"] {
            assert_eq!(audio_format(&audio_type(format)), format);
        }
    }
}
