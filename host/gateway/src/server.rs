//! The client's side of the network: accepting, timing out, draining.

mod activity;
mod connection;
mod listener;

pub use listener::{Server, serve};
