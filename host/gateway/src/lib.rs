//! The gateway: listener, request pipeline, upstream client.
//!
//! The modules follow a request's path: [`server`] accepts, `service` finds who serves it, `pipeline` takes it through every
//! plugin role, `upstream` reaches the provider. A [`Gateway`] holds what requests share; each request pins a `Snapshot` of
//! plugins and configuration to its last byte (invariant 8).

mod access;
mod admin;
pub mod alerts;
mod answer;
mod attribution;
mod auth;
mod catalog;
mod client_address;
pub mod config;
mod continuation;
mod conversation;
mod credential;
mod endpoint;
pub mod exports;
pub mod feeds;
mod gateway;
mod inbound;
mod kept;
mod limits;
mod media;
mod metrics;
mod models;
mod observing;
mod pipeline;
mod pool_order;
mod probe;
mod receipts;
mod route;
pub mod server;
mod service;
mod shared_objects;
pub mod siem;
mod snapshot;
mod stored;
mod telemetry;
mod text_map;
mod upstream;
mod utf8;
mod webhook;

pub use admin::Admin;
pub use catalog::prices_of;
pub use gateway::{Gateway, Parts, default_config_path};
pub use observing::Observing;
pub use probe::Probe;
pub use stored::StoredProvider;
pub use webhook::{Webhook, WebhookError, wait_after};
