//! Golden vectors: a plugin's knowledge as data, one call with its expected answer each. Read and compared here, once, for those who
//! make the calls: the SDK natively, and the host against the built component, in which the build embeds them.
//!
//! A vector is one JSON file under `tests/golden/`:
//!
//! ```json
//! { "about": "why this vector exists",
//!   "function": "dialect.decode-request",
//!   "configuration": {},
//!   "input": { "head": { "route": "chat", "path": [], "query": [] }, "body": { "model": "m", "messages": [] } },
//!   "output": { "ok": { "…": "…" } } }
//! ```
//!
//! - `input` names the function's parameters as the contract does, with `_` for `-`. A parameter may be left out:
//!   `context` is then `{now: 1700000000000, seed: 7, request_id: "req-golden", development: true}`, `state` is empty, `last` is true,
//!   `endpoint` is `chat`; and so may the members of an answer's `head`, of `reply` and of `models` that most vectors have alike.
//! - A guard's texts are listed one by one, each with its `at`, `content`, `kind`, `released` and `open`.
//! - Wherever the contract has JSON or a frame's data as text, a vector may hold the value itself instead.
//! - `output` is `{"ok": …}` or `{"err": …}` for a `result`, else the value. Opaque `state` is not compared; JSON held in strings
//!   is compared as JSON.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Characters of a value shown where two differ.
const SHOWN: usize = 400;

/// One vector.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    /// The file that the build embedded it from; empty in the file itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// What the vector shows and, for a wire fact, its source.
    pub about: String,
    /// `role.function` in the contract's names.
    pub function: String,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub configuration: Value,
    pub input: Map<String, Value>,
    #[serde(default)]
    pub output: Value,
}

impl Vector {
    /// A parameter by its contract name, with the defaults of the crate's documentation.
    ///
    /// # Errors
    /// The vector has none and there is no default, or it is not of the contract's type.
    pub fn parameter<T: DeserializeOwned>(&self, name: &str) -> Result<T, String> {
        let value = match self.input.get(name) {
            Some(Value::Array(texts)) if name == "texts" => packed(texts),
            Some(value) => filled(completed(name, textual(name, value.clone()))),
            None => match name {
                "context" => {
                    json!({"now": 1_700_000_000_000_u64, "seed": 7, "request_id": "req-golden", "development": true, "extra": []})
                }
                "state" => json!([]),
                "last" => json!(true),
                "endpoint" | "route" => json!("chat"),
                "content" | "usage" => Value::Null,
                _ => return Err(format!("the vector has no `{name}`")),
            },
        };
        serde_json::from_value(value).map_err(|error| format!("`{name}`: {error}"))
    }

    /// Where an answer differs from the expected one, a line each.
    pub fn differences(&self, answer: Value) -> Vec<String> {
        let mut differences = Vec::new();
        let answer = if self.function == "dialect.encode-response" { body_alone(answer) } else { answer };
        differ("", &comparable(self.output.clone()), &comparable(answer), &mut differences);
        differences
    }
}

/// Where two values differ, by JSON pointer.
fn differ(at: &str, expected: &Value, answer: &Value, differences: &mut Vec<String>) {
    let step = |name: &str| format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
    match (expected, answer) {
        (Value::Object(one), Value::Object(other)) => {
            for (name, value) in one {
                match other.get(name) {
                    Some(found) => differ(&step(name), value, found, differences),
                    None => differences.push(format!("{}: expected {}, is not there", step(name), clip(value))),
                }
            }
            let unexpected = other.iter().filter(|(name, _)| !one.contains_key(*name));
            differences.extend(unexpected.map(|(name, value)| format!("{}: unexpected {}", step(name), clip(value))));
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (value, found)) in one.iter().zip(other).enumerate() {
                differ(&step(&index.to_string()), value, found, differences);
            }
        }
        _ if expected == answer => {}
        _ => {
            let at = if at.is_empty() { "output" } else { at };
            differences.push(format!("{at}: expected {}, answered {}", clip(expected), clip(answer)));
        }
    }
}

fn clip(value: &Value) -> String {
    let mut text = value.to_string();
    if text.len() > SHOWN {
        text.truncate(text.floor_char_boundary(SHOWN));
        text.push('…');
    }
    text
}

/// A vector lists texts one by one; the contract lays them end to end.
fn packed(texts: &[Value]) -> Value {
    let (mut contents, mut places, mut list) = (String::new(), String::new(), Vec::new());
    for text in texts {
        contents.push_str(text["content"].as_str().unwrap_or_default());
        places.push_str(text["at"].as_str().unwrap_or_default());
        list.push(json!({
            "kind": text["kind"],
            "place_end": places.len(),
            "content_end": contents.len(),
            "released": text["released"],
            "open": text["open"],
        }));
    }
    json!({"contents": contents, "places": places, "list": list})
}

/// A vector leaves out what most have alike.
fn completed(name: &str, mut value: Value) -> Value {
    let fill = |value: &mut Value, defaults: Value| {
        if let (Value::Object(members), Value::Object(defaults)) = (value, defaults) {
            for (key, value) in defaults {
                members.entry(key).or_insert(value);
            }
        }
    };
    match (name, &mut value) {
        ("head", head) if head.get("status").is_some() => fill(head, json!({"endpoint": "chat"})),
        ("reply", reply) => fill(reply, json!({"provider": "provider", "strategy": "explicit", "echo": []})),
        ("request", request) => fill(request, json!({"echo": []})),
        ("models", Value::Array(models)) => {
            models.iter_mut().for_each(|model| fill(model, json!({"operations": ["chat"], "capabilities": []})));
        }
        _ => {}
    }
    value
}

/// Lists that a vector need not show where they are empty.
const MAY_BE_EMPTY: &[&str] = &["extra", "headers", "units"];

/// Every record with these lists, which one that has no such list passes over. A variant with a value is an object too, of one member
/// whose name begins with a capital.
fn filled(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let variant =
                members.len() == 1 && members.keys().all(|name| name.starts_with(|c: char| c.is_ascii_uppercase()));
            let mut members: Map<_, _> = members.into_iter().map(|(name, value)| (name, filled(value))).collect();
            for name in MAY_BE_EMPTY.iter().filter(|_| !variant) {
                members.entry(*name).or_insert(json!([]));
            }
            Value::Object(members)
        }
        Value::Array(items) => Value::Array(items.into_iter().map(filled).collect()),
        other => other,
    }
}

/// Names whose contract type is JSON text, so that a vector may hold the value itself.
const TEXTUAL: &[&str] = &["arguments", "body", "data", "equals", "logprobs", "parameters", "schema", "value"];

fn textual(name: &str, value: Value) -> Value {
    match value {
        Value::Object(_) | Value::Array(_) if TEXTUAL.contains(&name) => Value::String(value.to_string()),
        Value::Object(members) => {
            Value::Object(members.into_iter().map(|(key, value)| (key.clone(), textual(&key, value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(|item| textual("", item)).collect()),
        other => other,
    }
}

/// Without opaque state, and with JSON in strings read as JSON.
pub fn comparable(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .filter(|(key, value)| !(key == "state" && value.is_array()))
                .filter(|(key, value)| !may_be_left_out(key, value))
                .map(
                    |(key, value)| {
                        if key == "body" { (key, comparable(text_of(value))) } else { (key, comparable(value)) }
                    },
                )
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(comparable).collect()),
        Value::String(text) if text.starts_with(['{', '[']) => match serde_json::from_str(&text) {
            Ok(parsed) => comparable(parsed),
            Err(_) => Value::String(text),
        },
        other => other,
    }
}

/// What most answers have empty.
fn may_be_left_out(name: &str, value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty() && (MAY_BE_EMPTY.contains(&name) || matches!(name, "notes" | "echo")),
        Value::Null => matches!(name, "service_tier" | "stated_cost"),
        _ => false,
    }
}

/// An encoded answer of which nothing is noted is its body: a vector shows that.
fn body_alone(mut answer: Value) -> Value {
    if let Some(encoded) = answer.get_mut("ok")
        && encoded["notes"].as_array().is_some_and(Vec::is_empty)
    {
        *encoded = encoded["body"].take();
    }
    answer
}

/// A body that crosses as bytes, as the text it is.
fn text_of(body: Value) -> Value {
    let byte = |value: &Value| value.as_u64().and_then(|byte| u8::try_from(byte).ok());
    let bytes = body.as_array().filter(|list| !list.is_empty()).and_then(|list| list.iter().map(byte).collect());
    match bytes.map(String::from_utf8) {
        Some(Ok(text)) if text.starts_with('{') => Value::String(text),
        _ => body,
    }
}

/// A result as `{"ok": …}` or `{"err": …}`.
pub fn outcome<T: Serialize, E: Serialize>(result: Result<T, E>) -> Value {
    match result {
        Ok(value) => json!({ "ok": value }),
        Err(error) => json!({ "err": error }),
    }
}

/// An answer that is not a result.
pub fn plain<T: Serialize>(value: T) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(output: Value) -> Vector {
        let vector = json!({"about": "a", "function": "r.f", "input": {}, "output": output});
        serde_json::from_value(vector).expect("a vector")
    }

    #[test]
    fn values_may_stand_where_the_contract_has_their_text() {
        assert_eq!(textual("body", json!({"a": 1})), json!("{\"a\":1}"));
        assert_eq!(
            textual("frames", json!([{"event": "", "data": {"a": 1}}])),
            json!([{"event": "", "data": "{\"a\":1}"}])
        );
    }

    #[test]
    fn texts_are_laid_end_to_end() {
        let text = |at: &str, content: &str| json!({"at": at, "kind": "Text", "content": content, "released": 0, "open": false});
        let packed = packed(&[text("/a", "één"), text("/bc", "two")]);
        assert_eq!((&packed["contents"], &packed["places"]), (&json!("ééntwo"), &json!("/a/bc")));
        let ends: Vec<_> =
            packed["list"].as_array().unwrap().iter().map(|one| (&one["place_end"], &one["content_end"])).collect();
        assert_eq!(ends, [(&json!(2), &json!(5)), (&json!(5), &json!(8))]);
    }

    #[test]
    fn what_is_left_out_is_filled_in_and_what_is_there_stays() {
        assert_eq!(completed("head", json!({"status": 200})), json!({"status": 200, "endpoint": "chat"}));
        assert_eq!(completed("head", json!({"route": "chat"})), json!({"route": "chat"}));
        let reply = json!({"provider": "own", "strategy": "explicit", "echo": []});
        assert_eq!(completed("reply", json!({"provider": "own"})), reply);
        let models = json!([{"operations": ["chat"], "capabilities": ["tools"]}]);
        assert_eq!(completed("models", json!([{"capabilities": ["tools"]}])), models);
    }

    #[test]
    fn lists_that_are_empty_need_not_be_shown() {
        let records = json!({"Deny": {"code": "c"}, "b": [{"x": {"Some": 1}}]});
        let empty = |mut value: Value| {
            for name in MAY_BE_EMPTY {
                value[name] = json!([]);
            }
            value
        };
        assert_eq!(filled(json!({"Deny": {"code": "c"}})), json!({"Deny": empty(json!({"code": "c"}))}));
        let inner = empty(json!({"x": {"Some": 1}}));
        assert_eq!(filled(records), empty(json!({"Deny": empty(json!({"code": "c"})), "b": [inner]})));
        assert_eq!(filled(json!({"extra": [1]}))["extra"], json!([1]));
    }

    #[test]
    fn parameters_have_defaults() {
        let vector = vector(Value::Null);
        assert_eq!((vector.parameter::<Vec<u8>>("state"), vector.parameter("last")), (Ok(Vec::new()), Ok(true)));
        assert_eq!(vector.parameter::<Option<String>>("content"), Ok(None));
        assert_eq!(vector.parameter::<Value>("context").map(|context| context["seed"].clone()), Ok(json!(7)));
        assert_eq!(vector.parameter::<String>("endpoint").as_deref(), Ok("chat"));
        assert_eq!(vector.parameter::<String>("head"), Err("the vector has no `head`".to_owned()));
    }

    #[test]
    fn json_in_strings_compares_as_json_and_state_not_at_all() {
        let expected = vector(json!({"ok": {"state": [1], "body": {"b": 1, "a": 2}, "text": "{not json"}}));
        let answer = json!({"ok": {"state": [2, 3], "body": "{\"a\":2, \"b\":1}", "text": "{not json"}});
        assert_eq!(expected.differences(answer), Vec::<String>::new());
    }

    #[test]
    fn a_difference_names_its_place() {
        let expected = vector(json!({"ok": {"list": [1, 2], "a/b": 1, "gone": null}}));
        assert_eq!(
            expected.differences(json!({"ok": {"list": [1, 3], "a/b": 1, "new": 0}})),
            ["/ok/gone: expected null, is not there", "/ok/list/1: expected 2, answered 3", "/ok/new: unexpected 0"]
        );
        assert_eq!(expected.differences(json!({"ok": {"list": [1], "a/b": 1, "gone": null}})).len(), 1);
        assert_eq!(expected.differences(json!({"err": "no"})).len(), 2);
        assert_eq!(vector(json!(1)).differences(json!(2)), ["output: expected 1, answered 2"]);
    }

    #[test]
    fn long_values_are_clipped_between_characters() {
        let told = vector(json!("ä".repeat(SHOWN))).differences(json!(""));
        assert!(told[0].len() < SHOWN + 60 && told[0].contains('…'), "{told:?}");
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let misspelt = json!({"about": "", "function": "f", "input": {}, "ouput": 1});
        assert!(serde_json::from_value::<Vector>(misspelt).is_err());
    }
}
