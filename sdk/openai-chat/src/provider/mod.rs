//! The provider's side: Chat Completions as this gateway speaks it to OpenAI and to servers compatible with it.

pub mod error;
pub mod message;
pub mod meter;
pub mod request;
pub mod response;
pub mod stream;
mod think;
mod tidy;

use portcullis_plugin::ir::{Context, Finish, FinishReason};

/// What a `finish_reason` means. A stop after a refusal is one.
fn finish(word: &str, refused: bool) -> Finish {
    let reason = match word {
        "stop" if refused => FinishReason::Refusal,
        // `eos` is Together's.
        "stop" | "eos" => FinishReason::Stop,
        // `model_length` is Mistral's word for the end of the context.
        "length" | "model_length" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        // OpenRouter's and DeepSeek's.
        "error" | "insufficient_system_resource" => FinishReason::Error,
        _ => FinishReason::Other,
    };
    Finish { reason, raw: word.to_owned(), stop_sequence: None }
}

/// An id for a call that came without one: the same for a repetition of this request's call, and new in every other.
fn call_id(context: &Context, choice: u32, call: u32) -> String {
    let mut hash = Fnv::new();
    hash.write(&context.seed.to_le_bytes());
    hash.write(context.request_id.as_bytes());
    hash.write(&choice.to_le_bytes());
    hash.write(&call.to_le_bytes());
    format!("call_{:016x}", hash.0)
}

/// FNV-1a: stable across builds, which the standard hasher does not promise.
pub struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    pub fn value(&self) -> u64 {
        self.0
    }
}
