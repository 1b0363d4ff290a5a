//! The protocol's documents, as both sides read them.

#[macro_use]
pub mod object;
pub mod answer;
pub mod part;
mod value;
pub mod write;

pub use object::camel;
pub use value::{Number, OneOrMany, Word, base64_standard};
