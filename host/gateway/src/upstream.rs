//! The way to a provider: connections, addresses and health.

mod address;
mod body;
mod connection;
mod health;
mod pool;
mod target;
mod tls;

pub use address::Address;
pub use body::{CollectError, UpstreamBody};
pub use health::{Breaker, Happening, Health, HealthSettings};
pub use pool::{Patience, Pool, UpstreamError};
pub use target::{TargetError, build_path};
