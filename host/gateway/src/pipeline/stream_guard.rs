//! Guards on streams. The host joins the pieces of each text, shows a guard what is new with what it held, and lets out what the
//! guard lets go (see `portcullis_wire::texts`). Several guards run one after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use portcullis_runtime::Plugin;
use portcullis_runtime::contract::guard;
use portcullis_runtime::contract::types::FailureKind;
use portcullis_wire::framing::{Frame, FramingError, Splitter};
use portcullis_wire::texts::StreamTexts;

use super::guard::{from_guard, to_guard};
use super::{Exchange, Stop};
use crate::config::GuardOverflow;

/// How long text may be held back.
pub(super) const HOLD: Duration = Duration::from_secs(2);
/// What stands for text that was held too long.
const REDACTED: &str = "[REDACTED]";

struct GuardedStream {
    plugin: Arc<Plugin>,
    texts: StreamTexts,
    state: Vec<u8>,
    held_since: Option<Instant>,
    /// Cuts what the guard before released.
    splitter: Splitter,
}

/// The guards of one stream.
pub(super) struct StreamGuards {
    guards: Vec<GuardedStream>,
    overflow: GuardOverflow,
}

impl StreamGuards {
    pub fn new(exchange: &Exchange) -> Self {
        let map = &exchange.route.stream_texts;
        let guards = exchange.guards().into_iter().map(|plugin| GuardedStream {
            plugin,
            texts: StreamTexts::new(Arc::clone(map), Default::default()),
            state: Vec::new(),
            held_since: None,
            splitter: exchange.route.framing.splitter(),
        });
        StreamGuards { guards: guards.collect(), overflow: exchange.snapshot.config.limits.guard_overflow }
    }

    pub fn is_empty(&self) -> bool {
        self.guards.is_empty()
    }

    /// When text that is held now must go.
    pub fn hold_deadline(&self) -> Option<Instant> {
        self.guards.iter().filter_map(|guard| guard.held_since).min().map(|since| since + HOLD)
    }

    /// Takes frames through every guard. `late` says that what is held has been held too long.
    pub fn pass(
        &mut self,
        exchange: &mut Exchange,
        frames: Vec<Frame>,
        last: bool,
        late: bool,
    ) -> Result<Vec<Bytes>, Stop> {
        let mut guards = self.guards.iter_mut();
        let Some(first) = guards.next() else { return Ok(frames.into_iter().map(Frame::into_raw).collect()) };
        let mut released = first.pass(exchange, frames, last, late, self.overflow)?;
        for guard in guards {
            let frames = guard.split(&released, last)?;
            released = guard.pass(exchange, frames, last, late, self.overflow)?;
        }
        Ok(released)
    }
}

impl GuardedStream {
    fn pass(
        &mut self,
        exchange: &mut Exchange,
        frames: Vec<Frame>,
        last: bool,
        late: bool,
        overflow: GuardOverflow,
    ) -> Result<Vec<Bytes>, Stop> {
        let texts = self.texts.cut(frames, last);
        let (mut findings, mut holds) = (Vec::new(), Vec::new());
        if !texts.is_empty() {
            let state = std::mem::take(&mut self.state);
            if let Some(inspection) =
                exchange.inspect(&self.plugin, guard::Direction::Answer, state, to_guard(texts))?
            {
                self.state = inspection.state;
                holds = inspection.holds;
                findings = from_guard(inspection.findings);
            }
        }
        let holds: Vec<_> =
            holds.iter().map(|hold| portcullis_wire::texts::Hold { text: hold.text, start: hold.start }).collect();
        let resolved = self.texts.resolve(&findings, &holds).map_err(|error| exchange.misfit(&self.plugin, &error))?;
        let mut released = resolved.frames;
        let overdue = late && self.held_since.is_some_and(|since| since.elapsed() >= HOLD);
        if resolved.overflow || overdue {
            match overflow {
                GuardOverflow::Redact => released.extend(self.texts.redact_held(REDACTED)),
                GuardOverflow::Abort => {
                    return Err(Stop::of(
                        FailureKind::ContentFilter,
                        "guard.hold-limit",
                        "The gateway's policy could not decide on this content in time.",
                    ));
                }
            }
        }
        self.held_since = match (self.texts.has_held(), self.held_since) {
            (false, _) => None,
            (true, since) => since.or_else(|| Some(Instant::now())),
        };
        Ok(released)
    }

    /// The frames of what the guard before released.
    fn split(&mut self, released: &[Bytes], last: bool) -> Result<Vec<Frame>, Stop> {
        let mut frames = Vec::new();
        let mut split = || {
            released.iter().try_for_each(|bytes| self.splitter.push(bytes, &mut frames))?;
            if last { self.splitter.finish(&mut frames) } else { Ok(()) }
        };
        split().map_err(|_: FramingError| {
            Stop::of(FailureKind::Internal, "guard_failed", "The gateway could not process the request.")
        })?;
        Ok(frames)
    }
}
