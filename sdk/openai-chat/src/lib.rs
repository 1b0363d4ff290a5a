//! OpenAI Chat Completions, as far as plugins share it: the documents ([`wire`]), a provider's conversions ([`mod@provider`]), the
//! API's other operations ([`operations`]) and the reading of a catalogue ([`catalogue`]). A plugin of one provider adds its differences.
//!
//! Conversions are pure functions. Reasoning, for which the protocol has no field, travels as [`wire::reasoning`] describes.

pub mod catalogue;
pub mod compat;
pub mod endpoint;
pub mod operations;
pub mod provider;
#[cfg(feature = "testing")]
pub mod testing;
pub mod wire;

/// The `carry` field of a tool call whose input is free text, in streams, where the call's record has no place for it.
pub const CUSTOM_TOOL: &str = "openai.custom-tool";

/// The `carry` field that names the format a streamed reasoning part was signed for, where it is not the stream's own.
pub const REASONING_FORMAT: &str = "openai.reasoning-format";
