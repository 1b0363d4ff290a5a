//! A client's tools and their choice (<https://ai.google.dev/gemini-api/docs/function-calling>).
//!
//! A tool is a list of functions, or one of the provider's own (`googleSearch`, `codeExecution`, …), or several at once. The schema of
//! a function comes as JSON Schema, or as an OpenAPI schema, which is translated for other providers and kept for this one.

use portcullis_plugin::json::{self, Unknown, Writer};
use portcullis_plugin::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::FORMAT;
use crate::wire::part::nest;
use crate::wire::{OneOrMany, Word, camel};

wire! {
    pub struct WireTool {
        functions "functionDeclarations": OneOrMany<WireFunction>,
    }
    pub struct WireFunction {
        name "name": Option<String>,
        description "description": Option<String>,
        parameters "parameters": Option<Box<RawValue>>,
        json_schema "parametersJsonSchema": Option<Box<RawValue>>,
    }
    pub struct WireToolConfig {
        calling "functionCallingConfig": Option<Box<RawValue>>,
    }
    struct WireCalling {
        mode "mode": Option<Word>,
        allowed "allowedFunctionNames": OneOrMany<String>,
    }
}

pub fn decode(tools: Vec<WireTool>) -> Result<Vec<Tool>, Failure> {
    let mut decoded = Vec::new();
    for (index, tool) in tools.into_iter().enumerate() {
        for (at, function) in tool.functions.0.into_iter().enumerate() {
            decoded.push(Tool::Function(declaration(index, at, function)?));
        }
        for field in tool.extra {
            let mut writer = Writer::new();
            writer.begin_object();
            writer.member_raw(&field.name, &field.value);
            writer.end_object();
            let value = writer.finish();
            decoded.push(Tool::Other(RawItem { format: FORMAT.to_owned(), kind: field.name, value }));
        }
    }
    Ok(decoded)
}

fn declaration(tool: usize, at: usize, wire: WireFunction) -> Result<FunctionTool, Failure> {
    let name = wire.name.filter(|name| !name.is_empty()).ok_or_else(|| {
        let place = format!("tools[{tool}].functionDeclarations[{at}].name");
        Failure::invalid(&place, format!("{place}: Function name is required"))
    })?;
    let mut extra = wire.extra;
    let parameters = match (wire.json_schema, wire.parameters) {
        (Some(schema), _) if !json::is_null(&schema) => Some(schema.get().to_owned()),
        (_, Some(schema)) if !json::is_null(&schema) => {
            extra.push(Field::new("parameters", schema.get()));
            Some(json_schema(&schema))
        }
        _ => None,
    };
    Ok(FunctionTool { name, description: wire.description, parameters, strict: None, cache: None, extra })
}

/// The choice of tools; what else the configuration holds goes to `extra`.
pub fn choice(config: WireToolConfig, extra: &mut Unknown) -> Option<ToolChoice> {
    nest(extra, "toolConfig", config.extra);
    let raw = config.calling.filter(|calling| !json::is_null(calling))?;
    let other = || {
        ToolChoice::Other(RawItem {
            format: FORMAT.to_owned(),
            kind: "functionCallingConfig".to_owned(),
            value: raw.get().to_owned(),
        })
    };
    let Ok(mut calling) = json::from_str::<WireCalling>(raw.get()) else { return Some(other()) };
    let plain = calling.extra.is_empty();
    Some(match (calling.mode.as_ref().map(|mode| mode.0.to_ascii_uppercase()).as_deref(), calling.allowed.0.len()) {
        (Some("AUTO"), 0) if plain => ToolChoice::Auto,
        (Some("NONE"), 0) if plain => ToolChoice::None,
        (Some("ANY"), 0) if plain => ToolChoice::Required,
        (Some("ANY"), 1) if plain => ToolChoice::Function(calling.allowed.0.remove(0)),
        _ => other(),
    })
}

/// An OpenAPI schema of Google's as JSON Schema.
pub fn json_schema(schema: &RawValue) -> String {
    match serde_json::from_str(schema.get()) {
        Ok(value) => translated(value).to_string(),
        Err(_) => schema.get().to_owned(),
    }
}

fn translated(schema: Value) -> Value {
    let Value::Object(members) = schema else { return schema };
    let mut out = Map::new();
    let mut nullable = false;
    for (name, value) in members {
        let name = camel(&name).into_owned();
        match (name.as_str(), value) {
            ("nullable", value) => nullable = value == Value::Bool(true),
            ("propertyOrdering", _) => {}
            ("type", Value::String(kind)) if kind == "TYPE_UNSPECIFIED" => {}
            ("type", Value::String(kind)) => {
                out.insert(name, Value::String(kind.to_ascii_lowercase()));
            }
            ("properties" | "defs", Value::Object(members)) => {
                let members = members.into_iter().map(|(name, member)| (name, translated(member))).collect();
                out.insert(if name == "defs" { "$defs".to_owned() } else { name }, Value::Object(members));
            }
            ("items" | "additionalProperties", value) => {
                out.insert(name, translated(value));
            }
            ("anyOf", Value::Array(variants)) => {
                out.insert(name, variants.into_iter().map(translated).collect());
            }
            ("ref", Value::String(reference)) => {
                out.insert("$ref".to_owned(), Value::String(reference.replacen("#/defs/", "#/$defs/", 1)));
            }
            ("example", value) => {
                out.insert("examples".to_owned(), json!([value]));
            }
            // Counts are 64 bits wide, which Google's JSON writes as strings.
            (
                "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties",
                Value::String(count),
            ) => {
                if let Ok(count) = count.parse::<u64>() {
                    out.insert(name, json!(count));
                }
            }
            ("format", Value::String(format)) if format == "enum" => {}
            (_, value) => {
                out.insert(name, value);
            }
        }
    }
    if nullable {
        match out.get_mut("type") {
            Some(Value::String(kind)) => {
                let kind = std::mem::take(kind);
                out.insert("type".to_owned(), json!([kind, "null"]));
            }
            _ => {
                if let Some(Value::Array(variants)) = out.get_mut("anyOf") {
                    variants.push(json!({"type": "null"}));
                }
            }
        }
        if let Some(Value::Array(values)) = out.get_mut("enum") {
            values.push(Value::Null);
        }
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_api_becomes_json_schema() {
        let schema = json!({"type": "OBJECT", "property_ordering": ["a"], "properties": {
            "a": {"type": "STRING", "nullable": true, "format": "enum", "enum": ["x"]},
            "type": {"type": "ARRAY", "items": {"type": "INTEGER"}, "min_items": "2"},
            "u": {"any_of": [{"type": "STRING"}, {"type": "NUMBER"}], "nullable": true}}});
        let raw = RawValue::from_string(schema.to_string()).unwrap();
        let translated: Value = serde_json::from_str(&json_schema(&raw)).unwrap();
        assert_eq!(
            translated,
            json!({"type": "object", "properties": {
            "a": {"type": ["string", "null"], "enum": ["x", null]},
            "type": {"type": "array", "items": {"type": "integer"}, "minItems": 2},
            "u": {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}]}}})
        );
    }

    #[test]
    fn choices() {
        let choice = |json: &str| {
            let config =
                WireToolConfig { calling: Some(RawValue::from_string(json.to_owned()).unwrap()), extra: Vec::new() };
            super::choice(config, &mut Vec::new()).unwrap()
        };
        assert_eq!(choice(r#"{"mode":"AUTO"}"#), ToolChoice::Auto);
        assert_eq!(choice(r#"{"mode":"none"}"#), ToolChoice::None);
        assert_eq!(choice(r#"{"mode":"ANY"}"#), ToolChoice::Required);
        assert_eq!(choice(r#"{"mode":"ANY","allowed_function_names":["f"]}"#), ToolChoice::Function("f".to_owned()));
        for other in [
            r#"{"mode":"VALIDATED"}"#,
            r#"{"mode":"ANY","allowedFunctionNames":["f","g"]}"#,
            r#"{"mode":"AUTO","x":1}"#,
        ] {
            assert!(matches!(choice(other), ToolChoice::Other(item) if item.value == other), "{other}");
        }
    }
}
