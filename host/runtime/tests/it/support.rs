//! Guests, runtimes and a stand-in for the gateway.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_runtime::contract::policy::{Subject, Verdict};
use portcullis_runtime::contract::types::{Caller, Context};
use portcullis_runtime::{
    CallError, HealthPolicy, Plugin, PluginManager, PluginSettings, PluginState, PluginStatus, Quarantine, Runtime,
    RuntimeOptions,
};
use serde_json::Value;
use tempfile::TempDir;
use wasm_encoder::{ComponentSection, CustomSection};

/// A component's bytes, to be varied.
#[derive(Clone)]
pub struct Guest(Vec<u8>);

impl Guest {
    pub fn policy() -> Guest {
        Guest(built("guest_policy"))
    }

    pub fn guard() -> Guest {
        Guest(built("guest_guard")).mark("access", "write")
    }

    /// Every role of contract 0.1.0.
    pub fn frozen() -> Guest {
        Guest(built("guest_frozen"))
    }

    pub fn of(component: &[u8]) -> Guest {
        Guest(component.to_vec())
    }

    pub fn wasi() -> Guest {
        Guest(built("guest_wasi"))
    }

    /// Writes a mark's value over what stands there, padded with dots.
    pub fn mark(mut self, name: &str, value: &str) -> Guest {
        let marks = find(&self.0, b"guest-marks;");
        let field = marks + find(&self.0[marks..], format!(";{name}=").as_bytes()) + name.len() + 2;
        let width = find(&self.0[field..], b";");
        let padded = format!("{value:.<width$}");
        assert_eq!(padded.len(), width, "{value} does not fit {name}");
        self.0[field..field + width].copy_from_slice(padded.as_bytes());
        self
    }

    pub fn version(self, version: &str) -> Guest {
        self.mark("version", version)
    }

    /// Appends a custom section: another hash, or golden vectors.
    pub fn section(mut self, name: &str, data: &[u8]) -> Guest {
        CustomSection { name: name.into(), data: data.into() }.append_to_component(&mut self.0);
        self
    }

    pub fn golden(self, vectors: Value) -> Guest {
        self.section("portcullis:golden", vectors.to_string().as_bytes())
    }

    /// Exchanges text of equal length, such as an import's name, wherever it stands.
    pub fn exchange(mut self, from: &str, to: &str) -> Guest {
        assert_eq!(from.len(), to.len());
        let places: Vec<_> = self.0.windows(from.len()).enumerate().filter(|(_, w)| *w == from.as_bytes()).collect();
        let places: Vec<_> = places.into_iter().map(|(at, _)| at).collect();
        assert!(!places.is_empty(), "{from} stands nowhere");
        for at in places {
            self.0[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
        self
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Puts it in place at once.
    pub fn install(&self, path: &Path) {
        let aside = path.with_extension("partial");
        fs::write(&aside, &self.0).expect("a writable directory");
        fs::rename(aside, path).expect("a rename");
    }
}

fn find(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|window| window == what).expect("stands in the component")
}

fn built(example: &str) -> Vec<u8> {
    static BUILT: OnceLock<HashMap<&str, Vec<u8>>> = OnceLock::new();
    let all = BUILT.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let status = Command::new(env!("CARGO"))
            .current_dir(&root)
            .args(["build", "--quiet", "--profile", "plugin", "--target", "wasm32-unknown-unknown"])
            .args(["-p", "portcullis-runtime-guests", "--examples"])
            .status()
            .expect("cargo runs");
        assert!(status.success(), "the guests do not build");
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        ["guest_policy", "guest_guard", "guest_wasi", "guest_frozen"]
            .into_iter()
            .map(|name| {
                let path = target.join(format!("wasm32-unknown-unknown/plugin/examples/{name}.wasm"));
                let module = fs::read(path).expect("was built");
                let component = wit_component::ComponentEncoder::default()
                    .module(&module)
                    .and_then(|mut encoder| encoder.encode())
                    .expect("a component");
                (name, component)
            })
            .collect()
    });
    all[example].clone()
}

/// Compiled code is shared between tests and runs: the cache is one of the things tested elsewhere.
pub fn options() -> RuntimeOptions {
    RuntimeOptions {
        cache_dir: Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")),
        max_instances: 100,
        debounce: Duration::from_millis(30),
        rescan: Duration::from_millis(400),
        health: HealthPolicy { hold: Duration::from_millis(300), ..HealthPolicy::default() },
        ..RuntimeOptions::default()
    }
}

pub fn runtime() -> Arc<Runtime> {
    Runtime::new(options()).expect("a runtime")
}

/// A stand-in for the gateway's validation.
pub type Judge = fn(&[Arc<Plugin>]) -> Result<(), String>;

/// What the gateway would do with published sets: keep the last, and refuse when told to.
#[derive(Default)]
pub struct Published {
    pub sets: Mutex<Vec<Vec<String>>>,
    pub refuse: Mutex<Option<Judge>>,
}

pub struct Served {
    pub directory: TempDir,
    pub state: TempDir,
    pub published: Arc<Published>,
    pub manager: Arc<PluginManager>,
    pub runtime: Arc<Runtime>,
}

pub fn serve(files: &[(&str, &Guest)], settings: &[(&str, PluginSettings)]) -> Served {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, guest) in files {
        guest.install(&directory.path().join(format!("{name}.wasm")));
    }
    let path = directory.path().to_owned();
    serve_at(directory, path, settings)
}

pub fn serve_at(directory: TempDir, path: PathBuf, settings: &[(&str, PluginSettings)]) -> Served {
    serve_from(directory, path, tempfile::tempdir().expect("a directory"), settings)
}

fn serve_from(directory: TempDir, path: PathBuf, state: TempDir, settings: &[(&str, PluginSettings)]) -> Served {
    let state_dir = Some(state.path().join("state"));
    let runtime = Runtime::new(RuntimeOptions { state_dir, ..options() }).expect("a runtime");
    let published = Arc::new(Published::default());
    let own = published.clone();
    let publish = Box::new(move |plugins: &[Arc<Plugin>]| {
        if let Some(judge) = *own.refuse.lock().unwrap() {
            judge(plugins)?;
        }
        let names = plugins.iter().map(|plugin| format!("{}@{}", plugin.name(), plugin.version())).collect();
        own.sets.lock().unwrap().push(names);
        Ok(())
    });
    let settings = settings.iter().map(|(name, settings)| (name.to_string(), settings.clone())).collect();
    let manager = PluginManager::start(runtime.clone(), path, settings, publish).expect("a manager");
    Served { directory, state, published, manager, runtime }
}

impl Served {
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.wasm"))
    }

    /// The set published last.
    pub fn serving(&self) -> Vec<String> {
        self.published.sets.lock().unwrap().last().cloned().unwrap_or_default()
    }

    /// A plugin that serves.
    pub fn plugin(&self, name: &str) -> Arc<Plugin> {
        let plugins = self.manager.plugins();
        plugins.iter().find(|plugin| plugin.name() == name).expect("it serves").clone()
    }

    pub fn status(&self, name: &str) -> PluginStatus {
        self.manager.status().into_iter().find(|status| status.name == name).expect("a status")
    }

    /// Why a file was rejected or quarantined.
    pub fn reason(&self, name: &str) -> String {
        match self.status(name).state {
            PluginState::Rejected { reason } | PluginState::Quarantined { reason } => reason,
            other => format!("not rejected: {other:?}"),
        }
    }

    /// Another process over the same folders.
    pub fn restart(mut self, settings: &[(&str, PluginSettings)]) -> Served {
        self.manager.shutdown();
        let empty = || tempfile::tempdir().expect("a directory");
        let directory = std::mem::replace(&mut self.directory, empty());
        let state = std::mem::replace(&mut self.state, empty());
        let path = directory.path().to_owned();
        serve_from(directory, path, state, settings)
    }

    pub fn quarantine(&self) -> Quarantine {
        Quarantine::of(&self.state.path().join("state"))
    }

    /// Waits for what is noticed by itself.
    pub fn until(&self, what: &str, holds: impl Fn(&Served) -> bool) {
        let begin = Instant::now();
        while !holds(self) {
            assert!(begin.elapsed() < Duration::from_secs(60), "{what}: {:?}", self.manager.status());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.manager.shutdown();
    }
}

pub fn context() -> Context {
    Context { now: 1_700_000_000_000, seed: 7, request_id: "req-1".to_owned(), development: true, extra: Vec::new() }
}

pub fn caller(key: &str) -> Caller {
    Caller {
        key_id: key.to_owned(),
        organisation: "acme".to_owned(),
        team: None,
        user: None,
        environment: "production".to_owned(),
        tags: Vec::new(),
        region: None,
    }
}

pub fn subject(key: &str) -> Subject {
    Subject {
        caller: caller(key),
        operation: "chat".to_owned(),
        format: "openai-chat".to_owned(),
        model: "a-model".to_owned(),
        stream: false,
        body_bytes: 100,
        input_tokens: 25,
        max_output_tokens: None,
        tool_names: Vec::new(),
        needs: Vec::new(),
    }
}

/// One request of a key of an organisation: the code it was denied with, or `allow`.
pub fn ask_as(plugin: &Arc<Plugin>, tenant: &str, key: &str) -> Result<String, CallError> {
    let verdict = plugin.session(tenant, key, "req-1").evaluate_request(&context(), &subject(key), None)?;
    Ok(word(verdict.expect("the guest decides")))
}

pub fn ask(plugin: &Arc<Plugin>) -> Result<String, CallError> {
    ask_as(plugin, "acme", "key")
}

pub fn word(verdict: Verdict) -> String {
    match verdict {
        Verdict::Allow => "allow".to_owned(),
        Verdict::Deny(denial) => denial.code,
        Verdict::Constrain(_) => "constrain".to_owned(),
    }
}

/// Settings whose configuration makes the policy guest do this with requests.
pub fn on_request(what: &str) -> PluginSettings {
    configured(serde_json::json!({ "on_request": what }))
}

pub fn configured(configuration: Value) -> PluginSettings {
    // Far from what a busy machine takes: the deadlines themselves are tested by name.
    PluginSettings { configuration, wall_deadline: Duration::from_secs(20), ..PluginSettings::default() }
}

/// A plugin that was loaded and is served without a directory that changes.
pub fn plugin(guest: &Guest, settings: PluginSettings) -> (Served, Arc<Plugin>) {
    let served = serve(&[("guest", guest)], &[("guest", settings)]);
    let plugin = served.plugin("guest");
    (served, plugin)
}
