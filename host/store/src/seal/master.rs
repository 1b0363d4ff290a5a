//! The key that all others come of: given, in a file, or told by a command. It is never in the database.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};

use super::{KEY, Root};
use crate::error::StoreError;

/// How long a command may take to tell the key.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the master key comes from. It is fetched when it is first needed, and then stays.
pub struct MasterKey {
    source: Source,
    root: OnceLock<(&'static [u8], Root)>,
    fetching: Mutex<()>,
}

enum Source {
    Given(Vec<u8>),
    File(PathBuf),
    Command(Vec<String>),
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

    /// From the standard output of a program, as a key service's client prints it: 32 random bytes in hex or base64. It is run
    /// without a shell when the key is first needed.
    ///
    /// # Errors
    /// [`StoreError::Key`] where there is no program.
    pub fn told_by(command: Vec<String>) -> Result<Self, StoreError> {
        if command.first().is_none_or(String::is_empty) {
            return Err(StoreError::Key("is told by no command"));
        }
        Ok(Self::of(Source::Command(command)))
    }

    fn of(source: Source) -> Self {
        MasterKey { source, root: OnceLock::new(), fetching: Mutex::new(()) }
    }

    /// The keys of the one use that this master key is for. It may touch the disk or run a command, the first time.
    pub(crate) fn root(&self, purpose: &'static [u8]) -> Result<&Root, StoreError> {
        if let Some((known, root)) = self.root.get() {
            assert_eq!(*known, purpose, "a master key is for one use");
            return Ok(root);
        }
        // One at a time: two that make the file would each seal with a key of their own.
        let _one = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        if self.root.get().is_none() {
            let root = match &self.source {
                Source::Given(secret) => Root::new(purpose, secret),
                Source::File(path) => Root::new(purpose, &from_file(path)?),
                Source::Command(command) => Root::new(purpose, &from_command(command, PATIENCE)?),
            };
            let _ = self.root.set((purpose, root));
        }
        Ok(&self.root.get().expect("it was set just now").1)
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

/// The first line that a command prints. Its standard error goes to ours, for whoever must mend it.
fn from_command(command: &[String], patience: Duration) -> Result<Vec<u8>, StoreError> {
    let unusable = |source| StoreError::Path { path: PathBuf::from(&command[0]), source };
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(unusable)?;
    // What is printed is short: the pipe holds it until the end.
    let until = Instant::now() + patience;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(unusable)? {
            break status;
        }
        if Instant::now() >= until {
            let _ = child.kill();
            let _ = child.wait();
            return Err(StoreError::Key("is not told in time by its command"));
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    if !status.success() {
        return Err(StoreError::Key("is not told: its command failed"));
    }
    let mut text = String::new();
    let output = child.stdout.take().expect("it is piped");
    output.take(4096).read_to_string(&mut text).map_err(unusable)?;
    let secret = text.lines().next().unwrap_or_default().trim();
    if secret.len() < MasterKey::LEAST {
        return Err(StoreError::Key("as its command tells it has less than 32 characters"));
    }
    Ok(secret.as_bytes().to_vec())
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

    #[test]
    fn a_command_tells_the_same_key_as_is_given() {
        let secret = "0123456789abcdef0123456789abcdef";
        let shell = |script: &str| vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()];
        let told = MasterKey::told_by(shell(&format!("echo {secret}"))).unwrap();
        let given = MasterKey::given(secret).unwrap();
        assert_eq!(told.root(b"test").unwrap().name(), given.root(b"test").unwrap().name());
        for script in ["echo short", "exit 1", ""] {
            assert!(MasterKey::told_by(shell(script)).unwrap().root(b"test").is_err(), "{script}");
        }
        assert!(from_command(&shell("sleep 5"), Duration::from_millis(50)).is_err());
        assert!(MasterKey::told_by(vec!["/absent/program".to_owned()]).unwrap().root(b"test").is_err());
        assert!(MasterKey::told_by(Vec::new()).is_err());
    }
}
