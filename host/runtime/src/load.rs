//! From bytes to a plugin that may serve: everything a swap checks, in order, off the request path.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::code::Code;
use crate::component::{self, Role, Shape};
use crate::contract::manifest::Manifest;
use crate::engine::Runtime;
use crate::error::LoadError;
use crate::golden;
use crate::host::Identity;
use crate::instance::Instance;
use crate::plugin::{Plugin, Withdraw};
use crate::settings::{Access, PluginSettings};

/// Time `describe` may take, whatever the operator's deadline for calls.
const DESCRIBE_DEADLINE: Duration = Duration::from_millis(500);

/// What the checks of a component found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub name: String,
    pub version: String,
    pub summary: String,
    /// SHA-256 of the file, in hex.
    pub hash: String,
    /// Of the file.
    pub bytes: u64,
    pub roles: Vec<Role>,
    /// After the operator's narrowing.
    pub access: Access,
    /// It imports WASI and gets an emptied one.
    pub wasi: bool,
    /// Golden vectors that were run; all of them held.
    pub vectors: usize,
    /// How long compiling took, or loading what was compiled before.
    pub compile: Duration,
    /// What it says of itself.
    #[serde(skip)]
    pub manifest: Arc<Manifest>,
}

/// A component that passed every check that does not depend on the other plugins.
pub(crate) struct Loaded {
    pub plugin: Plugin,
    pub report: Report,
}

/// Checks a file as a swap would, without serving it. The file's name is the plugin's.
pub fn check_component(runtime: &Arc<Runtime>, path: &Path, settings: &PluginSettings) -> Result<Report, LoadError> {
    let size = fs::metadata(path).map_err(|error| LoadError::Read(error.to_string()))?.len();
    within_limit(runtime, size)?;
    let bytes = fs::read(path).map_err(|error| LoadError::Read(error.to_string()))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    check_bytes(runtime, &name, &bytes, settings)
}

/// Checks the bytes of a component that would stand in a file of this name.
pub fn check_bytes(
    runtime: &Arc<Runtime>,
    name: &str,
    bytes: &[u8],
    settings: &PluginSettings,
) -> Result<Report, LoadError> {
    load(runtime, name, bytes, settings, false, None).map(|loaded| loaded.report)
}

/// SHA-256, in hex.
pub(crate) fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

pub(crate) fn within_limit(runtime: &Runtime, size: u64) -> Result<(), LoadError> {
    let limit = runtime.options.max_file_bytes;
    if size > limit { Err(LoadError::TooLarge { size, limit }) } else { Ok(()) }
}

/// The whole way. `replaces` says that a version serves already, to which failures in service go back.
pub(crate) fn load(
    runtime: &Arc<Runtime>,
    name: &str,
    bytes: &[u8],
    settings: &PluginSettings,
    replaces: bool,
    withdraw: Option<Withdraw>,
) -> Result<Loaded, LoadError> {
    within_limit(runtime, bytes.len() as u64)?;
    let shape = component::shape(bytes)?;
    let begin = Instant::now();
    let code = Code::of(runtime, &shape, bytes, hash(bytes))?;
    let compile = begin.elapsed();
    let manifest = Arc::new(describe(&code, name, settings)?);
    check_manifest(&manifest, name, &shape)?;
    let plugin = Plugin::new(code.clone(), manifest.clone(), settings.clone(), replaces, withdraw)?;
    plugin.rehearse()?;
    let vectors = match &shape.golden {
        Some(section) => golden::run(&code, &manifest, settings, section)?,
        None => 0,
    };
    code.rest();
    let report = Report {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        summary: manifest.summary.clone(),
        hash: code.hash.clone(),
        bytes: bytes.len() as u64,
        roles: shape.roles,
        access: plugin.access(),
        wasi: shape.wasi,
        vectors,
        compile,
        manifest,
    };
    Ok(Loaded { plugin, report })
}

fn describe(code: &Arc<Code>, name: &str, settings: &PluginSettings) -> Result<Manifest, LoadError> {
    // Before it has described itself nobody knows whether it sees content; it has seen none yet.
    let identity = Arc::new(Identity { name: name.to_owned(), version: String::new(), withhold: false });
    let settings = PluginSettings { deadline: DESCRIBE_DEADLINE, ..settings.clone() };
    let mut instance = Instance::new(code, identity, &settings).map_err(LoadError::Describe)?;
    code.check_types(&mut instance).map_err(|error| LoadError::WrongContract(format!("{error:#}")))?;
    let (manifest, _) = instance
        .call(code, |instance| code.functions()?.plugin.describe.call(&mut instance.store, &instance.instance, ()));
    manifest.map_err(LoadError::Describe)
}

fn check_manifest(manifest: &Manifest, name: &str, shape: &Shape) -> Result<(), LoadError> {
    let wrong = |why: String| Err(LoadError::Manifest(why));
    if manifest.name != name {
        return wrong(format!("it calls itself `{}`, and its file says `{name}`", manifest.name));
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        return wrong(format!("`{name}` is not a name of at most 64 lower-case letters, digits and dashes"));
    }
    if let Err(error) = semver::Version::parse(&manifest.version) {
        return wrong(format!("`{}` is not a semantic version: {error}", manifest.version));
    }
    if manifest.access.content_write && !manifest.access.content_read {
        return wrong("it would change content that it does not ask to read".to_owned());
    }
    for (role, what, count) in [
        (Role::Dialect, "routes", manifest.routes.len()),
        (Role::Provider, "endpoints", manifest.endpoints.len()),
        (Role::Provider, "models", manifest.models.len()),
    ] {
        if count > 0 && !shape.roles.contains(&role) {
            return wrong(format!("it has {what} and is no {role}"));
        }
    }
    if let Some(twice) = repeated(manifest.routes.iter().map(|route| route.name.as_str())) {
        return wrong(format!("it has two routes `{twice}`"));
    }
    if let Some(twice) = repeated(manifest.endpoints.iter().map(|endpoint| endpoint.name.as_str())) {
        return wrong(format!("it has two endpoints `{twice}`"));
    }
    Ok(())
}

fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = std::collections::HashSet::new();
    let mut names = names;
    names.find(|name| !seen.insert(*name))
}
