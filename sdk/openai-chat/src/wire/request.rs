//! A request's body: every parameter of "Create chat completion", and the few that compatible servers added.

use std::fmt;

use portcullis_plugin::ir::Pair;
use portcullis_plugin::json;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Message;
use super::content::{CacheControl, Content};

portcullis_plugin::wire_object! {
    pub struct ChatRequest {
        model: Option<String>,
        messages: Option<Vec<Message>>,
        /// Not OpenAI's: the gateway takes a top-level `system` for a system message.
        system: Content,
        tools: Option<Vec<WireTool>>,
        tool_choice: Option<Choose>,
        parallel_tool_calls: Option<bool>,
        /// Deprecated in favour of `tools` and `tool_choice`.
        functions: Option<Vec<FunctionDefinition>>,
        function_call: Option<Choose>,
        response_format: Option<Format>,
        temperature: Option<f64>,
        top_p: Option<f64>,
        /// Not OpenAI's; many compatible servers take it.
        top_k: Option<u32>,
        frequency_penalty: Option<f64>,
        presence_penalty: Option<f64>,
        seed: Option<i64>,
        stop: Option<Stop>,
        max_tokens: Option<u32>,
        max_completion_tokens: Option<u32>,
        n: Option<u32>,
        logprobs: Option<bool>,
        top_logprobs: Option<u32>,
        reasoning_effort: Option<String>,
        /// OpenRouter's: effort or a budget of tokens, on or off.
        reasoning: Option<WireReasoning>,
        stream: Option<bool>,
        stream_options: Option<StreamOptions>,
        user: Option<String>,
        metadata: Option<Metadata>,
    }

    pub struct WireTool {
        kind as "type": Option<String>,
        function: Option<FunctionDefinition>,
        cache_control: Option<CacheControl>,
    }

    pub struct FunctionDefinition {
        name: Option<String>,
        description: Option<String>,
        parameters: Option<Box<RawValue>>,
        strict: Option<bool>,
    }

    pub struct NamedChoice {
        kind as "type": Option<String>,
        function: Option<FunctionName>,
        /// The deprecated `function_call: {"name": …}`.
        name: Option<String>,
    }

    pub struct FunctionName {
        name: Option<String>,
    }

    pub struct Format {
        kind as "type": Option<String>,
        json_schema: Option<WireSchema>,
    }

    pub struct WireSchema {
        name: Option<String>,
        description: Option<String>,
        schema: Option<Box<RawValue>>,
        strict: Option<bool>,
    }

    pub struct WireReasoning {
        effort: Option<String>,
        max_tokens: Option<u32>,
        enabled: Option<bool>,
        exclude: Option<bool>,
        summary: Option<String>,
    }

    pub struct StreamOptions {
        include_usage: Option<bool>,
    }
}

/// A choice of tool: a word or an object.
#[derive(Debug)]
pub enum Choose {
    Word(String),
    Named(NamedChoice),
}

/// One stop sequence or several.
#[derive(Debug)]
pub struct Stop(pub Vec<String>);

/// Pairs of texts; a value that is not a text keeps its JSON.
#[derive(Debug)]
pub struct Metadata(pub Vec<Pair>);

impl<'de> Deserialize<'de> for Choose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ChooseVisitor;

        impl<'de> Visitor<'de> for ChooseVisitor {
            type Value = Choose;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a string or an object")
            }

            fn visit_str<E>(self, word: &str) -> Result<Choose, E> {
                Ok(Choose::Word(word.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Choose, A::Error> {
                NamedChoice::deserialize(MapAccessDeserializer::new(map)).map(Choose::Named)
            }
        }

        deserializer.deserialize_any(ChooseVisitor)
    }
}

impl<'de> Deserialize<'de> for Stop {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StopVisitor;

        impl<'de> Visitor<'de> for StopVisitor {
            type Value = Stop;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a string or a list of strings")
            }

            fn visit_str<E>(self, text: &str) -> Result<Stop, E> {
                Ok(Stop(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Stop, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = items.next_element()? {
                    texts.push(text);
                }
                Ok(Stop(texts))
            }
        }

        deserializer.deserialize_any(StopVisitor)
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MetadataVisitor;

        impl<'de> Visitor<'de> for MetadataVisitor {
            type Value = Metadata;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
                let mut pairs = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    let text = json::from_str(value.get()).unwrap_or_else(|_| value.get().to_owned());
                    pairs.push(Pair { name, value: text });
                }
                Ok(Metadata(pairs))
            }
        }

        deserializer.deserialize_map(MetadataVisitor)
    }
}
