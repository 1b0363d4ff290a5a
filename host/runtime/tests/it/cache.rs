//! Compiled code is kept, and only trusted where nobody else could have put it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use portcullis_runtime::{PluginSettings, Runtime, RuntimeOptions, check_bytes};

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
