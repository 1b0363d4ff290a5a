//! OpenAI Responses, as a client protocol and as a second endpoint of the same provider. Its wire format is called
//! `openai-responses`.
//!
//! `wire` holds the documents both sides share, `dialect` and `provider` are the two sides, as for Chat Completions. A conversation
//! here is a list of items, finer than messages: consecutive items of the assistant are one message of the internal
//! representation, and each part knows in `carry` which item it was. What has no counterpart there (built-in tools' calls,
//! compactions, references) stays a raw item that only this format takes back.
//!
//! Source of every wire fact, where no other is named: the OpenAI API reference, "Responses" and "Responses: streaming events",
//! as the types of the official Python package state it (`openai` 3.51, `openai/types/responses`).

pub mod dialect;
pub mod manifest;
pub mod provider;
pub mod wire;

/// The name of this wire format in the contract.
pub const FORMAT: &str = "openai-responses";

/// The name of the route and of the endpoint.
pub const NAME: &str = "responses";

/// The capability of a model that is reached by this endpoint alone.
pub const ONLY: &str = "endpoint:responses";
