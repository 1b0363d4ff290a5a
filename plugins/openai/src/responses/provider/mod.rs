//! The provider's side: Responses as this gateway speaks it to OpenAI and to servers that have it too.

pub mod error;
pub mod input;
pub mod meter;
pub mod request;
pub mod response;
pub mod stream;
