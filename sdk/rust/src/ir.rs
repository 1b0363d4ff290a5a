//! The internal representation, with the constructors that plugins keep needing.

use std::borrow::Cow;

pub use crate::bindings::shared::portcullis::plugin::chat::{
    CacheMark, Carried, Choice, ChoiceFinish, ChoiceLogprobs, Content, Delta, Event, Finish, FinishReason,
    FunctionTool, JsonSchema, Logprobs, Media, Message, Part, PartKind, PartStart, Position, RawItem, Reasoning,
    ReasoningSettings, Request, Response, ResponseFormat, ResultContent, ResultPart, Role, Sampling, SearchResult,
    Source, StreamStart, Tool, ToolCall, ToolChoice, ToolResult, UnitCount, Usage, WholePart,
};
pub use crate::bindings::shared::portcullis::plugin::types::{
    Caller, Condition, Context, Failure, FailureKind, Field, Frame, Json, Note, Pair, Pattern, Pointer, Test,
};

impl Failure {
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Failure { kind, message: message.into(), code: None, param: None, retry_after: None }
    }

    /// The client's fault, at this field.
    pub fn invalid(param: &str, message: impl Into<String>) -> Self {
        Failure { param: Some(param.to_owned()), ..Failure::new(FailureKind::InvalidRequest, message) }
    }

    /// The provider's answer is not what its protocol promises.
    pub fn upstream_protocol(message: impl Into<String>) -> Self {
        Failure::new(FailureKind::UpstreamProtocol, message)
    }

    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }
}

impl FailureKind {
    /// The status that an answer to the client has where its protocol names no other.
    pub fn status(self) -> u16 {
        match self {
            FailureKind::InvalidRequest
            | FailureKind::ContextLength
            | FailureKind::ContentFilter
            | FailureKind::UnsupportedFeature => 400,
            FailureKind::Authentication => 401,
            FailureKind::Permission => 403,
            FailureKind::NotFound => 404,
            FailureKind::RateLimited => 429,
            FailureKind::Internal => 500,
            FailureKind::Unavailable | FailureKind::UpstreamProtocol => 502,
            FailureKind::Overloaded => 503,
            FailureKind::Timeout => 504,
        }
    }

    /// What an upstream's error status means where its body says nothing better. 529 is Anthropic's word for overload.
    pub fn of_status(status: u16) -> Self {
        match status {
            401 => FailureKind::Authentication,
            403 => FailureKind::Permission,
            404 => FailureKind::NotFound,
            408 | 504 => FailureKind::Timeout,
            429 => FailureKind::RateLimited,
            503 | 529 => FailureKind::Overloaded,
            400..=499 => FailureKind::InvalidRequest,
            500..=599 => FailureKind::Unavailable,
            _ => FailureKind::UpstreamProtocol,
        }
    }
}

impl Field {
    pub fn new(name: impl Into<String>, value: impl Into<Json>) -> Self {
        Field { name: name.into(), value: value.into() }
    }
}

impl Pair {
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Pair { name: name.into(), value: value.into() }
    }
}

impl PartKind {
    /// As [`Content::kind`].
    pub fn name(self) -> &'static str {
        match self {
            PartKind::Text => "text",
            PartKind::Reasoning => "reasoning",
            PartKind::Refusal => "refusal",
            PartKind::ToolCall => "tool-call",
        }
    }
}

impl Content {
    /// What it is: the contract's name of it, or a raw item's format and type (`gemini.executableCode`).
    pub fn kind(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Content::Text(_) => "text",
            Content::Image(_) => "image",
            Content::Audio(_) => "audio",
            Content::Video(_) => "video",
            Content::Document(_) => "document",
            Content::ToolCall(_) => "tool-call",
            Content::ToolResult(_) => "tool-result",
            Content::Reasoning(_) => "reasoning",
            Content::Refusal(_) => "refusal",
            Content::Other(item) => return Cow::Owned(format!("{}.{}", item.format, item.kind)),
        })
    }
}

impl Note {
    pub fn new(code: &str, subject: impl Into<String>) -> Self {
        Note { code: code.to_owned(), subject: subject.into() }
    }

    /// Something the target has no place for.
    pub fn dropped(subject: impl Into<String>) -> Self {
        Note::new("dropped", subject)
    }
}

impl Frame {
    /// A frame with an event name (Anthropic, Responses).
    pub fn named(event: impl Into<String>, data: impl Into<String>) -> Self {
        Frame { event: event.into(), data: data.into() }
    }

    /// A frame of data alone (Chat Completions, Gemini, NDJSON).
    pub fn data(data: impl Into<String>) -> Self {
        Frame { event: String::new(), data: data.into() }
    }
}

impl Part {
    pub fn new(content: Content) -> Self {
        Part { content, cache: None, carry: Vec::new(), extra: Vec::new() }
    }

    pub fn text(text: impl Into<String>) -> Self {
        Part::new(Content::Text(text.into()))
    }
}

impl ResultPart {
    pub fn new(content: ResultContent) -> Self {
        ResultPart { content, cache: None, extra: Vec::new() }
    }
}

impl Message {
    pub fn new(role: Role, parts: Vec<Part>) -> Self {
        Message { role, parts, name: None, extra: Vec::new() }
    }
}

impl Request {
    pub fn new(format: &str, model: impl Into<String>) -> Self {
        Request {
            format: format.to_owned(),
            model: model.into(),
            messages: Vec::new(),
            tools: Vec::new(),
            tool_choice: None,
            parallel_tool_calls: None,
            response_format: None,
            sampling: Sampling {
                temperature: None,
                top_p: None,
                top_k: None,
                frequency_penalty: None,
                presence_penalty: None,
                seed: None,
            },
            reasoning: None,
            stop: Vec::new(),
            max_output_tokens: None,
            choices: None,
            logprobs: None,
            stream: false,
            stream_usage: false,
            user: None,
            metadata: Vec::new(),
            extra: Vec::new(),
            echo: Vec::new(),
        }
    }
}

// Its fields are the contract's, so the derive would have to go onto every generated type.
#[allow(clippy::derivable_impls)]
impl Default for Usage {
    fn default() -> Self {
        Usage {
            input: 0,
            cache_read: 0,
            cache_write_short: 0,
            cache_write_long: 0,
            output: 0,
            reasoning: 0,
            audio_input: 0,
            audio_output: 0,
            images: 0,
            searches: 0,
            estimated: false,
            units: Vec::new(),
            service_tier: None,
            stated_cost: None,
        }
    }
}

impl UnitCount {
    pub fn new(unit: &str, count: u64) -> Self {
        UnitCount { unit: unit.to_owned(), count }
    }
}

impl Usage {
    /// For `service_tier`, from all that a provider says of the kind: what every provider calls the usual is left out.
    pub fn service_tier_of<'a>(words: impl IntoIterator<Item = &'a str>) -> Option<String> {
        const USUAL: &[&str] = &["", "auto", "default", "standard", "on_demand", "global", "not_available"];
        let mut words: Vec<&str> = words.into_iter().filter(|word| !USUAL.contains(word)).collect();
        words.sort_unstable();
        words.dedup();
        (!words.is_empty()).then(|| words.join("+"))
    }

    /// Every input token, cached or not: what OpenAI calls `prompt_tokens`.
    pub fn total_input(&self) -> u64 {
        self.input + self.cache_read + self.cache_write_short + self.cache_write_long
    }
}
