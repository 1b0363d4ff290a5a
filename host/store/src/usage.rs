//! Who used what: sums over the requests table.

use portcullis_core::{KeyId, NanoUsd, OrganisationId, TeamId, Usage};

use crate::error::StoreError;
use crate::store::Store;

/// What rows are grouped by; one row per combination that occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UsageGroup {
    /// UTC.
    Day,
    Organisation,
    Team,
    Key,
    /// As the request names it.
    User,
    Environment,
    Provider,
    /// The model that answered, else the one asked for.
    Model,
    /// The value of the tag that [`UsageFilter::tag`] names.
    Tag,
}

/// Which requests to sum. Everything absent matches everything.
#[derive(Clone, Debug, Default)]
pub struct UsageFilter {
    /// Milliseconds since the Unix epoch, inclusive.
    pub since_ms: Option<u64>,
    /// Exclusive.
    pub until_ms: Option<u64>,
    pub organisation: Option<OrganisationId>,
    pub team: Option<TeamId>,
    pub key: Option<KeyId>,
    pub provider: Option<String>,
    pub model: Option<String>,
    pub user: Option<String>,
    /// None for one row over all.
    pub groups: Vec<UsageGroup>,
    /// The name of the tag that [`UsageGroup::Tag`] means.
    pub tag: Option<String>,
}

/// A sum. Columns that were not grouped by are `None`, as are teams, users, providers and tags of requests that have none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UsageRow {
    /// `YYYY-MM-DD`.
    pub day: Option<String>,
    pub organisation: Option<OrganisationId>,
    pub team: Option<TeamId>,
    pub key: Option<KeyId>,
    pub user: Option<String>,
    pub environment: Option<String>,
    pub provider: Option<String>,
    pub model: Option<String>,
    pub tag: Option<String>,
    pub requests: u64,
    /// Of them, answered with a status of 400 or more.
    pub failed: u64,
    pub usage: Usage,
    pub cost: NanoUsd,
    /// Requests that used tokens at an unknown price and so are missing from `cost`.
    pub unpriced: u64,
}

impl Store {
    /// Sums what is written; call [`crate::Ledger::flush`] first to see the last milliseconds too.
    pub async fn usage(&self, filter: &UsageFilter) -> Result<Vec<UsageRow>, StoreError> {
        self.backend().usage(filter).await
    }
}
