//! Builds a value that a JSON Schema accepts: tool arguments and structured answers. Deterministic; covers the keywords that
//! tools and `response_format` use (types, enums, defaults, references, bounds, formats), not the whole specification.

use serde_json::{Map, Value, json};

/// References deeper than this end in `null`, so that a recursive schema has a finite value.
const DEEPEST: usize = 12;

/// A value the schema accepts. `name` is what the value is for: strings say so.
pub fn example(schema: &Value, name: &str) -> Value {
    build(schema, schema, name, 0)
}

fn build(schema: &Value, root: &Value, name: &str, depth: usize) -> Value {
    if depth > DEEPEST {
        return Value::Null;
    }
    if let Some(target) = schema["$ref"].as_str().and_then(|reference| resolve(reference, root)) {
        return build(target, root, name, depth + 1);
    }
    for fixed in [&schema["const"], &schema["default"], &schema["enum"][0], &schema["examples"][0]] {
        if !fixed.is_null() {
            return fixed.clone();
        }
    }
    for choice in ["anyOf", "oneOf"] {
        if let Some(options) = schema[choice].as_array() {
            let first = options.iter().find(|option| option["type"] != "null").or(options.first());
            return first.map_or(Value::Null, |option| build(option, root, name, depth + 1));
        }
    }
    if let Some(parts) = schema["allOf"].as_array() {
        return merged(parts, root, name, depth);
    }
    match kind(schema) {
        "object" => object(schema, root, depth),
        "array" => {
            let least = schema["minItems"].as_u64().unwrap_or(1).clamp(0, 16);
            let one = build(&schema["items"], root, name, depth + 1);
            Value::Array((0..least).map(|_| one.clone()).collect())
        }
        "integer" => json!(number(schema).ceil() as i64),
        "number" => json!(number(schema)),
        "boolean" => json!(true),
        "null" => Value::Null,
        _ => json!(string(schema, name)),
    }
}

/// The value's type: the first that is not `null`, else what the other keywords imply.
fn kind(schema: &Value) -> &str {
    match &schema["type"] {
        Value::String(kind) => kind,
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("null"),
        _ if schema["properties"].is_object() => "object",
        _ if !schema["items"].is_null() => "array",
        _ => "string",
    }
}

fn object(schema: &Value, root: &Value, depth: usize) -> Value {
    let mut members = Map::new();
    if let Some(properties) = schema["properties"].as_object() {
        let required = |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
        for (name, property) in properties {
            // Optional members are where recursive schemas recur: deep down, only what is required is built.
            if depth < 4 || required(name) {
                members.insert(name.clone(), build(property, root, name, depth + 1));
            }
        }
    }
    Value::Object(members)
}

fn merged(parts: &[Value], root: &Value, name: &str, depth: usize) -> Value {
    let mut members = Map::new();
    for part in parts {
        match build(part, root, name, depth + 1) {
            Value::Object(more) => members.extend(more),
            other => return other,
        }
    }
    Value::Object(members)
}

fn number(schema: &Value) -> f64 {
    let least = schema["minimum"].as_f64().or_else(|| schema["exclusiveMinimum"].as_f64().map(|least| least + 1.0));
    let most = schema["maximum"].as_f64().or_else(|| schema["exclusiveMaximum"].as_f64().map(|most| most - 1.0));
    let wanted = 1f64.min(most.unwrap_or(1.0)).max(least.unwrap_or(f64::NEG_INFINITY));
    match schema["multipleOf"].as_f64() {
        Some(step) if step > 0.0 => (wanted / step).ceil() * step,
        _ => wanted,
    }
}

fn string(schema: &Value, name: &str) -> String {
    let mut text = match schema["format"].as_str() {
        Some("date") => "2025-01-31".to_owned(),
        Some("date-time") => "2025-01-31T12:00:00Z".to_owned(),
        Some("time") => "12:00:00Z".to_owned(),
        Some("email") => "demo@example.com".to_owned(),
        Some("uri" | "url") => "https://example.com/demo".to_owned(),
        Some("uuid") => "00000000-0000-4000-8000-000000000000".to_owned(),
        _ => format!("demo {name}"),
    };
    let least = usize::try_from(schema["minLength"].as_u64().unwrap_or(0)).unwrap_or(0).min(4096);
    while text.chars().count() < least {
        text.push('.');
    }
    match schema["maxLength"].as_u64() {
        Some(most) => text.chars().take(usize::try_from(most).unwrap_or(usize::MAX)).collect(),
        None => text,
    }
}

fn resolve<'a>(reference: &str, root: &'a Value) -> Option<&'a Value> {
    root.pointer(reference.strip_prefix('#')?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_by_type() {
        let schema = json!({
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer", "minimum": 3},
                "share": {"type": "number", "maximum": 0.5},
                "unit": {"enum": ["celsius", "kelvin"]},
                "exact": {"type": ["null", "boolean"]},
                "stops": {"type": "array", "items": {"$ref": "#/$defs/stop"}, "minItems": 2},
                "when": {"type": "string", "format": "date"},
                "code": {"type": "string", "maxLength": 3},
                "either": {"anyOf": [{"type": "null"}, {"type": "integer"}]},
            },
            "$defs": {"stop": {"type": "object", "properties": {"name": {"const": "here"}}}},
        });
        let value = example(&schema, "arguments");
        assert_eq!(
            value,
            json!({
                "city": "demo city", "days": 3, "share": 0.5, "unit": "celsius", "exact": true, "when": "2025-01-31",
                "stops": [{"name": "here"}, {"name": "here"}], "code": "dem", "either": 1,
            })
        );
    }

    #[test]
    fn recursion_ends() {
        let schema = json!({"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]});
        assert!(example(&schema, "node")["next"]["next"].is_object());
        assert_eq!(example(&json!({}), "x"), json!("demo x"));
        assert_eq!(example(&json!({"type": "object"}), "x"), json!({}));
    }
}
