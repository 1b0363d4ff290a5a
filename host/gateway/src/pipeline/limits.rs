//! What a request takes of its limits once it is read: tokens by an estimate that is settled to the truth, and the limits of the
//! target it goes to.

use memchr::memchr_iter;

use super::{Exchange, Stop};
use crate::catalog::Offer;
use crate::limits::{Caller, Denied, Refused, target_name};

/// Strings from this length on that look like base64 are files.
const FILE_BYTES: usize = 4 << 10;
/// What a file counts for before anybody has read it: a picture's most at Anthropic
/// (<https://docs.anthropic.com/en/docs/build-with-claude/vision>, "Evaluate image size").
const FILE_TOKENS: u64 = 1_600;
const BYTES_PER_TOKEN: u64 = 4;

/// Tokens that attempts used.
#[derive(Debug, Default)]
pub(super) struct Spent {
    whole: u64,
    attempt: u64,
    /// Nobody knows what an attempt used.
    unsure: bool,
    attempt_unsure: bool,
}

impl Spent {
    pub fn used(&mut self, tokens: u64) {
        self.attempt = self.attempt.saturating_add(tokens);
        self.whole = self.whole.saturating_add(tokens);
    }

    pub fn unsure(&mut self) {
        self.unsure = true;
        self.attempt_unsure = true;
    }
}

impl Stop {
    pub(super) fn denied(why: &Denied) -> Self {
        Stop { outcome: "denied", reason: Some(why.reason()), ..Stop::failed(why.failure()) }
    }

    /// Whether another target may be open.
    pub(super) fn is_of_a_target(&self) -> bool {
        self.reason.as_deref().is_some_and(|reason| reason.starts_with("limit:"))
    }
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        Stop::denied(&Denied::Refused(refused))
    }
}

impl Exchange {
    /// Sets the tokens aside that the request may use, where a limit counts them.
    pub(super) fn reserve_tokens(&mut self, body: &str) -> Result<(), Stop> {
        let Some(admission) = &self.admission else { return Ok(()) };
        if self.route.is_free() {
            return Ok(());
        }
        if body.len() > FILE_BYTES {
            self.facts.input_tokens = self.facts.input_tokens.min(input_tokens(body));
        }
        let tokens = self.expected_tokens(self.facts.max_output_tokens, self.facts.choices);
        Ok(admission.reserve(tokens, self.context.now)?)
    }

    /// Input and output, as far as can be told before it is sent.
    fn expected_tokens(&self, output_cap: Option<u32>, choices: u64) -> u64 {
        let generates = !matches!(&*self.route.operation, "embeddings" | "moderations" | "rerank");
        let assumed = self.snapshot.config.limits.assumed_output_tokens;
        let output = if generates { u64::from(output_cap.unwrap_or(assumed)) } else { 0 };
        self.facts.input_tokens.saturating_add(output.saturating_mul(choices.max(1)))
    }

    /// Begins an attempt within the limits of its target.
    pub(super) fn enter_target(&self, offer: &Offer, choices: u64) -> Result<(), Stop> {
        let book = &self.snapshot.limits;
        let (true, Some(admission)) = (book.limits_targets(), &self.admission) else { return Ok(()) };
        let model = target_name(&offer.connection.name, &offer.model.id);
        let lines = book.of_target(&Caller::of(&self.key, self.address), &model);
        if lines.is_empty() {
            return Ok(());
        }
        let cap = [self.facts.max_output_tokens, self.attempt_output_limit].into_iter().flatten().min();
        let tokens = if self.route.is_free() { 0 } else { self.expected_tokens(cap, choices) };
        Ok(self.gateway.limiter.enter(admission, lines, tokens, self.gateway.clock.now_ms())?)
    }

    /// An attempt came to nothing.
    pub(super) fn leave_target(&mut self) {
        let Some(admission) = &self.admission else { return };
        let certain = !std::mem::take(&mut self.spent.attempt_unsure);
        admission.leave(std::mem::take(&mut self.spent.attempt), certain, self.gateway.clock.now_ms());
    }

    /// The request is over: what it used is known.
    pub(super) fn settle_limits(&mut self) {
        let Some(admission) = &self.admission else { return };
        let Spent { whole, attempt, unsure, .. } = self.spent;
        admission.settle(attempt, whole, !unsure, self.gateway.clock.now_ms());
    }
}

/// Tokens of a body's text, and of the files in it, which stand there as long strings of base64 and count for what they are and not
/// for their length.
fn input_tokens(body: &str) -> u64 {
    let bytes = body.as_bytes();
    let (mut files, mut file_bytes) = (0, 0);
    let mut from = 0;
    for at in memchr_iter(b'"', bytes) {
        let between = &bytes[from..at];
        from = at + 1;
        if between.len() >= FILE_BYTES && is_file(between) {
            files += 1;
            file_bytes += between.len();
        }
    }
    (bytes.len() - file_bytes) as u64 / BYTES_PER_TOKEN + files * FILE_TOKENS + 1
}

/// By its middle: before it there may be a `data:` URL's head.
fn is_file(string: &[u8]) -> bool {
    let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
    string[string.len() / 2..][..512].iter().all(base64)
}

#[cfg(test)]
mod tests {
    use portcullis_runtime::contract::types;

    use super::*;

    #[test]
    fn files_count_for_what_they_are() {
        let text = "so many words ".repeat(1_000);
        let file = "iVBORw0KGgo".repeat(10_000);
        assert_eq!(input_tokens(&format!("{{\"a\":\"{text}\"}}")), (text.len() as u64 + 8) / 4 + 1);
        let with = format!("{{\"a\":\"{text}\",\"u\":\"data:image/png;base64,{file}\",\"v\":\"{file}\"}}");
        let least = text.len() as u64 / 4 + 2 * FILE_TOKENS;
        assert!((least..least + 40).contains(&input_tokens(&with)), "{}", input_tokens(&with));
        // What only looks long is text.
        let wordy = "a-b ".repeat(5_000);
        assert!(input_tokens(&format!("\"{wordy}\"")) >= 5_000);
    }

    #[test]
    fn a_limit_s_refusal_is_no_other_s() {
        let plain = Stop::of(types::FailureKind::RateLimited, "rate_limited", "");
        assert!(!plain.is_of_a_target());
        let stop = Stop { reason: Some("limit:model:concurrent".to_owned()), ..plain };
        assert!(stop.is_of_a_target());
    }
}
