//! Ids: a prefix that says of what, and a UUIDv7 (RFC 9562), so that they sort by time of birth.

use std::fmt;
use std::str::FromStr;

use rand::Rng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::{Builder, Uuid};

/// Not an id of the expected kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id of the form {prefix}… with 32 lower-case hex digits")]
pub struct IdError {
    pub prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            /// A fresh id, born at `now_ms` (milliseconds since the Unix epoch).
            pub fn new(now_ms: u64, rng: &mut (impl Rng + ?Sized)) -> Self {
                let mut random = [0; 10];
                rng.fill_bytes(&mut random);
                Self(Builder::from_unix_timestamp_millis(now_ms, &random).into_uuid())
            }

            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut buffer = [0; uuid::fmt::Simple::LENGTH];
                f.write_str($prefix)?;
                f.write_str(self.0.simple().encode_lower(&mut buffer))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let error = IdError { prefix: $prefix };
                let hex = text.strip_prefix($prefix).ok_or(error)?;
                if hex.len() != 32 || !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
                    return Err(error);
                }
                Uuid::try_parse(hex).map(Self).map_err(|_| error)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// One client request, over all its attempts.
    RequestId, "req_"
);
id!(
    /// A key's public name.
    KeyId, "key_"
);
id!(OrganisationId, "org_");
id!(TeamId, "team_");
id!(
    /// A person.
    MemberId, "mem_"
);
id!(
    /// An admin token's public name.
    TokenId, "tok_"
);
id!(BudgetId, "bud_");
id!(
    /// Credentials and address of a provider.
    ConnectionId, "con_"
);
id!(
    /// A slice of a budget or limit that one process holds.
    LeaseId, "lea_"
);
id!(
    /// A process that serves requests.
    ReplicaId, "rep_"
);

impl OrganisationId {
    /// The organisation every installation has from its first start.
    pub const DEFAULT: Self = Self(Uuid::nil());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_and_sort_by_time() {
        let mut rng = rand::rng();
        let (early, late) = (RequestId::new(1_000, &mut rng), RequestId::new(2_000, &mut rng));
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(early.to_string().parse(), Ok(early));
        assert_eq!(serde_json::from_str::<RequestId>(&serde_json::to_string(&early).unwrap()).unwrap(), early);
        assert_eq!(RequestId::from_bytes(*early.as_bytes()), early);
    }

    #[test]
    fn other_shapes_are_refused() {
        let key = KeyId::new(0, &mut rand::rng()).to_string();
        assert!(key.parse::<RequestId>().is_err());
        assert!("req_0000000000007000800000000000000A".parse::<RequestId>().is_err());
        for bad in [
            "",
            "req_",
            "req_018f",
            "req_00000000-0000-7000-8000-000000000000",
            "req_{00000000000070008000000000000000}",
        ] {
            assert!(bad.parse::<RequestId>().is_err(), "{bad}");
        }
    }
}
