//! The key that checkpoints are signed with. It is never in the database: who has only that cannot write its history anew.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};
use std::{fmt, thread};

use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::canonical::{Hash, signed};
use super::text;
use crate::error::StoreError;

const SEED: usize = 32;
/// What a file or a command may hold at most.
const LONGEST: u64 = 4096;
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the signing key comes from: 32 random bytes as they are, in hex or in base64.
#[derive(Clone, PartialEq, Eq)]
pub enum AuditKeySource {
    /// Made with a random key and mode 0600 where it is not there.
    File(PathBuf),
    Given(String),
    /// A program with its arguments, which prints the key.
    Command(Vec<String>),
}

impl fmt::Debug for AuditKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Given(_) => f.write_str("Given(…)"),
            Self::Command(words) => f.debug_tuple("Command").field(&words.first()).finish(),
        }
    }
}

impl AuditKeySource {
    /// Fetches the key. It touches the disk or runs a program: not where requests are served.
    ///
    /// # Errors
    /// [`StoreError::AuditKey`] where there is none.
    pub fn fetch(&self) -> Result<AuditKey, StoreError> {
        match self {
            Self::Given(text) => AuditKey::read(text.as_bytes()),
            Self::Command(words) => AuditKey::read(&run(words)?),
            Self::File(path) => match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
                Ok(file) => make(file).map_err(|error| unusable(path, &error)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    let mut bytes = Vec::new();
                    File::open(path)
                        .and_then(|file| file.take(LONGEST).read_to_end(&mut bytes))
                        .map_err(|error| unusable(path, &error))?;
                    AuditKey::read(&bytes)
                }
                Err(error) => Err(unusable(path, &error)),
            },
        }
    }
}

/// Puts a new random key in place of the one in the file, at once or not at all. `before` is called with it first; where that fails
/// nothing changes.
pub(crate) fn replace<T>(
    path: &Path,
    before: impl FnOnce(&AuditKey) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside);
    let key = file.and_then(make).map_err(|error| unusable(&beside, &error))?;
    let outcome = before(&key).and_then(|value| {
        std::fs::rename(&beside, path).map_err(|error| unusable(path, &error))?;
        Ok(value)
    });
    if outcome.is_err() {
        // It may be gone already.
        let _ = std::fs::remove_file(&beside);
    }
    outcome
}

fn unusable(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::AuditKey(format!("in {} cannot be used: {error}", path.display()))
}

fn make(mut file: File) -> std::io::Result<AuditKey> {
    let mut seed = [0; SEED];
    SystemRandom::new().fill(&mut seed).map_err(|_| std::io::Error::other("no random numbers are to be had"))?;
    file.write_all(format!("{}\n", text::base64(&seed)).as_bytes())?;
    file.sync_all()?;
    Ok(AuditKey::of(&seed))
}

fn run(words: &[String]) -> Result<Vec<u8>, StoreError> {
    let failed = |reason: String| StoreError::AuditKey(format!("could not be fetched by its command: {reason}"));
    let (program, arguments) = words.split_first().ok_or_else(|| failed("it is empty".into()))?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let mut output = child.stdout.take().expect("it is piped").take(LONGEST);
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        output.read_to_end(&mut bytes).map(|_| bytes)
    });
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().map_err(|error| failed(error.to_string()))? {
            Some(status) => break status,
            None if begun.elapsed() > PATIENCE => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(format!("it took longer than {} s", PATIENCE.as_secs())));
            }
            None => thread::sleep(Duration::from_millis(10)),
        }
    };
    if !status.success() {
        return Err(failed(status.to_string()));
    }
    let bytes = reader.join().map_err(|_| failed("its output was lost".into()))?;
    bytes.map_err(|error| failed(error.to_string()))
}

/// A key that signs.
pub struct AuditKey {
    pair: Ed25519KeyPair,
}

impl AuditKey {
    fn of(seed: &[u8; SEED]) -> Self {
        Self { pair: Ed25519KeyPair::from_seed_unchecked(seed).expect("a seed has 32 bytes") }
    }

    fn read(bytes: &[u8]) -> Result<Self, StoreError> {
        let seed = <[u8; SEED]>::try_from(bytes)
            .ok()
            .or_else(|| text::bytes(std::str::from_utf8(bytes).ok()?.trim()))
            .ok_or_else(|| StoreError::AuditKey("is not 32 bytes, as they are, in hex or in base64".into()))?;
        Ok(Self::of(&seed))
    }

    pub fn public(&self) -> PublicKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey(key)
    }

    pub(crate) fn sign(&self, hash: &Hash) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(&signed(hash)).as_ref());
        signature
    }
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AuditKey").field(&self.public()).finish()
    }
}

/// What verifies: an Ed25519 public key. Shown and read as base64, also as PEM.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; 32]);

/// SubjectPublicKeyInfo of Ed25519 before the key itself: RFC 8410, section 4.
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

impl PublicKey {
    pub(crate) fn verifies(&self, hash: &Hash, signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(&signed(hash), signature).is_ok()
    }

    /// As OpenSSL reads it.
    pub fn pem(&self) -> String {
        let der = [&SPKI[..], &self.0].concat();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", text::base64(&der))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::base64(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 public key: 32 bytes in base64 or hex, or PEM")]
pub struct PublicKeyError;

impl FromStr for PublicKey {
    type Err = PublicKeyError;

    fn from_str(shown: &str) -> Result<Self, PublicKeyError> {
        let shown = shown.trim();
        if let Some(inner) = shown.strip_prefix("-----BEGIN PUBLIC KEY-----") {
            let inner = inner.trim_end().strip_suffix("-----END PUBLIC KEY-----").ok_or(PublicKeyError)?;
            let der: [u8; 44] = text::bytes(inner.trim()).ok_or(PublicKeyError)?;
            let key = der.strip_prefix(&SPKI).ok_or(PublicKeyError)?;
            return key.try_into().map(Self).map_err(|_| PublicKeyError);
        }
        text::bytes(shown).map(Self).ok_or(PublicKeyError)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_file_is_made_once_private_and_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let source = AuditKeySource::File(path.clone());
        let made = source.fetch().unwrap().public();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(source.fetch().unwrap().public(), made);
        let refused = replace(&path, |_| Err::<(), _>(StoreError::NoSuchOwner));
        assert!(refused.is_err());
        assert_eq!(source.fetch().unwrap().public(), made);
        let next = replace(&path, |key| Ok(key.public())).unwrap();
        assert_ne!(next, made);
        assert_eq!(source.fetch().unwrap().public(), next);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        std::fs::write(&path, "short").unwrap();
        assert!(matches!(source.fetch(), Err(StoreError::AuditKey(_))));
    }

    #[test]
    fn a_key_is_the_same_from_wherever_it_comes() {
        // RFC 8032, section 7.1, test 1.
        let hex = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let given = AuditKeySource::Given(hex.into()).fetch().unwrap().public();
        assert_eq!(given, public.parse().unwrap());
        let command = AuditKeySource::Command(vec!["echo".into(), hex.into()]);
        assert_eq!(command.fetch().unwrap().public(), given);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let seed: [u8; 32] = text::bytes(hex).unwrap();
        std::fs::write(&path, seed).unwrap();
        assert_eq!(AuditKeySource::File(path).fetch().unwrap().public(), given);
        for shown in [given.to_string(), given.pem(), format!(" {given}\n")] {
            assert_eq!(shown.parse(), Ok(given), "{shown}");
        }
        for bad in ["", "x", "-----BEGIN PUBLIC KEY-----", &given.pem().replace("MCow", "MCox")] {
            assert_eq!(bad.parse::<PublicKey>(), Err(PublicKeyError), "{bad}");
        }
    }

    #[test]
    fn a_command_that_fails_gives_no_key() {
        for words in [&["false"][..], &["echo", "short"], &["/nonexistent/program"], &[]] {
            let source = AuditKeySource::Command(words.iter().map(ToString::to_string).collect());
            assert!(matches!(source.fetch(), Err(StoreError::AuditKey(_))), "{words:?}");
        }
        assert!(!format!("{:?}", AuditKeySource::Given("s3cret".into())).contains("s3cret"));
    }

    #[test]
    fn a_signature_is_of_one_hash_by_one_key() {
        let key = AuditKey::of(&[7; 32]);
        let signature = key.sign(&[1; 32]);
        assert!(key.public().verifies(&[1; 32], &signature));
        assert!(!key.public().verifies(&[2; 32], &signature));
        assert!(!AuditKey::of(&[8; 32]).public().verifies(&[1; 32], &signature));
    }
}
