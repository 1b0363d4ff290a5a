//! What the ledger writes, in the shape of the tables. The same records stand in the journal, borrowed from its pages.

use serde::{Deserialize, Serialize};

use portcullis_core::Receipt;

/// How a reservation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EndKind {
    Settled,
    Refunded,
    Quarantined,
}

impl EndKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Refunded => "refunded",
            Self::Quarantined => "quarantined",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        [Self::Settled, Self::Refunded, Self::Quarantined].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// One entry of the ledger: a reservation and its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryRow<'a> {
    #[serde(with = "id")]
    pub request_id: [u8; 16],
    pub attempt: u32,
    pub kind: EndKind,
    #[serde(with = "id")]
    pub key_id: [u8; 16],
    #[serde(with = "id")]
    pub organisation: [u8; 16],
    pub provider: &'a str,
    pub model: &'a str,
    pub reserved_nano: u64,
    /// What counts as spent: the cost, 0 for a refund, all that was reserved while in quarantine.
    pub amount_nano: u64,
    pub input_nano: u64,
    pub output_nano: u64,
    /// A code.
    pub reason: &'a str,
    pub reserved_ms: u64,
    pub ended_ms: u64,
    /// The budgets' windows that it counts in, as [`crate::budgets::Held`] writes them. No column: they stand for themselves.
    #[serde(with = "bytes::plain")]
    pub held: &'a [u8],
}

/// One request: what it is searched and summed by, and its receipt, which holds all else.
///
/// The id was born at `time_ms`: a span of time is a span of ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRow<'a> {
    #[serde(with = "id")]
    pub request_id: [u8; 16],
    pub time_ms: u64,
    #[serde(with = "id")]
    pub key_id: [u8; 16],
    #[serde(with = "id")]
    pub organisation: [u8; 16],
    #[serde(with = "id::option")]
    pub team: Option<[u8; 16]>,
    pub environment: &'a str,
    pub end_user: Option<&'a str>,
    pub requested_model: &'a str,
    pub provider: Option<&'a str>,
    pub model: Option<&'a str>,
    pub status: u16,
    pub outcome: &'a str,
    /// Input, cache read, cache write short and long, output, reasoning, audio in and out, images, searches.
    pub usage: [u64; 10],
    pub estimated: bool,
    pub cost_nano: Option<u64>,
    pub total_us: u64,
    /// A JSON array.
    pub tags: Option<&'a str>,
    /// The code of a refusal or failure.
    pub reason: Option<&'a str>,
    /// What policies said, where it was more than that the request may pass.
    pub policy: Option<&'a str>,
    /// The client's own id.
    pub correlation: Option<&'a str>,
    /// The whole receipt as `crate::receipt` keeps it; absent where it was too long.
    #[serde(with = "bytes")]
    pub receipt: Option<&'a [u8]>,
}

impl<'a> RequestRow<'a> {
    /// The row of a receipt. `tags` are its tags as JSON, `kept` the whole of it as it is kept.
    ///
    /// Provider and model are those of the last attempt that did not fail.
    pub fn of(receipt: &'a Receipt, tags: Option<&'a str>, kept: Option<&'a [u8]>) -> Self {
        let answered = receipt.attempts.iter().rev().find(|attempt| attempt.failure.is_none());
        let usage = receipt.usage.unwrap_or_default();
        Self {
            request_id: *receipt.request_id.as_bytes(),
            time_ms: receipt.time_ms,
            key_id: *receipt.caller.key_id.as_bytes(),
            organisation: *receipt.caller.organisation.as_bytes(),
            team: receipt.caller.team.map(|team| *team.as_bytes()),
            environment: receipt.caller.environment.as_str(),
            end_user: receipt.caller.user.as_deref(),
            requested_model: &receipt.requested_model,
            provider: answered.map(|attempt| &*attempt.provider),
            model: answered.map(|attempt| &*attempt.model),
            status: receipt.outcome.status,
            outcome: &receipt.outcome.code,
            usage: [
                usage.input,
                usage.cache_read,
                usage.cache_write_short,
                usage.cache_write_long,
                usage.output,
                usage.reasoning,
                usage.audio_input,
                usage.audio_output,
                usage.images,
                usage.searches,
            ],
            estimated: usage.estimated,
            cost_nano: receipt.cost.as_ref().map(|cost| cost.total_nano.get()),
            total_us: receipt.timings.total_us,
            tags,
            reason: receipt.outcome.reason.as_deref(),
            policy: verdict(receipt),
            correlation: receipt.correlation.as_deref(),
            receipt: kept,
        }
    }
}

/// What the first policy said that had something to say.
fn verdict(receipt: &Receipt) -> Option<&str> {
    let policies = receipt.plugins.iter().filter(|plugin| plugin.role == "policy");
    policies.map(|plugin| &*plugin.verdict).find(|verdict| !matches!(*verdict, "ok" | "allow"))
}

/// What one transaction writes. Each row is written once however often it is offered: entries by reservation, requests by id.
/// Entries that are new are counted in the budgets that they name; the others were.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    /// The epoch in whose journal they stand: it is its leases that they use up.
    pub epoch: [u8; 16],
    pub entries: Vec<EntryRow<'a>>,
    pub requests: Vec<RequestRow<'a>>,
}

impl Batch<'_> {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.requests.is_empty()
    }

    pub fn len(&self) -> usize {
        self.entries.len() + self.requests.len()
    }
}

/// Bytes in one piece, which serde's own slices are not.
pub(crate) mod bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub struct Whole<'a>(pub &'a [u8]);

    impl Serialize for Whole<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(self.0)
        }
    }

    pub fn serialize<S: Serializer>(bytes: &Option<&[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
        bytes.map(Whole).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de [u8]>, D::Error> {
        Option::deserialize(deserializer)
    }

    pub mod plain {
        use serde::{Deserialize, Deserializer, Serializer};

        pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(bytes)
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'de [u8], D::Error> {
            <&[u8]>::deserialize(deserializer)
        }
    }
}

/// Sixteen bytes in one piece: as serde's own arrays they go one by one.
pub(crate) mod id {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(id: &[u8; 16], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(id)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 16], D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        bytes.try_into().map_err(|_| D::Error::invalid_length(bytes.len(), &"16 bytes"))
    }

    pub mod option {
        use serde::de::Error;
        use serde::{Deserialize, Deserializer, Serialize, Serializer};

        use crate::rows::bytes::Whole;

        pub fn serialize<S: Serializer>(id: &Option<[u8; 16]>, serializer: S) -> Result<S::Ok, S::Error> {
            id.as_ref().map(|id| Whole(id)).serialize(serializer)
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<[u8; 16]>, D::Error> {
            let Some(bytes) = Option::<&[u8]>::deserialize(deserializer)? else { return Ok(None) };
            bytes.try_into().map(Some).map_err(|_| D::Error::invalid_length(bytes.len(), &"16 bytes"))
        }
    }
}
