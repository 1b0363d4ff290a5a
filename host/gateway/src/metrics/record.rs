//! What a receipt adds to the cells of the thread that records it.

use portcullis_core::{FailureKind, Name, Receipt};
use portcullis_runtime::CallError;

use super::Metrics;
use super::cells::{Cell, Distribution, OTHER};

/// Microseconds: from the quickest refusal to an answer that was thought about for ten minutes.
pub(super) const DURATIONS: [u64; 16] = [
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    20_000_000,
    40_000_000,
    80_000_000,
    160_000_000,
    600_000_000,
];
/// Microseconds of the gateway's own.
pub(super) const OVERHEADS: [u64; 12] = [25, 50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 51_200, 204_800];

pub(super) const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", OTHER];
pub(super) const OUTCOMES: [&str; 7] = ["ok", "denied", "blocked", "failed", "client-gone", "cut", OTHER];
/// As [`portcullis_core::Usage`] counts them: every token once, reasoning within output.
pub(super) const TOKENS: [&str; 7] =
    ["input", "cache_read", "cache_write", "output", "reasoning", "audio_input", "audio_output"];
pub(super) const ENDS: [&str; 3] = ["settled", "refunded", "quarantined"];

#[derive(Debug, Default)]
pub(super) struct RequestCells {
    pub classes: [Cell; CLASSES.len()],
    pub duration: Distribution<{ DURATIONS.len() }>,
    pub first_byte: Distribution<{ DURATIONS.len() }>,
    pub overhead: Distribution<{ OVERHEADS.len() }>,
    pub tokens: [Cell; TOKENS.len()],
    /// nano-USD.
    pub cost: Cell,
    /// Requests that used something at an unknown price.
    pub unpriced: Cell,
}

#[derive(Debug, Default)]
pub(super) struct AttemptCells {
    pub ok: Cell,
    pub failed: [Cell; FailureKind::ALL.len()],
    pub ends: [Cell; ENDS.len()],
}

#[derive(Debug, Default)]
pub(super) struct PluginCells {
    pub calls: Cell,
    /// Requests in which it failed.
    pub failures: Cell,
    pub micros: Cell,
}

#[derive(Debug, Default)]
pub(super) struct FindingCells {
    pub found: Cell,
}

#[derive(Debug, Default)]
pub(super) struct TotalCells {
    pub begun: Cell,
    pub ended: Cell,
    pub streams_begun: Cell,
    pub streams_ended: Cell,
    pub outcomes: [Cell; OUTCOMES.len()],
}

thread_local! {
    static NONE: Name = "none".into();
}

impl Metrics {
    /// A request begins to be served; [`record`](Self::record) ends it.
    pub fn begin(&self, stream: bool) {
        self.totals.count(
            [],
            || true,
            || [],
            |cells| {
                cells.begun.add(1);
                cells.streams_begun.add(u64::from(stream));
            },
        );
    }

    /// Counts a request that is over. `known` says whether a provider's model is one of the catalogue's.
    pub fn record(&self, receipt: &Receipt, known: impl Fn(&str) -> bool) {
        self.totals.count(
            [],
            || true,
            || [],
            |cells| {
                cells.ended.add(1);
                cells.streams_ended.add(u64::from(receipt.stream));
                cells.outcomes[place(&OUTCOMES, &receipt.outcome.code)].add(1);
            },
        );
        self.request(receipt, known);
        for attempt in &receipt.attempts {
            self.attempts.count(
                [&attempt.provider],
                || true,
                || [OTHER.into()],
                |cells| {
                    match attempt.failure {
                        None => cells.ok.add(1),
                        Some(kind) => cells.failed[kind as usize].add(1),
                    }
                    if let Some(at) =
                        attempt.ended.as_deref().and_then(|ended| ENDS.iter().position(|&end| end == ended))
                    {
                        cells.ends[at].add(1);
                    }
                },
            );
        }
        for call in &receipt.plugins {
            // A plugin's roles are few, and each thread has them once.
            let role = role(&call.role);
            role.with(|role| {
                self.plugins.count(
                    [&call.name, role],
                    || true,
                    || [OTHER.into(), role.clone()],
                    |cells| {
                        cells.calls.add(u64::from(call.calls));
                        cells.failures.add(u64::from(CallError::CODES.contains(&&*call.verdict)));
                        cells.micros.add(call.micros);
                    },
                );
            });
        }
        for found in &receipt.findings {
            let (direction, kind) = (Name::from(&*found.direction), Name::from(&*found.kind));
            let otherwise = || [found.plugin.clone(), direction.clone(), OTHER.into()];
            self.findings.count(
                [&found.plugin, &direction, &kind],
                || true,
                otherwise,
                |cells| {
                    cells.found.add(found.count);
                },
            );
        }
    }

    fn request(&self, receipt: &Receipt, known: impl Fn(&str) -> bool) {
        let answered = receipt.attempts.last();
        let count = |cells: &RequestCells| {
            let class = usize::from(receipt.outcome.status / 100).wrapping_sub(1);
            cells.classes[class.min(CLASSES.len() - 1)].add(1);
            let timings = &receipt.timings;
            cells.duration.observe(&DURATIONS, timings.total_us);
            cells.overhead.observe(&OVERHEADS, timings.overhead_us);
            if let Some(first_byte) = timings.first_byte_us {
                cells.first_byte.observe(&DURATIONS, first_byte);
            }
            if let Some(usage) = &receipt.usage {
                let counts = [
                    usage.input,
                    usage.cache_read,
                    usage.cache_write_short + usage.cache_write_long,
                    usage.output,
                    usage.reasoning,
                    usage.audio_input,
                    usage.audio_output,
                ];
                for (cell, count) in cells.tokens.iter().zip(counts) {
                    if count > 0 {
                        cell.add(count);
                    }
                }
            }
            match &receipt.cost {
                Some(cost) => cells.cost.add(cost.total_nano.get()),
                None => cells.unpriced.add(u64::from(receipt.usage.is_some_and(|usage| usage.total() > 0))),
            }
        };
        NONE.with(|none| {
            let (provider, model) = answered.map_or((none, none), |attempt| (&attempt.provider, &attempt.model));
            let labels = [&receipt.dialect, &receipt.operation, provider, model];
            let bounded = || answered.is_none_or(|attempt| known(&attempt.model));
            // The catalogue's names are bounded, those of a connection that takes any model are whatever clients say.
            let otherwise = || [receipt.dialect.clone(), receipt.operation.clone(), provider.clone(), OTHER.into()];
            self.requests.count(labels, bounded, otherwise, count);
        });
    }
}

/// Where a word stands among its like; the last place is that of all others.
fn place<const N: usize>(words: &[&str; N], word: &str) -> usize {
    words.iter().position(|&known| known == word).unwrap_or(N - 1)
}

/// A role's name, made once a thread.
fn role(word: &str) -> &'static std::thread::LocalKey<Name> {
    thread_local! {
        static DIALECT: Name = "dialect".into();
        static PROVIDER: Name = "provider".into();
        static ROUTER: Name = "router".into();
        static GUARD: Name = "guard".into();
        static POLICY: Name = "policy".into();
        static REST: Name = OTHER.into();
    }
    match word {
        "dialect" => &DIALECT,
        "provider" => &PROVIDER,
        "router" => &ROUTER,
        "guard" => &GUARD,
        "policy" => &POLICY,
        _ => &REST,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Live, render};
    use super::*;

    fn receipt(provider: &str, model: &str) -> Receipt {
        let text = format!(
            r#"{{"request_id":"req_019e7000000070008000000000000001","time_ms":1,
            "caller":{{"key_id":"key_019e7000000070008000000000000002","organisation":"org_019e7000000070008000000000000003",
                "environment":"production"}},
            "operation":"chat","dialect":"openai","route":"chat-completions","requested_model":"auto","stream":true,"passthrough":true,
            "plugins":[{{"name":"openai","version":"1.0.0","hash":"ab","role":"dialect","verdict":"ok","micros":7,"calls":2}},
                {{"name":"pii","version":"1.0.0","hash":"ab","role":"guard","verdict":"trapped","micros":3,"calls":1}}],
            "findings":[{{"plugin":"pii","direction":"request","kind":"email","count":3}}],
            "attempts":[
                {{"number":1,"provider":"a","model":"m","failure":"overloaded","started_ms":0,"duration_us":5,"ended":"refunded"}},
                {{"number":2,"provider":"{provider}","model":"{model}","status":200,"started_ms":1,"duration_us":9,"ended":"settled"}}],
            "usage":{{"input":100,"cache_read":20,"output":30,"reasoning":5}},
            "cost":{{"total_nano":1500000000,"input_nano":1,"output_nano":2,"usd":"1.5","price_source":"p",
                "price_effective":"2026-01-01","estimated":false}},
            "timings":{{"total_us":70000,"overhead_us":60,"first_byte_us":30000}},
            "outcome":{{"status":200,"code":"ok"}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_receipt_counts_once_everywhere() {
        let metrics = Metrics::default();
        for (provider, model) in [("b", "n"), ("b", "what-a-client-says"), ("b", "n")] {
            metrics.begin(true);
            metrics.record(&receipt(provider, model), |model| model == "n");
        }
        metrics.begin(false);
        let text = render(&metrics, &Live::default());
        for line in [
            r#"portcullis_requests_total{dialect="openai",operation="chat",provider="b",model="n",status="2xx"} 2"#,
            r#"portcullis_requests_total{dialect="openai",operation="chat",provider="b",model="other",status="2xx"} 1"#,
            r#"portcullis_request_duration_seconds_bucket{le="0.1",dialect="openai",operation="chat",provider="b",model="n"} 2"#,
            r#"portcullis_request_duration_seconds_bucket{le="0.05",dialect="openai",operation="chat",provider="b",model="n"} 0"#,
            r#"portcullis_request_duration_seconds_count{dialect="openai",operation="chat",provider="b",model="n"} 2"#,
            r#"portcullis_first_byte_seconds_bucket{le="+Inf",dialect="openai",operation="chat",provider="b",model="n"} 2"#,
            r#"portcullis_tokens_total{dialect="openai",operation="chat",provider="b",model="n",kind="cache_read"} 40"#,
            r#"portcullis_cost_usd_total{dialect="openai",operation="chat",provider="b",model="n"} 3.0"#,
            r#"portcullis_request_outcomes_total{outcome="ok"} 3"#,
            r#"portcullis_requests_open 1.0"#,
            r#"portcullis_streams_open 0.0"#,
            r#"portcullis_attempts_total{provider="a",result="overloaded"} 3"#,
            r#"portcullis_attempts_total{provider="b",result="ok"} 3"#,
            r#"portcullis_reservations_total{provider="a",end="refunded"} 3"#,
            r#"portcullis_plugin_calls_total{plugin="openai",role="dialect"} 6"#,
            r#"portcullis_plugin_failures_total{plugin="pii",role="guard"} 3"#,
            r#"portcullis_plugin_seconds_total{plugin="pii",role="guard"} 0.000009"#,
            r#"portcullis_guard_findings_total{plugin="pii",direction="request",kind="email"} 9"#,
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
        assert!(!text.contains("what-a-client-says"));
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_kind_of_failure_has_the_place_of_its_number() {
        for (at, kind) in FailureKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
        }
    }

    /// `cargo test --release … -- --ignored --nocapture`: what counting adds to a request.
    #[test]
    #[ignore = "a measurement"]
    fn cost_of_counting() {
        let metrics = Metrics::default();
        let receipt = receipt("b", "n");
        let rounds = 1_000_000;
        let begun = std::time::Instant::now();
        for _ in 0..rounds {
            metrics.begin(true);
            metrics.record(std::hint::black_box(&receipt), |_| true);
        }
        println!("{} ns a request", begun.elapsed().as_nanos() / rounds);
    }
}
