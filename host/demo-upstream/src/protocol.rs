//! The protocols, and what each does with a request and with its answer. Nothing else in this crate tells them apart.

use http::{HeaderMap, Uri};
use serde_json::Value;

use crate::ask::Ask;
use crate::playback::Step;
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::server::{Frame, Stamp};
use crate::{anthropic, gemini, openai, responses};

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Protocol {
    /// Chat Completions, and OpenAI's other operations.
    OpenAi,
    Responses,
    Anthropic,
    Gemini,
}

impl Protocol {
    pub fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        match uri.path() {
            "/v1/messages" => Protocol::Anthropic,
            "/v1/responses" => Protocol::Responses,
            path if path.starts_with("/v1beta/") => Protocol::Gemini,
            _ if headers.contains_key("anthropic-version") => Protocol::Anthropic,
            _ => Protocol::OpenAi,
        }
    }

    /// Whether a `POST` to this path asks for chat.
    pub fn is_chat(self, path: &str) -> bool {
        match self {
            Protocol::OpenAi => path == "/v1/chat/completions",
            Protocol::Responses => path == "/v1/responses",
            Protocol::Anthropic => path == "/v1/messages",
            Protocol::Gemini => gemini::request::Target::of(path).is_some(),
        }
    }

    /// Reads and checks a request for chat.
    pub fn read(self, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<Ask, Refusal> {
        match self {
            Protocol::OpenAi => openai::request::read(body),
            Protocol::Responses => responses::request::read(body),
            Protocol::Anthropic => anthropic::request::read(body, headers.contains_key("anthropic-version")),
            Protocol::Gemini => gemini::request::read(uri.path(), body),
        }
    }

    pub fn whole(self, reply: &Reply, ask: &Ask, stamp: Stamp) -> Value {
        match self {
            Protocol::OpenAi => openai::response::body(reply, &ask.model, stamp, ask.logprobs),
            Protocol::Responses => responses::response::body(reply, ask, stamp),
            Protocol::Anthropic => anthropic::response::body(reply, &ask.model, stamp),
            Protocol::Gemini => gemini::response::body(reply, &ask.model, stamp),
        }
    }

    pub fn frames(self, reply: &Reply, ask: &Ask, stamp: Stamp) -> Vec<Frame> {
        match self {
            Protocol::OpenAi => openai::stream::frames(reply, &ask.model, stamp, ask.logprobs, ask.stream_usage),
            Protocol::Responses => responses::stream::frames(reply, ask, stamp),
            Protocol::Anthropic => anthropic::stream::frames(reply, &ask.model, stamp),
            Protocol::Gemini => gemini::stream::frames(reply, &ask.model, stamp),
        }
    }

    pub fn error(self, refusal: &Refusal, request_id: &str) -> Value {
        match self {
            Protocol::OpenAi | Protocol::Responses => openai::error::body(refusal),
            Protocol::Anthropic => anthropic::error::body(refusal, request_id),
            Protocol::Gemini => gemini::error::body(refusal),
        }
    }

    /// An error after the stream has begun.
    pub fn error_in_stream(self, message: &str) -> Step {
        match self {
            Protocol::OpenAi => openai::stream::error(message),
            Protocol::Responses => responses::stream::error(message),
            Protocol::Anthropic => anthropic::stream::error(message),
            Protocol::Gemini => gemini::stream::error(message),
        }
    }

    pub fn models(self, names: &[&str]) -> Value {
        match self {
            Protocol::OpenAi | Protocol::Responses => openai::models(names),
            Protocol::Anthropic => anthropic::models(names),
            Protocol::Gemini => gemini::models(names),
        }
    }
}
