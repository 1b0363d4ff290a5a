//! Anthropic Messages, as far as plugins share it: the provider's conversions ([`mod@provider`]), what both sides of the protocol read and
//! write alike (content blocks, usage, stop reasons, signatures), and the models with what each takes ([`catalogue`]).
//!
//! Anthropic offers its API itself, and Google Cloud offers it with differences, which [`platform`] describes. A plugin is such a
//! description, its manifest and the client protocol where it has one.
//!
//! Wire facts were read in the official Python SDK's types (`anthropic` 2.10.0, PyPI), in the documentation at
//! <https://platform.claude.com/docs> and in recorded traffic.

pub mod block;
pub mod cache;
pub mod catalogue;
pub mod platform;
pub mod provider;
pub mod signature;
pub mod stop;
pub mod usage;

/// The wire format.
pub const FORMAT: &str = "anthropic-messages";

/// The operation and the endpoint that count tokens.
pub const COUNT: &str = "count-tokens";
