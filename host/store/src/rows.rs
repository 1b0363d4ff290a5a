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
}

/// One entry of the ledger: a reservation and its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryRow<'a> {
    pub request_id: [u8; 16],
    pub attempt: u32,
    pub kind: EndKind,
    pub key_id: [u8; 16],
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
}

/// One request's usage row with its receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRow<'a> {
    pub request_id: [u8; 16],
    pub time_ms: u64,
    pub key_id: [u8; 16],
    pub organisation: [u8; 16],
    pub team: Option<[u8; 16]>,
    pub environment: &'a str,
    pub end_user: Option<&'a str>,
    pub operation: &'a str,
    pub dialect: &'a str,
    pub requested_model: &'a str,
    pub provider: Option<&'a str>,
    pub model: Option<&'a str>,
    pub status: u16,
    pub outcome: &'a str,
    pub failure: Option<&'a str>,
    pub stream: bool,
    pub attempts: u32,
    /// Input, cache read, cache write short and long, output, reasoning, audio in and out, images, searches.
    pub usage: [u64; 10],
    pub estimated: bool,
    /// Total, input, output in nano-USD.
    pub cost: Option<[u64; 3]>,
    pub total_us: u64,
    pub overhead_us: u64,
    pub first_byte_us: Option<u64>,
    /// A JSON array.
    pub tags: Option<&'a str>,
    /// The whole receipt as JSON; absent where it was too long to keep.
    pub receipt: Option<&'a str>,
}

impl<'a> RequestRow<'a> {
    /// The row of a receipt. `tags` and `json` are its tags and the whole of it, serialised.
    ///
    /// Provider and model are those of the last attempt that did not fail.
    pub fn of(receipt: &'a Receipt, tags: Option<&'a str>, json: Option<&'a str>) -> Self {
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
            operation: &receipt.operation,
            dialect: &receipt.dialect,
            requested_model: &receipt.requested_model,
            provider: answered.map(|attempt| &*attempt.provider),
            model: answered.map(|attempt| &*attempt.model),
            status: receipt.outcome.status,
            outcome: &receipt.outcome.code,
            failure: receipt.outcome.failure.map(|failure| failure.code()),
            stream: receipt.stream,
            attempts: u32::try_from(receipt.attempts.len()).unwrap_or(u32::MAX),
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
            cost: receipt
                .cost
                .as_ref()
                .map(|cost| [cost.total_nano, cost.input_nano, cost.output_nano].map(|nano| nano.get())),
            total_us: receipt.timings.total_us,
            overhead_us: receipt.timings.overhead_us,
            first_byte_us: receipt.timings.first_byte_us,
            tags,
            receipt: json,
        }
    }
}

/// What one transaction writes. Each row is written once however often it is offered: entries by reservation, requests by id.
#[derive(Debug, Default)]
pub struct Batch<'a> {
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
