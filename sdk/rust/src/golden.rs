//! Golden vectors: a plugin's wire knowledge as data, run natively here and by the host against the built component (the build
//! embeds them, and a plugin whose own vectors fail does not load).
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
//!   `context` is then `{now: 1700000000000, seed: 7, request_id: "req-golden", development: true}`, `state` is empty, `last` is true.
//! - Wherever the contract has JSON or a frame's data as text, a vector may hold the value itself instead.
//! - `output` is `{"ok": …}` or `{"err": …}` for a `result`, else the value. Opaque `state` is not compared; JSON held in strings
//!   is compared as JSON.
//! - Run with `UPDATE_GOLDEN=1` to write the outputs that the code gives now; read the diff before committing it.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// One vector.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
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
    /// A parameter by its contract name, with the defaults of the module documentation.
    pub fn parameter<T: DeserializeOwned>(&self, name: &str) -> Result<T, String> {
        let value = match self.input.get(name) {
            Some(Value::Array(texts)) if name == "texts" => packed(texts),
            Some(value) => completed(name, textual(name, value.clone())),
            None => match name {
                "context" => {
                    json!({"now": 1_700_000_000_000_u64, "seed": 7, "request_id": "req-golden", "development": true})
                }
                "state" => json!([]),
                "last" => json!(true),
                "endpoint" => json!("chat"),
                "content" | "usage" => Value::Null,
                _ => return Err(format!("the vector has no `{name}`")),
            },
        };
        serde_json::from_value(value).map_err(|error| format!("`{name}`: {error}"))
    }

    /// Compares an answer with the expected one; says where they differ.
    pub fn check(&self, answer: Value) -> Result<(), String> {
        let (expected, answer) = (comparable(self.output.clone()), comparable(answer));
        let mut differences = Vec::new();
        differ("", &expected, &answer, &mut differences);
        if differences.is_empty() {
            return Ok(());
        }
        let more = differences.len().saturating_sub(SHOWN);
        differences.truncate(SHOWN);
        if more > 0 {
            differences.push(format!("and {more} more"));
        }
        Err(differences.join("\n"))
    }
}

/// Differences shown of one vector.
const SHOWN: usize = 10;

/// Where two values differ, by JSON pointer.
fn differ(at: &str, expected: &Value, answer: &Value, differences: &mut Vec<String>) {
    let step = |name: &str| format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
    match (expected, answer) {
        (Value::Object(one), Value::Object(other)) => {
            for (name, value) in one {
                match other.get(name) {
                    Some(found) => differ(&step(name), value, found, differences),
                    None => differences.push(format!("{}: expected {value}, is not there", step(name))),
                }
            }
            let unexpected = other.iter().filter(|(name, _)| !one.contains_key(*name));
            differences.extend(unexpected.map(|(name, value)| format!("{}: unexpected {value}", step(name))));
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (value, found)) in one.iter().zip(other).enumerate() {
                differ(&step(&index.to_string()), value, found, differences);
            }
        }
        _ if expected == answer => {}
        _ => differences
            .push(format!("{}: expected {expected}, answered {answer}", if at.is_empty() { "output" } else { at })),
    }
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
        ("reply", reply) => fill(reply, json!({"provider": "provider", "strategy": "explicit"})),
        ("models", Value::Array(models)) => {
            models.iter_mut().for_each(|model| fill(model, json!({"operations": ["chat"], "capabilities": []})));
        }
        _ => {}
    }
    value
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
                .map(|(key, value)| (key, comparable(value)))
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

/// A result as `{"ok": …}` or `{"err": …}`.
pub fn outcome<T: Serialize, E: Serialize>(result: Result<T, E>) -> Value {
    match result {
        Ok(value) => json!({ "ok": value }),
        Err(error) => json!({ "err": error }),
    }
}

/// Runs every vector under a directory through `call` and panics with all that fail. `call` is made by
/// [`golden_vectors!`](crate::golden_vectors).
pub fn run(directory: &Path, call: impl Fn(&Vector) -> Result<Value, String>) {
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.expect("a directory entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no vectors in {}", directory.display());
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut failures = Vec::new();
    for path in &files {
        let text = std::fs::read_to_string(path).expect("a readable vector");
        let outcome =
            serde_json::from_str::<Vector>(&text).map_err(|error| error.to_string()).and_then(|mut vector| {
                let answer = call(&vector)?;
                if update {
                    vector.output = comparable(answer);
                    let text = serde_json::to_string_pretty(&vector).expect("serialisable") + "\n";
                    return std::fs::write(path, text).map_err(|error| error.to_string());
                }
                vector.check(answer)
            });
        if let Err(why) = outcome {
            failures.push(format!("{}: {why}", path.display()));
        }
    }
    assert!(failures.is_empty(), "{} of {} vectors fail:\n{}", failures.len(), files.len(), failures.join("\n\n"));
}

/// Calls one function of a role with a vector's parameters. Used by [`golden_vectors!`](crate::golden_vectors).
#[doc(hidden)]
#[macro_export]
macro_rules! __golden_role {
    (dialect, $exported:ty, $function:expr, $v:expr) => {{
        use $crate::bindings::dialect::exports::portcullis::plugin::dialect::Guest;
        type E = $exported;
        match $function {
            "decode-request" => $crate::golden::outcome(E::decode_request(
                $v.parameter("context")?,
                $v.parameter("head")?,
                $v.parameter("body")?,
            )),
            "encode-response" => $crate::golden::outcome(E::encode_response(
                $v.parameter("context")?,
                $v.parameter("reply")?,
                $v.parameter("response")?,
            )),
            "encode-events" => $crate::golden::outcome(E::encode_events(
                $v.parameter("context")?,
                $v.parameter("reply")?,
                $v.parameter("state")?,
                $v.parameter("events")?,
                $v.parameter("last")?,
            )),
            "encode-error" => {
                $crate::golden::plain(E::encode_error($v.parameter("context")?, $v.parameter("failure")?))
            }
            "encode-models" => {
                $crate::golden::plain(E::encode_models($v.parameter("context")?, $v.parameter("models")?))
            }
            other => return Err(format!("dialect has no function {other}")),
        }
    }};
    (provider, $exported:ty, $function:expr, $v:expr) => {{
        use $crate::bindings::provider::exports::portcullis::plugin::provider::Guest;
        type E = $exported;
        match $function {
            "encode-request" => $crate::golden::outcome(E::encode_request(
                $v.parameter("context")?,
                $v.parameter("target")?,
                $v.parameter("request")?,
            )),
            "decode-response" => $crate::golden::outcome(E::decode_response(
                $v.parameter("context")?,
                $v.parameter("head")?,
                $v.parameter("body")?,
            )),
            "decode-frames" => $crate::golden::outcome(E::decode_frames(
                $v.parameter("context")?,
                $v.parameter("endpoint")?,
                $v.parameter("state")?,
                $v.parameter("frames")?,
                $v.parameter("last")?,
            )),
            "decode-error" => $crate::golden::plain(E::decode_error(
                $v.parameter("context")?,
                $v.parameter("head")?,
                $v.parameter("body")?,
            )),
            "meter" => $crate::golden::outcome(E::meter(
                $v.parameter("context")?,
                $v.parameter("endpoint")?,
                $v.parameter("state")?,
                $v.parameter("frames")?,
                $v.parameter("last")?,
            )),
            other => return Err(format!("provider has no function {other}")),
        }
    }};
    (router, $exported:ty, $function:expr, $v:expr) => {{
        use $crate::bindings::router::exports::portcullis::plugin::router::Guest;
        type E = $exported;
        match $function {
            "rank" => $crate::golden::outcome(E::rank(
                $v.parameter("context")?,
                $v.parameter("caller")?,
                $v.parameter("features")?,
                $v.parameter("preferences")?,
                $v.parameter("candidates")?,
            )),
            other => return Err(format!("router has no function {other}")),
        }
    }};
    (guard, $exported:ty, $function:expr, $v:expr) => {{
        use $crate::bindings::guard::exports::portcullis::plugin::guard::Guest;
        type E = $exported;
        match $function {
            "inspect" => $crate::golden::outcome(E::inspect(
                $v.parameter("context")?,
                $v.parameter("direction")?,
                $v.parameter("state")?,
                $v.parameter("texts")?,
            )),
            other => return Err(format!("guard has no function {other}")),
        }
    }};
    (policy, $exported:ty, $function:expr, $v:expr) => {{
        use $crate::bindings::policy::exports::portcullis::plugin::policy::Guest;
        type E = $exported;
        match $function {
            "evaluate-request" => $crate::golden::outcome(E::evaluate_request(
                $v.parameter("context")?,
                $v.parameter("subject")?,
                $v.parameter("content")?,
            )),
            "evaluate-target" => $crate::golden::outcome(E::evaluate_target(
                $v.parameter("context")?,
                $v.parameter("subject")?,
                $v.parameter("attempt")?,
            )),
            "evaluate-response" => $crate::golden::outcome(E::evaluate_response(
                $v.parameter("context")?,
                $v.parameter("subject")?,
                $v.parameter("attempt")?,
                $v.parameter("usage")?,
                $v.parameter("content")?,
            )),
            other => return Err(format!("policy has no function {other}")),
        }
    }};
    (observer, $exported:ty, $function:expr, $v:expr) => {{
        use $crate::bindings::observer::exports::portcullis::plugin::observer::Guest;
        type E = $exported;
        match $function {
            "observe" => $crate::golden::outcome(E::observe($v.parameter("now")?, $v.parameter("receipts")?)),
            other => return Err(format!("observer has no function {other}")),
        }
    }};
}

/// An answer that is not a result.
#[doc(hidden)]
pub fn plain<T: Serialize>(value: T) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// Declares the test that runs a plugin's vectors natively: `portcullis_plugin::golden_vectors!(PolicyRules: policy);` in the
/// plugin's `lib.rs`, beside `export!`.
#[macro_export]
macro_rules! golden_vectors {
    ($plugin:ident: $($role:ident),+ $(,)?) => {
        #[cfg(test)]
        mod golden_vectors {
            #[test]
            fn hold() {
                let directory = ::std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
                $crate::golden::run(&directory, |vector| {
                    let configured = $crate::golden::configure::<super::$plugin>(vector);
                    if vector.function == "plugin.configure" {
                        return Ok($crate::golden::outcome(configured));
                    }
                    configured?;
                    let (role, function) = vector.function.split_once('.').ok_or("`function` is role.function")?;
                    $(
                        if role == stringify!($role) {
                            return Ok($crate::__golden_role!($role, $crate::Exported<super::$plugin>, function, vector));
                        }
                    )+
                    Err(format!("the plugin has no role {role}"))
                });
            }
        }
    };
}

/// Configures a plugin as an instance would be, from the vector's configuration.
#[doc(hidden)]
pub fn configure<P: crate::Instance>(vector: &Vector) -> Result<(), String> {
    let configuration = match &vector.configuration {
        Value::Null => "{}".to_owned(),
        value => value.to_string(),
    };
    crate::plugin::configured::<P>(&configuration).map(P::keep)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Context, Frame, Pair};

    fn vector(value: Value) -> Vector {
        serde_json::from_value(value).expect("a vector")
    }

    #[test]
    fn parameters_have_defaults_and_may_hold_json_itself() {
        let vector = vector(json!({
            "about": "a", "function": "r.f",
            "input": {"body": {"a": [1, {"b": null}]}, "frames": [{"event": "", "data": {"x": 1}}, {"event": "e", "data": "y"}],
                "pair": {"name": "n", "value": "v"}},
        }));
        assert_eq!(vector.parameter::<String>("body").as_deref(), Ok(r#"{"a":[1,{"b":null}]}"#));
        assert_eq!(vector.parameter("frames"), Ok(vec![Frame::data(r#"{"x":1}"#), Frame::named("e", "y")]));
        assert_eq!(vector.parameter("pair"), Ok(Pair::new("n", "v")));
        assert_eq!(vector.parameter::<Context>("context").map(|context| context.seed), Ok(7));
        assert_eq!((vector.parameter::<Vec<u8>>("state"), vector.parameter("last")), (Ok(Vec::new()), Ok(true)));
        assert_eq!(vector.parameter::<Option<String>>("content"), Ok(None));
        assert_eq!(vector.parameter::<String>("head"), Err("the vector has no `head`".to_owned()));
        assert!(vector.parameter::<u32>("body").is_err());
    }

    #[test]
    fn json_in_strings_compares_as_json_and_state_not_at_all() {
        let expected = vector(json!({"about": "a", "function": "r.f", "input": {},
            "output": {"ok": {"state": [1], "body": {"b": 1, "a": 2}, "text": "{not json"}}}));
        let answer = json!({"ok": {"state": [2, 3], "body": "{\"a\":2, \"b\":1}", "text": "{not json"}});
        assert_eq!(expected.check(answer), Ok(()));
    }

    #[test]
    fn a_difference_names_its_place() {
        let expected = vector(json!({"about": "a", "function": "r.f", "input": {},
            "output": {"ok": {"list": [1, 2], "a/b": 1, "gone": true}}}));
        let why = expected.check(json!({"ok": {"list": [1, 3], "a/b": 1, "new": 0}})).expect_err("a difference");
        assert_eq!(
            why,
            "/ok/gone: expected true, is not there\n/ok/list/1: expected 2, answered 3\n/ok/new: unexpected 0"
        );
        assert!(expected.check(json!({"ok": {"list": [1], "a/b": 1, "gone": true}})).is_err());
        assert!(expected.check(json!({"err": "no"})).is_err());
        let many = vector(json!({"about": "a", "function": "r.f", "input": {}, "output": vec![0; 12]}));
        let why = many.check(json!(vec![1; 12])).expect_err("differences");
        assert!(why.ends_with("and 2 more"), "{why}");
    }

    #[test]
    fn an_unknown_key_of_a_vector_is_an_error() {
        assert!(
            serde_json::from_value::<Vector>(json!({"about": "", "function": "f", "input": {}, "ouput": 1})).is_err()
        );
    }

    #[test]
    #[should_panic(expected = "1 of 1 vectors fail")]
    fn a_vector_that_does_not_hold_fails_the_test() {
        let directory = std::env::temp_dir().join(format!("portcullis-golden-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a folder");
        let text = json!({"about": "", "function": "f", "input": {}, "output": 1}).to_string();
        std::fs::write(directory.join("one.json"), text).expect("a file");
        run(&directory, |_| Ok(json!(2)));
    }
}
