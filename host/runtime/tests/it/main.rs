//! The runtime against real components: `tests/guests`, built once, varied by marks in their bytes.

mod cache;
mod calls;
mod checks;
mod frozen;
mod leaks;
mod quarantine;
mod support;
mod swap;
mod wasi;
