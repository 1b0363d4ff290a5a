//! What is measured of the gateway, as a product of a few choices.

use std::fmt;

use crate::bodies;

/// The upstream's protocol; clients always speak OpenAI's.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Upstream {
    /// Passed through.
    Same,
    /// Decoded and encoded, both ways.
    Cross,
}

/// Which plugins stand in the way, beside the dialect and the provider.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Plugins {
    None,
    /// A policy and a router.
    Metadata,
    /// A policy, a guard and a router.
    Content,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Instances {
    /// Reused for one organisation.
    Warm,
    /// One for every request.
    Fresh,
}

/// A configuration of the gateway: one process.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Setup {
    pub upstream: Upstream,
    pub plugins: Plugins,
    pub instances: Instances,
}

/// What is asked of it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Work {
    /// Whole answers to bodies of so many bytes, at saturation.
    Whole { bytes: usize },
    /// Streams of so many deltas as fast as they come, at saturation; counted per delta.
    Burst { deltas: u32 },
    /// Latency of 1 KB requests at a modest load.
    Latency,
    /// The time to a stream's first token at a modest load.
    FirstToken,
}

pub const SMALL: usize = 1_000;
pub const LARGE: usize = 100_000;
pub const DELTAS: u32 = 1_000;
/// Deltas of the streams whose first token is timed.
pub const FEW_DELTAS: u32 = 8;

impl Setup {
    /// Every configuration, in the order they are measured.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for instances in [Instances::Warm, Instances::Fresh] {
            for upstream in [Upstream::Same, Upstream::Cross] {
                for plugins in [Plugins::None, Plugins::Metadata, Plugins::Content] {
                    all.push(Self { upstream, plugins, instances });
                }
            }
        }
        all
    }

    /// What is measured of this configuration.
    pub fn work(&self) -> Vec<Work> {
        let mut work = vec![Work::Whole { bytes: SMALL }, Work::Whole { bytes: LARGE }];
        if self.instances == Instances::Warm {
            work.extend([Work::Burst { deltas: DELTAS }, Work::FirstToken, Work::Latency]);
        }
        work
    }

    /// Plugins whose instance a request touches: what of "policy, guard, router" there is, and the provider that meters the
    /// answer; across protocols the dialect too.
    pub fn plugin_count(&self) -> u32 {
        let between = match self.plugins {
            Plugins::None => 0,
            Plugins::Metadata => 2,
            Plugins::Content => 3,
        };
        between + if self.upstream == Upstream::Same { 1 } else { 2 }
    }
}

impl Work {
    /// The request's body.
    pub fn body(&self) -> String {
        match *self {
            Work::Whole { bytes } => bodies::chat("demo-bench", bytes, false),
            Work::Burst { deltas } => bodies::chat(&format!("demo-bench-stream-{deltas}"), SMALL, true),
            Work::Latency => bodies::chat("demo-bench", SMALL, false),
            Work::FirstToken => bodies::chat(&format!("demo-bench-stream-{FEW_DELTAS}"), SMALL, true),
        }
    }

    /// How many connections saturate a process with it.
    pub fn connections(&self) -> usize {
        match *self {
            Work::Whole { bytes } if bytes < LARGE => 16,
            Work::Whole { .. } => 8,
            Work::Burst { .. } => 4,
            Work::Latency | Work::FirstToken => 16,
        }
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.upstream {
            Upstream::Same => "same dialect",
            Upstream::Cross => "to Anthropic",
        })?;
        f.write_str(match self.plugins {
            Plugins::None => ", no plugins",
            Plugins::Metadata => ", metadata plugins",
            Plugins::Content => ", content plugins",
        })?;
        f.write_str(if self.instances == Instances::Fresh { ", fresh" } else { "" })
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Work::Whole { bytes } => write!(f, "{} KB", bytes / 1000),
            Work::Burst { .. } => f.write_str("delta in a burst"),
            Work::Latency => f.write_str("latency"),
            Work::FirstToken => f.write_str("first token"),
        }
    }
}
