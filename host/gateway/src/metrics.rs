//! Metrics: counted where a receipt is recorded, read when somebody scrapes.
//!
//! Keeps: counting costs a request a few hundred nanoseconds at the most and no lock. Every thread counts in cells of its own,
//! which it alone writes and finds by one hash; a scrape sums over the threads. And: labels are bounded. A model that no catalogue
//! knows is `other`, and a family that has its fill of series counts the rest as `other` too, so that nobody who holds a key can
//! make the gateway's memory, or the monitoring system's, grow.

mod cells;
mod counts;
mod exposition;
mod feeds;
mod record;

pub(crate) use counts::Counts;
pub(crate) use exposition::{CONTENT_TYPE, Live, LiveConnection, LivePlugin, render};
pub(crate) use feeds::Feeds;

use std::sync::Arc;

use cells::Family;
use record::{AttemptCells, FindingCells, PluginCells, RequestCells, TotalCells};

/// Everything that one gateway counts.
pub(crate) struct Metrics {
    /// By dialect, operation, provider and model.
    requests: Family<4, RequestCells>,
    /// By provider.
    attempts: Family<1, AttemptCells>,
    /// By plugin and role.
    plugins: Family<2, PluginCells>,
    /// By plugin, direction and kind.
    findings: Family<3, FindingCells>,
    totals: Family<0, TotalCells>,
    /// What happens seldom.
    pub counts: Counts,
    /// Scheduled exports.
    pub exports: Arc<Feeds>,
    /// Sinks of events.
    pub sinks: Arc<Feeds>,
}

/// Combinations of dialect, operation, provider and model that are told apart. Each has some 50 lines in a scrape.
const REQUEST_SERIES: usize = 1000;
const OTHER_SERIES: usize = 500;

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            requests: Family::new(REQUEST_SERIES),
            attempts: Family::new(OTHER_SERIES),
            plugins: Family::new(OTHER_SERIES),
            findings: Family::new(OTHER_SERIES),
            totals: Family::new(1),
            counts: Counts::default(),
            exports: Arc::default(),
            sinks: Arc::default(),
        }
    }
}
