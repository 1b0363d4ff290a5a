//! The key that all keys of conversations come of. It is never in the database.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use ring::rand::{SecureRandom, SystemRandom};

use super::seal::Seals;
use crate::error::StoreError;

/// Bytes of a key.
const KEY: usize = 32;

/// Where the master key comes from. It is fetched when it is first needed, and then stays.
pub struct MasterKey {
    source: Source,
    seals: OnceLock<Seals>,
    fetching: Mutex<()>,
}

enum Source {
    Given(Vec<u8>),
    File(PathBuf),
}

impl MasterKey {
    /// Bytes of a given secret at least.
    pub const LEAST: usize = KEY;

    /// From a secret, which must have as much entropy as a random key: 32 random bytes in hex or base64.
    ///
    /// # Errors
    /// [`StoreError::Key`] where it is shorter than [`LEAST`](Self::LEAST).
    pub fn given(secret: &str) -> Result<Self, StoreError> {
        if secret.len() < Self::LEAST {
            return Err(StoreError::Key("has less than 32 characters"));
        }
        Ok(Self::of(Source::Given(secret.as_bytes().to_vec())))
    }

    /// From a file, which is made with a random key and mode 0600 when it is first needed and not there.
    pub fn in_file(path: impl Into<PathBuf>) -> Self {
        Self::of(Source::File(path.into()))
    }

    fn of(source: Source) -> Self {
        MasterKey { source, seals: OnceLock::new(), fetching: Mutex::new(()) }
    }

    pub(super) fn seals(&self) -> Result<&Seals, StoreError> {
        if let Some(seals) = self.seals.get() {
            return Ok(seals);
        }
        // One at a time: two that make the file would each seal with a key of their own.
        let _one = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seals) = self.seals.get() {
            return Ok(seals);
        }
        let seals = match &self.source {
            Source::Given(secret) => Seals::new(secret),
            Source::File(path) => Seals::new(&from_file(path)?),
        };
        Ok(self.seals.get_or_init(|| seals))
    }
}

fn from_file(path: &Path) -> Result<[u8; KEY], StoreError> {
    let unusable = |source| StoreError::Path { path: path.to_owned(), source };
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => make(file).map_err(unusable),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let mut bytes = Vec::new();
            File::open(path).and_then(|file| file.take(KEY as u64 + 1).read_to_end(&mut bytes)).map_err(unusable)?;
            bytes.try_into().map_err(|_| StoreError::Key("stands in a file that does not hold 32 bytes"))
        }
        Err(error) => Err(unusable(error)),
    }
}

fn make(mut file: File) -> std::io::Result<[u8; KEY]> {
    let mut key = [0; KEY];
    SystemRandom::new().fill(&mut key).map_err(|_| std::io::Error::other("no random numbers are to be had"))?;
    file.write_all(&key)?;
    // What is sealed with a key that a power loss took is lost too.
    file.sync_all()?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_file_is_made_once_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let made = from_file(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(from_file(&path).unwrap(), made);
        std::fs::write(&path, [0; KEY - 1]).unwrap();
        assert!(matches!(from_file(&path), Err(StoreError::Key(_))));
        std::fs::write(&path, [0; KEY + 1]).unwrap();
        assert!(from_file(&path).is_err());
        assert!(from_file(&folder.path().join("absent/key")).is_err());
    }

    #[test]
    fn a_short_secret_is_refused() {
        assert!(MasterKey::given(&"x".repeat(MasterKey::LEAST - 1)).is_err());
        assert!(MasterKey::given(&"x".repeat(MasterKey::LEAST)).is_ok());
    }
}
