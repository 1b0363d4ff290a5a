//! Content blocks, read: of requests and of answers, since a client sends back what it was answered.
//!
//! A block is read in one pass over its members when `type` comes first, as every client writes it. Members read before the
//! type is known wait as raw slices of the body. Invariant: a block of a kind without a counterpart in the IR, or with a
//! shape it cannot hold, is kept whole as a raw item; a member the IR has no place for is kept in the part's `extra`, or in
//! `carry` if the provider must see it again.

use std::borrow::Cow;
use std::fmt;

use portcullis_plugin::ir::{
    Content, Field, Media, Part, RawItem, Reasoning, ResultContent, ResultPart, SearchResult, Source, ToolCall,
    ToolResult,
};
use portcullis_plugin::json::{self, Key, Writer};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::cache::WireCacheControl;
use crate::{FORMAT, signature};

/// The namespace of `carry` fields.
pub const CARRY: &str = "anthropic.";
/// Members that the API wants back as it sent them.
const CARRIED: &[&str] = &["citations", "caller", "toolset_name"];

/// One content block.
#[derive(Debug)]
pub struct Block(pub Part);

/// A message's content: one string, which is short for one text block, or a list of blocks.
#[derive(Debug, Default)]
pub struct Blocks(pub Vec<Part>);

/// A tool result's content, likewise.
#[derive(Debug, Default)]
struct ResultBlocks(Vec<ResultPart>);

portcullis_plugin::wire_object! {
    struct WireSource {
        kind as "type": Option<String>,
        media_type: Option<String>,
        data: Option<String>,
        url: Option<String>,
        file_id: Option<String>,
    }
    struct WireSearchText {
        kind as "type": Option<String>,
        text: Option<String>,
    }
}

impl<'de> Deserialize<'de> for Blocks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor).map(Blocks)
    }
}

impl<'de> Deserialize<'de> for ResultBlocks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let list = deserializer.deserialize_any(ListVisitor)?;
        list.into_iter().map(result_part).collect::<Result<_, _>>().map(ResultBlocks)
    }
}

/// A string or a list of blocks, as a list of blocks.
struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = Vec<Part>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a string or a list of content blocks")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<Part>, E> {
        Ok(vec![Part::text(text)])
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Vec<Part>, E> {
        Ok(vec![Part::text(text)])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Part>, A::Error> {
        let mut parts = Vec::with_capacity(list.size_hint().unwrap_or(1));
        while let Some(Block(part)) = list.next_element()? {
            parts.push(part);
        }
        Ok(parts)
    }
}

impl<'de> Deserialize<'de> for Block {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BlockVisitor)
    }
}

struct BlockVisitor;

impl<'de> Visitor<'de> for BlockVisitor {
    type Value = Block;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a content block")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Block, A::Error> {
        let mut members = Members::default();
        while let Some(Key(name)) = map.next_key::<Key<'de>>()? {
            match (&*name, &*members.kind) {
                ("type", _) => members.kind = map.next_value::<Key<'de>>()?.0,
                ("text", "text") | ("thinking", "thinking") => members.text = Some(map.next_value()?),
                ("content", "tool_result") => members.results = map.next_value::<ResultBlocks>()?.0,
                _ => members.raw.push((name, map.next_value()?)),
            }
        }
        members.into_part().map(Block)
    }
}

/// A block's members while its type is not known or they are not read yet.
#[derive(Default)]
struct Members<'de> {
    kind: Cow<'de, str>,
    /// The text of a text or thinking block, where it was read on the way.
    text: Option<String>,
    /// The content of a tool result, where it was read on the way.
    results: Vec<ResultPart>,
    raw: Vec<(Cow<'de, str>, &'de RawValue)>,
}

impl<'de> Members<'de> {
    fn into_part<E: Error>(mut self) -> Result<Part, E> {
        let content = match &*self.kind {
            "" => return Err(E::custom("a content block needs a `type`")),
            "text" => Content::Text(self.read_text("text")?),
            "thinking" => self.thinking()?,
            "redacted_thinking" => self.redacted()?,
            "tool_use" => Content::ToolCall(ToolCall {
                id: self.required("id")?,
                name: self.required("name")?,
                arguments: self.take("input").map_or("{}", RawValue::get).to_owned(),
                custom: false,
            }),
            "tool_result" => self.tool_result()?,
            "image" => match self.media()? {
                Some(media) => Content::Image(media),
                None => self.item(),
            },
            "document" => match self.media()? {
                Some(media) => Content::Document(media),
                None => self.item(),
            },
            _ => self.item(),
        };
        let mut part = Part::new(content);
        for (name, value) in self.raw {
            if name == "cache_control" {
                let control: Option<WireCacheControl> = parse(&name, value)?;
                match control.as_ref().map(WireCacheControl::mark) {
                    None => {}
                    Some(Some(mark)) => part.cache = Some(mark),
                    Some(None) => part.extra.push(Field::new(name, value.get())),
                }
            } else if CARRIED.contains(&&*name) && matches!(part.content, Content::Text(_) | Content::ToolCall(_)) {
                if value.get() != "null" {
                    part.carry.push(Field::new(format!("{CARRY}{name}"), value.get()));
                }
            } else {
                part.extra.push(Field::new(name, value.get()));
            }
        }
        Ok(part)
    }

    fn take(&mut self, name: &str) -> Option<&'de RawValue> {
        let at = self.raw.iter().position(|(member, _)| member == name)?;
        Some(self.raw.remove(at).1)
    }

    fn optional<T: DeserializeOwned, E: Error>(&mut self, name: &str) -> Result<Option<T>, E> {
        match self.take(name) {
            Some(value) => parse(name, value),
            None => Ok(None),
        }
    }

    fn required<T: DeserializeOwned, E: Error>(&mut self, name: &str) -> Result<T, E> {
        self.optional(name)?.ok_or_else(|| E::custom(format!("a `{}` block needs `{name}`", self.kind)))
    }

    fn read_text<E: Error>(&mut self, name: &str) -> Result<String, E> {
        match self.text.take() {
            Some(text) => Ok(text),
            None => self.required(name),
        }
    }

    fn thinking<E: Error>(&mut self) -> Result<Content, E> {
        let text = self.read_text("thinking")?;
        let carried: Option<String> = self.optional("signature")?;
        let (format, signature) = signature::unwrap(carried.as_deref().unwrap_or_default());
        Ok(Content::Reasoning(Reasoning {
            text,
            summary: false,
            signature: (!signature.is_empty()).then(|| signature.to_owned()),
            redacted: None,
            format: format.to_owned(),
        }))
    }

    fn redacted<E: Error>(&mut self) -> Result<Content, E> {
        let carried: String = self.required("data")?;
        let (format, data) = signature::unwrap(&carried);
        Ok(Content::Reasoning(Reasoning {
            text: String::new(),
            summary: false,
            signature: None,
            redacted: Some(data.to_owned()),
            format: format.to_owned(),
        }))
    }

    fn tool_result<E: Error>(&mut self) -> Result<Content, E> {
        let mut parts = std::mem::take(&mut self.results);
        if let Some(content) = self.take("content") {
            parts = parse::<Option<ResultBlocks>, E>("content", content)?.unwrap_or_default().0;
        }
        Ok(Content::ToolResult(ToolResult {
            call_id: self.required("tool_use_id")?,
            name: None,
            parts,
            is_error: self.optional("is_error")?.unwrap_or(false),
        }))
    }

    /// An image or a document whose source the IR can name; otherwise nothing is taken.
    fn media<E: Error>(&mut self) -> Result<Option<Media>, E> {
        let Some(raw) = self.raw.iter().find(|(name, _)| name == "source").map(|(_, value)| *value) else {
            return Err(E::custom(format!("a `{}` block needs `source`", self.kind)));
        };
        let wire: WireSource = parse("source", raw)?;
        if !wire.extra.is_empty() {
            return Ok(None);
        }
        let source = match (wire.kind.as_deref(), wire.data, wire.url, wire.file_id) {
            (Some("base64"), Some(data), None, None) => Source::Base64(data),
            (Some("text"), Some(data), None, None) => Source::Text(data),
            (Some("url"), None, Some(url), None) => Source::Url(url),
            (Some("file"), None, None, Some(file)) => Source::File(file),
            _ => return Ok(None),
        };
        self.take("source");
        let name = if self.kind == "document" { self.optional("title")? } else { None };
        Ok(Some(Media { source, media_type: wire.media_type, name, detail: None }))
    }

    /// The whole block, as it stood but for the order of its members.
    fn item(&mut self) -> Content {
        let mut writer = Writer::new();
        writer.begin_object();
        writer.member_string("type", &self.kind);
        for (name, value) in self.raw.drain(..) {
            writer.member_raw(&name, value.get());
        }
        writer.end_object();
        Content::Other(RawItem { format: FORMAT.to_owned(), kind: self.kind.to_string(), value: writer.finish() })
    }
}

/// A member's value; the error says which member.
fn parse<T: DeserializeOwned, E: Error>(name: &str, value: &RawValue) -> Result<T, E> {
    json::from_str(value.get()).map_err(|error| {
        // The position is one within the member, which would mislead.
        let text = error.to_string();
        let text = text.rsplit_once(" at line ").map_or(&*text, |(text, _)| text);
        E::custom(format!("{name}: {text}"))
    })
}

/// A block within a tool's result.
fn result_part<E: Error>(part: Part) -> Result<ResultPart, E> {
    let Part { content, cache, carry, mut extra } = part;
    extra.extend(carry.into_iter().map(|field| Field::new(field.name.trim_start_matches(CARRY), field.value)));
    let content = match content {
        Content::Text(text) => ResultContent::Text(text),
        Content::Image(media) => ResultContent::Image(media),
        Content::Document(media) => ResultContent::Document(media),
        Content::Other(item) if item.kind == "search_result" => {
            return Ok(search_result(&item.value).unwrap_or_else(|| ResultPart::new(ResultContent::Other(item))));
        }
        Content::Other(item) => ResultContent::Other(item),
        _ => return Err(E::custom("a tool result holds text, images, documents and search results")),
    };
    Ok(ResultPart { content, cache, extra })
}

/// A search result whose texts are plain; absent where the IR would lose something.
fn search_result(value: &str) -> Option<ResultPart> {
    portcullis_plugin::wire_object! {
        struct WireSearchResult {
            kind as "type": Option<String>,
            source: Option<String>,
            title: Option<String>,
            content: Option<Vec<WireSearchText>>,
            citations: Option<Box<RawValue>>,
            cache_control: Option<WireCacheControl>,
        }
    }
    let wire: WireSearchResult = json::from_str(value).ok()?;
    let cache = match &wire.cache_control {
        Some(control) => Some(control.mark()?),
        None => None,
    };
    let texts =
        wire.content?.into_iter().map(|text| text.text.filter(|_| text.extra.is_empty())).collect::<Option<_>>()?;
    let citations = wire.citations.map(|citations| Box::<str>::from(citations).into());
    let content =
        ResultContent::SearchResult(SearchResult { source: wire.source?, title: wire.title?, texts, citations });
    Some(ResultPart { content, cache, extra: wire.extra })
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_plugin::ir::CacheMark;

    fn blocks(text: &str) -> Vec<Part> {
        serde_json::from_str::<Blocks>(text).unwrap().0
    }

    #[test]
    fn a_string_is_one_text_block() {
        assert_eq!(blocks(r#""a \"b\"""#), [Part::text("a \"b\"")]);
    }

    #[test]
    fn the_order_of_members_does_not_matter() {
        let sorted = r#"[{"cache_control":{"type":"ephemeral","ttl":"1h"},"text":"hi","type":"text"},
            {"content":[{"text":"r","type":"text"}],"is_error":true,"tool_use_id":"t","type":"tool_result"}]"#;
        let typed = r#"[{"type":"text","text":"hi","cache_control":{"ttl":"1h","type":"ephemeral"}},
            {"type":"tool_result","tool_use_id":"t","is_error":true,"content":[{"type":"text","text":"r"}]}]"#;
        assert_eq!(blocks(sorted), blocks(typed));
        assert_eq!(blocks(typed)[0].cache, Some(CacheMark { ttl: Some(3600) }));
    }

    #[test]
    fn what_the_ir_does_not_know_is_kept_whole() {
        let parts = blocks(r#"[{"type":"container_upload","file_id":"f","x":[1, 2]}]"#);
        let Content::Other(item) = &parts[0].content else { panic!("{parts:?}") };
        assert_eq!(
            (&*item.kind, &*item.value),
            ("container_upload", r#"{"type":"container_upload","file_id":"f","x":[1, 2]}"#)
        );
    }

    #[test]
    fn a_source_the_ir_cannot_name_keeps_its_block_whole() {
        let wire =
            r#"[{"type":"document","source":{"type":"content","content":[{"type":"text","text":"a"}]},"title":"t"}]"#;
        let parts = blocks(wire);
        let Content::Other(item) = &parts[0].content else { panic!("{parts:?}") };
        assert_eq!(format!("[{}]", item.value), wire);
    }

    #[test]
    fn errors_name_the_member() {
        let error =
            serde_json::from_str::<Blocks>(r#"[{"type":"tool_use","id":7,"name":"n"}]"#).unwrap_err().to_string();
        assert!(error.starts_with("id: invalid type: integer `7`, expected a string"), "{error}");
        let error = serde_json::from_str::<Blocks>(r#"[{"type":"tool_use","name":"n"}]"#).unwrap_err().to_string();
        assert!(error.starts_with("a `tool_use` block needs `id`"), "{error}");
    }
}
