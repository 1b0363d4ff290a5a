//! Files that only this user can read or write, and that are never seen half written.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Makes a folder and those above it, where they are missing.
#[cfg(unix)]
pub(crate) fn create_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

#[cfg(not(unix))]
pub(crate) fn create_private(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)
}

/// Puts a file in place at once. When this returns its bytes are on disk: pages that are still to be written cannot be given back
/// by whoever maps them, which left 25 MB resident after compiling twenty plugins.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    place(path, |file| {
        file.write_all(bytes)?;
        file.sync_data()
    })
}

/// As [`write()`]; when this returns the file's name outlives a loss of power too.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    place(path, |file| {
        file.write_all(bytes)?;
        file.sync_all()
    })?;
    match path.parent() {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn place(path: &Path, fill: impl FnOnce(&mut fs::File) -> io::Result<()>) -> io::Result<()> {
    let aside = aside(path);
    // Left by a process of the same number that was killed.
    let _ = fs::remove_file(&aside);
    let written = private_file(&aside).and_then(|mut file| {
        fill(&mut file)?;
        fs::rename(&aside, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written
}

fn aside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}-{}.partial", std::process::id()))
}

#[cfg(unix)]
fn private_file(path: &Path) -> io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(not(unix))]
fn private_file(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().write(true).create_new(true).open(path)
}
