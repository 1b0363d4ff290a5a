//! Images, documents, audio and video, by the formats that the service model names. Bytes are sent inline; a URL is read by nobody
//! here, but for S3's, which Bedrock reads itself.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_plugin::ir::{Failure, Media, Source};
use portcullis_plugin::json::Writer;

use super::names::Documents;
use super::request::unsupported;
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

pub fn image(writer: &mut Writer, media: &Media, notes: &mut Notes) -> Result<(), Failure> {
    if media.detail.as_deref().is_some_and(|detail| detail != "auto") {
        notes.dropped("image.detail");
    }
    begin(writer, "image", "images", media, IMAGES, image_format)
}

pub fn video(writer: &mut Writer, media: &Media) -> Result<(), Failure> {
    begin(writer, "video", "videos", media, VIDEOS, |_| None)
}

pub fn audio(writer: &mut Writer, media: &Media) -> Result<(), Failure> {
    begin(writer, "audio", "audio", media, SOUNDS, |_| None)
}

fn begin(
    writer: &mut Writer,
    member: &str,
    many: &str,
    media: &Media,
    formats: &[(&str, &'static str)],
    sniff: impl Fn(&str) -> Option<&'static str>,
) -> Result<(), Failure> {
    let inline = Inline::of(media, many)?;
    let kind = inline.media_type.or(media.media_type.as_deref());
    let said = kind.and_then(|kind| format(kind, formats)).or_else(|| extension(media, formats));
    let known = said.or_else(|| inline.data().and_then(&sniff));
    let Some(known) = known else {
        return Err(unsupported(
            "messages",
            &format!(
                "Bedrock takes {many} of the types {}, not {}",
                names(formats),
                kind.unwrap_or("one that is not said")
            ),
        ));
    };
    writer.begin_object();
    writer.key(member);
    writer.begin_object();
    writer.member_string("format", known);
    inline.source(writer);
    writer.end_object();
    writer.end_object();
    Ok(())
}

/// A document, under a name that the model sees: names are data of the client's, as its other texts are.
pub fn document(writer: &mut Writer, media: &Media, documents: &mut Documents) -> Result<(), Failure> {
    let text;
    let (inline, kind) = match &media.source {
        Source::Text(plain) => {
            text = STANDARD.encode(plain);
            (Inline { media_type: None, place: Place::Bytes(&text) }, Some("text/plain"))
        }
        _ => {
            let inline = Inline::of(media, "documents")?;
            let kind = inline.media_type.or(media.media_type.as_deref());
            (inline, kind)
        }
    };
    let known = kind.and_then(|kind| format(kind, DOCUMENTS)).or_else(|| extension(media, DOCUMENTS));
    let known = known.or_else(|| inline.data().filter(|data| data.starts_with("JVBERi")).map(|_| "pdf"));
    let Some(known) = known else {
        return Err(unsupported(
            "messages",
            &format!(
                "Bedrock takes documents of the types {}, not {}",
                names(DOCUMENTS),
                kind.unwrap_or("one that is not said")
            ),
        ));
    };
    writer.begin_object();
    writer.key("document");
    writer.begin_object();
    writer.member_string("format", known);
    writer.member_string("name", &documents.name(media.name.as_deref()));
    inline.source(writer);
    writer.end_object();
    writer.end_object();
    Ok(())
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
    fn of(media: &'a Media, many: &str) -> Result<Self, Failure> {
        match &media.source {
            Source::Base64(data) => Ok(Inline { media_type: None, place: Place::Bytes(data) }),
            Source::Url(url) if url.starts_with("s3://") => Ok(Inline { media_type: None, place: Place::S3(url) }),
            Source::Url(url) => match data_url(url) {
                Some((kind, data)) => Ok(Inline { media_type: Some(kind), place: Place::Bytes(data) }),
                None => Err(unsupported("messages", &format!("Bedrock takes {many} inline or from S3, not by URL"))),
            },
            Source::File(_) => Err(unsupported(
                "messages",
                "a file uploaded to another provider cannot be read by Bedrock; send it inline",
            )),
            Source::Text(_) => {
                Err(unsupported("messages", &format!("text is not among the {many} that Bedrock takes")))
            }
        }
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

fn names(formats: &[(&str, &str)]) -> String {
    let mut names: Vec<_> = formats.iter().map(|(_, format)| *format).collect();
    names.dedup();
    names.join(", ")
}

/// What the first bytes are.
fn image_format(data: &str) -> Option<&'static str> {
    [("iVBOR", "png"), ("/9j/", "jpeg"), ("R0lG", "gif"), ("UklG", "webp")]
        .iter()
        .find(|(start, _)| data.starts_with(start))
        .map(|(_, format)| *format)
}

/// `data:image/png;base64,…`, as OpenAI clients write inline images.
fn data_url(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    Some((head.strip_suffix(";base64")?, data))
}
