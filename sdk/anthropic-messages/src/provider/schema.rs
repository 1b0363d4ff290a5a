//! JSON schemas for structured outputs. The API takes a subset
//! (<https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations>): every object closed, no
//! bounds on numbers, lengths or patterns. The official SDKs close objects and move such bounds into the description before
//! they send a schema; the same is done here, so that a schema that works with them works through the gateway.

use serde_json::{Map, Value};

/// Keywords that constrain and that the API refuses.
const BOUNDS: &[&str] = &[
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
];
/// Keywords that hold one schema, a list of schemas, or schemas by name.
const ONE: &[&str] = &["items", "not"];
const MANY: &[&str] = &["anyOf", "allOf", "prefixItems"];
const NAMED: &[&str] = &["properties", "$defs", "definitions"];

/// What became of a schema.
#[derive(Debug, PartialEq)]
pub enum Fitted {
    /// It was fine.
    Unchanged,
    /// It was made to fit; what it constrains beyond is in its descriptions.
    Changed(String),
    /// It needs what structured outputs cannot do: open objects.
    Refused,
}

pub fn fit(schema: &str) -> Fitted {
    let Ok(mut value) = serde_json::from_str::<Value>(schema) else { return Fitted::Refused };
    let mut changed = false;
    match walk(&mut value, &mut changed) {
        Err(Open) => Fitted::Refused,
        Ok(()) if changed => Fitted::Changed(value.to_string()),
        Ok(()) => Fitted::Unchanged,
    }
}

/// An object whose members are not all named.
struct Open;

fn walk(value: &mut Value, changed: &mut bool) -> Result<(), Open> {
    let Value::Object(schema) = value else { return Ok(()) };
    let object = schema.get("type").is_some_and(|kind| match kind {
        Value::String(kind) => kind == "object",
        Value::Array(kinds) => kinds.iter().any(|kind| kind == "object"),
        _ => false,
    });
    if object {
        match schema.get("additionalProperties") {
            Some(Value::Bool(false)) => {}
            None if schema.contains_key("properties") => {
                schema.insert("additionalProperties".to_owned(), Value::Bool(false));
                *changed = true;
            }
            _ => return Err(Open),
        }
    }
    if let Some(variants) = schema.remove("oneOf") {
        schema.insert("anyOf".to_owned(), variants);
        *changed = true;
    }
    *changed |= describe_bounds(schema);
    for name in ONE {
        if let Some(inner) = schema.get_mut(*name) {
            walk(inner, changed)?;
        }
    }
    for name in MANY {
        if let Some(Value::Array(inner)) = schema.get_mut(*name) {
            inner.iter_mut().try_for_each(|inner| walk(inner, changed))?;
        }
    }
    for name in NAMED {
        if let Some(Value::Object(inner)) = schema.get_mut(*name) {
            inner.values_mut().try_for_each(|inner| walk(inner, changed))?;
        }
    }
    Ok(())
}

/// Moves refused bounds into the description, where the model still reads them.
fn describe_bounds(schema: &mut Map<String, Value>) -> bool {
    let mut bounds = Vec::new();
    for name in BOUNDS {
        if let Some(value) = schema.remove(*name) {
            bounds.push(format!("{name}: {value}"));
        }
    }
    // Lists may be asked to hold at least none or one.
    if schema.get("minItems").and_then(Value::as_u64).is_some_and(|least| least > 1)
        && let Some(value) = schema.remove("minItems")
    {
        bounds.push(format!("minItems: {value}"));
    }
    if bounds.is_empty() {
        return false;
    }
    let bounds = bounds.join(", ");
    let description = match schema.get("description").and_then(Value::as_str) {
        Some(text) => format!("{text}\n\n{{{bounds}}}"),
        None => format!("{{{bounds}}}"),
    };
    schema.insert("description".to_owned(), Value::String(description));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fitting_schema_is_not_touched() {
        let schema =
            r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}"#;
        assert_eq!(fit(schema), Fitted::Unchanged);
    }

    #[test]
    fn objects_are_closed_and_bounds_described() {
        let Fitted::Changed(fitted) =
            fit(r#"{"type":"object","properties":{"n":{"type":"integer","minimum":1,"description":"A number"}}}"#)
        else {
            panic!("not changed")
        };
        let fitted: Value = serde_json::from_str(&fitted).unwrap();
        assert_eq!(fitted["additionalProperties"], false);
        assert_eq!(fitted["properties"]["n"]["description"], "A number\n\n{minimum: 1}");
        assert!(fitted["properties"]["n"].get("minimum").is_none());
    }

    #[test]
    fn open_objects_are_refused() {
        for schema in [
            r#"{"type":"object"}"#,
            r#"{"type":"object","properties":{},"additionalProperties":{"type":"string"}}"#,
            r#"{"type":"array","items":{"type":"object","additionalProperties":true}}"#,
        ] {
            assert_eq!(fit(schema), Fitted::Refused, "{schema}");
        }
    }

    #[test]
    fn a_property_named_like_a_keyword_is_not_one() {
        let schema = r#"{"type":"object","properties":{"pattern":{"type":"string"}},"additionalProperties":false}"#;
        assert_eq!(fit(schema), Fitted::Unchanged);
    }
}
