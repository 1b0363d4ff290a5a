//! Limits: requests and tokens in sliding windows and requests at once, by key, team, organisation, address and model.
//!
//! [`Book`] says which limits hold for a request, as the snapshot's configuration has them. [`Limiter`] keeps what was used, longer
//! than any configuration. A request that any of them limits holds an [`Admission`] to its answer's last byte; one that none does
//! pays for a branch.
//!
//! Counts are this process's own. Several gateways on one database each let through as much as the limits say.

mod account;
mod admission;
mod book;
mod headers;
mod rolling;
mod subject;

use std::sync::Arc;

use portcullis_core::{Name, Unit};
use portcullis_runtime::contract::types::{Failure, FailureKind};

pub(crate) use admission::{Admission, Refused, Standing};
pub(crate) use book::{Book, Caller, Explained, Line, Origin, UnknownTier};
pub(crate) use headers::{Family, put_on, take_off};
pub use subject::By;
use subject::{Accounts, MOST_BY_ADDRESS};

pub(crate) struct Limiter {
    accounts: Accounts,
}

impl Default for Limiter {
    fn default() -> Self {
        Limiter { accounts: Accounts::new(MOST_BY_ADDRESS) }
    }
}

/// Why a request is not let in.
#[derive(Debug)]
pub(crate) enum Denied {
    Refused(Refused),
    /// What may be asked for is then not known.
    Tier(UnknownTier),
    /// Whatever it asks for: it is suspended, or comes from where its key may not be used.
    Access(Failure),
}

impl Limiter {
    /// Lets a caller's request in, which is `None` where nothing limits it.
    pub fn admit(&self, book: &Book, caller: &Caller<'_>, now_ms: u64) -> Result<Option<Arc<Admission>>, Denied> {
        let lines = book.of_caller(caller).map_err(Denied::Tier)?;
        if lines.is_empty() && !book.limits_targets() {
            return Ok(None);
        }
        Admission::begin(lines, &self.accounts, now_ms).map(Some).map_err(Denied::Refused)
    }

    /// Begins an attempt of an admitted request at a target, `provider/model`.
    pub fn enter(&self, admission: &Admission, lines: Vec<Line>, tokens: u64, now_ms: u64) -> Result<(), Refused> {
        admission.enter(lines, tokens, &self.accounts, now_ms)
    }

    /// Forgets what no longer counts. To be called every few seconds.
    pub fn sweep(&self, now_ms: u64) {
        self.accounts.sweep(now_ms);
    }
}

impl Denied {
    /// For the client.
    pub fn failure(&self) -> Failure {
        match self {
            Denied::Refused(refused) => refused.failure(),
            Denied::Access(failure) => failure.clone(),
            Denied::Tier(_) => Failure {
                kind: FailureKind::Permission,
                message: "The key's tier is not configured at this gateway.".to_owned(),
                code: Some("unknown_tier".to_owned()),
                param: None,
                retry_after: None,
            },
        }
    }

    /// For the log and the receipt.
    pub fn reason(&self) -> String {
        match self {
            Denied::Refused(refused) => refused.reason(),
            Denied::Access(failure) => failure.code.clone().unwrap_or_default(),
            Denied::Tier(_) => "unknown_tier".to_owned(),
        }
    }
}

impl Refused {
    pub fn failure(&self) -> Failure {
        let Refused { name, unit, limit, used, asked, .. } = self;
        let code = if self.window.is_some() { "rate_limit_exceeded" } else { "concurrency_limit_exceeded" };
        let again = match self.retry_after {
            Some(wait) => format!(" Try again in {} s.", wait.div_ceil(1_000)),
            None if *unit == Unit::Tokens => " Ask for less output or send a shorter request.".to_owned(),
            None => String::new(),
        };
        let message = match self.window {
            Some(window) => format!(
                "The limit `{name}` of {limit} {unit} per {} is reached: {used} used, {asked} asked for.{again}",
                window.as_str()
            ),
            None => format!("The limit `{name}` of {limit} requests at once is reached.{again}"),
        };
        Failure {
            kind: FailureKind::RateLimited,
            message,
            code: Some(code.to_owned()),
            param: None,
            retry_after: self.retry_after,
        }
    }

    /// `limit:key:tokens-minute`: which limit it was.
    pub fn reason(&self) -> String {
        let Refused { name, unit, .. } = self;
        match self.window {
            Some(window) => format!("limit:{name}:{unit}-{}", window.as_str()),
            None => format!("limit:{name}:concurrent"),
        }
    }
}

/// `provider/model`, as limits by model name a target.
pub(crate) fn target_name(provider: &str, model: &str) -> Name {
    format!("{provider}/{model}").into()
}

#[cfg(test)]
mod tests;
