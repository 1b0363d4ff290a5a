//! Measures the gateway against a bare hyper reverse proxy.
//!
//! One core belongs to the process measured and to nothing else; upstream and load share the others. Both processes live
//! through a whole scenario and are loaded in turn, window by window (A B A B …), so that what drifts on the machine drifts
//! for both; a number is the median over windows and a ratio is the median of each round's own ratio. CPU time is the
//! process's own counter, read by its parent before and after a window: it needs no saturation to be right, but a process that
//! sleeps between requests pays for waking, so every connection always has a request under way.

pub mod bodies;
pub mod canned;
pub mod cpus;
pub mod dialects;
pub mod gateway;
pub mod goals;
pub mod latency;
pub mod load;
pub mod pairs;
pub mod process;
pub mod report;
pub mod run;
pub mod scenario;
pub mod stats;
pub mod target;
pub mod tls;
pub mod train;
pub mod upstream;
pub mod wire;
