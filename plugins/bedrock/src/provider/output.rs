//! Structured output: `outputConfig.textFormat` where the model can be held to a schema
//! (<https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html>), words to it otherwise. Never a forced tool, which
//! thinking forbids.

use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::*;
use serde_json::{Map, Value};

use super::reasoning::Plan;
use crate::FORMAT;
use portcullis_plugin::notes::Notes;

const INSTRUCTION: &str =
    "Respond with a single valid JSON object and nothing else: no introduction, no explanation, no code fence.";

/// Keywords outside the subset of JSON Schema that the service takes.
const BOUNDS: &[&str] = &[
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
];

#[derive(Debug, Default, PartialEq)]
pub struct Output {
    /// `textFormat`, as JSON.
    format: Option<String>,
    /// What the model is asked in words, after the system prompt.
    pub instruction: Option<String>,
}

pub fn of(request: &Request, target: &Target, notes: &mut Notes) -> Output {
    match &request.response_format {
        None | Some(ResponseFormat::Text) => Output::default(),
        Some(ResponseFormat::Other(item)) if item.format == FORMAT => {
            Output { format: Some(item.value.clone()), instruction: None }
        }
        Some(ResponseFormat::Other(_)) => {
            notes.dropped("response_format");
            Output::default()
        }
        Some(ResponseFormat::JsonObject) => {
            notes.approximated("response_format");
            Output { format: None, instruction: Some(INSTRUCTION.to_owned()) }
        }
        Some(ResponseFormat::JsonSchema(schema)) => {
            let able = target.capabilities.iter().any(|able| able == "json-schema");
            match fit(&schema.schema).filter(|_| able) {
                Some((fitted, changed)) => {
                    if changed {
                        notes.approximated("response_format.schema");
                    }
                    Output { format: Some(text_format(schema, &fitted)), instruction: None }
                }
                None => {
                    notes.approximated("response_format");
                    let instruction = format!("{INSTRUCTION} It must match this JSON schema:\n{}", schema.schema);
                    Output { format: None, instruction: Some(instruction) }
                }
            }
        }
    }
}

/// The schema travels as a string.
fn text_format(schema: &JsonSchema, fitted: &str) -> String {
    let mut writer = Writer::with_capacity(fitted.len() + 128);
    writer.begin_object();
    writer.member_string("type", "json_schema");
    writer.key("structure");
    writer.begin_object();
    writer.key("jsonSchema");
    writer.begin_object();
    writer.member_string("schema", fitted);
    if let Some(name) = &schema.name {
        writer.member_string("name", name);
    }
    if let Some(description) = &schema.description {
        writer.member_string("description", description);
    }
    writer.end_object();
    writer.end_object();
    writer.end_object();
    writer.finish()
}

pub fn write(writer: &mut Writer, output: &Output, plan: &Plan) {
    if output.format.is_none() && plan.effort.is_none() {
        return;
    }
    writer.key("outputConfig");
    writer.begin_object();
    if let Some(format) = &output.format {
        writer.member_raw("textFormat", format);
    }
    if let Some(effort) = &plan.effort {
        writer.member_string("effort", effort);
    }
    writer.end_object();
}

/// The schema within the service's subset, and whether it had to change: objects closed, bounds left out. `None` for one that needs
/// open objects.
fn fit(schema: &str) -> Option<(String, bool)> {
    let mut value: Value = serde_json::from_str(schema).ok()?;
    let mut changed = false;
    close(&mut value, &mut changed)?;
    Some(if changed { (value.to_string(), true) } else { (schema.to_owned(), false) })
}

/// A schema and all within it: under keywords that hold one, a list, or one for each name.
fn close(value: &mut Value, changed: &mut bool) -> Option<()> {
    let Value::Object(schema) = value else { return Some(()) };
    let kinds = schema.get("type");
    let object = kinds.is_some_and(|kind| kind == "object")
        || kinds.and_then(Value::as_array).is_some_and(|kinds| kinds.iter().any(|kind| kind == "object"));
    if object && schema.get("additionalProperties") != Some(&Value::Bool(false)) {
        if schema.contains_key("additionalProperties") || !schema.contains_key("properties") {
            return None;
        }
        schema.insert("additionalProperties".to_owned(), Value::Bool(false));
        *changed = true;
    }
    for bound in BOUNDS {
        *changed |= schema.remove(*bound).is_some();
    }
    for (keyword, inner) in schema.iter_mut() {
        match (keyword.as_str(), inner) {
            ("items" | "not", inner) => close(inner, changed)?,
            ("anyOf" | "allOf" | "oneOf" | "prefixItems", Value::Array(list)) => {
                list.iter_mut().try_for_each(|inner| close(inner, changed))?;
            }
            ("properties" | "$defs" | "definitions", Value::Object(named)) => each(named, changed)?,
            _ => {}
        }
    }
    Some(())
}

fn each(named: &mut Map<String, Value>, changed: &mut bool) -> Option<()> {
    named.values_mut().try_for_each(|inner| close(inner, changed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_within_the_subset_is_not_touched() {
        let schema =
            r#"{"type":"object", "properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}"#;
        assert_eq!(fit(schema), Some((schema.to_owned(), false)));
    }

    #[test]
    fn objects_are_closed_and_bounds_left_out() {
        let schema = r#"{"type":"object","properties":{"minimum":{"type":"integer","minimum":1},
            "b":{"type":"array","items":{"type":["object","null"],"properties":{}}}},"$defs":{"c":{"type":"object","properties":{}}}}"#;
        let (fitted, changed) = fit(schema).unwrap();
        let fitted: Value = serde_json::from_str(&fitted).unwrap();
        assert!(changed);
        assert_eq!(fitted["properties"]["minimum"], serde_json::json!({"type": "integer"}));
        for at in ["/additionalProperties", "/properties/b/items/additionalProperties", "/$defs/c/additionalProperties"]
        {
            assert_eq!(fitted.pointer(at), Some(&Value::Bool(false)), "{at}");
        }
    }

    #[test]
    fn open_objects_are_not_for_this() {
        assert_eq!(fit(r#"{"type":"object"}"#), None);
        assert_eq!(fit(r#"{"type":"object","properties":{},"additionalProperties":true}"#), None);
        assert_eq!(fit("no schema"), None);
    }
}
