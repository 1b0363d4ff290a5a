//! Message content: a string, a list of typed parts, or nothing.

use std::fmt;

use portcullis_plugin::ir::{CacheMark, Content as Ir, Field, Media, Part, RawItem, Source};
use portcullis_plugin::json::Writer;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::{FORMAT, keep_nested, media, rebuild};

/// What stands in `content`.
#[derive(Debug, Default)]
pub enum Content {
    #[default]
    Absent,
    Text(String),
    Parts(Vec<WirePart>),
}

portcullis_plugin::wire_object! {
    pub struct WirePart {
        kind as "type": Option<String>,
        text: Option<String>,
        refusal: Option<String>,
        image_url: Option<ImageUrl>,
        input_audio: Option<InputAudio>,
        file: Option<File>,
        /// Mistral's reasoning models: `{"type":"thinking","thinking":[{"type":"text","text":"…"}]}`.
        thinking: Option<Thinking>,
        /// The convention of OpenRouter and LiteLLM for Anthropic's cache breakpoints.
        cache_control: Option<CacheControl>,
    }

    pub struct ImageUrlObject {
        url: String,
        detail: Option<String>,
    }

    pub struct InputAudio {
        data: String,
        format: Option<String>,
    }

    pub struct File {
        file_id: Option<String>,
        file_data: Option<String>,
        filename: Option<String>,
    }

    pub struct CacheControl {
        ttl: Option<String>,
    }
}

/// `image_url`: an object, or the bare URL that Mistral also takes.
#[derive(Debug, Default)]
pub struct ImageUrl(pub ImageUrlObject);

/// Thinking text: a string or a list of text parts.
#[derive(Debug, Default)]
pub struct Thinking(pub String);

impl CacheControl {
    /// `"5m"`, `"1h"` or seconds as `"3600s"`; what is not understood is the provider's default.
    pub fn mark(&self) -> CacheMark {
        let seconds = self.ttl.as_deref().and_then(|ttl| {
            let digits = ttl.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let unit = match &ttl[digits.len()..] {
                "s" => 1,
                "m" => 60,
                "h" => 3600,
                _ => return None,
            };
            digits.parse::<u32>().ok()?.checked_mul(unit)
        });
        CacheMark { ttl: seconds }
    }
}

/// Writes a cache mark as `cache_control`.
pub fn write_cache(writer: &mut Writer, mark: CacheMark) {
    writer.key("cache_control");
    writer.begin_object();
    writer.member_string("type", "ephemeral");
    match mark.ttl {
        None => {}
        Some(seconds) if seconds % 3600 == 0 => writer.member_string("ttl", &format!("{}h", seconds / 3600)),
        Some(seconds) if seconds % 60 == 0 => writer.member_string("ttl", &format!("{}m", seconds / 60)),
        Some(seconds) => writer.member_string("ttl", &format!("{seconds}s")),
    }
    writer.end_object();
}

impl WirePart {
    /// The part in the internal representation. An unknown type is kept whole; an error names the member that is missing.
    pub fn into_part(self) -> Result<Part, &'static str> {
        let kind = self.kind.as_deref().unwrap_or(if self.text.is_some() { "text" } else { "" });
        let mut extra = Vec::new();
        let content = match kind {
            "text" | "input_text" | "output_text" => Ir::Text(self.text.ok_or("text")?),
            "refusal" => Ir::Refusal(self.refusal.ok_or("refusal")?),
            "image_url" => image(self.image_url.ok_or("image_url")?.0, &mut extra),
            "input_audio" => audio(self.input_audio.ok_or("input_audio")?, &mut extra),
            "file" => document(self.file.ok_or("file")?, &mut extra)?,
            _ => {
                let value = rebuild(self.kind.as_deref(), self.text.as_deref(), &self.extra);
                let item = RawItem { format: FORMAT.to_owned(), kind: kind.to_owned(), value };
                return Ok(Part::new(Ir::Other(item)));
            }
        };
        extra.extend(self.extra);
        Ok(Part { content, cache: self.cache_control.map(|control| control.mark()), carry: Vec::new(), extra })
    }
}

fn image(image: ImageUrlObject, extra: &mut Vec<Field>) -> Ir {
    keep_nested(extra, "image_url/", image.extra);
    let (source, media_type) = media::from_url(image.url);
    Ir::Image(Media { source, media_type, name: None, detail: image.detail })
}

fn audio(audio: InputAudio, extra: &mut Vec<Field>) -> Ir {
    keep_nested(extra, "input_audio/", audio.extra);
    let media_type = audio.format.as_deref().map(media::audio_type);
    Ir::Audio(Media { source: Source::Base64(audio.data), media_type, name: None, detail: None })
}

fn document(file: File, extra: &mut Vec<Field>) -> Result<Ir, &'static str> {
    keep_nested(extra, "file/", file.extra);
    let (source, media_type) = match (file.file_data, file.file_id) {
        (Some(data), _) if data.starts_with("data:") => media::from_url(data),
        // The reference calls `file_data` base64 and its examples send a data URL; both are taken.
        (Some(data), _) => (Source::Base64(data), None),
        (None, Some(id)) => (Source::File(id), None),
        (None, None) => return Err("file.file_data"),
    };
    Ok(Ir::Document(Media { source, media_type, name: file.filename, detail: None }))
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContentVisitor;

        impl<'de> Visitor<'de> for ContentVisitor {
            type Value = Content;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a string, a list of content parts, or null")
            }

            fn visit_str<E>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Content, E> {
                Ok(Content::Text(text))
            }

            fn visit_unit<E>(self) -> Result<Content, E> {
                Ok(Content::Absent)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Content, A::Error> {
                let mut parts = Vec::new();
                while let Some(Item(part)) = items.next_element()? {
                    parts.push(part);
                }
                Ok(Content::Parts(parts))
            }
        }

        deserializer.deserialize_any(ContentVisitor)
    }
}

/// One member of a content list: a part, or the bare string that some clients send.
struct Item(WirePart);

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemVisitor;

        impl<'de> Visitor<'de> for ItemVisitor {
            type Value = Item;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a content part")
            }

            fn visit_str<E>(self, text: &str) -> Result<Item, E> {
                Ok(Item(WirePart { text: Some(text.to_owned()), ..WirePart::default() }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Item, A::Error> {
                WirePart::deserialize(MapAccessDeserializer::new(map)).map(Item)
            }
        }

        deserializer.deserialize_any(ItemVisitor)
    }
}

impl<'de> Deserialize<'de> for ImageUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UrlVisitor;

        impl<'de> Visitor<'de> for UrlVisitor {
            type Value = ImageUrl;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an object with `url`, or a URL")
            }

            fn visit_str<E>(self, url: &str) -> Result<ImageUrl, E> {
                Ok(ImageUrl(ImageUrlObject { url: url.to_owned(), ..ImageUrlObject::default() }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ImageUrl, A::Error> {
                ImageUrlObject::deserialize(MapAccessDeserializer::new(map)).map(ImageUrl)
            }
        }

        deserializer.deserialize_any(UrlVisitor)
    }
}

impl<'de> Deserialize<'de> for Thinking {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Thinking(match Content::deserialize(deserializer)? {
            Content::Absent => String::new(),
            Content::Text(text) => text,
            Content::Parts(parts) => parts.into_iter().filter_map(|part| part.text).collect(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(json: &str) -> Part {
        serde_json::from_str::<WirePart>(json).unwrap().into_part().unwrap()
    }

    #[test]
    fn a_data_url_becomes_base64_with_its_type() {
        let part = part(r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}}"#);
        let Ir::Image(media) = part.content else { panic!() };
        assert_eq!(media.source, Source::Base64("AAAA".into()));
        assert_eq!((media.media_type.as_deref(), media.detail.as_deref()), (Some("image/png"), Some("low")));
    }

    #[test]
    fn an_unknown_part_is_kept_whole() {
        let part = part(r#"{"type":"video_url","video_url":{"url":"https://v"}}"#);
        let Ir::Other(item) = part.content else { panic!() };
        assert_eq!(
            (item.kind.as_str(), item.value.as_str()),
            ("video_url", r#"{"type":"video_url","video_url":{"url":"https://v"}}"#)
        );
    }

    #[test]
    fn cache_control_survives() {
        for (ttl, seconds) in
            [("", None), (r#","ttl":"5m""#, Some(300)), (r#","ttl":"1h""#, Some(3600)), (r#","ttl":"7s""#, Some(7))]
        {
            let json = format!(r#"{{"type":"ephemeral"{ttl}}}"#);
            let mark = serde_json::from_str::<CacheControl>(&json).unwrap().mark();
            assert_eq!(mark.ttl, seconds);
            let mut writer = Writer::new();
            writer.begin_object();
            write_cache(&mut writer, mark);
            writer.end_object();
            assert_eq!(writer.finish(), format!(r#"{{"cache_control":{json}}}"#));
        }
    }
}
