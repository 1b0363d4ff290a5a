//! Guards on whole documents: requests, and answers that do not stream. Each reads every text of the client's own document and
//! the host splices what it replaces (invariant 5); a guard that fails, fails closed unless the operator said otherwise
//! (invariant 7).

use std::sync::Arc;

use bytestring::ByteString;
use portcullis_runtime::contract::guard::{self, Inspection, Replacement, Verdict};
use portcullis_runtime::contract::types;
use portcullis_runtime::{FailureMode, Plugin};
use portcullis_wire::texts::{self, DocumentTexts, TextMap};

use super::payload::Payload;
use super::{Exchange, Stop};

impl Exchange {
    /// The guards that this request's texts go through.
    pub(super) fn guards(&self) -> Vec<Arc<Plugin>> {
        let guards = self.snapshot.guards.iter().filter(|stage| self.in_scope(stage));
        guards.map(|stage| Arc::clone(&stage.plugin)).collect()
    }

    /// Lets every guard read a document; returns it with their replacements, or `None` where nothing changed.
    pub(super) fn guard_document(
        &mut self,
        direction: guard::Direction,
        document: &ByteString,
    ) -> Result<Option<ByteString>, Stop> {
        let mut changed: Option<ByteString> = None;
        for plugin in self.guards() {
            let current = changed.as_ref().unwrap_or(document);
            let (map, cut) = match direction {
                guard::Direction::Request => (Arc::clone(&self.route.request_texts), texts::Direction::Request),
                guard::Direction::Answer => (Arc::clone(&self.route.answer_texts), texts::Direction::Answer),
            };
            let mut document = cut_document(current, &map, cut)?;
            let texts = to_guard(document.take_texts());
            let Some(inspection) = self.inspect(&plugin, direction, Vec::new(), texts)? else { continue };
            let findings = from_guard(inspection.findings);
            if findings.iter().any(|finding| finding.replacement.is_some()) {
                let spliced = document.splice(current, &findings).map_err(|error| self.misfit(&plugin, &error))?;
                changed = Some(spliced.into());
            }
        }
        Ok(changed)
    }

    /// Lets every guard read what is text of a body that is no JSON document.
    pub(super) fn guard_payload(&mut self, payload: &Payload) -> Result<Option<Payload>, Stop> {
        let Some(texts) = payload.texts() else { return Ok(None) };
        let Some(guarded) = self.guard_document(guard::Direction::Request, &texts.into())? else { return Ok(None) };
        let replaced = serde_json::from_str(&guarded).ok().and_then(|texts: Vec<String>| payload.with_texts(&texts));
        replaced.map(Some).ok_or_else(|| {
            Stop::of(types::FailureKind::Internal, "guard_failed", "The gateway could not process the request.")
        })
    }

    /// One call of a guard. `None` where it failed and the operator lets the request go on.
    pub(super) fn inspect(
        &mut self,
        plugin: &Arc<Plugin>,
        direction: guard::Direction,
        state: Vec<u8>,
        texts: guard::Texts,
    ) -> Result<Option<Inspection>, Stop> {
        let answer = self.call(plugin, "guard", |session, context| session.inspect(context, direction, &state, &texts));
        let stop = match answer {
            Ok(Ok(inspection)) => {
                self.record.found(plugin, direction, &inspection.findings);
                return match &inspection.verdict {
                    Verdict::Pass => {
                        self.record.verdict(plugin, "guard", "pass".to_owned());
                        Ok(Some(inspection))
                    }
                    Verdict::Block(code) => {
                        self.record.verdict(plugin, "guard", code.clone());
                        Err(blocked(code))
                    }
                };
            }
            Ok(Err(failure)) => {
                tracing::warn!(
                    request_id = %self.context.request_id,
                    plugin = %plugin.name(),
                    kind = ?failure.kind,
                    "a guard could not inspect"
                );
                Stop::of(types::FailureKind::Internal, "guard_failed", "The gateway could not process the request.")
            }
            Err(error) => Stop::plugin(plugin, "guard", &self.context.request_id, &error),
        };
        match plugin.settings().failure {
            FailureMode::Closed => Err(stop),
            FailureMode::Open => {
                self.capture_nothing();
                Ok(None)
            }
        }
    }

    /// A guard pointed at text that is not there: its fault, and the request's end whatever the failure mode, since what it
    /// meant to hide is unknown.
    pub(super) fn misfit(&self, plugin: &Plugin, error: &dyn std::fmt::Display) -> Stop {
        tracing::error!(
            request_id = %self.context.request_id,
            plugin = %plugin.name(),
            %error,
            "a guard's findings do not fit the text"
        );
        Stop::of(types::FailureKind::Internal, "guard_failed", "The gateway could not process the request.")
    }
}

fn cut_document(document: &str, map: &TextMap, direction: texts::Direction) -> Result<DocumentTexts, Stop> {
    DocumentTexts::cut(document, map, direction).map_err(|error| {
        Stop::failed(match direction {
            texts::Direction::Request => {
                super::facts::invalid(None, format!("the body is not JSON as it should be: {error}"))
            }
            texts::Direction::Answer => types::Failure {
                kind: types::FailureKind::UpstreamProtocol,
                message: "The provider gave an answer that cannot be read.".to_owned(),
                code: Some("upstream_protocol".to_owned()),
                param: None,
                retry_after: None,
            },
        })
    })
}

pub(super) fn to_guard(texts: texts::Texts) -> guard::Texts {
    use guard::PlaceKind as To;
    use texts::PlaceKind as From;
    let spans = texts.spans.iter().map(|span| guard::Text {
        kind: match span.kind {
            From::Text => To::Text,
            From::Reasoning => To::Reasoning,
            From::Refusal => To::Refusal,
            From::ToolArguments => To::ToolArguments,
            From::Value => To::Value,
            From::Key => To::Key,
            From::Number => To::Number,
        },
        place_end: span.place_end,
        content_end: span.content_end,
        released: span.released,
        open: span.open,
    });
    guard::Texts { list: spans.collect(), contents: texts.contents, places: texts.places }
}

pub(super) fn from_guard(findings: Vec<guard::Finding>) -> Vec<texts::Finding> {
    let findings = findings.into_iter().map(|finding| texts::Finding {
        text: finding.text,
        start: finding.start,
        end: finding.end,
        kind: finding.kind,
        replacement: match finding.replacement {
            Replacement::None => None,
            Replacement::Mask(text) => Some(text),
            // No mapping is kept yet, so the contract's other way: irreversibly, by its label.
            Replacement::Reversible(label) => Some(format!("[{label}]")),
        },
    });
    findings.collect()
}

fn blocked(code: &str) -> Stop {
    let failure = types::Failure {
        kind: types::FailureKind::ContentFilter,
        message: "The gateway's policy does not let this content pass.".to_owned(),
        code: Some(code.to_owned()),
        param: None,
        retry_after: None,
    };
    Stop { outcome: "blocked", ..Stop::failed(failure) }
}
