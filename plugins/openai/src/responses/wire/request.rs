//! A request's body: the parameters of "Create a model response" that the internal representation models.

use std::fmt;

use portcullis_plugin::json::Unknown;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::wire::request::Metadata;

portcullis_plugin::wire_object! {
    pub struct CreateResponse {
        model: Option<String>,
        input: Input,
        instructions: Option<String>,
        tools: Option<Vec<Box<RawValue>>>,
        tool_choice: Option<Choose>,
        parallel_tool_calls: Option<bool>,
        text: Option<TextSettings>,
        reasoning: Option<WireReasoning>,
        temperature: Option<f64>,
        top_p: Option<f64>,
        top_logprobs: Option<u32>,
        max_output_tokens: Option<u32>,
        stream: Option<bool>,
        user: Option<String>,
        metadata: Option<Metadata>,
    }

    pub struct FunctionTool {
        kind as "type": Option<String>,
        name: Option<String>,
        description: Option<String>,
        parameters: Option<Box<RawValue>>,
        strict: Option<bool>,
    }

    pub struct NamedChoice {
        kind as "type": Option<String>,
        name: Option<String>,
    }

    pub struct TextSettings {
        format: Option<TextFormat>,
    }

    pub struct TextFormat {
        kind as "type": Option<String>,
        name: Option<String>,
        description: Option<String>,
        schema: Option<Box<RawValue>>,
        strict: Option<bool>,
    }

    pub struct WireReasoning {
        effort: Option<String>,
        summary: Option<String>,
    }
}

/// The prefixes under which the members of nested objects are kept in the request's `extra`.
pub const TEXT_MEMBER: &str = "text/";
pub const FORMAT_MEMBER: &str = "text.format/";
pub const REASONING_MEMBER: &str = "reasoning/";

/// Whether a field was a member of a nested object.
pub fn is_nested(name: &str) -> bool {
    [TEXT_MEMBER, FORMAT_MEMBER, REASONING_MEMBER].iter().any(|prefix| name.starts_with(prefix))
}

/// What the model is given: a user's text, or items.
#[derive(Debug, Default)]
pub enum Input {
    #[default]
    Absent,
    Text(String),
    Items(Vec<Box<RawValue>>),
}

/// A choice of tool: a word, or an object whose members are all kept.
#[derive(Debug)]
pub enum Choose {
    Word(String),
    Named { kind: Option<String>, name: Option<String>, members: Unknown },
}

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InputVisitor;

        impl<'de> Visitor<'de> for InputVisitor {
            type Value = Input;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a string or a list of items")
            }

            fn visit_str<E>(self, text: &str) -> Result<Input, E> {
                Ok(Input::Text(text.to_owned()))
            }

            fn visit_unit<E>(self) -> Result<Input, E> {
                Ok(Input::Absent)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Input, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Input::Items(items))
            }
        }

        deserializer.deserialize_any(InputVisitor)
    }
}

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
                let NamedChoice { kind, name, extra } = NamedChoice::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Choose::Named { kind, name, members: extra })
            }
        }

        deserializer.deserialize_any(ChooseVisitor)
    }
}
