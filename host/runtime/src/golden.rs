//! A plugin's own golden vectors, run against the component before it serves anybody. The format is the SDK's, documented in
//! `sdk/rust/src/golden.rs`; parameters, their defaults and the comparison mean the same here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::code::Code;
use crate::contract::manifest::Manifest;
use crate::error::{CallError, LoadError};
use crate::plugin::Plugin;
use crate::session::Session;
use crate::settings::{Isolation, PluginSettings};

/// Time all vectors of one plugin may take together.
const TIME_CAP: Duration = Duration::from_secs(2);
/// Characters of a value shown where two differ.
const SHOWN: usize = 200;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    /// The file it was embedded from.
    #[serde(default)]
    file: String,
    #[serde(rename = "about")]
    _about: String,
    function: String,
    #[serde(default)]
    configuration: Value,
    input: Map<String, Value>,
    #[serde(default)]
    output: Value,
}

/// Runs the vectors of a golden section, each on a fresh instance configured as the vector says; answers how many there were.
pub(crate) fn run(
    code: &Arc<Code>,
    manifest: &Arc<Manifest>,
    settings: &PluginSettings,
    section: &[u8],
) -> Result<usize, LoadError> {
    let vectors: Vec<Vector> = serde_json::from_slice(section)
        .map_err(|error| LoadError::Golden(format!("the section is not a list of vectors: {error}")))?;
    let begin = Instant::now();
    for vector in &vectors {
        if begin.elapsed() > TIME_CAP {
            return Err(LoadError::Golden(format!("they take longer than {TIME_CAP:?}")));
        }
        check(code, manifest, settings, vector).map_err(|why| match why {
            Why::Machine(error) => LoadError::Configure(error),
            Why::Vector(why) => {
                let name = if vector.file.is_empty() { &vector.function } else { &vector.file };
                LoadError::Golden(format!("{name}: {why}"))
            }
        })?;
    }
    Ok(vectors.len())
}

/// Why a vector does not hold.
enum Why {
    Vector(String),
    /// The call failed for want of room or time, which says nothing about the vector.
    Machine(CallError),
}

impl From<String> for Why {
    fn from(why: String) -> Self {
        Why::Vector(why)
    }
}

impl From<CallError> for Why {
    fn from(error: CallError) -> Self {
        if error.is_transient() { Why::Machine(error) } else { Why::Vector(error.to_string()) }
    }
}

fn check(code: &Arc<Code>, manifest: &Arc<Manifest>, settings: &PluginSettings, vector: &Vector) -> Result<(), Why> {
    // The vectors hold for the plugin as its author made it: the operator narrows requests and not this.
    let settings = PluginSettings {
        configuration: vector.configuration.clone(),
        isolation: Isolation::Fresh,
        content_read: None,
        content_write: None,
        ..settings.clone()
    };
    let plugin = Plugin::new(code.clone(), manifest.clone(), settings, false, None).map_err(|why| why.to_string())?;
    let answer = match plugin.rehearse() {
        Err(LoadError::Configure(error)) => return Err(error.into()),
        configured if vector.function == "plugin.configure" => match configured {
            Ok(()) => json!({ "ok": null }),
            Err(LoadError::Configuration(words)) => json!({ "err": words }),
            Err(error) => return Err(error.to_string().into()),
        },
        Ok(()) => call(&mut Arc::new(plugin).session("golden", "golden", "req-golden"), vector)?,
        Err(error) => return Err(error.to_string().into()),
    };
    let (expected, answer) = (comparable(vector.output.clone()), comparable(answer));
    difference("", &expected, &answer).map_or(Ok(()), |why| Err(why.into()))
}

/// Calls the vector's function with its parameters.
fn call(session: &mut Session, v: &Vector) -> Result<Value, Why> {
    macro_rules! call {
        ($wrap:ident $method:ident($($argument:expr),* $(,)?)) => {
            $wrap(session.$method($($argument),*)?)
        };
    }
    let context = v.parameter("context")?;
    let last = || v.parameter("last");
    let state = || v.parameter::<Vec<u8>>("state");
    let body = || v.parameter::<String>("body");
    let endpoint = || v.parameter::<String>("endpoint");
    Ok(match v.function.as_str() {
        "dialect.decode-request" => call!(outcome decode_request(&context, &v.parameter("head")?, &body()?)),
        "dialect.encode-response" => {
            call!(outcome encode_response(&context, &v.parameter("reply")?, &v.parameter("response")?))
        }
        "dialect.encode-events" => call!(outcome encode_events(
            &context,
            &v.parameter("reply")?,
            &state()?,
            &v.parameter::<Vec<_>>("events")?,
            last()?,
        )),
        "dialect.encode-error" => call!(plain encode_error(&context, &v.parameter("failure")?)),
        "dialect.encode-models" => call!(plain encode_models(&context, &v.parameter::<Vec<_>>("models")?)),
        "provider.encode-request" => {
            call!(outcome encode_request(&context, &v.parameter("target")?, &v.parameter("request")?))
        }
        "provider.decode-response" => call!(outcome decode_response(&context, &v.parameter("head")?, &body()?)),
        "provider.decode-frames" => {
            call!(outcome decode_frames(&context, &endpoint()?, &state()?, &v.parameter::<Vec<_>>("frames")?, last()?))
        }
        "provider.decode-error" => call!(plain decode_error(&context, &v.parameter("head")?, &body()?)),
        "provider.meter" => {
            call!(outcome meter(&context, &endpoint()?, &state()?, &v.parameter::<Vec<_>>("frames")?, last()?))
        }
        "router.rank" => call!(outcome rank(
            &context,
            &v.parameter("caller")?,
            &v.parameter("features")?,
            &v.parameter::<Vec<_>>("preferences")?,
            &v.parameter::<Vec<_>>("candidates")?,
        )),
        "guard.inspect" => call!(outcome inspect(
            &context,
            v.parameter("direction")?,
            &state()?,
            &v.parameter("texts")?,
        )),
        "policy.evaluate-request" => call!(outcome evaluate_request(
            &context,
            &v.parameter("subject")?,
            v.parameter::<Option<_>>("content")?.as_ref(),
        )),
        "policy.evaluate-target" => {
            call!(outcome evaluate_target(&context, &v.parameter("subject")?, &v.parameter("attempt")?))
        }
        "policy.evaluate-response" => call!(outcome evaluate_response(
            &context,
            &v.parameter("subject")?,
            &v.parameter("attempt")?,
            v.parameter::<Option<_>>("usage")?.as_ref(),
            v.parameter::<Option<_>>("content")?.as_ref(),
        )),
        "observer.observe" => call!(outcome observe(v.parameter("now")?, &v.parameter::<Vec<_>>("receipts")?)),
        other => return Err(format!("the contract has no function {other}").into()),
    })
}

impl Vector {
    fn parameter<T: DeserializeOwned>(&self, name: &str) -> Result<T, String> {
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
fn comparable(value: Value) -> Value {
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

/// Where two values first differ, and how.
fn difference(at: &str, expected: &Value, answer: &Value) -> Option<String> {
    match (expected, answer) {
        _ if expected == answer => None,
        (Value::Object(wanted), Value::Object(given)) => wanted
            .keys()
            .chain(given.keys())
            .find_map(|key| {
                difference(
                    &format!("{at}/{key}"),
                    wanted.get(key).unwrap_or(&Value::Null),
                    given.get(key).unwrap_or(&Value::Null),
                )
            })
            .or_else(|| Some(format!("at {at}: a null member is missing or too many"))),
        (Value::Array(wanted), Value::Array(given)) if wanted.len() == given.len() => {
            wanted.iter().zip(given).enumerate().find_map(|(n, (a, b))| difference(&format!("{at}/{n}"), a, b))
        }
        _ => Some(format!(
            "at {}: expected {}, answered {}",
            if at.is_empty() { "/" } else { at },
            clip(expected),
            clip(answer)
        )),
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

fn outcome<T: Serialize, E: Serialize>(result: Result<T, E>) -> Value {
    match result {
        Ok(value) => json!({ "ok": value }),
        Err(error) => json!({ "err": error }),
    }
}

fn plain<T: Serialize>(value: T) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_its_place() {
        let expected = json!({"ok": {"a": [1, {"b": "x"}], "state": [1, 2]}});
        assert_eq!(
            difference("", &comparable(expected.clone()), &comparable(json!({"ok": {"a": [1, {"b": "x"}]}}))),
            None
        );
        let answer = json!({"ok": {"a": [1, {"b": "y"}]}});
        let why = difference("", &comparable(expected), &answer);
        assert_eq!(why.as_deref(), Some("at /ok/a/1/b: expected \"x\", answered \"y\""));
        assert!(difference("", &json!({"a": null}), &json!({})).is_some());
        assert!(difference("", &json!([1]), &json!([1, 2])).is_some());
    }

    #[test]
    fn values_may_stand_where_the_contract_has_their_text() {
        assert_eq!(textual("body", json!({"a": 1})), json!("{\"a\":1}"));
        assert_eq!(
            textual("frames", json!([{"event": "", "data": {"a": 1}}])),
            json!([{"event": "", "data": "{\"a\":1}"}])
        );
        assert_eq!(comparable(json!({"body": "{\"a\": 1}"})), json!({"body": {"a": 1}}));
    }
}
