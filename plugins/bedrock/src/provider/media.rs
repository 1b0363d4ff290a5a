//! Images, documents, audio and video, by the formats that the service model names. Bytes are sent inline; a URL is read by nobody
//! here, but for S3's, which Bedrock reads itself.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_plugin::ir::{Media, Source};
use portcullis_plugin::json::Writer;

use super::names::Documents;
use portcullis_plugin::media::{Kind, data_url};
use portcullis_plugin::notes::Notes;

const IMAGES: &[(&str, &str)] = &[
    ("image/png", "png"),
    ("image/jpeg", "jpeg"),
    ("image/jpg", "jpeg"),
    ("image/gif", "gif"),
    ("image/webp", "webp"),
];
const VIDEOS: &[(&str, &str)] = &[
    ("video/mp4", "mp4"),
    ("video/quicktime", "mov"),
    ("video/x-matroska", "mkv"),
    ("video/webm", "webm"),
    ("video/x-flv", "flv"),
    ("video/mpeg", "mpeg"),
    ("video/mpg", "mpg"),
    ("video/x-ms-wmv", "wmv"),
    ("video/3gpp", "three_gp"),
];
const SOUNDS: &[(&str, &str)] = &[
    ("audio/mpeg", "mp3"),
    ("audio/mp3", "mp3"),
    ("audio/wav", "wav"),
    ("audio/x-wav", "wav"),
    ("audio/opus", "opus"),
    ("audio/aac", "aac"),
    ("audio/flac", "flac"),
    ("audio/mp4", "mp4"),
    ("audio/ogg", "ogg"),
    ("audio/x-matroska", "mka"),
    ("audio/m4a", "m4a"),
    ("audio/pcm", "pcm"),
    ("audio/webm", "webm"),
];
const DOCUMENTS: &[(&str, &str)] = &[
    ("application/pdf", "pdf"),
    ("text/csv", "csv"),
    ("application/msword", "doc"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ("application/vnd.ms-excel", "xls"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
    ("text/html", "html"),
    ("text/plain", "txt"),
    ("text/markdown", "md"),
];

/// Whether Converse takes it: inline or in S3, and of a type that it knows. What it does not is left out before anything is written.
pub fn takes(kind: Kind, media: &Media) -> bool {
    let known = |formats, sniff: fn(&str) -> Option<&'static str>| {
        Inline::of(media).is_some_and(|inline| inline.format(media, formats, sniff).is_some())
    };
    match kind {
        Kind::Image => known(IMAGES, image_format),
        Kind::Audio => known(SOUNDS, |_| None),
        Kind::Video => known(VIDEOS, |_| None),
        Kind::Document => matches!(media.source, Source::Text(_)) || known(DOCUMENTS, document_format),
    }
}

pub fn image(writer: &mut Writer, media: &Media, notes: &mut Notes) {
    if media.detail.as_deref().is_some_and(|detail| detail != "auto") {
        notes.dropped("image.detail");
    }
    begin(writer, "image", media, IMAGES, image_format);
}

pub fn video(writer: &mut Writer, media: &Media) {
    begin(writer, "video", media, VIDEOS, |_| None);
}

pub fn audio(writer: &mut Writer, media: &Media) {
    begin(writer, "audio", media, SOUNDS, |_| None);
}

fn begin(
    writer: &mut Writer,
    member: &str,
    media: &Media,
    formats: &[(&str, &'static str)],
    sniff: fn(&str) -> Option<&'static str>,
) {
    let Some(inline) = Inline::of(media) else { return };
    let Some(known) = inline.format(media, formats, sniff) else { return };
    writer.begin_object();
    writer.key(member);
    writer.begin_object();
    writer.member_string("format", known);
    inline.source(writer);
    writer.end_object();
    writer.end_object();
}

/// A document, under a name that the model sees: names are data of the client's, as its other texts are.
pub fn document(writer: &mut Writer, media: &Media, documents: &mut Documents) {
    let text;
    let (inline, known) = match &media.source {
        Source::Text(plain) => {
            text = STANDARD.encode(plain);
            (Inline { media_type: None, place: Place::Bytes(&text) }, "txt")
        }
        _ => {
            let Some(inline) = Inline::of(media) else { return };
            let Some(known) = inline.format(media, DOCUMENTS, document_format) else { return };
            (inline, known)
        }
    };
    writer.begin_object();
    writer.key("document");
    writer.begin_object();
    writer.member_string("format", known);
    writer.member_string("name", &documents.name(media.name.as_deref()));
    inline.source(writer);
    writer.end_object();
    writer.end_object();
}

struct Inline<'a> {
    /// What a data URL says.
    media_type: Option<&'a str>,
    place: Place<'a>,
}

enum Place<'a> {
    Bytes(&'a str),
    S3(&'a str),
}

impl<'a> Inline<'a> {
    /// `None` of what stands elsewhere: Bedrock reads nothing by URL but S3's, and knows no other provider's files.
    fn of(media: &'a Media) -> Option<Self> {
        match &media.source {
            Source::Base64(data) => Some(Inline { media_type: None, place: Place::Bytes(data) }),
            Source::Url(url) if url.starts_with("s3://") => Some(Inline { media_type: None, place: Place::S3(url) }),
            Source::Url(url) => {
                data_url(url).map(|(kind, data)| Inline { media_type: Some(kind), place: Place::Bytes(data) })
            }
            Source::File(_) | Source::Text(_) => None,
        }
    }

    /// The format's name: what the client says, what the file's name ends in, what the first bytes are.
    fn format(
        &self,
        media: &Media,
        formats: &[(&str, &'static str)],
        sniff: fn(&str) -> Option<&'static str>,
    ) -> Option<&'static str> {
        let said = self.media_type.or(media.media_type.as_deref()).and_then(|kind| format(kind, formats));
        said.or_else(|| extension(media, formats)).or_else(|| self.data().and_then(sniff))
    }

    fn data(&self) -> Option<&str> {
        match self.place {
            Place::Bytes(data) => Some(data),
            Place::S3(_) => None,
        }
    }

    fn source(&self, writer: &mut Writer) {
        writer.key("source");
        writer.begin_object();
        match self.place {
            Place::Bytes(data) => writer.member_string("bytes", data),
            Place::S3(uri) => {
                writer.key("s3Location");
                writer.begin_object();
                writer.member_string("uri", uri);
                writer.end_object();
            }
        }
        writer.end_object();
    }
}

fn format(kind: &str, formats: &[(&str, &'static str)]) -> Option<&'static str> {
    let kind = kind.split(';').next().unwrap_or(kind).trim().to_ascii_lowercase();
    formats.iter().find(|(known, _)| *known == kind).map(|(_, format)| *format)
}

/// The format that the file's name, or the path of its address, ends in.
fn extension(media: &Media, formats: &[(&str, &'static str)]) -> Option<&'static str> {
    let url = match &media.source {
        Source::Url(url) if url.starts_with("s3://") => Some(&**url),
        _ => None,
    };
    let (_, extension) = media.name.as_deref().or(url)?.rsplit_once('.')?;
    let extension = extension.to_ascii_lowercase();
    let extension = if extension == "jpg" { "jpeg" } else { &extension };
    formats.iter().find(|(_, format)| *format == extension).map(|(_, format)| *format)
}

/// What the first bytes are.
fn image_format(data: &str) -> Option<&'static str> {
    [("iVBOR", "png"), ("/9j/", "jpeg"), ("R0lG", "gif"), ("UklG", "webp")]
        .iter()
        .find(|(start, _)| data.starts_with(start))
        .map(|(_, format)| *format)
}

fn document_format(data: &str) -> Option<&'static str> {
    data.starts_with("JVBERi").then_some("pdf")
}
