//! The content of a message and of a tool's output: a string, or a list of typed pieces.

use std::fmt;

use portcullis_plugin::ir::{CacheMark, Content as Ir, Field, Media, Part, RawItem, ResultContent, ResultPart, Source};
use portcullis_plugin::json::Writer;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{ANNOTATIONS, raw};
use crate::responses::FORMAT;
use crate::wire::{media, write_fields};

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
        image_url: Option<String>,
        file_id: Option<String>,
        detail: Option<String>,
        file_data: Option<String>,
        file_url: Option<String>,
        filename: Option<String>,
        input_audio: Option<Audio>,
        annotations: Option<Box<RawValue>>,
        prompt_cache_breakpoint: Option<Breakpoint>,
    }

    pub struct Audio {
        data: Option<String>,
        format: Option<String>,
    }

    pub struct Breakpoint {
        mode: Option<String>,
        ttl: Option<String>,
    }
}

impl Breakpoint {
    fn mark(&self) -> CacheMark {
        CacheMark {
            ttl: match self.ttl.as_deref() {
                Some("30m") => Some(1800),
                Some("12h") => Some(43_200),
                _ => None,
            },
        }
    }
}

/// Writes a cache mark as `prompt_cache_breakpoint`, with the shortest life that is as long.
pub fn write_cache(writer: &mut Writer, mark: CacheMark) {
    writer.key("prompt_cache_breakpoint");
    writer.begin_object();
    writer.member_string("mode", "explicit");
    if let Some(seconds) = mark.ttl {
        writer.member_string("ttl", if seconds <= 1800 { "30m" } else { "12h" });
    }
    writer.end_object();
}

impl WirePart {
    /// The piece in the internal representation. An unknown type is kept whole; an error names the member that is missing.
    pub fn into_part(self) -> Result<Part, &'static str> {
        let kind = self.kind.as_deref().unwrap_or(if self.text.is_some() { "input_text" } else { "" });
        let content = match kind {
            "input_text" | "output_text" | "text" => Ir::Text(self.text.ok_or("text")?),
            "refusal" => Ir::Refusal(self.refusal.ok_or("refusal")?),
            "input_image" => {
                let (source, media_type) = match (self.image_url, self.file_id) {
                    (Some(url), _) => media::from_url(url),
                    (None, Some(id)) => (Source::File(id), None),
                    (None, None) => return Err("image_url"),
                };
                Ir::Image(Media { source, media_type, name: None, detail: self.detail })
            }
            "input_file" => {
                let (source, media_type) = match (self.file_data, self.file_url, self.file_id) {
                    (Some(data), _, _) if data.starts_with("data:") => media::from_url(data),
                    (Some(data), _, _) => (Source::Base64(data), None),
                    (None, Some(url), _) => (Source::Url(url), None),
                    (None, None, Some(id)) => (Source::File(id), None),
                    (None, None, None) => return Err("file_data"),
                };
                Ir::Document(Media { source, media_type, name: self.filename, detail: self.detail })
            }
            "input_audio" => {
                let audio = self.input_audio.ok_or("input_audio")?;
                let data = audio.data.ok_or("input_audio.data")?;
                let media_type = audio.format.as_deref().map(media::audio_type);
                Ir::Audio(Media { source: Source::Base64(data), media_type, name: None, detail: None })
            }
            _ => {
                let item = RawItem { format: FORMAT.to_owned(), kind: kind.to_owned(), value: self.rebuild() };
                return Ok(Part::new(Ir::Other(item)));
            }
        };
        let annotations = self.annotations.map(raw).filter(|list| list != "[]");
        Ok(Part {
            content,
            cache: self.prompt_cache_breakpoint.map(|mark| mark.mark()),
            carry: annotations.map(|list| Field::new(ANNOTATIONS, list)).into_iter().collect(),
            // No probabilities were asked for.
            extra: self.extra.into_iter().filter(|field| field.name != "logprobs" || field.value != "[]").collect(),
        })
    }

    fn rebuild(&self) -> String {
        let mut writer = Writer::with_capacity(128);
        writer.begin_object();
        let texts = [
            ("type", &self.kind),
            ("text", &self.text),
            ("refusal", &self.refusal),
            ("image_url", &self.image_url),
            ("file_id", &self.file_id),
            ("detail", &self.detail),
            ("file_data", &self.file_data),
            ("file_url", &self.file_url),
            ("filename", &self.filename),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                writer.member_string(name, text);
            }
        }
        if let Some(annotations) = &self.annotations {
            writer.member_raw("annotations", annotations.get());
        }
        if let Some(mark) = &self.prompt_cache_breakpoint {
            write_cache(&mut writer, mark.mark());
        }
        write_fields(&mut writer, &self.extra);
        writer.end_object();
        writer.finish()
    }
}

impl Content {
    /// Parts of a message. An error is the place and member that is missing: `[2].text`.
    pub fn into_parts(self) -> Result<Vec<Part>, String> {
        match self {
            Content::Absent => Ok(Vec::new()),
            Content::Text(text) => Ok(vec![Part::text(text)]),
            Content::Parts(parts) => (0..)
                .zip(parts)
                .map(|(index, part): (usize, _)| part.into_part().map_err(|member| format!("[{index}].{member}")))
                .collect(),
        }
    }

    /// Parts of a tool's output.
    pub fn into_result(self) -> Result<Vec<ResultPart>, String> {
        let text = matches!(&self, Content::Text(text) if text.is_empty());
        let parts = if text { Vec::new() } else { self.into_parts()? };
        Ok(parts.into_iter().map(result_part).collect())
    }
}

fn result_part(part: Part) -> ResultPart {
    let content = match part.content {
        Ir::Text(text) | Ir::Refusal(text) => ResultContent::Text(text),
        Ir::Image(media) => ResultContent::Image(media),
        Ir::Document(media) | Ir::Audio(media) | Ir::Video(media) => ResultContent::Document(media),
        Ir::Other(item) => ResultContent::Other(item),
        // `into_part` makes none of these.
        Ir::ToolCall(_) | Ir::ToolResult(_) | Ir::Reasoning(_) => ResultContent::Text(String::new()),
    };
    ResultPart { content, cache: part.cache, extra: part.extra }
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

            fn visit_unit<E>(self) -> Result<Content, E> {
                Ok(Content::Absent)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Content, A::Error> {
                let mut parts = Vec::new();
                while let Some(part) = items.next_element()? {
                    parts.push(part);
                }
                Ok(Content::Parts(parts))
            }
        }

        deserializer.deserialize_any(ContentVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(json: &str) -> Part {
        serde_json::from_str::<WirePart>(json).unwrap().into_part().unwrap()
    }

    #[test]
    fn images_and_files_come_by_every_way() {
        for (json, source) in [
            (r#"{"type":"input_image","image_url":"data:image/png;base64,AAAA"}"#, Source::Base64("AAAA".into())),
            (r#"{"type":"input_image","image_url":"https://a/b.png"}"#, Source::Url("https://a/b.png".into())),
            (r#"{"type":"input_image","file_id":"file-1"}"#, Source::File("file-1".into())),
            (r#"{"type":"input_file","file_data":"AAAA","filename":"a.pdf"}"#, Source::Base64("AAAA".into())),
            (r#"{"type":"input_file","file_url":"https://a/b.pdf"}"#, Source::Url("https://a/b.pdf".into())),
            (r#"{"type":"input_file","file_id":"file-1"}"#, Source::File("file-1".into())),
        ] {
            let (Ir::Image(media) | Ir::Document(media)) = part(json).content else { panic!("{json}") };
            assert_eq!(media.source, source, "{json}");
        }
    }

    #[test]
    fn an_unknown_piece_is_kept_whole() {
        let json = r#"{"type":"computer_screenshot","image_url":"https://a/b.png","x":[1]}"#;
        let Ir::Other(item) = part(json).content else { panic!() };
        assert_eq!((item.kind.as_str(), item.value.as_str()), ("computer_screenshot", json));
    }

    #[test]
    fn cache_marks_survive() {
        for ttl in ["", r#","ttl":"30m""#, r#","ttl":"12h""#] {
            let json = format!(r#"{{"prompt_cache_breakpoint":{{"mode":"explicit"{ttl}}}}}"#);
            let wire: WirePart = serde_json::from_str(&json).unwrap();
            let mut writer = Writer::new();
            writer.begin_object();
            write_cache(&mut writer, wire.prompt_cache_breakpoint.unwrap().mark());
            writer.end_object();
            assert_eq!(writer.finish(), json);
        }
    }
}
