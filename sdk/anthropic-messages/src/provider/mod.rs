//! The provider's side: requests out, answers in.

mod content;
pub mod error;
mod google;
mod messages;
pub mod meter;
mod names;
mod reasoning;
pub mod request;
pub mod response;
mod schema;
pub mod stream;
