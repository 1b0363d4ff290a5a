//! AWS Bedrock: the provider behind Converse and ConverseStream.
//!
//! One API for the models of many vendors. What it models alike is written alike; what a vendor's models want beyond that goes into
//! `additionalModelRequestFields`, by family (`family.rs`). How requests are signed is the connection's business
//! (`auth = "aws-sigv4"`, or `bearer` with a Bedrock API key).
//!
//! Wire facts were read in the service model that botocore 1.44.5 (PyPI) carries, in the documentation at
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference.html> and in recorded traffic.

mod block;
mod catalogue;
mod family;
mod manifest;
mod provider;
mod stop;
mod usage;

use portcullis_plugin::prelude::*;

/// The wire format.
pub const FORMAT: &str = "bedrock-converse";

/// What a part carries for this format, by name.
const CARRY: &str = "bedrock.";

/// The plugin. It has nothing to configure.
#[derive(Debug)]
pub struct Bedrock;

impl Plugin for Bedrock {
    type Config = NoConfig;

    fn manifest() -> Manifest {
        manifest::manifest()
    }

    fn configure(_: NoConfig) -> Result<Self, String> {
        Ok(Bedrock)
    }
}

portcullis_plugin::export!(Bedrock: provider);
portcullis_plugin::golden_vectors!(Bedrock: provider);
