//! Golden vectors: a plugin's wire knowledge as data, run natively here and by the host against the built component (the build
//! embeds them, and a plugin whose own vectors fail does not load).
//!
//! The format is documented in [`portcullis_golden`]. Run with `UPDATE_GOLDEN=1` to write the outputs that the code gives now; read
//! the diff before committing it.

use std::path::Path;

use serde_json::Value;

pub use portcullis_golden::{Vector, comparable};
#[doc(hidden)]
pub use portcullis_golden::{outcome, plain};

/// Differences shown of one vector.
const SHOWN: usize = 10;

/// Compares an answer with the expected one; says where they differ.
fn check(vector: &Vector, answer: Value) -> Result<(), String> {
    let mut differences = vector.differences(answer);
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
                check(&vector, answer)
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
            "encode-error" => $crate::golden::plain(E::encode_error(
                $v.parameter("context")?,
                $v.parameter("route")?,
                $v.parameter("failure")?,
            )),
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
    use serde_json::json;

    use super::*;
    use crate::ir::{Context, Frame, Pair};

    fn vector(value: Value) -> Vector {
        serde_json::from_value(value).expect("a vector")
    }

    #[test]
    fn parameters_are_the_contracts_types_and_may_hold_json_itself() {
        let vector = vector(json!({
            "about": "a", "function": "r.f",
            "input": {"body": {"a": [1, {"b": null}]}, "frames": [{"event": "", "data": {"x": 1}}, {"event": "e", "data": "y"}],
                "pair": {"name": "n", "value": "v"}},
        }));
        assert_eq!(vector.parameter::<String>("body").as_deref(), Ok(r#"{"a":[1,{"b":null}]}"#));
        assert_eq!(vector.parameter("frames"), Ok(vec![Frame::data(r#"{"x":1}"#), Frame::named("e", "y")]));
        assert_eq!(vector.parameter("pair"), Ok(Pair::new("n", "v")));
        assert_eq!(vector.parameter::<Context>("context").map(|context| context.seed), Ok(7));
        assert!(vector.parameter::<u32>("body").is_err());
    }

    #[test]
    fn many_differences_are_cut() {
        let vector = vector(json!({"about": "a", "function": "r.f", "input": {}, "output": vec![0; 12]}));
        assert_eq!(check(&vector, json!(vec![0; 12])), Ok(()));
        let why = check(&vector, json!(vec![1; 12])).expect_err("differences");
        assert!(why.starts_with("/0: expected 0, answered 1\n") && why.ends_with("and 2 more"), "{why}");
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
