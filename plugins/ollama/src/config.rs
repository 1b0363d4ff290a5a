//! The operator's configuration.

use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Lets the server do what it does unasked: of a conversation that is longer than the model's window (`num_ctx`, often 4096
    /// tokens) it leaves out the beginning, and goes on. By default it is told not to, so that such a request fails as too long.
    #[serde(default)]
    pub truncate: bool,
}
