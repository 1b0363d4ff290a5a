//! JSON schemas, made into what the API takes.
//!
//! Two fields take a schema. `parametersJsonSchema` and `responseJsonSchema`, from Gemini 2.5 on, take a subset of JSON Schema (its
//! keywords stand in `GenerationConfig.response_json_schema` of `google-genai`'s types); `parameters` and `responseSchema` an OpenAPI
//! schema, in which null is a flag and enumerations are strings (<https://ai.google.dev/api/caching#Schema>). What a field does not
//! take is moved into the description, where the model still reads it.
//!
//! Invariant: the result has no reference, however the schema refers to itself, and no keyword outside the subset.

use serde_json::{Map, Value, json};

use super::inline::{Inlined, inline};

/// Which field the schema is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Subset {
    JsonSchema,
    OpenApi,
}

/// A schema that fits.
#[derive(Debug, PartialEq)]
pub struct Fitted {
    /// Absent for an object without members, for which the API wants no schema at all.
    pub schema: Option<Value>,
    /// It says less than it did.
    pub loosened: bool,
}

/// Fits a schema for a function's parameters or an answer; what is no schema becomes none.
pub fn fit(schema: &str, subset: Subset) -> Fitted {
    let Ok(root) = serde_json::from_str::<Value>(schema) else { return Fitted { schema: None, loosened: true } };
    let Inlined { schema: root, cut } = inline(&root);
    let mut fitter = Fitter { subset, loosened: cut };
    let fitted = fitter.schema(&root, 0);
    let is_empty = fitted.get("type").is_none_or(|kind| kind == "object")
        && fitted.get("properties").and_then(Value::as_object).is_none_or(Map::is_empty)
        && ["anyOf", "enum", "items"].iter().all(|name| fitted.get(name).is_none())
        && !matches!(fitted.get("additionalProperties"), Some(Value::Bool(true) | Value::Object(_)));
    Fitted { schema: (!is_empty).then_some(fitted), loosened: fitter.loosened }
}

struct Fitter {
    subset: Subset,
    loosened: bool,
}

impl Fitter {
    fn schema(&mut self, value: &Value, depth: usize) -> Value {
        let Value::Object(schema) = value else {
            // `true` takes anything; `false`, which takes nothing, has no word.
            self.loosened |= *value != Value::Bool(true);
            return self.anything();
        };
        let mut out = Map::new();
        let mut notes = Vec::new();
        self.kind(schema, &mut out, &mut notes, depth);
        self.values(schema, &mut out, &mut notes);
        self.members(schema, &mut out, depth);
        self.items(schema, &mut out, depth);
        self.variants(schema, &mut out, depth);
        self.bounds(schema, &mut out, &mut notes);
        describe(schema, &mut out, &notes);
        Value::Object(out)
    }

    fn anything(&self) -> Value {
        match self.subset {
            Subset::JsonSchema => json!({}),
            Subset::OpenApi => json!({"type": "string", "description": "Any JSON value."}),
        }
    }

    /// `type`, which may be a list, and `nullable`.
    fn kind(
        &mut self,
        schema: &Map<String, Value>,
        out: &mut Map<String, Value>,
        notes: &mut Vec<String>,
        depth: usize,
    ) {
        let mut kinds: Vec<String> = match schema.get("type") {
            Some(Value::String(kind)) => vec![kind.to_ascii_lowercase()],
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).map(str::to_ascii_lowercase).collect(),
            _ if schema.contains_key("properties") => vec!["object".to_owned()],
            _ if schema.contains_key("items") || schema.contains_key("prefixItems") => vec!["array".to_owned()],
            _ => Vec::new(),
        };
        let nullable = schema.get("nullable") == Some(&Value::Bool(true));
        if self.subset == Subset::JsonSchema {
            if nullable && !kinds.is_empty() && !kinds.iter().any(|kind| kind == "null") {
                kinds.push("null".to_owned());
            }
            match &kinds[..] {
                [] => {}
                [kind] => {
                    out.insert("type".to_owned(), json!(kind));
                }
                kinds => {
                    out.insert("type".to_owned(), json!(kinds));
                }
            }
            return;
        }
        let null = kinds.iter().any(|kind| kind == "null");
        kinds.retain(|kind| kind != "null");
        if null || nullable {
            out.insert("nullable".to_owned(), json!(true));
        }
        match &kinds[..] {
            [] => {}
            [kind] => {
                out.insert("type".to_owned(), json!(kind));
            }
            kinds => {
                let plain = |kind: &String| match kind.as_str() {
                    "array" => json!({"type": "array", "items": {"type": "string"}}),
                    kind => json!({"type": kind}),
                };
                if depth > 0 && schema.contains_key("anyOf") {
                    notes.push(format!("type: {}", kinds.join(" or ")));
                    self.loosened = true;
                } else {
                    out.insert("anyOf".to_owned(), Value::Array(kinds.iter().map(plain).collect()));
                }
            }
        }
    }

    /// `enum` and `const`.
    fn values(&mut self, schema: &Map<String, Value>, out: &mut Map<String, Value>, notes: &mut Vec<String>) {
        let mut values: Vec<Value> = match (schema.get("enum"), schema.get("const")) {
            (Some(Value::Array(values)), _) => values.clone(),
            (_, Some(value)) => vec![value.clone()],
            _ => return,
        };
        if self.subset == Subset::OpenApi {
            let before = values.len();
            values.retain(|value| !value.is_null());
            if values.len() < before {
                out.insert("nullable".to_owned(), json!(true));
            }
        }
        let taken = |value: &Value| match self.subset {
            Subset::JsonSchema => value.is_string() || value.is_number() || value.is_null(),
            Subset::OpenApi => value.is_string(),
        };
        if !values.is_empty() && values.iter().all(taken) {
            if !out.contains_key("type") && values.iter().all(Value::is_string) {
                out.insert("type".to_owned(), json!("string"));
            }
            out.insert("enum".to_owned(), Value::Array(values));
        } else if !values.is_empty() {
            let kind = match &values[0] {
                Value::Bool(_) => "boolean",
                Value::Number(number) if number.is_f64() => "number",
                Value::Number(_) => "integer",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
                _ => "string",
            };
            out.entry("type").or_insert_with(|| json!(kind));
            self.loosened = true;
            let texts: Vec<String> = values.iter().map(Value::to_string).collect();
            notes.push(format!("one of: {}", texts.join(", ")));
        }
    }

    fn members(&mut self, schema: &Map<String, Value>, out: &mut Map<String, Value>, depth: usize) {
        if let Some(Value::Object(members)) = schema.get("properties") {
            let fitted: Map<_, _> =
                members.iter().map(|(name, member)| (name.clone(), self.schema(member, depth + 1))).collect();
            // Of an OpenAPI object without members the API wants to know nothing.
            if !(fitted.is_empty() && self.subset == Subset::OpenApi) {
                out.insert("properties".to_owned(), Value::Object(fitted));
            }
            if let Some(Value::Array(required)) = schema.get("required") {
                let known: Vec<_> = required
                    .iter()
                    .filter(|name| name.as_str().is_some_and(|name| members.contains_key(name)))
                    .cloned()
                    .collect();
                self.loosened |= known.len() < required.len();
                if !known.is_empty() {
                    out.insert("required".to_owned(), Value::Array(known));
                }
            }
        }
        if let Some(order @ Value::Array(_)) = schema.get("propertyOrdering") {
            out.insert("propertyOrdering".to_owned(), order.clone());
        }
        match (schema.get("additionalProperties"), self.subset) {
            (Some(Value::Bool(open)), Subset::JsonSchema) => {
                out.insert("additionalProperties".to_owned(), json!(open));
            }
            (Some(member @ Value::Object(_)), Subset::JsonSchema) => {
                let member = self.schema(member, depth + 1);
                out.insert("additionalProperties".to_owned(), member);
            }
            (Some(Value::Object(_)), Subset::OpenApi) => self.loosened = true,
            _ => {}
        }
        self.loosened |= schema.contains_key("patternProperties");
    }

    fn items(&mut self, schema: &Map<String, Value>, out: &mut Map<String, Value>, depth: usize) {
        let tuple = match (schema.get("prefixItems"), schema.get("items")) {
            (Some(Value::Array(items)), _) | (None, Some(Value::Array(items))) => Some(items),
            _ => None,
        };
        let one = schema.get("items").filter(|items| !items.is_array() && **items != Value::Bool(false));
        match (tuple, self.subset) {
            (Some(items), Subset::JsonSchema) => {
                let fitted = items.iter().map(|item| self.schema(item, depth + 1)).collect();
                out.insert("prefixItems".to_owned(), Value::Array(fitted));
                if let Some(item) = one {
                    let item = self.schema(item, depth + 1);
                    out.insert("items".to_owned(), item);
                }
            }
            (Some(items), Subset::OpenApi) => {
                self.loosened = true;
                let mut fitted: Vec<Value> = items.iter().map(|item| self.schema(item, depth + 1)).collect();
                fitted.dedup();
                let item = if fitted.len() == 1 { fitted.remove(0) } else { json!({"anyOf": fitted}) };
                out.insert("items".to_owned(), item);
            }
            (None, _) => {
                if let Some(item) = one {
                    let item = self.schema(item, depth + 1);
                    out.insert("items".to_owned(), item);
                } else if self.subset == Subset::OpenApi && out.get("type") == Some(&json!("array")) {
                    out.insert("items".to_owned(), json!({"type": "string"}));
                }
            }
        }
    }

    /// `anyOf` and `oneOf`, which the API reads alike.
    fn variants(&mut self, schema: &Map<String, Value>, out: &mut Map<String, Value>, depth: usize) {
        let Some(Value::Array(variants)) = schema.get("anyOf").or_else(|| schema.get("oneOf")) else { return };
        let is_null = |variant: &Value| variant.get("type") == Some(&json!("null"));
        let mut fitted: Vec<Value> = Vec::with_capacity(variants.len());
        for variant in variants {
            if self.subset == Subset::OpenApi && is_null(variant) {
                out.insert("nullable".to_owned(), json!(true));
            } else {
                let variant = self.schema(variant, depth + 1);
                fitted.push(variant);
            }
        }
        if let (1, Some(Value::Object(only))) = (fitted.len(), fitted.first()) {
            for (name, value) in only.clone() {
                out.entry(name).or_insert(value);
            }
        } else if !fitted.is_empty() {
            out.insert("anyOf".to_owned(), Value::Array(fitted));
        }
    }

    /// Keywords that bound a value, and those that the subset does not take.
    fn bounds(&mut self, schema: &Map<String, Value>, out: &mut Map<String, Value>, notes: &mut Vec<String>) {
        const BOTH: &[&str] = &["minItems", "maxItems", "minimum", "maximum", "title"];
        const OPEN_API: &[&str] =
            &["minLength", "maxLength", "minProperties", "maxProperties", "pattern", "default", "example"];
        const DESCRIBED: &[&str] = &[
            "minLength",
            "maxLength",
            "minProperties",
            "maxProperties",
            "pattern",
            "default",
            "exclusiveMinimum",
            "exclusiveMaximum",
            "multipleOf",
            "uniqueItems",
        ];
        const UNSAID: &[&str] =
            &["not", "if", "then", "else", "contains", "dependentRequired", "dependentSchemas", "propertyNames"];
        for (name, value) in schema {
            let name = name.as_str();
            if BOTH.contains(&name) || self.subset == Subset::OpenApi && OPEN_API.contains(&name) {
                out.insert(name.to_owned(), value.clone());
            } else if name == "format" {
                self.format(value, out, notes);
            } else if DESCRIBED.contains(&name) {
                self.loosened |= name != "default";
                notes.push(format!("{name}: {value}"));
            } else if UNSAID.contains(&name) {
                self.loosened = true;
            }
        }
    }

    fn format(&self, value: &Value, out: &mut Map<String, Value>, notes: &mut Vec<String>) {
        let Some(format) = value.as_str() else { return };
        let of_string = !matches!(out.get("type").and_then(Value::as_str), Some("number" | "integer"));
        let taken = match (self.subset, of_string) {
            (Subset::JsonSchema, true) => matches!(format, "date-time" | "date" | "time"),
            (Subset::OpenApi, true) => matches!(format, "date-time" | "enum"),
            (_, false) => matches!(format, "float" | "double" | "int32" | "int64"),
        };
        if taken {
            out.insert("format".to_owned(), value.clone());
        } else {
            notes.push(format!("format: {format}"));
        }
    }
}

/// Writes what became words behind the description.
fn describe(schema: &Map<String, Value>, out: &mut Map<String, Value>, notes: &[String]) {
    let said = schema.get("description").and_then(Value::as_str);
    let description = match (said, notes.is_empty()) {
        (Some(text), true) => text.to_owned(),
        (Some(text), false) => format!("{text} ({})", notes.join(", ")),
        (None, false) => format!("({})", notes.join(", ")),
        (None, true) => return,
    };
    out.insert("description".to_owned(), Value::String(description));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fitted(schema: Value, subset: Subset) -> (Value, bool) {
        let fitted = fit(&schema.to_string(), subset);
        (fitted.schema.unwrap_or(Value::Null), fitted.loosened)
    }

    #[test]
    fn a_plain_schema_is_not_changed() {
        let schema = json!({"type": "object", "description": "d", "properties": {
            "a": {"type": "string", "enum": ["x", "y"]}, "n": {"type": "integer", "minimum": 1}},
            "required": ["a"]});
        for subset in [Subset::JsonSchema, Subset::OpenApi] {
            assert_eq!(fitted(schema.clone(), subset), (schema.clone(), false));
        }
    }

    #[test]
    fn an_object_without_members_is_no_schema() {
        for schema in [
            json!({}),
            json!({"type": "object"}),
            json!({"type": "object", "properties": {}, "additionalProperties": false}),
        ] {
            for subset in [Subset::JsonSchema, Subset::OpenApi] {
                assert_eq!(fit(&schema.to_string(), subset).schema, None, "{schema}");
            }
        }
        let open = json!({"type": "object", "additionalProperties": {"type": "string"}});
        assert_eq!(fitted(open.clone(), Subset::JsonSchema), (open.clone(), false));
        assert_eq!(fit(&open.to_string(), Subset::OpenApi), Fitted { schema: None, loosened: true });
        let inner = json!({"type": "object", "properties": {"o": {"type": "object", "properties": {}}}});
        assert_eq!(fitted(inner, Subset::OpenApi).0["properties"]["o"], json!({"type": "object"}));
    }

    #[test]
    fn null_is_a_flag_in_an_open_api_schema() {
        for schema in [json!({"type": ["string", "null"]}), json!({"anyOf": [{"type": "string"}, {"type": "null"}]})] {
            let schema = json!({"type": "object", "properties": {"a": schema}});
            let (old, loosened) = fitted(schema.clone(), Subset::OpenApi);
            assert_eq!((&old["properties"]["a"], loosened), (&json!({"type": "string", "nullable": true}), false));
            assert_eq!(fitted(schema.clone(), Subset::JsonSchema), (schema, false));
        }
    }

    #[test]
    fn what_is_not_taken_is_described() {
        let schema = json!({"type": "object", "properties": {
            "u": {"type": "string", "format": "uri", "minLength": 3, "description": "A link"},
            "c": {"const": "x"}, "b": {"const": true}, "e": {"enum": [1, 2]},
            "x": {"type": "number", "exclusiveMinimum": 0}}});
        let (new, loosened) = fitted(schema.clone(), Subset::JsonSchema);
        assert!(loosened);
        assert_eq!(
            new["properties"],
            json!({
            "u": {"type": "string", "description": "A link (format: uri, minLength: 3)"},
            "c": {"type": "string", "enum": ["x"]}, "b": {"type": "boolean", "description": "(one of: true)"},
            "e": {"enum": [1, 2]}, "x": {"type": "number", "description": "(exclusiveMinimum: 0)"}})
        );
        let (old, _) = fitted(schema, Subset::OpenApi);
        assert_eq!(old["properties"]["e"], json!({"type": "integer", "description": "(one of: 1, 2)"}));
        assert_eq!(old["properties"]["u"]["minLength"], 3);
    }

    #[test]
    fn tuples_and_lists() {
        let schema = json!({"type": "object", "properties": {"t": {"type": "array", "items": [{"type": "string"}, {"type": "integer"}]},
            "l": {"type": "array"}}});
        let (new, _) = fitted(schema.clone(), Subset::JsonSchema);
        assert_eq!(
            new["properties"]["t"],
            json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]})
        );
        let (old, _) = fitted(schema, Subset::OpenApi);
        assert_eq!(old["properties"]["t"]["items"]["anyOf"], json!([{"type": "string"}, {"type": "integer"}]));
        assert_eq!(old["properties"]["l"]["items"], json!({"type": "string"}));
    }

    #[test]
    fn members_that_are_required_must_be_there() {
        let (new, loosened) = fitted(
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a", "b"]}),
            Subset::JsonSchema,
        );
        assert_eq!((&new["required"], loosened), (&json!(["a"]), true));
    }

    #[test]
    fn a_member_named_like_a_keyword_is_not_one() {
        let schema = json!({"type": "object", "properties": {"pattern": {"type": "string"}, "$ref": {"type": "string"}, "allOf": {"type": "string"}}});
        assert_eq!(fitted(schema.clone(), Subset::JsonSchema), (schema, false));
    }

    fn any_schema() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(true)),
            Just(json!({"type": "string", "pattern": "x"})),
            Just(json!({"$ref": "#/$defs/a"})),
            Just(json!({"$ref": "#"})),
            Just(json!({"$ref": "nowhere"})),
            Just(json!({"const": 1})),
            Just(json!({"type": ["null", "array"]})),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let list = prop::collection::vec(inner.clone(), 0..4);
            prop_oneof![
                (list.clone(), prop::sample::select(vec!["anyOf", "oneOf", "allOf", "items", "prefixItems"]))
                    .prop_map(|(list, name)| json!({name: list})),
                prop::collection::btree_map("[a-c$]", inner.clone(), 0..3)
                    .prop_map(|members| json!({"type": "object", "properties": members, "required": ["a"]})),
                inner.prop_map(|inner| json!({"items": inner, "additionalProperties": {"$ref": "#/$defs/b"}})),
            ]
        })
    }

    fn check(schema: &Value, subset: Subset) {
        let Value::Object(schema) = schema else { panic!("{schema}") };
        for (name, value) in schema {
            match name.as_str() {
                "properties" => value.as_object().unwrap().values().for_each(|member| check(member, subset)),
                "anyOf" | "prefixItems" => value.as_array().unwrap().iter().for_each(|item| check(item, subset)),
                "items" => check(value, subset),
                "additionalProperties" => assert!(value.is_boolean() || value.is_object()),
                "type" => assert!(value.is_string() || subset == Subset::JsonSchema),
                "enum" | "required" | "description" | "minItems" | "maxItems" | "minimum" | "maximum" | "title"
                | "format" => {}
                "nullable" | "pattern" => assert_eq!(subset, Subset::OpenApi),
                other => panic!("{other}"),
            }
        }
    }

    proptest! {
        #[test]
        fn any_schema_fits(schema in any_schema(), a in any_schema(), b in any_schema()) {
            let mut schema = schema;
            if let Value::Object(schema) = &mut schema {
                schema.insert("$defs".to_owned(), json!({"a": a, "b": b}));
            }
            for subset in [Subset::JsonSchema, Subset::OpenApi] {
                if let Some(fitted) = fit(&schema.to_string(), subset).schema {
                    check(&fitted, subset);
                }
            }
        }
    }
}
