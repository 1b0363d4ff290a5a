//! Guards on streams. The host joins the pieces of each text, shows a guard what is new with what it held, and lets out what the
//! guard lets go (see `portcullis_wire::texts`). Several guards run one after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use portcullis_runtime::Plugin;
use portcullis_runtime::contract::guard;
use portcullis_wire::framing::{Frame, Framing};
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
}

/// The guards of one stream.
pub(super) struct StreamGuards {
    guards: Vec<GuardedStream>,
    framing: Framing,
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
        });
        StreamGuards {
            guards: guards.collect(),
            framing: exchange.route.framing,
            overflow: exchange.snapshot.config.limits.guard_overflow,
        }
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
        let mut frames = frames;
        let count = self.guards.len();
        for at in 0..count {
            let released = self.guards[at].pass(exchange, frames, last, late, self.overflow)?;
            if at + 1 == count {
                return Ok(released);
            }
            frames = split(self.framing, &released)?;
        }
        Ok(frames.into_iter().map(Frame::into_raw).collect())
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
                        portcullis_runtime::contract::types::FailureKind::ContentFilter,
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
}

fn split(framing: Framing, released: &[Bytes]) -> Result<Vec<Frame>, Stop> {
    let mut frames = Vec::new();
    let mut splitter = framing.splitter();
    let ours = |_| {
        Stop::of(
            portcullis_runtime::contract::types::FailureKind::Internal,
            "guard_failed",
            "The gateway could not process the request.",
        )
    };
    for bytes in released {
        splitter.push(bytes, &mut frames).map_err(ours)?;
    }
    splitter.finish(&mut frames).map_err(ours)?;
    Ok(frames)
}
