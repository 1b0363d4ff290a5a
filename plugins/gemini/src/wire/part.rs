//! Parts of a content, read (<https://ai.google.dev/api/caching#Part>).
//!
//! A part's own members that the IR has no place for (`videoMetadata`, `mediaResolution`, …) go to its `extra`, those of an
//! object inside it under `OBJECT.NAME`. A part of a kind that is not modelled (code execution, server-side tools, images thought
//! of) is a raw item that holds the whole part.

use portcullis_plugin::json::{self, Unknown, Writer};
use portcullis_plugin::prelude::*;
use serde_json::value::RawValue;

use super::{OneOrMany, Word, base64_standard, write};
use crate::{FORMAT, ids, signature};

wire! {
    pub struct WireContent {
        role "role": Option<Word>,
        parts "parts": OneOrMany<WirePart>,
    }
    pub struct WirePart {
        text "text": Option<String>,
        thought "thought": Option<bool>,
        signature "thoughtSignature": Option<String>,
        inline "inlineData": Option<WireBlob>,
        file "fileData": Option<WireFile>,
        call "functionCall": Option<WireCall>,
        result "functionResponse": Option<WireResult>,
        metadata "partMetadata": Option<Box<RawValue>>,
    }
    pub struct WireBlob {
        mime_type "mimeType": Option<String>,
        data "data": Option<String>,
        name "displayName": Option<String>,
    }
    pub struct WireFile {
        mime_type "mimeType": Option<String>,
        uri "fileUri": Option<String>,
        name "displayName": Option<String>,
    }
    pub struct WireCall {
        id "id": Option<String>,
        name "name": Option<String>,
        args "args": Option<Box<RawValue>>,
    }
    pub struct WireResult {
        id "id": Option<String>,
        name "name": Option<String>,
        response "response": Option<Box<RawValue>>,
        parts "parts": OneOrMany<WireResultPart>,
    }
    pub struct WireResultPart {
        inline "inlineData": Option<WireBlob>,
        file "fileData": Option<WireFile>,
    }
}

/// What this gateway wrote into a part that it encoded for a client of this protocol from another provider's answer: what
/// must return to that provider.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct Foreign {
    format: Option<String>,
    signature: Option<String>,
    redacted: Option<String>,
    summary: bool,
    /// The text stands in the thoughts before it, piece by piece.
    preceding: bool,
    carry: std::collections::BTreeMap<String, Box<RawValue>>,
}

#[derive(serde::Deserialize)]
struct Metadata {
    portcullis: Foreign,
}

/// Gives ids to calls and results.
pub trait Ids {
    fn call(&mut self, id: Option<String>, name: &str) -> String;
    fn result(&mut self, id: Option<String>, name: &str) -> String;
}

/// The calls of an answer.
pub struct AnswerIds<'a> {
    pub context: &'a Context,
    /// The answer's id.
    pub answer: &'a str,
    pub choice: u32,
    /// Calls so far.
    pub calls: &'a mut u32,
}

impl Ids for AnswerIds<'_> {
    fn call(&mut self, id: Option<String>, _: &str) -> String {
        *self.calls += 1;
        id.filter(|id| !id.is_empty())
            .unwrap_or_else(|| ids::in_answer(self.context, self.answer, self.choice, *self.calls - 1))
    }

    fn result(&mut self, id: Option<String>, name: &str) -> String {
        id.unwrap_or_else(|| name.to_owned())
    }
}

impl WirePart {
    /// Whether the part is text, thought or spoken.
    pub fn is_text(&self) -> bool {
        self.text.is_some()
            && self.inline.is_none()
            && self.file.is_none()
            && self.call.is_none()
            && self.result.is_none()
            && self.metadata.is_none()
            && self.extra.is_empty()
    }

    pub fn thinks(&self) -> bool {
        self.thought == Some(true)
    }

    /// The part's signature, unless a guard emptied it with the text that it signed.
    pub fn own_signature(&self) -> Option<&str> {
        self.signature.as_deref().filter(|signature| !signature.is_empty())
    }

    pub fn into_part(mut self, ids: &mut impl Ids) -> Part {
        let foreign = self.foreign();
        let mut carry: Vec<Field> = self.own_signature().map(signature::field).into_iter().collect();
        if self.is_raw() {
            return Part::new(Content::Other(self.into_raw()));
        }
        let thinks = self.thinks();
        let mut extra = std::mem::take(&mut self.extra);
        if let Some(metadata) = self.metadata {
            extra.push(Field::new("partMetadata", metadata.get()));
        }
        let content = if let Some(call) = self.call {
            // The text that was signed is gone, and the API refuses a call of this turn without a signature.
            if self.signature.as_deref() == Some("") {
                carry.push(signature::field(signature::UNCHECKED));
            }
            let name = call.name.unwrap_or_default();
            Content::ToolCall(ToolCall {
                id: ids.call(call.id, &name),
                arguments: call
                    .args
                    .filter(|args| !json::is_null(args))
                    .map_or("{}".to_owned(), |args| args.get().to_owned()),
                name,
                custom: false,
            })
        } else if let Some(result) = self.result {
            tool_result(result, ids, &mut extra)
        } else if let Some(blob) = self.inline {
            nest(&mut extra, "inlineData", blob.extra);
            media(
                Source::Base64(base64_standard(blob.data.as_deref().unwrap_or_default()).into_owned()),
                blob.mime_type,
                blob.name,
            )
        } else if let Some(file) = self.file {
            nest(&mut extra, "fileData", file.extra);
            media(Source::Url(file.uri.unwrap_or_default()), file.mime_type, file.name)
        } else if thinks {
            carry.clear();
            let signed = self.signature.filter(|signature| !signature.is_empty());
            let (format, own, redacted, summary) = match &foreign {
                Some(Foreign { format: Some(format), signature, redacted, summary, preceding, .. }) => {
                    if *preceding {
                        extra.push(Field::new(PRECEDING, "true"));
                    }
                    // An empty one is what a guard leaves of a text that it changed.
                    let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
                    (format.clone(), given(signature), given(redacted), *summary)
                }
                _ => (FORMAT.to_owned(), signed, None, true),
            };
            Content::Reasoning(Reasoning {
                text: self.text.unwrap_or_default(),
                summary,
                signature: own,
                redacted,
                format,
            })
        } else {
            Content::Text(self.text.unwrap_or_default())
        };
        carry.extend(
            foreign.into_iter().flat_map(|foreign| foreign.carry).map(|(name, value)| Field::new(name, value.get())),
        );
        Part { content, cache: None, carry, extra }
    }

    /// Takes out what this gateway put in.
    fn foreign(&mut self) -> Option<Foreign> {
        let metadata = self.metadata.as_deref().filter(|metadata| metadata.get().contains("\"portcullis\""))?;
        let Metadata { portcullis } = json::from_str(metadata.get()).ok()?;
        self.metadata = None;
        Some(portcullis)
    }

    fn is_raw(&self) -> bool {
        let modelled = self.call.is_some() || self.result.is_some() || self.inline.is_some() || self.file.is_some();
        let streamed = self.call.as_ref().is_some_and(|call| !call.extra.is_empty());
        streamed || modelled && self.thinks() || !modelled && self.text.is_none() && !self.extra.is_empty()
    }

    /// The whole part again.
    fn into_raw(self) -> RawItem {
        let mut writer = Writer::new();
        writer.begin_object();
        let mut kind = None;
        if let Some(call) = &self.call {
            kind = Some("functionCall".to_owned());
            writer.key("functionCall");
            writer.begin_object();
            write::call_members(
                &mut writer,
                call.id.as_deref(),
                call.name.as_deref().unwrap_or_default(),
                call.args.as_deref().map(RawValue::get),
            );
            write::fields(&mut writer, &call.extra);
            writer.end_object();
        }
        if let Some(blob) = &self.inline {
            kind = Some("inlineData".to_owned());
            write::blob(
                &mut writer,
                blob.mime_type.as_deref(),
                blob.data.as_deref().unwrap_or_default(),
                blob.name.as_deref(),
                &blob.extra,
            );
        }
        if let Some(file) = &self.file {
            kind = Some("fileData".to_owned());
            write::file(
                &mut writer,
                file.mime_type.as_deref(),
                file.uri.as_deref().unwrap_or_default(),
                file.name.as_deref(),
                &file.extra,
            );
        }
        if let Some(text) = &self.text {
            writer.member_string("text", text);
        }
        write::fields(&mut writer, &self.extra);
        if let Some(thought) = self.thought {
            writer.member_bool("thought", thought);
        }
        if let Some(signature) = self.own_signature() {
            writer.member_string("thoughtSignature", signature);
        }
        if let Some(metadata) = &self.metadata {
            writer.member_raw("partMetadata", metadata.get());
        }
        writer.end_object();
        let kind = kind.or_else(|| self.extra.first().map(|field| field.name.clone())).unwrap_or_default();
        RawItem { format: FORMAT.to_owned(), kind, value: writer.finish() }
    }
}

/// The `extra` field of a signed thought whose text is in the thoughts before it; [`join`] takes it away.
const PRECEDING: &str = "portcullis.preceding";

/// Gives signed thoughts of other providers the text that a stream gave a client in pieces before them.
pub fn join(parts: &mut Vec<Part>) {
    let mut at = 0;
    while at < parts.len() {
        if let Some(mark) = parts[at].extra.iter().position(|field| field.name == PRECEDING) {
            parts[at].extra.remove(mark);
            let is_piece = |part: &Part| matches!(&part.content, Content::Reasoning(own) if own.format == FORMAT && own.signature.is_none());
            let first = (0..at).rev().take_while(|&index| is_piece(&parts[index])).last().unwrap_or(at);
            let text: String = parts
                .drain(first..at)
                .filter_map(|part| if let Content::Reasoning(piece) = part.content { Some(piece.text) } else { None })
                .collect();
            at = first;
            if let Content::Reasoning(reasoning) = &mut parts[at].content {
                reasoning.text.insert_str(0, &text);
            }
        }
        at += 1;
    }
}

pub fn nest(extra: &mut Unknown, object: &str, fields: Unknown) {
    extra.extend(fields.into_iter().map(|field| Field::new(format!("{object}.{}", field.name), field.value)));
}

fn media(source: Source, media_type: Option<String>, name: Option<String>) -> Content {
    let kind = media_type.as_deref().unwrap_or_default().split('/').next().unwrap_or_default().to_ascii_lowercase();
    let media = |media_type| Media { source, media_type, name, detail: None };
    match &*kind {
        "image" => Content::Image(media(media_type)),
        "audio" => Content::Audio(media(media_type)),
        "video" => Content::Video(media(media_type)),
        // Only videos come without a type: links to YouTube (recordings).
        "" => Content::Video(media(None)),
        _ => Content::Document(media(media_type)),
    }
}

// --- tool results ------------------------------------------------------------------------------------------------------

/// `response` is any object; by convention `output` holds what the function gave and `error` why it failed, and anything else is
/// itself the output (`FunctionResponse` in `google-genai`'s types).
fn tool_result(wire: WireResult, ids: &mut impl Ids, extra: &mut Unknown) -> Content {
    let name = wire.name.unwrap_or_default();
    let call_id = ids.result(wire.id, &name);
    let mut parts = Vec::new();
    let mut is_error = false;
    if let Some(response) = wire.response.filter(|response| !json::is_null(response)) {
        let (text, failed) = output(response.get());
        is_error = failed;
        parts.push(ResultPart::new(ResultContent::Text(text)));
    }
    for part in wire.parts.0 {
        parts.push(result_part(part));
    }
    nest(extra, "functionResponse", wire.extra);
    Content::ToolResult(ToolResult { call_id, name: (!name.is_empty()).then_some(name), parts, is_error })
}

/// The text of a response, and whether it tells an error.
fn output(response: &str) -> (String, bool) {
    #[derive(Default, serde::Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Plain {
        output: Option<String>,
        error: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct Failed {
        #[allow(dead_code)]
        error: Box<RawValue>,
    }
    // A text that is itself an object must stay wrapped, or it would be taken for the response.
    let plain = |text: &String| !text.trim_start().starts_with('{');
    match json::from_str::<Plain>(response) {
        Ok(Plain { output: Some(text), error: None }) if plain(&text) => (text, false),
        Ok(Plain { output: None, error: Some(text) }) if plain(&text) => (text, true),
        _ => {
            (response.to_owned(), json::from_str::<Failed>(response).is_ok_and(|failed| !json::is_null(&failed.error)))
        }
    }
}

fn result_part(wire: WireResultPart) -> ResultPart {
    let mut extra = wire.extra;
    let content = match (wire.inline, wire.file) {
        (Some(blob), _) => {
            nest(&mut extra, "inlineData", blob.extra);
            let data = base64_standard(blob.data.as_deref().unwrap_or_default()).into_owned();
            result_media(Media {
                source: Source::Base64(data),
                media_type: blob.mime_type,
                name: blob.name,
                detail: None,
            })
        }
        (None, Some(file)) => {
            nest(&mut extra, "fileData", file.extra);
            let source = Source::Url(file.uri.unwrap_or_default());
            result_media(Media { source, media_type: file.mime_type, name: file.name, detail: None })
        }
        (None, None) => {
            let mut writer = Writer::new();
            writer.begin_object();
            write::fields(&mut writer, &extra);
            writer.end_object();
            let kind = extra.first().map(|field| field.name.clone()).unwrap_or_default();
            extra = Vec::new();
            ResultContent::Other(RawItem { format: FORMAT.to_owned(), kind, value: writer.finish() })
        }
    };
    ResultPart { content, cache: None, extra }
}

fn result_media(media: Media) -> ResultContent {
    if media.media_type.as_deref().is_some_and(|kind| kind.starts_with("image/")) {
        ResultContent::Image(media)
    } else {
        ResultContent::Document(media)
    }
}
