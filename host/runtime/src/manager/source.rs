//! Reading the directory: which files there are, and their bytes once they keep still.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::engine::Runtime;
use crate::error::LoadError;
use crate::load;

/// How long a file must keep still after it was read.
const STILL: Duration = Duration::from_millis(30);
/// A file that was written less than this ago may change again without its times telling: network file systems count in
/// seconds.
const COARSE: Duration = Duration::from_secs(2);

/// By what a change of a file is known, links followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    /// Device, inode, and time of the inode's change.
    identity: (u64, u64, i64, i64),
}

impl Stamp {
    pub fn of(path: &Path) -> io::Result<Stamp> {
        let metadata = fs::metadata(path)?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        Ok(Stamp { length: metadata.len(), modified: metadata.modified().ok(), identity: identity(&metadata) })
    }

    /// So fresh that another change might leave the same stamp.
    pub fn is_fresh(&self) -> bool {
        self.modified.is_some_and(|modified| modified.elapsed().map_or(true, |age| age < COARSE))
    }
}

#[cfg(unix)]
fn identity(metadata: &fs::Metadata) -> (u64, u64, i64, i64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(not(unix))]
fn identity(_: &fs::Metadata) -> (u64, u64, i64, i64) {
    (0, 0, 0, 0)
}

/// The plugin files of a directory, by plugin name.
pub(super) fn list(directory: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if hidden || path.extension().is_none_or(|extension| extension != "wasm") {
            continue;
        }
        let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        files.push((name.to_owned(), path));
    }
    files.sort();
    Ok(files)
}

/// A file's bytes, if it did not change while and shortly after they were read.
pub(super) fn read(runtime: &Runtime, path: &Path) -> Result<(Vec<u8>, Stamp), LoadError> {
    let unreadable = |error: io::Error| LoadError::Read(error.to_string());
    let before = Stamp::of(path).map_err(unreadable)?;
    load::within_limit(runtime, before.length)?;
    let bytes = fs::read(path).map_err(unreadable)?;
    // Waiting is off the request path, and only fresh files need it.
    if before.is_fresh() {
        thread::sleep(STILL);
    }
    let after = Stamp::of(path).map_err(unreadable)?;
    if before != after || bytes.len() as u64 != after.length {
        return Err(LoadError::Unsettled);
    }
    Ok((bytes, after))
}
