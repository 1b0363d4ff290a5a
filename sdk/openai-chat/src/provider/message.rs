//! Messages of the internal representation as Chat Completions messages.
//!
//! The shapes differ in three places. Tool results are messages of their own and hold text alone: what else they have (images,
//! files) follows in a user message after the last of them, since nothing may stand between calls and results. Reasoning signed
//! for another provider is dropped. Fields of the client's own format go back only where this is that format.

use std::borrow::Cow;

use portcullis_plugin::ir::{
    Content, Field, Media, Message, Note, Part, Reasoning, ResultContent, ResultPart, Role, Source, ToolCall,
    ToolResult,
};
use portcullis_plugin::json::Writer;
use portcullis_plugin::media::Kind;

use crate::compat::{Compat, Documents, History};
use crate::wire::content::write_cache;
use crate::wire::message::{RAW_CALL, THOUGHT_SIGNATURE, write_call, write_thought_signature};
use crate::wire::{FORMAT, is_nested, media, reasoning, write_fields, write_nested};

/// The text of a tool's result that consists of what text cannot hold.
const SEE_BELOW: &str = "The result follows in the next message.";

pub struct Messages<'a> {
    pub compat: &'a Compat,
    pub writer: &'a mut Writer,
    pub notes: &'a mut Vec<Note>,
    /// The request came in this very format.
    pub own: bool,
    /// Media of tool results, waiting for the last result.
    pub waiting: Vec<(&'a str, Content)>,
}

/// A piece of a tool's result that stays in its message.
enum Piece<'a> {
    Text(Cow<'a, str>),
    Raw(&'a str),
}

impl<'a> Messages<'a> {
    pub fn write(&mut self, messages: &'a [Message]) {
        self.writer.begin_array();
        for (index, message) in messages.iter().enumerate() {
            self.message(&format!("/messages/{index}"), message);
        }
        self.flush();
        self.writer.end_array();
    }

    fn message(&mut self, place: &str, message: &'a Message) {
        let mut results = false;
        for part in &message.parts {
            if let Content::ToolResult(result) = &part.content {
                results = true;
                self.result(place, message, part, result);
            }
        }
        let rest: Vec<&Part> =
            message.parts.iter().filter(|part| !matches!(part.content, Content::ToolResult(_))).collect();
        if results && rest.is_empty() {
            return;
        }
        self.flush();
        self.writer.begin_object();
        let role = match message.role {
            Role::System => "system",
            Role::Developer if self.compat.developer => "developer",
            Role::Developer => "system",
            Role::Assistant => "assistant",
            Role::User | Role::Tool => "user",
        };
        self.writer.member_string("role", role);
        match &message.name {
            Some(_) if self.compat.refuses("messages/name") => note(self.notes, "dropped", format!("{place}/name")),
            Some(name) => self.writer.member_string("name", name),
            None => {}
        }
        if message.role == Role::Assistant {
            self.assistant(place, &rest);
        } else {
            self.content(place, &rest);
        }
        if self.own {
            write_fields(self.writer, &message.extra);
        } else {
            self.drop_extra(place, message);
        }
        self.writer.end_object();
    }

    fn drop_extra(&mut self, place: &str, message: &Message) {
        for field in message.extra.iter().filter(|field| field.value != "null") {
            note(self.notes, "dropped", format!("{place}/{}", field.name));
        }
    }

    /// The `content` of a message that is not an assistant's.
    fn content(&mut self, place: &str, parts: &[&'a Part]) {
        self.writer.key("content");
        if let [part] = parts
            && let (Content::Text(text), true) = (&part.content, plain(part, self.own))
        {
            self.left_over(part.cache.is_some(), &part.extra);
            self.writer.string(text);
            return;
        }
        if parts.is_empty() {
            self.writer.string("");
            return;
        }
        self.writer.begin_array();
        for part in parts {
            self.part(place, part);
        }
        self.writer.end_array();
    }

    fn part(&mut self, place: &str, part: &Part) {
        match &part.content {
            Content::Text(text) | Content::Refusal(text) => self.typed("text", part, |writer| {
                writer.member_string("text", text);
            }),
            Content::Image(image) => self.typed("image_url", part, |writer| write_image(writer, image, part)),
            Content::Audio(audio) => {
                let bare = self.compat.bare_audio;
                self.typed("input_audio", part, |writer| write_audio(writer, audio, part, bare));
            }
            Content::Document(Media { source: Source::Text(text), .. }) => {
                note(self.notes, "approximated", format!("{place}/document"));
                self.typed("text", part, |writer| {
                    writer.member_string("text", text);
                })
            }
            Content::Document(file) if self.compat.documents == Documents::Url => {
                self.typed("document_url", part, |writer| write_document_url(writer, file))
            }
            Content::Document(file) => {
                let own = self.own;
                self.typed("file", part, |writer| write_file(writer, file, part, own))
            }
            // Left out before: see `takes`.
            Content::Video(_) => {}
            Content::Other(item) if item.format == FORMAT => self.writer.raw(&item.value),
            Content::Other(item) => note(self.notes, "dropped", format!("{place}/{}", item.kind)),
            Content::Reasoning(_) => note(self.notes, "dropped", format!("{place}/reasoning")),
            Content::ToolCall(_) | Content::ToolResult(_) => {
                note(self.notes, "dropped", format!("{place}/tool_calls"));
            }
        }
    }

    /// A content part with its type, cache mark and own fields.
    fn typed(&mut self, kind: &str, part: &Part, members: impl FnOnce(&mut Writer)) {
        self.writer.begin_object();
        self.writer.member_string("type", kind);
        members(self.writer);
        if self.own {
            write_fields(self.writer, part.extra.iter().filter(|field| !is_nested(field)));
            if let Some(mark) = part.cache {
                write_cache(self.writer, mark);
            }
        }
        self.left_over(part.cache.is_some(), &part.extra);
        self.writer.end_object();
    }

    /// What a part of another protocol has beside its content: OpenAI caches by itself, and knows no other's fields.
    fn left_over(&mut self, marked: bool, extra: &[Field]) {
        if self.own {
            return;
        }
        if marked {
            note(self.notes, "dropped", "cache_control".to_owned());
        }
        // The signature has its own place, or its own note.
        for field in extra.iter().filter(|field| field.name != "extra_content" && field.value != "null") {
            note(self.notes, "dropped", format!("content.{}", field.name));
        }
    }

    fn assistant(&mut self, place: &str, parts: &[&'a Part]) {
        let calls = || parts.iter().filter(|part| is_call(part));
        let has_calls = calls().next().is_some();
        let spoken: Vec<&'a Part> = parts.iter().copied().filter(|part| self.spoken(place, part)).collect();
        let refusals = || {
            parts.iter().filter_map(|part| match &part.content {
                Content::Refusal(text) => Some(text.as_str()),
                _ => None,
            })
        };
        let has_refusal = refusals().next().is_some();
        let thoughts = self.thoughts(place, parts);
        if self.compat.history == History::ThinkingParts && !thoughts.is_empty() {
            self.thinking_content(place, &thoughts, &spoken);
        } else if spoken.is_empty() && (has_calls || has_refusal) {
            self.writer.key("content");
            self.writer.null();
        } else {
            self.content(place, &spoken);
        }
        if has_refusal {
            self.writer.member_string("refusal", &refusals().collect::<String>());
        }
        self.reasoning(&thoughts);
        if has_calls {
            self.writer.key("tool_calls");
            self.writer.begin_array();
            for part in calls() {
                match &part.content {
                    Content::ToolCall(call) => self.call(part, call),
                    Content::Other(item) => self.writer.raw(&item.value),
                    _ => {}
                }
            }
            self.writer.end_array();
        }
    }

    /// Whether a part belongs into an assistant's `content`, which takes text alone; notes what does not go anywhere.
    fn spoken(&mut self, place: &str, part: &Part) -> bool {
        match &part.content {
            Content::Text(_) => true,
            Content::Refusal(_) | Content::ToolCall(_) | Content::ToolResult(_) | Content::Reasoning(_) => false,
            Content::Other(item) if item.format == FORMAT => !is_call(part),
            Content::Other(item) => {
                note(self.notes, "dropped", format!("{place}/{}", item.kind));
                false
            }
            Content::Image(_) | Content::Audio(_) | Content::Video(_) | Content::Document(_) => {
                note(self.notes, "dropped", format!("{place}/media"));
                false
            }
        }
    }

    fn call(&mut self, part: &Part, call: &ToolCall) {
        self.writer.begin_object();
        write_call(
            self.writer,
            &self.compat.call_ids.fit(&call.id, self.own),
            &call.name,
            &call.arguments,
            call.custom,
        );
        if self.own {
            write_fields(self.writer, &part.extra);
        }
        self.left_over(part.cache.is_some(), &part.extra);
        if self.compat.thought_signatures {
            write_thought_signature(self.writer, &part.carry);
        } else if part.carry.iter().any(|field| field.name == THOUGHT_SIGNATURE) {
            note(self.notes, "signature-dropped", "tool_calls".to_owned());
        }
        self.writer.end_object();
    }

    /// Reasoning goes back only to where it came from: what a server of this format said, to this format. OpenRouter takes it for
    /// whoever signed it.
    fn thoughts(&mut self, place: &str, parts: &[&'a Part]) -> Vec<(&'a Part, &'a Reasoning)> {
        let mut kept = Vec::new();
        for &part in parts {
            let Content::Reasoning(thought) = &part.content else { continue };
            let goes_back = match self.compat.history {
                History::Details => true,
                History::Nowhere => false,
                History::AsSent => self.own && thought.format == FORMAT,
                _ => thought.format == FORMAT,
            };
            if goes_back {
                kept.push((part, thought));
            } else {
                let code = if reasoning::needs_detail(thought) { "signature-dropped" } else { "dropped" };
                note(self.notes, code, format!("{place}/reasoning"));
            }
        }
        kept
    }

    fn reasoning(&mut self, kept: &[(&'a Part, &'a Reasoning)]) {
        let name = match self.compat.history {
            History::AsSent | History::ReasoningContent => "reasoning_content",
            History::Reasoning | History::Details => "reasoning",
            History::ThinkingParts | History::Nowhere => return,
        };
        let text: String = kept.iter().map(|(_, thought)| thought.text.as_str()).collect();
        if !text.is_empty() {
            self.writer.member_string(name, &text);
        }
        if kept.iter().any(|(_, thought)| reasoning::needs_detail(thought)) {
            self.writer.key("reasoning_details");
            self.writer.begin_array();
            for (index, (part, thought)) in (0..).zip(kept) {
                reasoning::write_detail(self.writer, index, thought, &part.carry);
            }
            self.writer.end_array();
        }
    }

    /// Mistral's content of a turn that was thought about.
    fn thinking_content(&mut self, place: &str, thoughts: &[(&'a Part, &'a Reasoning)], spoken: &[&'a Part]) {
        self.writer.key("content");
        self.writer.begin_array();
        for (_, thought) in thoughts {
            self.writer.begin_object();
            self.writer.member_string("type", "thinking");
            self.writer.key("thinking");
            self.writer.begin_array();
            self.writer.begin_object();
            self.writer.member_string("type", "text");
            self.writer.member_string("text", &thought.text);
            self.writer.end_object();
            self.writer.end_array();
            self.writer.end_object();
        }
        for part in spoken {
            self.part(place, part);
        }
        self.writer.end_array();
    }

    /// A tool's result as a `tool` message; what is not text waits for [`flush`](Self::flush).
    fn result(&mut self, place: &str, message: &'a Message, part: &Part, result: &'a ToolResult) {
        let mut pieces = Vec::new();
        let waiting = self.waiting.len();
        let mut approximated = false;
        for piece in &result.parts {
            let content = match &piece.content {
                ResultContent::Text(text) => Piece::Text(Cow::Borrowed(text)),
                ResultContent::Document(Media { source: Source::Text(text), .. }) => {
                    approximated = true;
                    Piece::Text(Cow::Borrowed(text))
                }
                ResultContent::SearchResult(found) => {
                    approximated = true;
                    let text = format!("{}\n{}\n{}", found.title, found.source, found.texts.join("\n"));
                    Piece::Text(Cow::Owned(text))
                }
                ResultContent::Other(item) if item.format == FORMAT => Piece::Raw(&item.value),
                ResultContent::Other(item) => {
                    note(self.notes, "dropped", format!("{place}/{}", item.kind));
                    continue;
                }
                ResultContent::Image(image) => {
                    self.waiting.push((&result.call_id, Content::Image(image.clone())));
                    continue;
                }
                ResultContent::Document(file) => {
                    self.waiting.push((&result.call_id, Content::Document(file.clone())));
                    continue;
                }
            };
            self.left_over(piece.cache.is_some(), &piece.extra);
            pieces.push((content, Some(piece)));
        }
        let moved = self.waiting.len() > waiting;
        if moved || approximated {
            note(self.notes, "approximated", format!("{place}/tool_result"));
        }
        if result.is_error {
            note(self.notes, "dropped", format!("{place}/is_error"));
        }
        self.left_over(part.cache.is_some(), &part.extra);
        if pieces.is_empty() && moved {
            pieces.push((Piece::Text(Cow::Borrowed(SEE_BELOW)), None));
        }
        self.writer.begin_object();
        self.writer.member_string("role", "tool");
        self.writer.member_string("tool_call_id", &self.compat.call_ids.fit(&result.call_id, self.own));
        self.writer.key("content");
        let bare = |piece: &Option<&ResultPart>| {
            !self.own || piece.is_none_or(|piece| piece.cache.is_none() && piece.extra.is_empty())
        };
        match pieces.as_slice() {
            [] => self.writer.string(""),
            [(Piece::Text(text), piece)] if bare(piece) => self.writer.string(text),
            _ => {
                self.writer.begin_array();
                for (content, piece) in &pieces {
                    self.result_piece(content, *piece);
                }
                self.writer.end_array();
            }
        }
        if self.own {
            if let Some(name) = &result.name {
                self.writer.member_string("name", name);
            }
            write_fields(self.writer, &message.extra);
        }
        self.writer.end_object();
    }

    fn result_piece(&mut self, content: &Piece, piece: Option<&ResultPart>) {
        let text = match content {
            Piece::Raw(raw) => return self.writer.raw(raw),
            Piece::Text(text) => text,
        };
        self.writer.begin_object();
        self.writer.member_string("type", "text");
        self.writer.member_string("text", text);
        if let Some(piece) = piece.filter(|_| self.own) {
            write_fields(self.writer, &piece.extra);
            if let Some(mark) = piece.cache {
                write_cache(self.writer, mark);
            }
        }
        self.writer.end_object();
    }

    /// Writes what tool results could not hold, as a user's message.
    fn flush(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        self.writer.begin_object();
        self.writer.member_string("role", "user");
        self.writer.key("content");
        self.writer.begin_array();
        let mut of = None;
        for (call_id, content) in std::mem::take(&mut self.waiting) {
            if of.replace(call_id) != Some(call_id) {
                self.writer.begin_object();
                self.writer.member_string("type", "text");
                let text = format!("Returned by tool call {}:", self.compat.call_ids.fit(call_id, self.own));
                self.writer.member_string("text", &text);
                self.writer.end_object();
            }
            self.part("", &Part::new(content));
        }
        self.writer.end_array();
        self.writer.end_object();
    }
}

/// Whether a part is a tool call, of a kind that is modelled or not.
fn is_call(part: &Part) -> bool {
    match &part.content {
        Content::ToolCall(_) => true,
        Content::Other(item) => item.format == FORMAT && part.carry.iter().any(|field| field.name == RAW_CALL),
        _ => false,
    }
}

/// Whether a text part can be written as a bare string.
fn plain(part: &Part, own: bool) -> bool {
    !own || (part.cache.is_none() && part.extra.is_empty())
}

/// Whether the server takes it, by what the protocol has a place for; what it does not is left out before anything is written.
pub fn takes(compat: &Compat, own: bool, kind: Kind, media: &Media) -> bool {
    match (kind, &media.source) {
        (Kind::Video, _) => false,
        (Kind::Image, Source::Url(_) | Source::Base64(_)) => true,
        (Kind::Audio, Source::Base64(_)) => true,
        (Kind::Audio, Source::Url(_)) => compat.bare_audio,
        // As text.
        (Kind::Document, Source::Text(_)) => true,
        (Kind::Document, Source::Base64(_)) => true,
        (Kind::Document, Source::Url(_)) => compat.documents == Documents::Url,
        (Kind::Document, Source::File(_)) => own && compat.documents == Documents::File,
        (Kind::Image | Kind::Audio, _) => false,
    }
}

/// What a source is as a text: the data, the URL, or the id.
fn written(source: &Source) -> &str {
    match source {
        Source::Url(text) | Source::Base64(text) | Source::File(text) | Source::Text(text) => text,
    }
}

fn write_image(writer: &mut Writer, image: &Media, part: &Part) {
    let url = match &image.source {
        // The type is guessed by OpenAI from the bytes; the URL must still name an image.
        Source::Base64(data) => Cow::Owned(media::data_url(image.media_type.as_deref().unwrap_or("image/png"), data)),
        source => Cow::Borrowed(written(source)),
    };
    writer.key("image_url");
    writer.begin_object();
    writer.member_string("url", &url);
    if let Some(detail) = &image.detail {
        writer.member_string("detail", detail);
    }
    write_nested(writer, &part.extra, "image_url/");
    writer.end_object();
}

/// `bare` is Mistral's: base64 or a URL and nothing about it ("Chat with Audio",
/// <https://docs.mistral.ai/capabilities/audio_transcription>).
fn write_audio(writer: &mut Writer, audio: &Media, part: &Part, bare: bool) {
    let data = written(&audio.source);
    if bare {
        return writer.member_string("input_audio", data);
    }
    writer.key("input_audio");
    writer.begin_object();
    writer.member_string("data", data);
    if let Some(media_type) = &audio.media_type {
        writer.member_string("format", media::audio_format(media_type));
    }
    write_nested(writer, &part.extra, "input_audio/");
    writer.end_object();
}

fn write_file(writer: &mut Writer, file: &Media, part: &Part, own: bool) {
    writer.key("file");
    writer.begin_object();
    match &file.source {
        Source::Base64(data) => {
            // A file without a name is refused.
            if file.name.is_some() || !own {
                writer.member_string("filename", file.name.as_deref().unwrap_or("document.pdf"));
            }
            match (&file.media_type, own) {
                (None, true) => writer.member_string("file_data", data),
                (media_type, _) => {
                    let media_type = media_type.as_deref().unwrap_or("application/pdf");
                    writer.member_string("file_data", &media::data_url(media_type, data));
                }
            }
        }
        source => {
            writer.member_string("file_id", written(source));
            if let Some(name) = &file.name {
                writer.member_string("filename", name);
            }
        }
    }
    write_nested(writer, &part.extra, "file/");
    writer.end_object();
}

/// Mistral's part: a URL, or the bytes as one ("Document AI", <https://docs.mistral.ai/capabilities/document_ai>).
fn write_document_url(writer: &mut Writer, file: &Media) {
    let url = match &file.source {
        Source::Base64(data) => {
            Cow::Owned(media::data_url(file.media_type.as_deref().unwrap_or("application/pdf"), data))
        }
        source => Cow::Borrowed(written(source)),
    };
    writer.member_string("document_url", &url);
    if let Some(name) = &file.name {
        writer.member_string("document_name", name);
    }
}

/// One note for each thing, however often it occurs.
pub fn note(notes: &mut Vec<Note>, code: &str, subject: String) {
    if !notes.iter().any(|note| note.code == code && note.subject == subject) {
        notes.push(Note::new(code, subject));
    }
}
