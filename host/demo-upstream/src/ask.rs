//! What a request asks for, read out of any protocol. Holds only what an answer depends on.

use serde_json::Value;

/// A request, its protocol set aside.
#[derive(Debug, Default)]
pub struct Ask {
    pub model: String,
    /// The last user message's text.
    pub prompt: String,
    pub images: usize,
    pub documents: usize,
    /// Results that the conversation ends with: what the tools said, and how many images they sent.
    pub results: Vec<ToolResult>,
    pub tools: Vec<Tool>,
    pub choice: Choice,
    pub parallel: bool,
    /// The answer's token limit.
    pub limit: Option<u64>,
    pub stop: Vec<String>,
    pub format: Format,
    pub thinking: Thinking,
    /// How many answers (OpenAI's `n`).
    pub count: usize,
    pub logprobs: bool,
    pub stream: bool,
    pub stream_usage: bool,
    pub input: Input,
    /// What an answer repeats of its request (Responses).
    pub repeated: Value,
}

#[derive(Debug)]
pub struct ToolResult {
    pub text: String,
    pub images: usize,
}

#[derive(Debug)]
pub struct Tool {
    pub name: String,
    /// Absent for a tool whose input is free text.
    pub schema: Option<Value>,
}

#[derive(Debug, Default, PartialEq)]
pub enum Choice {
    #[default]
    Auto,
    None,
    Required,
    Named(String),
}

#[derive(Debug, Default)]
pub enum Format {
    #[default]
    Text,
    Object,
    Schema(Value),
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Thinking {
    #[default]
    Off,
    /// Counted and not shown (OpenAI's `reasoning_effort`).
    Hidden,
    Shown,
}

/// Tokens of a request, each counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Input {
    pub uncached: u64,
    pub cache_read: u64,
    pub cache_write_short: u64,
    pub cache_write_long: u64,
}

impl Input {
    pub fn total(&self) -> u64 {
        self.uncached + self.cache_read + self.cache_write_short + self.cache_write_long
    }
}

/// What every message costs beside its text.
pub const MESSAGE_TOKENS: u64 = 4;
/// What an image or a document costs.
pub const MEDIA_TOKENS: u64 = 85;
