//! Compiled code is kept, and only trusted where nobody else could have put it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use portcullis_runtime::{Compiler, LoadError, PluginSettings, Runtime, RuntimeOptions, check_bytes};

use crate::support::{Guest, options};

fn options_at(path: &Path) -> RuntimeOptions {
    RuntimeOptions { cache_dir: Some(path.to_owned()), ..options() }
}

fn compiled(path: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn code_is_compiled_once_and_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/cache");
    let guest = Guest::guard();
    let check = || {
        let runtime = Runtime::new(options_at(&path)).unwrap();
        check_bytes(&runtime, "guest", guest.bytes(), &PluginSettings::default()).unwrap()
    };
    check();
    let files = compiled(&path);
    assert_eq!(files.len(), 1, "one component, nothing left aside");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&files[0])), (0o700, 0o600));
    let written = fs::metadata(&files[0]).unwrap().modified().unwrap();
    check();
    assert_eq!(compiled(&path), files);
    assert_eq!(fs::metadata(&files[0]).unwrap().modified().unwrap(), written, "read, not written again");

    // What cannot be read as compiled code is made anew.
    fs::write(&files[0], b"rubbish").unwrap();
    check();
    assert!(fs::metadata(&files[0]).unwrap().len() > 10_000);
}

#[test]
fn code_that_others_could_write_is_not_run() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache");
    let guest = Guest::guard();
    let runtime = Runtime::new(options_at(&path)).unwrap();
    let check = || check_bytes(&runtime, "guest", guest.bytes(), &PluginSettings::default()).unwrap();
    check();
    let file = compiled(&path).remove(0);
    // Would not deserialise: were it read, it would be found out by being replaced only for that reason.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let before = fs::metadata(&file).unwrap().modified().unwrap();
    check();
    let after = fs::metadata(&file).unwrap();
    assert_ne!(after.modified().unwrap(), before, "compiled again");
    assert_eq!(after.permissions().mode() & 0o777, 0o600);

    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    let error = Runtime::new(options_at(&path)).unwrap_err();
    assert!(error.to_string().contains("others can write it"), "{error}");
}

#[test]
fn without_a_cache_it_compiles_in_memory() {
    let runtime = Runtime::new(RuntimeOptions { cache_dir: None, ..options() }).unwrap();
    check_bytes(&runtime, "guest", Guest::guard().bytes(), &PluginSettings::default()).unwrap();
}

/// The example of that name, which cargo builds with the tests.
fn compiler() -> Compiler {
    let own = std::env::current_exe().unwrap();
    let program = own.parent().and_then(Path::parent).unwrap().join("examples/compile");
    assert!(program.exists(), "{}", program.display());
    Compiler { program, arguments: Vec::new() }
}

#[test]
fn a_process_of_its_own_compiles() {
    let directory = tempfile::tempdir().unwrap();
    let options = RuntimeOptions { compiler: Some(compiler()), ..options_at(directory.path()) };
    let guest = Guest::guard();
    let apart = Runtime::new(options.clone()).unwrap();
    check_bytes(&apart, "guest", guest.bytes(), &PluginSettings::default()).unwrap();
    let written = compiled(directory.path());
    assert_eq!(written.len(), 1);

    // What it made fits this process's engine and is what this one would have made.
    let here = tempfile::tempdir().unwrap();
    let runtime = Runtime::new(options_at(here.path())).unwrap();
    check_bytes(&runtime, "guest", guest.bytes(), &PluginSettings::default()).unwrap();
    assert_eq!(fs::read(&written[0]).unwrap(), fs::read(&compiled(here.path())[0]).unwrap());

    // A component that is wrong inside is the component's fault and is not compiled once more here.
    let mut bytes = guest.bytes().to_vec();
    let code = bytes.len() / 2;
    bytes[code..code + 64].fill(0xff);
    let error = check_bytes(&apart, "guest", &bytes, &PluginSettings::default()).unwrap_err();
    assert!(matches!(error, LoadError::Compile(_) | LoadError::NotAComponent(_)), "{error:?}");
}

#[test]
fn without_its_process_it_compiles_here() {
    let missing = Compiler { program: "/nonexistent/compiler".into(), arguments: Vec::new() };
    let options = RuntimeOptions { cache_dir: None, compiler: Some(missing), ..options() };
    let runtime = Runtime::new(options).unwrap();
    check_bytes(&runtime, "guest", Guest::guard().bytes(), &PluginSettings::default()).unwrap();
}
