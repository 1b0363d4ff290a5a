//! Compiled code: made once per component and engine, kept under a directory that only this user can write.
//!
//! Loading compiled code runs it unchecked. So it is taken from nowhere but this cache: never from a plugin's author, and
//! not from a directory or file that another user owns or can write.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::engine::{Compiler, Runtime, configuration};
use crate::error::{LoadError, RuntimeError};
use crate::files;

/// Compiled components kept; past that the least recently written go.
const MAX_FILES: usize = 256;
const SUFFIX: &str = "cwasm";

#[derive(Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
    /// Of the engine's version and settings.
    compatibility: u64,
}

impl Cache {
    pub fn open(directory: &Path, engine: &Engine) -> Result<Cache, RuntimeError> {
        let refuse = |reason: String| RuntimeError::Cache { path: directory.display().to_string(), reason };
        files::create_private(directory).map_err(|error| refuse(error.to_string()))?;
        trusted(directory).map_err(refuse)?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Cache { directory: directory.to_owned(), compatibility: hasher.finish() })
    }

    fn path(&self, hash: &str) -> PathBuf {
        self.directory.join(format!("{hash}-{:016x}.{SUFFIX}", self.compatibility))
    }

    /// What is there, is trusted and fits this engine.
    fn read(&self, engine: &Engine, hash: &str) -> Option<Component> {
        let path = self.path(hash);
        if !path.exists() {
            return None;
        }
        let answer = trusted(&self.directory).and_then(|()| trusted(&path)).and_then(|()| {
            // SAFETY: the file and its directory belong to this user and nobody else can write them, so it holds what
            // `write` put there; wasmtime itself checks that version and settings agree.
            unsafe { Component::deserialize_file(engine, &path) }.map_err(|error| format!("{error:#}"))
        });
        match answer {
            Ok(component) => Some(component),
            Err(reason) => {
                tracing::warn!(path = %path.display(), reason, "compiled code not used, compiling again");
                None
            }
        }
    }

    fn write(&self, hash: &str, code: &[u8]) -> std::io::Result<()> {
        let written = files::write(&self.path(hash), code);
        self.prune();
        written
    }

    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        let mut files: Vec<_> = entries
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == SUFFIX))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort();
        let surplus = files.len().saturating_sub(MAX_FILES);
        for (_, path) in &files[..surplus] {
            let _ = fs::remove_file(path);
        }
    }
}

/// The compiled component of these bytes: from the cache, from the compiler's process, or from this one.
pub(crate) fn compiled(runtime: &Runtime, bytes: &[u8], hash: &str) -> Result<Component, LoadError> {
    let (engine, cache) = (&runtime.engine, runtime.cache.as_ref());
    if let Some(component) = cache.and_then(|cache| cache.read(engine, hash)) {
        return Ok(component);
    }
    let code = match &runtime.options.compiler {
        Some(compiler) => match compile_apart(compiler, bytes) {
            Ok(code) => Some(code),
            Err(Apart::Component(reason)) => return Err(LoadError::Compile(reason)),
            Err(Apart::Process(reason)) => {
                tracing::warn!(reason, "the compiler's process failed, compiling in this one");
                None
            }
        },
        None => None,
    };
    let code = match code {
        Some(code) => code,
        None => engine.precompile_component(bytes).map_err(|error| LoadError::Compile(format!("{error:#}")))?,
    };
    if let Some(cache) = cache {
        match cache.write(hash, &code) {
            // Mapped from the file, code costs no memory of its own that the kernel could not take back.
            Ok(()) => {
                if let Some(component) = cache.read(engine, hash) {
                    return Ok(component);
                }
            }
            Err(error) => tracing::warn!(%error, "compiled code not kept"),
        }
    }
    // SAFETY: made a moment ago by the compiler, this program's own.
    unsafe { Component::deserialize(engine, code) }.map_err(|error| LoadError::Compile(format!("{error:#}")))
}

enum Apart {
    /// The component does not compile.
    Component(String),
    /// The program does not run.
    Process(String),
}

/// The exit status by which [`compile_standard_input`]'s caller says that the component is at fault.
const COMPONENT_AT_FAULT: i32 = 3;

fn compile_apart(compiler: &Compiler, bytes: &[u8]) -> Result<Vec<u8>, Apart> {
    let process = |error: std::io::Error| Apart::Process(format!("{}: {error}", compiler.program.display()));
    let mut child = Command::new(&compiler.program)
        .args(&compiler.arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(process)?;
    let input = child.stdin.take();
    // Written beside reading the answer: either side may fill its pipe first.
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            // A child that stops reading says why by its exit.
            if let Some(mut input) = input {
                let _ = input.write_all(bytes);
            }
        });
        child.wait_with_output()
    })
    .map_err(process)?;
    let words = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.code() {
        Some(0) => Ok(output.stdout),
        Some(COMPONENT_AT_FAULT) => Err(Apart::Component(words())),
        _ => Err(Apart::Process(format!("{}: {}", output.status, words()))),
    }
}

/// The whole of the compiler's process: reads a component from standard input, writes its compiled code to standard output,
/// and answers the status to exit with. For a hidden subcommand that [`Compiler`] names.
pub fn compile_standard_input() -> std::process::ExitCode {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut bytes);
    let outcome = match read {
        Err(error) => Err((1, error.to_string())),
        Ok(_) => Engine::new(&configuration(None))
            .map_err(|error| (1, format!("{error:#}")))
            .and_then(|engine| {
                engine.precompile_component(&bytes).map_err(|error| (COMPONENT_AT_FAULT as u8, format!("{error:#}")))
            })
            .and_then(|code| std::io::stdout().lock().write_all(&code).map_err(|error| (1, error.to_string()))),
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err((status, reason)) => {
            eprintln!("{reason}");
            std::process::ExitCode::from(status)
        }
    }
}

/// Ours, and nobody else's to write.
#[cfg(unix)]
fn trusted(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    if metadata.file_type().is_symlink() {
        return Err("it is a symbolic link".to_owned());
    }
    // SAFETY: reads a number of this process.
    if metadata.uid() != unsafe { libc::geteuid() } {
        return Err("it belongs to another user".to_owned());
    }
    if metadata.mode() & 0o022 != 0 {
        return Err("others can write it".to_owned());
    }
    Ok(())
}

#[cfg(not(unix))]
fn trusted(_: &Path) -> Result<(), String> {
    Ok(())
}
