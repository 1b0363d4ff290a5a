//! Metrics as OpenMetrics text, which Prometheus reads.

use std::fmt;

use portcullis_core::{FailureKind, Name};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};

use super::Metrics;
use super::cells::{Summed, sum};
use super::record::{AttemptCells, CLASSES, DURATIONS, ENDS, OUTCOMES, OVERHEADS, PluginCells, TOKENS};

pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is asked when somebody scrapes.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub connections: Vec<LiveConnection>,
    pub plugins: Vec<LivePlugin>,
    /// Records that the database does not have yet.
    pub ledger_behind: u64,
    /// By their codes.
    pub access_failures: Vec<(&'static str, u64)>,
    pub lockouts: u64,
    pub keys: usize,
    pub ready: bool,
}

#[derive(Debug)]
pub(crate) struct LiveConnection {
    pub name: String,
    /// `closed`, `open` or `half-open`.
    pub breaker: &'static str,
    pub in_flight: u32,
    pub error_rate: f32,
    pub latency_ms: f32,
}

#[derive(Debug)]
pub(crate) struct LivePlugin {
    pub name: String,
    pub version: String,
    pub hash: String,
    /// `loaded`, `rejected`, …
    pub state: &'static str,
    /// `trusted`, `probation`, …; empty where no version serves.
    pub health: &'static str,
}

type Row = (Vec<(&'static str, String)>, Value);

#[derive(Debug)]
enum Value {
    Count(u64),
    Amount(f64),
    Gauge(f64),
    Info(Vec<(&'static str, String)>),
    Histogram { sum: f64, count: u64, buckets: Vec<(f64, u64)> },
}

impl Value {
    fn encode(&self, encoder: &mut MetricEncoder) -> fmt::Result {
        match self {
            Value::Count(count) => encoder.encode_counter(count, None::<&Exemplar<NoLabelSet, u64>>),
            Value::Amount(amount) => encoder.encode_counter(amount, None::<&Exemplar<NoLabelSet, f64>>),
            Value::Gauge(gauge) => encoder.encode_gauge(gauge),
            Value::Info(labels) => encoder.encode_info(labels),
            Value::Histogram { sum, count, buckets } => {
                encoder.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)
            }
        }
    }
}

#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    kind: MetricType,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Scrape(Vec<Family>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for family in self.0.iter().filter(|family| !family.rows.is_empty()) {
            let mut encoder = encoder.encode_descriptor(family.name, family.help, family.unit.as_ref(), family.kind)?;
            for (labels, value) in &family.rows {
                match labels.is_empty() {
                    true => value.encode(&mut encoder)?,
                    false => value.encode(&mut encoder.encode_family(labels)?)?,
                }
            }
        }
        Ok(())
    }
}

/// Everything there is to tell, as text.
pub(crate) fn render(metrics: &Metrics, live: &Live) -> String {
    let mut families = Vec::new();
    requests(metrics, &mut families);
    totals(metrics, &mut families);
    attempts(metrics, &mut families);
    plugins(metrics, &mut families);
    seldom(metrics, &mut families);
    feeds(metrics, &mut families);
    now(live, &mut families);
    for family in &mut families {
        family.rows.sort_by(|(one, _), (two, _)| one.cmp(two));
    }
    let mut registry = Registry::with_prefix("portcullis");
    registry.register_collector(Box::new(Scrape(families)));
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("a string takes what is written to it");
    text
}

fn requests(metrics: &Metrics, families: &mut Vec<Family>) {
    let mut count = counter("requests", "Requests by dialect, operation, who answered and the class of their status");
    let mut duration = seconds("request_duration", "From a request's head to its answer's last byte");
    let mut first_byte = seconds("first_byte", "From a request's head to the first byte of its answer");
    let mut overhead = seconds("request_overhead", "Of a request's time, not spent waiting for the provider");
    let mut tokens = counter("tokens", "Tokens by kind, each counted once (reasoning within output)");
    let mut cost = counter("cost_usd", "What was generated has cost, in USD, as far as its price is known");
    let mut unpriced = counter("unpriced_requests", "Requests that used something at an unknown price");
    metrics.requests.each(|labels, threads| {
        let series = labelled(["dialect", "operation", "provider", "model"], labels);
        let (mut classes, mut counted, mut nano, mut unknown) = ([0; CLASSES.len()], [0; TOKENS.len()], 0, 0);
        let (mut durations, mut first_bytes, mut overheads) =
            (Summed::<{ DURATIONS.len() }>::default(), Summed::<{ DURATIONS.len() }>::default(), Summed::default());
        for cells in threads {
            sum(&mut classes, &cells.classes);
            sum(&mut counted, &cells.tokens);
            nano += cells.cost.get();
            unknown += cells.unpriced.get();
            durations.add(&cells.duration);
            first_bytes.add(&cells.first_byte);
            overheads.add(&cells.overhead);
        }
        words(&mut count, &series, "status", &CLASSES, &classes);
        words(&mut tokens, &series, "kind", &TOKENS, &counted);
        duration.rows.push((series.clone(), histogram(&DURATIONS, &durations)));
        overhead.rows.push((series.clone(), histogram(&OVERHEADS, &overheads)));
        if first_bytes.count() > 0 {
            first_byte.rows.push((series.clone(), histogram(&DURATIONS, &first_bytes)));
        }
        if nano > 0 {
            cost.rows.push((series.clone(), Value::Amount(nano as f64 / 1e9)));
        }
        if unknown > 0 {
            unpriced.rows.push((series, Value::Count(unknown)));
        }
    });
    families.extend([count, duration, first_byte, overhead, tokens, cost, unpriced]);
}

fn totals(metrics: &Metrics, families: &mut Vec<Family>) {
    let mut outcomes = counter("request_outcomes", "How requests ended for their clients");
    let (mut ends, mut open, mut streams) = ([0; OUTCOMES.len()], 0i64, 0i64);
    metrics.totals.each(|_, threads| {
        for cells in threads {
            sum(&mut ends, &cells.outcomes);
            open += cells.begun.get().wrapping_sub(cells.ended.get()).cast_signed();
            streams += cells.streams_begun.get().wrapping_sub(cells.streams_ended.get()).cast_signed();
        }
    });
    words(&mut outcomes, &[], "outcome", &OUTCOMES, &ends);
    families.push(outcomes);
    // The threads are read one after the other: what moves meanwhile may be seen twice or not at all.
    families.push(gauge("requests_open", "Requests under way", open.max(0) as f64));
    families.push(gauge("streams_open", "Of them, those that asked for a stream", streams.max(0) as f64));
}

fn attempts(metrics: &Metrics, families: &mut Vec<Family>) {
    let mut attempts = counter("attempts", "Requests to providers, by how they ended");
    let mut reservations = counter("reservations", "Reservations of money by how they ended");
    let kinds = FailureKind::ALL.map(FailureKind::code);
    metrics.attempts.each(|labels, threads| {
        let series = labelled(["provider"], labels);
        let (mut ok, mut failed, mut ends) = (0, [0; FailureKind::ALL.len()], [0; ENDS.len()]);
        for AttemptCells { ok: one, failed: kinds, ends: ended } in threads.iter().map(|cells| &**cells) {
            ok += one.get();
            sum(&mut failed, kinds);
            sum(&mut ends, ended);
        }
        words(&mut attempts, &series, "result", &["ok"], &[ok]);
        words(&mut attempts, &series, "result", &kinds, &failed);
        words(&mut reservations, &series, "end", &ENDS, &ends);
    });
    families.extend([attempts, reservations]);
}

fn plugins(metrics: &Metrics, families: &mut Vec<Family>) {
    let mut calls = counter("plugin_calls", "Calls of plugins");
    let mut failures = counter("plugin_failures", "Requests in which a plugin failed");
    let mut time = counter("plugin", "Time in plugins");
    time.unit = Some(Unit::Seconds);
    metrics.plugins.each(|labels, threads| {
        let series = labelled(["plugin", "role"], labels);
        let (mut called, mut failed, mut micros) = (0, 0, 0);
        for PluginCells { calls, failures, micros: spent } in threads.iter().map(|cells| &**cells) {
            called += calls.get();
            failed += failures.get();
            micros += spent.get();
        }
        calls.rows.push((series.clone(), Value::Count(called)));
        failures.rows.push((series.clone(), Value::Count(failed)));
        time.rows.push((series, Value::Amount(micros as f64 / 1e6)));
    });
    let mut findings = counter("guard_findings", "What guards found");
    metrics.findings.each(|labels, threads| {
        let found = threads.iter().map(|cells| cells.found.get()).sum();
        findings.rows.push((labelled(["plugin", "direction", "kind"], labels), Value::Count(found)));
    });
    families.extend([calls, failures, time, findings]);
}

fn seldom(metrics: &Metrics, families: &mut Vec<Family>) {
    let counts = &metrics.counts;
    let by_code = |name, help, label, codes: Vec<(&'static str, u64)>| {
        let mut family = counter(name, help);
        for (code, count) in codes {
            family.rows.push((vec![(label, code.to_owned())], Value::Count(count)));
        }
        family
    };
    let plain = |name, help, count| {
        let mut family = counter(name, help);
        family.rows.push((Vec::new(), Value::Count(count)));
        family
    };
    let (accepted, closed) = (counts.accepted.get(), counts.closed.get());
    families.extend([
        by_code("admin_refused", "Calls of the admin API that were refused", "code", counts.admin_refused.each()),
        by_code("config_reloads", "New configurations", "result", counts.reloads.each()),
        by_code("plugin_swaps", "New sets of plugins", "result", counts.swaps.each()),
        plain("admin_calls", "Calls of the admin API", counts.admin_calls.get()),
        plain("connections", "Connections that clients opened", accepted),
        plain("records_lost", "Receipts that were not kept, the journal being full", counts.lost_records.get()),
        plain("captures_lost", "Requests whose content was not captured, too much waiting", counts.lost_captures.get()),
        gauge("connections_open", "Connections of clients", accepted.saturating_sub(closed) as f64),
    ]);
}

fn feeds(metrics: &Metrics, families: &mut Vec<Family>) {
    let mut files = counter("export_files", "Files that scheduled exports wrote");
    let mut unwritten = counter("export_failures", "Files that could not be written, each time that was tried");
    let mut late = family("export_behind", "Since when the next file of an export is due", MetricType::Gauge);
    late.unit = Some(Unit::Seconds);
    for (name, export) in metrics.exports.each() {
        let series = vec![("export", name)];
        files.rows.push((series.clone(), Value::Count(export.pieces)));
        unwritten.rows.push((series.clone(), Value::Count(export.failures)));
        late.rows.push((series, Value::Gauge(export.behind as f64 / 1e3)));
    }
    let mut events = counter("siem_events", "Events that sinks took");
    let mut refused = counter("siem_failures", "Batches of events that sinks did not take");
    let mut lag = family("siem_lag_events", "Events that sinks are behind the audit trail", MetricType::Gauge);
    for (name, sink) in metrics.sinks.each() {
        let series = vec![("sink", name)];
        events.rows.push((series.clone(), Value::Count(sink.pieces)));
        refused.rows.push((series.clone(), Value::Count(sink.failures)));
        lag.rows.push((series, Value::Gauge(sink.behind as f64)));
    }
    families.extend([files, unwritten, late, events, refused, lag]);
}

fn now(live: &Live, families: &mut Vec<Family>) {
    let mut breakers = family("breaker_state", "1 for the state that a connection's breaker is in", MetricType::Gauge);
    let mut in_flight = family("upstream_in_flight", "Requests to a provider under way", MetricType::Gauge);
    let mut errors = family("upstream_error_rate", "Moving average of failures, 0 to 1", MetricType::Gauge);
    let mut latency = family("upstream_latency", "Moving average of the time to the first byte", MetricType::Gauge);
    latency.unit = Some(Unit::Seconds);
    for connection in &live.connections {
        let series = vec![("provider", connection.name.clone())];
        for state in ["closed", "open", "half-open"] {
            let mut series = series.clone();
            series.push(("state", state.to_owned()));
            breakers.rows.push((series, Value::Gauge(f64::from(u8::from(connection.breaker == state)))));
        }
        in_flight.rows.push((series.clone(), Value::Gauge(f64::from(connection.in_flight))));
        errors.rows.push((series.clone(), Value::Gauge(f64::from(connection.error_rate))));
        latency.rows.push((series, Value::Gauge(f64::from(connection.latency_ms) / 1e3)));
    }
    let mut plugins = family("plugin", "Files of the plugin folder and what serves of them", MetricType::Info);
    for plugin in &live.plugins {
        let labels = vec![
            ("plugin", plugin.name.clone()),
            ("version", plugin.version.clone()),
            ("hash", plugin.hash.clone()),
            ("state", plugin.state.to_owned()),
            ("health", plugin.health.to_owned()),
        ];
        plugins.rows.push((Vec::new(), Value::Info(labels)));
    }
    let mut failures = counter("access_failures", "Accesses that failed, to the gateway and to the admin API");
    for &(code, count) in &live.access_failures {
        failures.rows.push((vec![("code", code.to_owned())], Value::Count(count)));
    }
    let mut lockouts = counter("lockouts", "Lock-outs begun");
    lockouts.rows.push((Vec::new(), Value::Count(live.lockouts)));
    families.extend([failures, lockouts]);
    let mut build = family("build", "This program", MetricType::Info);
    build.rows.push((Vec::new(), Value::Info(vec![("version", env!("CARGO_PKG_VERSION").to_owned())])));
    families.extend([breakers, in_flight, errors, latency, plugins, build]);
    families.push(gauge("ledger_behind", "Records that the database does not have yet", live.ledger_behind as f64));
    families.push(gauge("keys", "Keys held in memory, revoked ones too", live.keys as f64));
    families.push(gauge("ready", "1 where chat requests can be served", f64::from(u8::from(live.ready))));
}

fn family(name: &'static str, help: &'static str, kind: MetricType) -> Family {
    Family { name, help, unit: None, kind, rows: Vec::new() }
}

fn counter(name: &'static str, help: &'static str) -> Family {
    family(name, help, MetricType::Counter)
}

fn seconds(name: &'static str, help: &'static str) -> Family {
    Family { unit: Some(Unit::Seconds), ..family(name, help, MetricType::Histogram) }
}

fn gauge(name: &'static str, help: &'static str, value: f64) -> Family {
    Family { rows: vec![(Vec::new(), Value::Gauge(value))], ..family(name, help, MetricType::Gauge) }
}

fn labelled<const N: usize>(names: [&'static str; N], labels: &[Name; N]) -> Vec<(&'static str, String)> {
    names.into_iter().zip(labels).map(|(name, label)| (name, label.to_string())).collect()
}

/// A row for each word that has been counted.
fn words<const N: usize>(
    family: &mut Family,
    series: &[(&'static str, String)],
    label: &'static str,
    words: &[&'static str; N],
    counts: &[u64; N],
) {
    for (word, &count) in words.iter().zip(counts).filter(|(_, count)| **count > 0) {
        let mut labels = series.to_vec();
        labels.push((label, (*word).to_owned()));
        family.rows.push((labels, Value::Count(count)));
    }
}

/// From microseconds to seconds.
fn histogram<const N: usize>(bounds: &[u64; N], summed: &Summed<N>) -> Value {
    let within = bounds.iter().map(|&bound| bound as f64 / 1e6).zip(summed.buckets);
    let buckets = within.chain([(f64::INFINITY, summed.above)]).collect();
    Value::Histogram { sum: summed.sum as f64 / 1e6, count: summed.count(), buckets }
}
