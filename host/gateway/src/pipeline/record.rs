//! What a request leaves behind: its receipt, filled along the way and entered once.

use std::cell::RefCell;
use std::sync::{Arc, Weak};
use std::time::Duration;

use portcullis_core::receipt::{self, Code, Receipt};
use portcullis_core::{Metered, Name, NanoUsd};
use portcullis_runtime::contract::{chat, guard, types};
use portcullis_runtime::{CallError, Plugin};

use super::Exchange;
use super::failure::kind_of;
use crate::catalog::Connection;
use crate::telemetry::Target;

#[derive(Default)]
pub(crate) struct Record {
    plugins: Vec<PluginLine>,
    findings: Vec<receipt::Findings>,
    pub routing: Option<receipt::Routing>,
    pub attempts: Vec<receipt::Attempt>,
    pub metered: Option<Metered>,
    pub metering: Option<receipt::Metering>,
    pub cost: Option<receipt::CostLine>,
    pub notes: Vec<receipt::Note>,
    pub passthrough: bool,
    pub first_byte: Option<Duration>,
    pub finish_reasons: Vec<Code>,
    entered: bool,
}

struct PluginLine {
    plugin: Arc<Plugin>,
    role: &'static str,
    verdict: Code,
    spent: Duration,
    calls: u32,
}

/// How a request ended for its client.
pub(crate) struct Outcome {
    pub status: u16,
    /// `ok`, `denied`, `blocked`, `failed`, `client-gone`, `cut`.
    pub code: &'static str,
    pub failure: Option<types::Failure>,
}

impl Record {
    pub fn called(&mut self, plugin: &Arc<Plugin>, role: &'static str, spent: Duration, error: Option<&CallError>) {
        let line = self.line(plugin, role);
        line.spent += spent;
        line.calls += 1;
        if let Some(error) = error {
            line.verdict = error.code().into();
        }
    }

    pub fn verdict(&mut self, plugin: &Arc<Plugin>, role: &'static str, code: String) {
        let line = self.line(plugin, role);
        // What matters of several verdicts is the one that is not a pass.
        if matches!(&*line.verdict, "ok" | "pass" | "allow") {
            line.verdict = code.into();
        }
    }

    pub fn found(&mut self, plugin: &Arc<Plugin>, direction: guard::Direction, findings: &[guard::Finding]) {
        let direction = match direction {
            guard::Direction::Request => "request",
            guard::Direction::Answer => "answer",
        };
        for finding in findings {
            let known = self.findings.iter_mut().find(|line| {
                *line.plugin == *plugin.name() && line.direction == direction && line.kind == finding.kind
            });
            match known {
                Some(line) => line.count += 1,
                None => self.findings.push(receipt::Findings {
                    plugin: plugin.name().into(),
                    direction: direction.into(),
                    kind: finding.kind.clone().into(),
                    count: 1,
                }),
            }
        }
    }

    pub fn note(&mut self, notes: Vec<types::Note>) {
        for note in notes {
            // A stream loses the same again and again.
            if !self.notes.iter().any(|known| *known.code == *note.code && known.subject == note.subject) {
                self.notes.push(receipt::Note { code: note.code.into(), subject: note.subject });
            }
        }
    }

    pub fn finished(&mut self, finish: &chat::Finish) {
        use chat::FinishReason as Reason;
        let word = match finish.reason {
            Reason::Stop => "stop",
            Reason::StopSequence => "stop-sequence",
            Reason::Length => "length",
            Reason::ToolCalls => "tool-calls",
            Reason::ContentFilter => "content-filter",
            Reason::Refusal => "refusal",
            Reason::Pause => "pause",
            Reason::Error => "error",
            Reason::Other => "other",
        };
        self.finish_reasons.push(word.into());
    }

    pub fn plugin_time(&self) -> Duration {
        self.plugins.iter().map(|line| line.spent).sum()
    }

    fn line(&mut self, plugin: &Arc<Plugin>, role: &'static str) -> &mut PluginLine {
        let known = self.plugins.iter().position(|line| line.role == role && Arc::ptr_eq(&line.plugin, plugin));
        let at = known.unwrap_or_else(|| {
            self.plugins.push(PluginLine {
                plugin: Arc::clone(plugin),
                role,
                verdict: "ok".into(),
                spent: Duration::ZERO,
                calls: 0,
            });
            self.plugins.len() - 1
        });
        &mut self.plugins[at]
    }
}

impl Exchange {
    /// Enters the request into the books, once.
    pub(crate) fn enter(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.record.entered, true) {
            return;
        }
        self.release_plugins();
        let record = std::mem::take(&mut self.record);
        self.record.entered = true;
        self.settle_limits();
        let elapsed = self.started.elapsed();
        let total_us = micros(elapsed);
        let usage = record.metered.map(|metered| metered.usage);
        let receipt = Receipt {
            request_id: self.request_id,
            time_ms: self.context.now,
            caller: receipt::Caller {
                key_id: self.key.id,
                organisation: self.key.organisation,
                team: self.key.team,
                user: self.caller.user.clone(),
                environment: self.key.environment,
            },
            operation: self.route.operation.clone(),
            dialect: names(&self.route.plugin).name,
            route: self.route.name.as_str().into(),
            requested_model: self.facts.model.clone(),
            stream: self.facts.stream,
            passthrough: record.passthrough,
            routing: record.routing,
            plugins: record.plugins.iter().map(plugin_call).collect(),
            findings: record.findings,
            attempts: record.attempts,
            usage,
            cost: record.cost,
            metering: record.metering,
            timings: receipt::Timings {
                total_us,
                overhead_us: micros(elapsed.saturating_sub(self.waited)),
                first_byte_us: record.first_byte.map(micros),
            },
            notes: record.notes,
            outcome: receipt::Outcome {
                status: outcome.status,
                code: outcome.code.into(),
                failure: outcome.failure.as_ref().map(|failure| kind_of(failure.kind)),
                reason: outcome.failure.and_then(|failure| failure.code).map(Into::into),
                finish_reasons: record.finish_reasons,
            },
            tags: tags(&self.caller.tags, &self.constraints.tags),
            correlation: self.own_correlation(),
        };
        self.gateway.metrics.record(&receipt, |model| self.snapshot.catalog.knows(model, self.key.organisation));
        if let Err(error) = self.gateway.ledger.record(&receipt) {
            self.gateway.metrics.counts.lost_records.add();
            tracing::error!(request_id = %self.context.request_id, %error, "a request's record was lost");
        }
        if let (Some(trace), Some(telemetry)) = (&self.trace, &self.gateway.telemetry) {
            let target = |name: &str| self.snapshot.catalog.connection(name).map(target);
            telemetry.finish(trace, self.route.method.as_str(), &self.route.path, &receipt, target);
        }
        self.gateway.notify(&self.snapshot, receipt);
    }
}

impl Exchange {
    /// The client's own id, where it gave one.
    fn own_correlation(&self) -> Option<String> {
        let said = self.correlation.to_str().ok()?;
        (said != self.context.request_id).then(|| said.to_owned())
    }
}

/// The key's own tags, then what policies added to them.
fn tags(own: &[types::Pair], added: &[types::Pair]) -> Vec<receipt::Tag> {
    let added = added.iter().filter(|tag| !own.contains(tag));
    own.iter().chain(added).map(|tag| receipt::Tag { name: tag.name.clone(), value: tag.value.clone() }).collect()
}

/// A request whose future is dropped before it was entered has lost its client.
impl Drop for Exchange {
    fn drop(&mut self) {
        self.enter(Outcome { status: 499, code: "client-gone", failure: None });
        self.keep_captured();
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn plugin_call(line: &PluginLine) -> receipt::PluginCall {
    let Names { name, version, hash } = names(&line.plugin);
    receipt::PluginCall {
        name,
        version,
        hash,
        role: line.role.into(),
        verdict: line.verdict.clone(),
        micros: micros(line.spent),
        calls: line.calls,
    }
}

fn target(connection: &Arc<Connection>) -> Target {
    let address = &connection.address;
    Target { plugin: connection.plugin.name().to_owned(), host: address.host.clone(), port: address.port }
}

/// A plugin's names as receipts hold them.
#[derive(Clone)]
struct Names {
    name: Name,
    version: Name,
    hash: Name,
}

/// The same names for every receipt of this thread: made anew they were a dozen allocations a request.
fn names(plugin: &Arc<Plugin>) -> Names {
    thread_local! {
        /// A weak reference keeps the address from being another plugin's.
        static KNOWN: RefCell<Vec<(Weak<Plugin>, Names)>> = const { RefCell::new(Vec::new()) };
    }
    KNOWN.with_borrow_mut(|known| {
        if let Some((_, names)) = known.iter().find(|(held, _)| std::ptr::eq(held.as_ptr(), Arc::as_ptr(plugin))) {
            return names.clone();
        }
        known.retain(|(held, _)| held.strong_count() > 0);
        let names = Names { name: plugin.name().into(), version: plugin.version().into(), hash: plugin.hash().into() };
        known.push((Arc::downgrade(plugin), names.clone()));
        names
    })
}

/// What an attempt cost, for the receipt.
pub(super) fn settled(attempt: &mut receipt::Attempt, ended: &'static str, amount: Option<NanoUsd>) {
    attempt.ended = Some(ended.into());
    attempt.settled = amount;
}
