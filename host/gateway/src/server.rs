//! The client's side of the network: accepting, timing out, draining.

mod activity;
mod connection;
mod listener;
mod surface;

pub use listener::{Server, serve};
pub use surface::Surface;
