//! `policy-rules`: allow, deny or constrain requests by an ordered list of rules.
//!
//! ```toml
//! [plugin.policy-rules.config]
//! default = "allow"              # when no rule allows or denies: "allow", "deny" or { deny = { … } }
//! time_zone = "+01:00"           # of time windows that name none; a fixed offset, UTC where left out
//!
//! [[plugin.policy-rules.config.rules]]
//! name = "confidential-stays-in-europe"
//! when = { tags = { data = ["confidential", "secret"] } }
//! then = { constrain = { regions = ["eu-*"], guards = ["pii"] } }
//!
//! [[plugin.policy-rules.config.rules]]
//! name = "no-frontier-in-development"
//! when = { environments = "development", models = ["gpt-5", "claude-opus-*"] }
//! unless = { teams = "evaluation" }
//! then = { deny = { code = "policy.model-not-allowed", status = 403, message = "Use a small model in development." } }
//!
//! [[plugin.policy-rules.config.rules]]
//! name = "batch-at-night"
//! when = { input_tokens = { above = 100_000 }, time = { days = ["mon-fri"], hours = ["08:00-19:00"] } }
//! then = { deny = { status = 429, message = "Requests this long run between 19:00 and 08:00." } }
//!
//! [[plugin.policy-rules.config.rules]]
//! name = "short-answers"
//! then = { constrain = { max_output_tokens = 4096 } }
//! ```
//!
//! # Rules
//! A rule applies where *every* condition of `when` holds and not every condition of `unless`. A condition with a list holds
//! when *one* entry matches. In names `*` is any run of characters; case counts. What a request does not have (no team, no
//! region) matches nothing.
//!
//! | condition | is about |
//! |---|---|
//! | `keys`, `organisations`, `teams`, `users`, `environments`, `caller_regions` | the caller |
//! | `tags` | the caller's tags: `{ name = values }`, each named tag must match |
//! | `operations`, `formats`, `stream` | the request |
//! | `requested_models` | the model as the client wrote it: also an alias or `auto` |
//! | `tools`, `needs` | one of the offered functions; one of the needed capabilities |
//! | `input_tokens`, `output_tokens`, `body_bytes` | `{ above, at_most }`; without a limit of its own, a request's output is above every number |
//! | `time` | `{ days = ["mon-fri"], hours = ["22:00-06:00"], time_zone = "+02:00" }`; a night belongs to the day it began |
//! | `providers`, `models`, `regions` | **the target**: connection, model (`model` or `provider/model`), region |
//!
//! `then` is `"allow"`, `"deny"`, `{ deny = { code, status, message } }` or `{ constrain = { models, providers, regions, tools,
//! max_output_tokens, guards, tags } }`.
//!
//! # Order, and when a rule is evaluated
//! The first `allow` or `deny` that applies ends the walk; every `constrain` passed on the way adds up: the smallest number, the
//! intersection of lists, the union of guards, the first value of a tag. Where none ends it, `default` decides (and with
//! `allow` the constraints hold).
//!
//! A rule whose `when` or `unless` looks at the target is evaluated before each attempt, since only then a target is known; one
//! with conditions of both kinds as well. All others are evaluated before routing, and again with the target, so that the list
//! means the same as if it were walked once with everything known:
//! - a `deny` (or `default = "deny"`) takes effect before routing unless an earlier `allow` on the target may yet save it;
//! - a `constrain` takes effect before routing unless an earlier `allow` on the target may yet exempt from it; its guards run in
//!   either case, for no guard can run once a target is known;
//! - lists with a `*` are checked against each attempt, lists of plain names steer routing as well.
//!
//! A target outside a `constrain` is skipped and the next one tried; a `deny` refuses the request. To steer away from a target and
//! not refuse, constrain it to nothing: `when = { providers = "free-tier", tags = { data = "confidential" } }`, `then = { constrain
//! = { providers = [] } }`. A rule that should hold whatever the client calls a model is written with `models`: names as
//! clients write them can be aliases.

mod conditions;
mod config;
mod constraints;
mod glob;
mod rules;
mod time;

use portcullis_plugin::prelude::*;

pub use config::Config;
use rules::Rules;

/// The plugin: the operator's rules. It reads no content.
pub struct PolicyRules {
    rules: Rules,
}

impl Plugin for PolicyRules {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest {
            stages: Stages::REQUEST_AND_TARGET,
            ..Manifest::new(
                "policy-rules",
                env!("CARGO_PKG_VERSION"),
                "Allows, denies or constrains by caller, model, tools, size, time and region",
            )
        }
    }

    fn configure(config: Config) -> Result<Self, String> {
        Ok(PolicyRules { rules: config.rules()? })
    }
}

impl Policy for PolicyRules {
    fn evaluate_request(
        &self,
        context: &Context,
        subject: &Subject,
        _content: Option<&Request>,
    ) -> Result<PolicyVerdict, Failure> {
        Ok(self.rules.before_routing(subject, context.now))
    }

    fn evaluate_target(
        &self,
        context: &Context,
        subject: &Subject,
        attempt: &Attempt,
    ) -> Result<PolicyVerdict, Failure> {
        Ok(self.rules.at_target(subject, attempt, context.now))
    }
}

portcullis_plugin::export!(PolicyRules: policy);
portcullis_plugin::golden_vectors!(PolicyRules: policy);

#[cfg(test)]
mod tests;
