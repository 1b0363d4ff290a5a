//! What a tool is called with: an example of its schema, and in it what the prompt says of the call: `NAME(3)` where it writes the
//! call out, with values in the order in which the schema requires members, and `named 'X'` for the first required text.

use serde_json::{Map, Value};

use crate::ask::Tool;
use crate::schema;

/// JSON; free text for a tool that has no schema.
pub fn of(tool: &Tool, prompt: &str) -> String {
    let Some(schema) = &tool.schema else { return format!("demo {}", tool.name) };
    let mut members = match schema::example(schema, "arguments") {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, value) in required.iter().zip(written(&tool.name, prompt)) {
        members.insert((*name).to_owned(), value);
    }
    let text = required.iter().find(|name| schema["properties"][**name]["type"] == "string");
    if let (Some(name), Some(value)) = (text, named(prompt)) {
        members.insert((*name).to_owned(), value.into());
    }
    Value::Object(members).to_string()
}

/// The values of `NAME(…)`, as far as they are JSON.
fn written(name: &str, prompt: &str) -> Vec<Value> {
    let call = prompt.split_once(&format!("{name}(")).and_then(|(_, rest)| rest.split_once(')'));
    let values = call.map_or("", |(values, _)| values).split(',');
    values.map_while(|value| serde_json::from_str(value.trim()).ok()).collect()
}

fn named(prompt: &str) -> Option<&str> {
    Some(prompt.split_once("named '")?.1.split_once('\'')?.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn as_the_prompt_says() {
        let tool = |properties: Value, required: Value| {
            let schema = json!({"type": "object", "properties": properties, "required": required});
            Tool { name: "magic".to_owned(), schema: Some(schema) }
        };
        let numbers = tool(json!({"a": {"type": "integer"}, "b": {"type": "integer"}}), json!(["b", "a"]));
        assert_eq!(of(&numbers, "What is magic(3, 4)?"), r#"{"a":4,"b":3}"#);
        assert_eq!(of(&numbers, "What is magic(x)?"), r#"{"a":1,"b":1}"#);
        assert_eq!(of(&numbers, "What is magic"), r#"{"a":1,"b":1}"#);
        let customer = tool(json!({"name": {"type": "string"}}), json!(["name"]));
        assert_eq!(of(&customer, "one named '你好' (hello)"), r#"{"name":"你好"}"#);
        assert_eq!(of(&customer, "one that isn't"), r#"{"name":"demo name"}"#);
        assert_eq!(of(&Tool { name: "free".to_owned(), schema: None }, "x"), "demo free");
    }
}
