//! What was asked and answered, for organisations that want it kept.
//!
//! Invariant 9: only where the organisation opted in, and what is kept is what the guards have passed, before anything is restored.
//! Requests of others carry a `None`. Nothing here waits for the database, and nothing of it goes to a log, a receipt or a plugin.

use portcullis_store::{CapturedContent, CapturedPart, NewCapture};

use super::Exchange;
use super::chat::Inbound;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What is known so far of a request that is to be kept.
pub(crate) struct Capture {
    /// Absent until the guards are done with it: a request that none of them has passed is not kept.
    request: Option<CapturedPart>,
    answer: Option<CapturedPart>,
}

impl Capture {
    /// `None` where the organisation does not want it.
    pub fn of(days: Option<u16>) -> Option<Box<Self>> {
        days.map(|_| Box::new(Capture { request: None, answer: None }))
    }
}

impl Exchange {
    /// Notes a request as the guards have left it. Of a body that is no JSON document, its texts.
    pub(super) fn capture_request(&mut self, inbound: &Inbound) {
        let Some(capture) = &mut self.capture else { return };
        let most = self.snapshot.config.capture.request_bytes;
        let mut part = CapturedPart::default();
        match &inbound.payload {
            None => part.add(inbound.body.as_bytes(), most),
            Some(payload) => part.add(payload.texts().unwrap_or_default().as_bytes(), most),
        }
        capture.request = Some(part);
    }

    /// Notes bytes of an answer as its client gets them.
    pub(super) fn capture_answer(&mut self, bytes: &[u8]) {
        if let Some(capture) = &mut self.capture {
            capture.answer.get_or_insert_default().add(bytes, self.snapshot.config.capture.answer_bytes);
        }
    }

    /// Something went on that a guard was to see and could not: it is not kept.
    pub(super) fn capture_nothing(&mut self) {
        self.capture = None;
    }

    /// Hands over what is to be kept, once nothing more comes.
    pub(super) fn keep_captured(&mut self) {
        let Some(Capture { request: Some(request), answer }) = self.capture.take().map(|capture| *capture) else {
            return;
        };
        let retention = self.key.retention_days.unwrap_or(self.snapshot.config.records.retention_days);
        let Some(days) = self.key.capture_days.map(|days| days.min(retention)) else { return };
        let new = NewCapture {
            id: self.request_id,
            organisation: self.key.organisation,
            expires_ms: self.context.now.saturating_add(u64::from(days) * DAY_MS),
            content: CapturedContent { request, answer },
        };
        if !self.gateway.captures.keep(new) {
            self.gateway.metrics.counts.lost_captures.add();
            tracing::warn!(request_id = %self.context.request_id, "content was not captured: too much waits to be written");
        }
    }
}
