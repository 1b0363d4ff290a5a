//! The numbers to hold and to aim for, as the design states them. Where the design changes, these change with it.

use crate::scenario::{Instances, LARGE, Plugins, SMALL, Setup, Upstream, Work};

/// Smaller is better, always.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    pub hold: f64,
    pub aim: f64,
}

/// The ratio against the bare proxy that this work must hold, if the design names one.
pub fn ratio(setup: Setup, work: Work) -> Option<Goal> {
    if setup.instances == Instances::Fresh {
        return None;
    }
    let (hold, aim) = match (setup.upstream, setup.plugins, work) {
        (Upstream::Same, Plugins::Content, Work::Whole { bytes: SMALL }) => (2.3, 1.9),
        (Upstream::Cross, Plugins::Content, Work::Whole { bytes: SMALL }) => (2.8, 2.4),
        (Upstream::Same, Plugins::Metadata, Work::Whole { bytes: LARGE }) => (2.0, 1.6),
        (Upstream::Same, Plugins::Content, Work::Whole { bytes: LARGE }) => (5.0, 4.3),
        (Upstream::Cross, Plugins::Content, Work::Whole { bytes: LARGE }) => (7.0, 5.8),
        (Upstream::Same, Plugins::Content, Work::Burst { .. }) => (0.6, 0.35),
        (Upstream::Same, Plugins::Content, Work::FirstToken) => (2.0, 1.3),
        _ => return None,
    };
    Some(Goal { hold, aim })
}

/// Microseconds of CPU that a plugin's run costs more with a fresh instance.
pub const FRESH: Goal = Goal { hold: 12.0, aim: 9.0 };
/// The share of CPU time a request that the guard adds at 1 KB, so that throughput falls by at most 15 %.
pub const GUARD_SHARE: Goal = Goal { hold: 0.15, aim: 0.15 };
/// Resident megabytes, idle, all standard plugins loaded.
pub const RESIDENT: Goal = Goal { hold: 40.0, aim: 25.0 };
/// Milliseconds from the start to the first 200, code cache warm.
pub const START: Goal = Goal { hold: 100.0, aim: 30.0 };

/// The rows a quick run keeps: those with a goal, and what their goals are computed from.
pub fn counts(setup: Setup, work: Work) -> bool {
    let small = matches!(work, Work::Whole { bytes: SMALL });
    ratio(setup, work).is_some() || (small && setup.upstream == Upstream::Same && setup.plugins != Plugins::None)
}
