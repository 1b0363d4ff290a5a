//! API keys: made, recognised, hashed. A secret is shown once and kept as SHA-256; nothing here prints one (invariant 1).
//!
//! `pc_prod_` or `pc_dev_`, 43 random base62 characters (256 bits), and 6 characters of checksum, so that scanners find leaked
//! keys by shape and a mistyped one is told from an unknown one.

use std::fmt;

use rand::CryptoRng;
use rand::distr::{Alphanumeric, Distribution};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub(crate) const BODY: usize = 43;
pub(crate) const CHECKSUM: usize = 6;
/// Characters of a key that may be shown: the environment and four or five random ones.
pub(crate) const SHOWN: usize = 12;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    Production,
    Development,
}

impl Environment {
    /// What keys of this environment start with.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Production => "pc_prod_",
            Self::Development => "pc_dev_",
        }
    }

    /// `production` or `development`, as plugins see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Development => "development",
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Environment {
    type Err = UnknownEnvironment;

    fn from_str(text: &str) -> Result<Self, UnknownEnvironment> {
        match text {
            "production" => Ok(Self::Production),
            "development" => Ok(Self::Development),
            _ => Err(UnknownEnvironment),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an environment is `production` or `development`")]
pub struct UnknownEnvironment;

/// Why a text is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyShapeError {
    #[error("a key starts with pc_prod_ or pc_dev_")]
    Prefix,
    #[error("a key of this environment has another length")]
    Length,
    #[error("a key holds letters and digits only")]
    Alphabet,
    #[error("the key's checksum does not match: mistyped or cut")]
    Checksum,
}

/// A whole key. Not `Clone`, not `Serialize`; `Debug` shows the public part alone.
pub struct SecretKey(String);

impl SecretKey {
    /// Makes a key. The source of randomness must be fit for secrets; `rand::rng()` is.
    pub fn generate(environment: Environment, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let mut text = String::with_capacity(environment.prefix().len() + BODY + CHECKSUM);
        text.push_str(environment.prefix());
        text.extend((0..BODY).map(|_| char::from(Alphanumeric.sample(rng))));
        let checksum = checksum(&text);
        text.extend(checksum.map(char::from));
        Self(text)
    }

    /// Takes a text that has a key's shape.
    pub fn parse(text: &str) -> Result<Self, KeyShapeError> {
        check_shape(text)?;
        Ok(Self(text.to_owned()))
    }

    /// The secret itself, to be shown once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn environment(&self) -> Environment {
        if self.0.starts_with(Environment::Production.prefix()) {
            Environment::Production
        } else {
            Environment::Development
        }
    }

    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }

    pub fn prefix(&self) -> KeyPrefix {
        KeyPrefix(self.0[..SHOWN].to_owned())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({}…)", &self.0[..SHOWN])
    }
}

/// Whether a text has a key's shape, and for which environment. It says nothing of whether the key exists.
pub fn check_shape(text: &str) -> Result<Environment, KeyShapeError> {
    let environment = [Environment::Production, Environment::Development]
        .into_iter()
        .find(|environment| text.starts_with(environment.prefix()))
        .ok_or(KeyShapeError::Prefix)?;
    let body = &text[environment.prefix().len()..];
    if !body.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(KeyShapeError::Alphabet);
    }
    if body.len() != BODY + CHECKSUM {
        return Err(KeyShapeError::Length);
    }
    let (head, tail) = text.split_at(text.len() - CHECKSUM);
    if tail.as_bytes() != checksum(head) {
        return Err(KeyShapeError::Checksum);
    }
    Ok(environment)
}

/// The first 32 bits of the text's SHA-256 in base62, padded.
pub(crate) fn checksum(text: &str) -> [u8; CHECKSUM] {
    let digest = Sha256::digest(text.as_bytes());
    let mut value = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) as usize;
    let mut out = [BASE62[0]; CHECKSUM];
    for place in out.iter_mut().rev() {
        *place = BASE62[value % 62];
        value /= 62;
    }
    out
}

/// The part of a key that may be shown: its first twelve characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyPrefix(String);

impl KeyPrefix {
    /// The showable part of whatever a client sent as a key, for logs and lock-outs: at most twelve characters, and only
    /// where it begins like a key of ours.
    pub fn of_presented(text: &str) -> Option<Self> {
        [Environment::Production, Environment::Development]
            .into_iter()
            .any(|environment| text.starts_with(environment.prefix()))
            .then(|| text.get(..SHOWN))
            .flatten()
            .map(|shown| Self(shown.to_owned()))
    }

    /// From a database row.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// SHA-256 of a whole key: what is stored and looked up. A key has 256 random bits, so a plain hash suffices.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Hashes what a client presented, key-shaped or not.
    pub fn of(presented: &str) -> Self {
        Self(Sha256::digest(presented.as_bytes()).into())
    }

    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({}…)", hex::encode(&self.0[..4]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn made_keys_have_the_shape_they_are_recognised_by() {
        let mut rng = rand::rng();
        for environment in [Environment::Production, Environment::Development] {
            let key = SecretKey::generate(environment, &mut rng);
            assert_eq!(check_shape(key.expose()), Ok(environment));
            assert_eq!(key.environment(), environment);
            assert_eq!(key.prefix().as_str(), &key.expose()[..12]);
            assert_eq!(KeyPrefix::of_presented(key.expose()), Some(key.prefix()));
            assert_ne!(key.hash(), SecretKey::generate(environment, &mut rng).hash());
        }
    }

    #[test]
    fn nothing_prints_the_secret() {
        let key = SecretKey::generate(Environment::Production, &mut rand::rng());
        let shown = format!("{key:?} {:?} {}", key.hash(), key.prefix());
        assert!(!shown.contains(&key.expose()[12..20]), "{shown}");
    }

    #[test]
    fn a_foreign_secret_has_no_showable_part() {
        assert_eq!(KeyPrefix::of_presented("sk-proj-abcdefghijklmnop"), None);
        assert_eq!(KeyPrefix::of_presented("pc_dev_ab"), None);
        assert_eq!(KeyPrefix::of_presented("pc_dev_aaaaé"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_a_panic(text in "(pc_prod_|pc_dev_)?\\PC{0,60}") {
            let _ = check_shape(&text);
            let _ = KeyPrefix::of_presented(&text);
        }

        #[test]
        fn one_wrong_character_is_noticed(at in 8usize..57, to in "[0-9A-Za-z]") {
            let key = SecretKey::generate(Environment::Production, &mut rand::rng());
            let mut text = key.expose().to_owned();
            text.replace_range(at..=at, &to);
            prop_assume!(text != key.expose());
            prop_assert_eq!(check_shape(&text), Err(KeyShapeError::Checksum));
        }
    }
}
