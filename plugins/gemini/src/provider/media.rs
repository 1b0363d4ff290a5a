//! Images, recordings, videos and documents: inline, or by a URI that the provider fetches
//! (<https://ai.google.dev/gemini-api/docs/file-input-methods>).

use std::borrow::Cow;

use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::*;

use crate::wire::write;
use portcullis_plugin::media::data_url;
use portcullis_plugin::notes::Notes;

/// Writes the member that holds the media; says whether there was one. `kind` is what the IR calls it.
pub fn write(writer: &mut Writer, media: &Media, kind: &str, extra: &[Field], notes: &mut Notes) {
    if media.detail.as_deref().is_some_and(|detail| detail != "auto") {
        notes.dropped("image.detail");
    }
    let name = media.name.as_deref();
    match &media.source {
        Source::Base64(data) => {
            let mime_type = inline_type(media.media_type.as_deref(), kind, data);
            write::blob(writer, Some(&mime_type), data, name, &write::within(extra, "inlineData"));
        }
        Source::Url(url) => match data_url(url) {
            Some((said, data)) => {
                let mime_type = inline_type(Some(said), kind, data);
                write::blob(writer, Some(&mime_type), data, name, &write::within(extra, "inlineData"));
            }
            None => {
                let mime_type = media.media_type.as_deref().or_else(|| type_of(url, kind));
                write::file(writer, mime_type, url, name, &write::within(extra, "fileData"));
            }
        },
        Source::File(uri) => write::file(writer, media.media_type.as_deref(), uri, name, &[]),
        Source::Text(text) => writer.member_string("text", text),
    }
}

/// Whether it can be named here; what cannot is left out before anything is written. Files of this API are known by a URI.
/// `native`: the request is of this API's own protocol, whose names of uploaded files the host has looked at.
pub fn takes(native: bool, media: &Media) -> bool {
    match &media.source {
        Source::File(uri) => uri.contains("://"),
        Source::Url(url) => native || !is_uploaded(url),
        Source::Base64(_) | Source::Text(_) => true,
    }
}

/// Whether a URL is of a file in the account (<https://ai.google.dev/gemini-api/docs/files>), which its key would read for anybody.
fn is_uploaded(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default().trim_end_matches('.');
    host.eq_ignore_ascii_case("generativelanguage.googleapis.com")
}

/// The API insists on a type: it is what the client says, or what the first bytes are. A format without a slash is how
/// Chat Completions names recordings.
fn inline_type<'a>(said: Option<&'a str>, kind: &str, data: &str) -> Cow<'a, str> {
    match said.map(|said| said.split(';').next().unwrap_or(said).trim()) {
        Some("image/jpg") => "image/jpeg".into(),
        Some(said) if said.contains('/') => said.into(),
        Some(format) if !format.is_empty() => format!("{kind}/{format}").into(),
        _ => match kind {
            "image" if data.starts_with("/9j/") => "image/jpeg".into(),
            "image" if data.starts_with("R0lG") => "image/gif".into(),
            "image" if data.starts_with("UklG") => "image/webp".into(),
            "image" => "image/png".into(),
            "audio" => "audio/wav".into(),
            "video" => "video/mp4".into(),
            _ => "application/pdf".into(),
        },
    }
}

/// What a URL's ending tells. A link to YouTube needs no type.
fn type_of(url: &str, kind: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let name = path.rsplit('/').next().unwrap_or(path);
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    let known = match ending.as_deref() {
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("webp") => "image/webp",
        Some("gif") => "image/gif",
        Some("heic") => "image/heic",
        Some("pdf") => "application/pdf",
        Some("txt") => "text/plain",
        Some("html" | "htm") => "text/html",
        Some("csv") => "text/csv",
        Some("mp3") => "audio/mp3",
        Some("wav") => "audio/wav",
        Some("ogg") => "audio/ogg",
        Some("flac") => "audio/flac",
        Some("mp4") => "video/mp4",
        Some("mov") => "video/quicktime",
        Some("webm") => "video/webm",
        _ => match kind {
            "image" => "image/jpeg",
            "document" => "application/pdf",
            _ => return None,
        },
    };
    Some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_account_are_told_from_the_world_s() {
        let of = |host: &str| is_uploaded(&format!("https://{host}/v1beta/files/a"));
        for host in [
            "generativelanguage.googleapis.com",
            "GenerativeLanguage.googleapis.com:443",
            "a@generativelanguage.googleapis.com.",
        ] {
            assert!(of(host), "{host}");
        }
        assert!(!of("example.org") && !of("generativelanguage.googleapis.com.example.org"));
        assert!(!is_uploaded("https://example.org/?generativelanguage.googleapis.com/"));
    }

    #[test]
    fn types_are_said_or_found() {
        assert_eq!(inline_type(None, "image", "/9j/4AAQ"), "image/jpeg");
        assert_eq!(inline_type(Some("image/jpg"), "image", ""), "image/jpeg");
        assert_eq!(inline_type(Some("wav"), "audio", ""), "audio/wav");
        assert_eq!(inline_type(Some("text/plain;charset=utf-8"), "document", ""), "text/plain");
        assert_eq!(type_of("https://a.example/b.PNG?x=1", "image"), Some("image/png"));
        assert_eq!(type_of("https://a.example/image", "image"), Some("image/jpeg"));
        assert_eq!(type_of("https://youtu.be/x", "video"), None);
    }
}
