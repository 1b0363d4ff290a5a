//! Request records: what every request came to, to be searched. The receipt of one says all else.

use portcullis_core::receipt::Tag;
use portcullis_core::{Environment, KeyId, NanoUsd, OrganisationId, RequestId, TeamId, Usage};

use crate::error::StoreError;
use crate::receipt;
use crate::store::{ReceiptScope, Store};

/// One request, denied ones too.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestRecord {
    pub id: RequestId,
    /// Milliseconds since the Unix epoch.
    pub time_ms: u64,
    pub key: KeyId,
    pub organisation: OrganisationId,
    pub team: Option<TeamId>,
    pub environment: Environment,
    /// The end user, as the client names them.
    pub user: Option<String>,
    pub requested_model: String,
    /// Who answered; `None` where nobody did.
    pub provider: Option<String>,
    pub model: Option<String>,
    /// The HTTP status sent.
    pub status: u16,
    /// `ok`, `denied`, `blocked`, `failed`, `client-gone`, `cut`.
    pub outcome: String,
    pub usage: Usage,
    /// `None` where the price is unknown or nothing was used.
    pub cost: Option<NanoUsd>,
    /// From the request's head to its answer's last byte, microseconds.
    pub total_us: u64,
    pub tags: Vec<Tag>,
    /// The code of a refusal or failure.
    pub reason: Option<String>,
    /// What policies said, where it was more than that the request may pass: `constrain`, or a denial's code.
    pub policy: Option<String>,
    /// The client's own id of the request.
    pub correlation: Option<String>,
}

/// Which requests. Everything absent matches everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestFilter {
    /// Milliseconds since the Unix epoch, inclusive.
    pub since_ms: Option<u64>,
    /// Exclusive.
    pub until_ms: Option<u64>,
    pub organisation: Option<OrganisationId>,
    pub team: Option<TeamId>,
    pub key: Option<KeyId>,
    pub user: Option<String>,
    pub environment: Option<Environment>,
    pub provider: Option<String>,
    /// The model that answered, else the one asked for.
    pub model: Option<String>,
    pub outcome: Option<String>,
    /// The lowest HTTP status.
    pub status_from: Option<u16>,
    /// The highest.
    pub status_to: Option<u16>,
    pub tag: Option<Tag>,
    pub reason: Option<String>,
    /// As [`RequestRecord::policy`]; `allow` for those that say nothing there.
    pub policy: Option<String>,
    pub correlation: Option<String>,
    /// The least that it cost; what cost nothing or nobody knows what is not found.
    pub cost_from: Option<NanoUsd>,
    /// The most.
    pub cost_to: Option<NanoUsd>,
    /// The shortest time it took, microseconds.
    pub us_from: Option<u64>,
    /// The longest.
    pub us_to: Option<u64>,
    /// Only those that came before this one.
    pub before: Option<RequestId>,
}

impl Store {
    /// Requests that match, the newest first, at most so many. What is written is found; [`crate::Ledger::flush`] first to see the
    /// last milliseconds too.
    pub async fn requests(&self, filter: &RequestFilter, limit: u32) -> Result<Vec<RequestRecord>, StoreError> {
        self.backend().requests(filter, limit).await
    }

    /// The request with this id.
    pub async fn request(&self, id: RequestId) -> Result<Option<RequestRecord>, StoreError> {
        self.backend().request(id).await
    }

    /// A request's receipt, as JSON, as [`Store::receipt`] shows it to whom it belongs to.
    pub async fn receipt_of(&self, record: &RequestRecord) -> Result<Option<String>, StoreError> {
        let kept = self.backend().receipt(record.id, ReceiptScope::Organisation(record.organisation)).await?;
        kept.map(|kept| receipt::to_json(&kept)).transpose()
    }
}

/// The first or last id that is born at `ms`: ids start with 48 bits of their time (UUIDv7, RFC 9562). A span of time then is a
/// span of the primary key, and needs no index of its own.
pub(crate) fn born(ms: u64, rest: u8) -> [u8; 16] {
    let mut id = [rest; 16];
    id[..6].copy_from_slice(&ms.min((1 << 48) - 1).to_be_bytes()[2..]);
    id
}

/// A tag as it stands within a request's: rows are searched for it as text. Nothing else looks like it, for within a string its quotes
/// would be escaped.
pub(crate) fn written(tag: &Tag) -> String {
    serde_json::to_string(tag).expect("a tag is plain data")
}
