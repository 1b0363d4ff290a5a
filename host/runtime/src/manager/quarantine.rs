//! Versions that failed in service: they do not serve again by themselves, whatever is restarted meanwhile.
//!
//! One small file for each, written whole or not at all, so that gateways and the operator's commands can share the folder
//! without a lock: that a file is there means that the version stays out, and removing it lifts the quarantine.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::files;

const FOLDER: &str = "quarantine";
const SUFFIX: &str = "json";

/// A version that was withdrawn for failures in service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QuarantinedVersion {
    pub plugin: String,
    pub version: String,
    /// SHA-256 of its file, in hex.
    pub hash: String,
    /// Milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// What served in its place when it was last looked at.
    pub instead: Option<Instead>,
}

/// The version that serves in another's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instead {
    pub version: String,
    /// SHA-256 of its file, in hex.
    pub hash: String,
}

/// Which versions are quarantined.
#[derive(Debug)]
pub struct Quarantine {
    /// None remembers until the process ends.
    folder: Option<PathBuf>,
    /// What could not be written.
    unwritten: HashMap<String, QuarantinedVersion>,
}

impl Quarantine {
    /// Of the gateways whose [`state_dir`](crate::RuntimeOptions::state_dir) this is.
    pub fn of(state_dir: &Path) -> Quarantine {
        Quarantine { folder: Some(state_dir.join(FOLDER)), unwritten: HashMap::new() }
    }

    pub(super) fn new(state_dir: Option<&Path>) -> Quarantine {
        match state_dir {
            Some(path) => Quarantine::of(path),
            None => Quarantine { folder: None, unwritten: HashMap::new() },
        }
    }

    /// All of them, by plugin and time.
    ///
    /// # Errors
    /// The folder is there and cannot be read.
    pub fn list(&self) -> io::Result<Vec<QuarantinedVersion>> {
        let mut all: Vec<_> = self.unwritten.values().cloned().collect();
        let entries = match self.folder.as_ref().map(std::fs::read_dir) {
            None => return Ok(all),
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(all),
            Some(entries) => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == SUFFIX)
                && let Some(hash) = path.file_stem().and_then(|stem| stem.to_str())
                && let Some(one) = self.find(hash)
            {
                all.push(one);
            }
        }
        all.sort_by(|one, two| (&one.plugin, one.since_ms).cmp(&(&two.plugin, two.since_ms)));
        Ok(all)
    }

    /// The version of this hash, if it is quarantined.
    pub fn find(&self, hash: &str) -> Option<QuarantinedVersion> {
        if let Some(known) = self.unwritten.get(hash) {
            return Some(known.clone());
        }
        let path = self.path(hash).filter(|path| path.exists())?;
        // It is there: what cannot be read still says that the version stays out.
        let bytes = std::fs::read(path).unwrap_or_default();
        let read: QuarantinedVersion = serde_json::from_slice(&bytes).unwrap_or_default();
        Some(QuarantinedVersion { hash: hash.to_owned(), ..read })
    }

    /// Lets a version serve again: gateways see it with their next look at the plugin folder. False where it was not quarantined.
    ///
    /// # Errors
    /// Its file cannot be removed.
    pub fn release(&mut self, hash: &str) -> io::Result<bool> {
        let known = self.unwritten.remove(hash).is_some();
        match self.path(hash).filter(|path| path.exists()) {
            Some(path) => std::fs::remove_file(path).map(|()| true),
            None => Ok(known),
        }
    }

    /// Keeps a version out from now on.
    pub(super) fn add(&mut self, version: QuarantinedVersion) {
        let written = match (&self.folder, self.path(&version.hash)) {
            (Some(folder), Some(path)) => serde_json::to_vec_pretty(&version)
                .map_err(io::Error::other)
                .and_then(|text| files::create_private(folder).and_then(|()| files::write_durably(&path, &text))),
            _ => Err(io::Error::new(io::ErrorKind::NotFound, "there is no folder for it")),
        };
        match written {
            Ok(()) => {
                self.unwritten.remove(&version.hash);
            }
            Err(error) => {
                if self.folder.is_some() {
                    tracing::error!(plugin = %version.plugin, %error, "a quarantine is remembered only until the next start");
                }
                self.unwritten.insert(version.hash.clone(), version);
            }
        }
    }

    /// Only what looks like a hash is a name in the folder.
    fn path(&self, hash: &str) -> Option<PathBuf> {
        let plain = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        Some(self.folder.as_ref().filter(|_| plain)?.join(format!("{hash}.{SUFFIX}")))
    }
}

impl QuarantinedVersion {
    pub(super) fn now(plugin: &str, version: &str, hash: &str, instead: Option<Instead>) -> QuarantinedVersion {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        QuarantinedVersion {
            plugin: plugin.to_owned(),
            version: version.to_owned(),
            hash: hash.to_owned(),
            since_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            instead,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn version() -> QuarantinedVersion {
        let instead = Instead { version: "1.0.0".to_owned(), hash: "1".repeat(64) };
        QuarantinedVersion::now("guest", "2.0.0", HASH, Some(instead))
    }

    #[test]
    fn it_outlives_whoever_wrote_it_until_it_is_lifted() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        assert_eq!(Quarantine::of(&state).list().unwrap(), []);
        let one = version();
        Quarantine::of(&state).add(one.clone());
        let mut later = Quarantine::of(&state);
        assert_eq!((later.find(HASH), later.list().unwrap()), (Some(one.clone()), vec![one]));
        assert!(later.release(HASH).unwrap());
        assert!(!later.release(HASH).unwrap());
        assert_eq!(later.find(HASH), None);
    }

    #[test]
    fn without_a_folder_it_lasts_as_long_as_the_process() {
        let file = tempfile::NamedTempFile::new().unwrap();
        // A folder below a file cannot be made.
        for state in [None, Some(file.path())] {
            let mut quarantine = Quarantine::new(state);
            let one = version();
            quarantine.add(one.clone());
            assert_eq!((quarantine.find(HASH), quarantine.find(&"1".repeat(64))), (Some(one), None));
            assert!(quarantine.release(HASH).unwrap());
            assert_eq!(quarantine.find(HASH), None);
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_keeps_its_version_out() {
        let folder = tempfile::tempdir().unwrap();
        Quarantine::of(folder.path()).add(version());
        let path = folder.path().join(FOLDER).join(format!("{HASH}.json"));
        std::fs::write(path, "{\"plugin\":").unwrap();
        let found = Quarantine::of(folder.path()).find(HASH).unwrap();
        assert_eq!((found.hash.as_str(), found.plugin.as_str()), (HASH, ""));
    }

    #[test]
    fn a_hash_is_no_path() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("other.json"), "{}").unwrap();
        let mut quarantine = Quarantine::of(folder.path());
        assert!(!quarantine.release("../other").unwrap());
        assert_eq!(quarantine.find("../other"), None);
        assert!(folder.path().join("other.json").exists());
    }
}
