//! Alerts: a budget passed a threshold, or refused its first request. Each once a window.

use portcullis_core::{BudgetId, NanoUsd, OrganisationId, TeamId};
use serde::{Deserialize, Serialize};

use super::period::{Period, Window};
use crate::error::StoreError;
use crate::store::Store;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind", content = "per_cent")]
pub enum AlertKind {
    /// So many per cent of the limit are spent.
    Threshold(u16),
    /// A request was refused.
    Refused,
}

impl AlertKind {
    /// As the database has it.
    pub const fn parts(self) -> (&'static str, u16) {
        match self {
            Self::Threshold(per_cent) => ("threshold", per_cent),
            Self::Refused => ("refused", 0),
        }
    }

    pub fn from_parts(kind: &str, per_cent: u16) -> Option<Self> {
        match kind {
            "threshold" => Some(Self::Threshold(per_cent)),
            "refused" => Some(Self::Refused),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Grows with time. 0 until it is written.
    pub id: i64,
    #[serde(flatten)]
    pub kind: AlertKind,
    pub organisation: OrganisationId,
    pub budget: BudgetId,
    /// The budget's name when the alert was raised.
    pub name: String,
    /// Of the window, milliseconds since the Unix epoch.
    pub start_ms: u64,
    pub spent: NanoUsd,
    pub limit: NanoUsd,
    pub time_ms: u64,
    /// When somebody took delivery; absent before that, and where there is nobody to deliver to.
    pub delivered_ms: Option<u64>,
    /// Deliveries that failed.
    pub attempts: u32,
}

impl Alert {
    /// Nobody is told of what is older: three days.
    pub const GIVEN_UP_MS: u64 = 3 * 24 * 60 * 60 * 1000;
}

/// What of a budget its alerts need.
pub(crate) struct Alerting {
    pub period: Period,
    pub limit: NanoUsd,
    pub thresholds: Vec<u16>,
}

impl Alerting {
    /// From columns. Where a window begins is known: the time zone is not needed, and may be one that this system does not have.
    pub fn read(period: &str, rolling: bool, limit_nano: i64, thresholds: &str) -> Result<Self, StoreError> {
        let corrupt = || StoreError::Corrupt { what: "budget" };
        Ok(Self {
            period: Period::from_parts(period, rolling, None).map_err(|_| corrupt())?,
            limit: NanoUsd::try_from(limit_nano).map_err(|_| corrupt())?,
            thresholds: serde_json::from_str(thresholds).map_err(|_| corrupt())?,
        })
    }

    /// From and to where windows count together with the one that starts at `start_ms`.
    pub fn counted(&self, start_ms: u64) -> (u64, u64) {
        let from_ms = self.period.counted_from(start_ms);
        (from_ms, Window { start_ms, from_ms, end_ms: None }.to_ms())
    }

    /// The thresholds that are passed when what is spent grows from `before` to `after`.
    pub fn crossed(&self, before: u64, after: u64) -> impl Iterator<Item = u16> {
        let limit = u128::from(self.limit.get());
        self.thresholds.iter().copied().filter(move |per_cent| {
            let at = limit * u128::from(*per_cent);
            u128::from(before) * 100 < at && at <= u128::from(after) * 100
        })
    }
}

/// Which alerts. Everything absent matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertFilter {
    pub organisation: Option<OrganisationId>,
    /// Of budgets of this team alone.
    pub team: Option<TeamId>,
    pub budget: Option<BudgetId>,
    /// Raised in this millisecond since the Unix epoch or later.
    pub since_ms: Option<u64>,
    /// Exclusive.
    pub until_ms: Option<u64>,
    /// Whether somebody took delivery.
    pub delivered: Option<bool>,
    /// Older than the alert of this id.
    pub before: Option<i64>,
    /// At most so many; 0 for the usual 100.
    pub limit: u32,
}

impl Store {
    /// Alerts, newest first.
    pub async fn alerts(&self, filter: &AlertFilter) -> Result<Vec<Alert>, StoreError> {
        self.backend().alerts(filter).await
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However the spending is cut up, each threshold is passed exactly once, and only when it is reached.
        #[test]
        fn every_threshold_is_passed_once(
            limit in 1..10_000_u64,
            steps in prop::collection::vec(0..3_000_u64, 1..20),
            thresholds in prop::collection::btree_set(1..300_u16, 0..8),
        ) {
            let text = serde_json::to_string(&thresholds).unwrap();
            let budget = Alerting::read("total", false, limit.cast_signed(), &text).unwrap();
            let mut spent = 0;
            let mut passed = Vec::new();
            for step in steps {
                passed.extend(budget.crossed(spent, spent + step));
                spent += step;
            }
            passed.sort_unstable();
            let reached: Vec<u16> =
                thresholds.into_iter().filter(|per_cent| spent * 100 >= limit * u64::from(*per_cent)).collect();
            prop_assert_eq!(passed, reached);
        }
    }
}
