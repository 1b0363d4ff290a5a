//! Schemas without references: each `$ref` is replaced by what it means and each `allOf` by one schema that says it all.
//!
//! Invariant: it ends, also where a schema refers to itself: there, and past a bound on what a small schema may unfold to,
//! stands an object of the definition's name.

use serde_json::{Map, Value, json};

/// Deep enough for any schema; deeper ones are cut there.
const MAX_DEPTH: usize = 48;
/// Schemas in all.
const MAX_SCHEMAS: usize = 4000;

pub struct Inlined {
    pub schema: Value,
    /// Something of it is missing.
    pub cut: bool,
}

pub fn inline(root: &Value) -> Inlined {
    let mut inliner = Inliner { root, open: vec!["#".to_owned()], schemas: 0, cut: false };
    let schema = inliner.schema(root, 0);
    Inlined { schema, cut: inliner.cut }
}

struct Inliner<'a> {
    root: &'a Value,
    /// The references being followed.
    open: Vec<String>,
    schemas: usize,
    cut: bool,
}

impl Inliner<'_> {
    fn schema(&mut self, value: &Value, depth: usize) -> Value {
        let Value::Object(schema) = value else { return value.clone() };
        self.schemas += 1;
        if depth > MAX_DEPTH || self.schemas > MAX_SCHEMAS {
            self.cut = true;
            return json!({"type": "object"});
        }
        let mut out = match schema.get("$ref") {
            Some(Value::String(reference)) => self.reference(reference, depth),
            _ => Map::new(),
        };
        for (name, value) in schema {
            let value = match (name.as_str(), value) {
                ("$ref" | "$defs" | "definitions" | "$schema" | "$id" | "$anchor" | "$comment" | "allOf", _) => {
                    continue;
                }
                ("properties", Value::Object(members)) => Value::Object(
                    members.iter().map(|(name, member)| (name.clone(), self.schema(member, depth + 1))).collect(),
                ),
                ("anyOf" | "oneOf" | "prefixItems" | "items", Value::Array(schemas)) => {
                    schemas.iter().map(|schema| self.schema(schema, depth + 1)).collect()
                }
                ("items" | "additionalProperties", schema) => self.schema(schema, depth + 1),
                (_, value) => value.clone(),
            };
            // What stands beside a reference is said of this place.
            out.insert(name.clone(), value);
        }
        if let Some(Value::Array(all)) = schema.get("allOf") {
            for part in all {
                if let Value::Object(part) = self.schema(part, depth + 1) {
                    self.merge(&mut out, part);
                }
            }
        }
        Value::Object(out)
    }

    fn reference(&mut self, reference: &str, depth: usize) -> Map<String, Value> {
        let root = self.root;
        let target = match reference.strip_prefix('#') {
            Some("") => Some(root),
            Some(pointer) => root.pointer(pointer),
            None => None,
        };
        let is_open = self.open.iter().any(|open| open == reference);
        match target.filter(|_| !is_open) {
            Some(target) => {
                self.open.push(reference.to_owned());
                let resolved = self.schema(target, depth + 1);
                self.open.pop();
                if let Value::Object(resolved) = resolved { resolved } else { Map::new() }
            }
            None => {
                self.cut = true;
                let name = reference.rsplit('/').next().filter(|name| *name != "#").unwrap_or("of the whole");
                let mut object = Map::new();
                object.insert("type".to_owned(), json!("object"));
                object.insert("description".to_owned(), json!(format!("Another {name}.")));
                object
            }
        }
    }

    /// Members of both; of what only one can say the first.
    fn merge(&mut self, into: &mut Map<String, Value>, part: Map<String, Value>) {
        for (name, value) in part {
            match (into.get_mut(&name), value) {
                (Some(Value::Object(known)), Value::Object(more)) if name == "properties" => {
                    for (name, value) in more {
                        known.entry(name).or_insert(value);
                    }
                }
                (Some(Value::Array(known)), Value::Array(more)) if name == "required" => {
                    let new: Vec<_> = more.into_iter().filter(|item| !known.contains(item)).collect();
                    known.extend(new);
                }
                (Some(known), value) => self.cut |= *known != value && name != "description" && name != "title",
                (None, value) => {
                    into.insert(name, value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inlined(schema: Value) -> (Value, bool) {
        let Inlined { schema, cut } = inline(&schema);
        (schema, cut)
    }

    #[test]
    fn references_are_replaced() {
        let schema = json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/A", "description": "here"}, "b": {"$ref": "#/$defs/A"}},
            "$defs": {"A": {"type": "string", "description": "there"}}});
        assert_eq!(
            inlined(schema),
            (
                json!({"type": "object", "properties": {
                "a": {"type": "string", "description": "here"}, "b": {"type": "string", "description": "there"}}}),
                false
            )
        );
    }

    #[test]
    fn a_schema_that_holds_itself_ends() {
        let schema = json!({"$ref": "#/$defs/Node", "$defs": {"Node": {"type": "object", "properties": {
            "next": {"$ref": "#/$defs/Node"}, "value": {"type": "integer"}}}}});
        let (schema, cut) = inlined(schema);
        assert!(cut);
        assert_eq!(schema["properties"]["next"], json!({"type": "object", "description": "Another Node."}));
        assert_eq!(schema["properties"]["value"], json!({"type": "integer"}));
        let (whole, cut) = inlined(json!({"type": "object", "properties": {"child": {"$ref": "#"}}}));
        assert_eq!((&whole["properties"]["child"]["type"], cut), (&json!("object"), true));
    }

    #[test]
    fn a_schema_that_unfolds_without_end_is_cut() {
        let mut definitions = Map::new();
        for level in 0..30 {
            let next = json!({"$ref": format!("#/$defs/L{}", level + 1)});
            definitions.insert(format!("L{level}"), json!({"type": "object", "properties": {"a": next, "b": next}}));
        }
        let (_, cut) = inlined(json!({"$ref": "#/$defs/L0", "$defs": definitions}));
        assert!(cut);
    }

    #[test]
    fn all_of_is_one() {
        let schema = json!({"description": "d", "allOf": [
            {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
            {"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b", "a"], "description": "other"}]});
        assert_eq!(
            inlined(schema),
            (
                json!({"description": "d", "type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                "required": ["a", "b"]}),
                false
            )
        );
        assert!(inlined(json!({"allOf": [{"type": "string"}, {"type": "integer"}]})).1);
    }
}
