//! `router-heuristic`: ranks candidates by what a request needs against price, latency, quality and health.
//!
//! ```toml
//! [plugin.router-heuristic.config]
//! optimise = "balanced"          # "price", "latency", "quality", "balanced"
//! weights = { health = 0.2 }     # replaces weights of the above, one by one
//! unknown_quality = 50           # of a model without one
//! unknown_price = 100_000_000    # pico-USD per token of a model without one: 100 USD a million
//! unknown_latency = 2_000        # milliseconds, of a connection not measured yet
//! context_margin = 5             # per cent that an estimate of input may be too low
//! tools_quality = 70             # desired at least, where tools are offered
//! long_input = 30_000            # tokens from which a request is long …
//! long_quality = 75              # … and wants at least this
//! quick_input = 30               # tokens up to which a request without keywords is class `quick`
//!
//! [plugin.router-heuristic.config.classes.code]
//! quality = 80                   # changes one key of a standard class
//!
//! [plugin.router-heuristic.config.classes.legal]
//! keywords = ["contract", "clause", "force majeure"]
//! quality = 85                   # 0 to 100: more is worth little
//! floor = 60                     # models below only when nothing else can be
//! output_tokens = 1200           # an answer's expected length …
//! output_percent = 10            # … and what it grows by with the input
//! ```
//!
//! # What a request needs
//! - Capabilities: `needs`, and `tools` where tools are offered.
//! - Its class: the one with most keywords in the newest prompt (whole words, ASCII without case; each word of a phrase
//!   counts, a fenced block counts for code; of equal ones the operator's own, then the more demanding). Without a keyword, or
//!   without the right to read content, a short request without tools is `quick` and any other `general`.
//! - Its answer's length: the class's `output_tokens` plus `output_percent` of the input, at most the client's limit.
//! - Its quality: the class's, more for tools and long inputs.
//!
//! | class | quality | floor | output tokens |
//! |---|---|---|---|
//! | `code` | 85 | 40 | 800 |
//! | `maths` | 88 | 45 | 600 |
//! | `reasoning` | 90 | 45 | 1000 |
//! | `translation` | 70 | 0 | 50 + 110 % of the input |
//! | `summary` | 65 | 0 | 300 + 5 % of the input |
//! | `creative` | 75 | 0 | 900 |
//! | `quick` | 45 | 0 | 60 |
//! | `general` | 65 | 0 | 400 |
//!
//! # Who is ranked
//! Rejected outright: `lacks:CAPABILITY`, and `context` where input (with `context_margin`) and output do not fit together; the
//! output is the client's limit, else the expected length, in either case at most the model's own limit. A context or
//! output limit of 0 is unknown and rejects nothing.
//!
//! While a connection is ready (breaker closed, or half-open and idle), those with an open breaker and those waiting for a rate
//! limit to end are rejected as `breaker-open` and `cooling`: a failover to them would fail again. When none is ready all
//! are ranked, half-open first, then by the time left to wait, then open ones, for an attempt is better than none; the reason then says
//! `unhealthy=`. A half-open connection on which a request is in flight comes after all ready ones.
//!
//! Models below the class's floor, or whose output limit is below the expected answer, come after those that suffice.
//!
//! # Score
//! The weighted mean, from 0 to 1, of four shares:
//! - price: `k / (k + p)`, `p` the price of a token as the request mixes input and output, `k` 3 USD a million;
//! - latency: `k / (k + ms)`, `k` 800 ms;
//! - quality: `0.9 × (q / desired)²` up to the desired quality, the last tenth for what lies beyond;
//! - health: `(1 − error rate)² × 64 / (64 + in flight)`, halved for a half-open connection.
//!
//! | `optimise` | price | latency | quality | health |
//! |---|---|---|---|---|
//! | `price` | 0.70 | 0.05 | 0.10 | 0.15 |
//! | `latency` | 0.05 | 0.70 | 0.10 | 0.15 |
//! | `quality` | 0.05 | 0.05 | 0.75 | 0.15 |
//! | `balanced` | 0.25 | 0.15 | 0.45 | 0.15 |
//!
//! No share looks at other candidates, so who else is offered changes no score. Equal scores fall to the cheaper, the better,
//! the healthier, the faster, then to the order of the candidates.
//!
//! # Preferences
//! `optimise`; `price`, `latency`, `quality`, `health` (weights); `class`; `output_tokens`. They replace the configuration's, one by
//! one; `optimise` replaces all its weights. A value that cannot be read fails the request as `invalid-request`; unknown names
//! are for other routers.

mod config;
mod demand;
mod keywords;
mod rank;
mod score;
mod standard;

use portcullis_plugin::prelude::*;

pub use config::Config;
use config::Settings;

/// The plugin. It reads the newest prompt where it may, and keeps nothing.
pub struct RouterHeuristic {
    settings: Settings,
}

impl Plugin for RouterHeuristic {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest {
            access: Access::READ,
            ..Manifest::new(
                "router-heuristic",
                env!("CARGO_PKG_VERSION"),
                "Ranks targets by what a request needs against price, latency, quality and health",
            )
        }
    }

    fn configure(config: Config) -> Result<Self, String> {
        Ok(RouterHeuristic { settings: Settings::new(config)? })
    }
}

impl Router for RouterHeuristic {
    fn rank(
        &self,
        _context: &Context,
        _caller: &Caller,
        features: &Features,
        preferences: &[Pair],
        candidates: &[Candidate],
    ) -> Result<Plan, Failure> {
        let wishes = self.settings.wishes(preferences)?;
        Ok(rank::plan(features, &wishes, &self.settings, candidates))
    }
}

portcullis_plugin::export!(RouterHeuristic: router);
portcullis_plugin::golden_vectors!(RouterHeuristic: router);

#[cfg(test)]
mod tests;
