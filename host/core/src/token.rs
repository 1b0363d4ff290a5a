//! Admin tokens: made and recognised as keys are ([`crate::key`]), with a beginning of their own, so that neither is taken for the
//! other. `pca_`, 43 random base62 characters (256 bits) and 6 of checksum.

use std::fmt;

use rand::CryptoRng;
use rand::distr::{Alphanumeric, Distribution};

use crate::key::{BODY, CHECKSUM, KeyHash, SHOWN, checksum};

/// A whole admin token. Not `Clone`, not `Serialize`; `Debug` shows the public part alone.
pub struct AdminSecret(String);

impl AdminSecret {
    pub const PREFIX: &'static str = "pca_";

    /// Makes a token. The source of randomness must be fit for secrets; `rand::rng()` is.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let mut text = String::with_capacity(Self::PREFIX.len() + BODY + CHECKSUM);
        text.push_str(Self::PREFIX);
        text.extend((0..BODY).map(|_| char::from(Alphanumeric.sample(rng))));
        let checksum = checksum(&text);
        text.extend(checksum.map(char::from));
        Self(text)
    }

    /// Whether a text has a token's shape. It says nothing of whether the token exists.
    pub fn has_shape(text: &str) -> bool {
        text.len() == Self::PREFIX.len() + BODY + CHECKSUM
            && text.starts_with(Self::PREFIX)
            && text.bytes().skip(Self::PREFIX.len()).all(|byte| byte.is_ascii_alphanumeric())
            && text.as_bytes()[text.len() - CHECKSUM..] == checksum(&text[..text.len() - CHECKSUM])
    }

    /// The part that may be shown of whatever was presented as a token: its first twelve characters, and only where it begins
    /// like one.
    pub fn shown(text: &str) -> Option<&str> {
        text.starts_with(Self::PREFIX).then(|| text.get(..SHOWN)).flatten()
    }

    /// The secret itself, to be shown once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }

    pub fn prefix(&self) -> &str {
        &self.0[..SHOWN]
    }
}

impl fmt::Debug for AdminSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AdminSecret({}…)", self.prefix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{SecretKey, check_shape};
    use crate::{Environment, KeyPrefix};
    use proptest::prelude::*;

    #[test]
    fn tokens_and_keys_are_told_apart() {
        let mut rng = rand::rng();
        let (token, key) = (AdminSecret::generate(&mut rng), SecretKey::generate(Environment::Production, &mut rng));
        assert!(AdminSecret::has_shape(token.expose()) && !AdminSecret::has_shape(key.expose()));
        assert!(check_shape(token.expose()).is_err());
        assert_eq!(AdminSecret::shown(token.expose()), Some(token.prefix()));
        assert_eq!((AdminSecret::shown(key.expose()), KeyPrefix::of_presented(token.expose())), (None, None));
        assert!(!format!("{token:?}").contains(&token.expose()[12..20]));
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_a_panic(text in "(pca_)?\\PC{0,60}") {
            prop_assert!(!AdminSecret::has_shape(&text));
            let _ = AdminSecret::shown(&text);
        }
    }
}
