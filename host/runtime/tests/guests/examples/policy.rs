//! A policy and router that does what its configuration says.

use std::sync::atomic::{AtomicU32, Ordering};

use portcullis_plugin::prelude::*;
use portcullis_runtime_guests::{allocate, manifest, spin, version};
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What to do: see `evaluate_request`. `deny:CODE` and `log:TEXT` take a word.
    on_request: String,
    /// Keys whose requests panic.
    fail_keys: Vec<String>,
    /// Versions of this plugin that panic.
    bad_versions: Vec<String>,
    /// Refuses to be configured.
    refuse: bool,
}

pub struct Guest(Config);

static CALLS: AtomicU32 = AtomicU32::new(0);

impl Plugin for Guest {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest { stages: Stages { request: true, target: true, response: true }, ..manifest() }
    }

    fn configure(config: Config) -> Result<Self, String> {
        if config.refuse { Err("told to refuse".to_owned()) } else { Ok(Guest(config)) }
    }
}

impl Policy for Guest {
    fn evaluate_request(
        &self,
        _: &Context,
        subject: &Subject,
        content: Option<&Request>,
    ) -> Result<PolicyVerdict, Failure> {
        let key = &subject.caller.key_id;
        assert!(!self.0.fail_keys.contains(key), "told to fail for {key}");
        assert!(!self.0.bad_versions.iter().any(|bad| bad == version()), "told to fail as {}", version());
        let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(match self.0.on_request.as_str() {
            "" | "allow" => PolicyVerdict::Allow,
            "panic" => panic!("told to panic: {}", subject.model),
            "loop" => spin(),
            "allocate" => allocate(),
            "version" => deny(version(), 403, ""),
            "calls" => deny(&calls.to_string(), 403, ""),
            "content" => deny(if content.is_some() { "seen" } else { "unseen" }, 403, ""),
            other => match other.split_once(':') {
                Some(("deny", code)) => deny(code, 403, ""),
                Some(("log", text)) => {
                    logging::write(logging::Level::Warn, text);
                    PolicyVerdict::Allow
                }
                _ => panic!("not told what to do: {other}"),
            },
        })
    }

    fn evaluate_response(
        &self,
        _: &Context,
        _: &Subject,
        _: &Attempt,
        _: Option<&Usage>,
        content: Option<&Response>,
    ) -> Result<PolicyVerdict, Failure> {
        Ok(match self.0.on_request.as_str() {
            "" | "allow" => PolicyVerdict::Allow,
            _ => deny(if content.is_some() { "seen" } else { "unseen" }, 403, ""),
        })
    }
}

impl Router for Guest {
    fn rank(&self, _: &Context, _: &Caller, features: &Features, _: &[Pair], _: &[Candidate]) -> Result<Plan, Failure> {
        let reason = format!("model={} prompt={:?}", features.model, features.prompt);
        Ok(Plan { ranked: Vec::new(), rejected: Vec::new(), strategy: "told".to_owned(), reason })
    }
}

portcullis_plugin::export!(Guest: policy, router);
