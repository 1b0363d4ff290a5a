//! A plugin's own golden vectors, run against the component before it serves anybody. The format is that of `sdk/golden`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_golden::{Vector, outcome, plain};
use serde_json::{Value, json};

use crate::code::Code;
use crate::contract::manifest::Manifest;
use crate::error::{CallError, LoadError};
use crate::plugin::Plugin;
use crate::session::Session;
use crate::settings::{Isolation, PluginSettings};

/// Time all vectors of one plugin may take together.
const TIME_CAP: Duration = Duration::from_secs(2);
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
    // The first says enough for the operator; the author sees them all in the plugin's own test.
    vector.differences(answer).into_iter().next().map_or(Ok(()), |why| Err(why.into()))
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
        "dialect.encode-error" => {
            call!(plain encode_error(&context, &v.parameter::<String>("route")?, &v.parameter("failure")?))
        }
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
