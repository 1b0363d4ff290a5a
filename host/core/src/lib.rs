//! Ids, money, usage, prices, keys, failures and receipts: the words the rest of the gateway speaks.
//!
//! Pure types, no I/O. Money is integers (invariant 2); clock and randomness are parameters.

pub mod clock;
pub mod failure;
pub mod id;
pub mod key;
pub mod limits;
pub mod money;
pub mod name;
pub mod price;
pub mod receipt;
pub mod role;
pub mod token;
pub mod usage;

pub use clock::{Clock, ManualClock, SystemClock};
pub use failure::FailureKind;
pub use id::{BudgetId, ConnectionId, KeyId, LeaseId, MemberId, OrganisationId, ReplicaId, RequestId, TeamId, TokenId};
pub use key::{Environment, KeyHash, KeyPrefix, SecretKey};
pub use limits::{Limits, Unit, Window};
pub use money::{MoneyError, NanoUsd, PicoUsd};
pub use name::Name;
pub use price::{Cost, Price, PriceList, Rates, ServiceRates, Tier, UnitRate, UnknownPrice};
pub use receipt::Receipt;
pub use role::{Grant, Permission, Role, Scope};
pub use token::AdminSecret;
pub use usage::{Metered, UnitCount, Usage};
