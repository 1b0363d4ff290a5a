//! How long a stream waits: for the provider to say something, for a guard to let go, for the client to need a sign of life.
//!
//! A comment or a ping is no word of the model's: a provider that only pings is silent. A client is told that the stream
//! lives before proxies on its way give the connection up, which some do after 30 s.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use portcullis_wire::framing::Frame;
use tokio::time::Sleep;

/// What the clock found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// The provider has been silent for too long.
    Silence,
    /// Text was held for too long.
    Held,
    /// The client has heard nothing for a while.
    KeepAlive,
}

pub(super) struct StreamClock {
    sleep: Pin<Box<Sleep>>,
    idle: Duration,
    /// Zero for never.
    keep_alive: Duration,
    heard: Instant,
    sent: Instant,
}

impl StreamClock {
    pub fn new(idle: Duration, keep_alive: Duration) -> Self {
        let now = Instant::now();
        let first = if keep_alive.is_zero() { idle } else { idle.min(keep_alive) };
        StreamClock { sleep: Box::pin(tokio::time::sleep(first)), idle, keep_alive, heard: now, sent: now }
    }

    /// The provider has sent these frames.
    pub fn hear(&mut self, frames: &[Frame]) {
        if frames.iter().any(says_something) {
            self.heard = Instant::now();
        }
    }

    /// Something went to the client.
    pub fn tell(&mut self) {
        if !self.keep_alive.is_zero() {
            self.sent = Instant::now();
        }
    }

    /// Makes sure that the clock looks at this time or earlier.
    pub fn wind(&mut self, deadline: Instant) {
        let deadline = tokio::time::Instant::from_std(deadline);
        if deadline < self.sleep.deadline() {
            self.sleep.as_mut().reset(deadline);
        }
    }

    /// Ready with what is due. `held_until` is when a guard must let go.
    pub fn poll(&mut self, cx: &mut Context<'_>, held_until: Option<Instant>) -> Poll<Due> {
        loop {
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            let due = self.due(now, held_until);
            if due == Some(Due::KeepAlive) {
                self.sent = now;
            }
            let next = self.next(held_until).max(now);
            self.sleep.as_mut().reset(tokio::time::Instant::from_std(next));
            if let Some(due) = due {
                return Poll::Ready(due);
            }
        }
    }

    fn due(&self, now: Instant, held_until: Option<Instant>) -> Option<Due> {
        if now >= self.heard + self.idle {
            return Some(Due::Silence);
        }
        if held_until.is_some_and(|until| now >= until) {
            return Some(Due::Held);
        }
        (!self.keep_alive.is_zero() && now >= self.sent + self.keep_alive).then_some(Due::KeepAlive)
    }

    fn next(&self, held_until: Option<Instant>) -> Instant {
        let keep_alive = (!self.keep_alive.is_zero()).then(|| self.sent + self.keep_alive);
        [held_until, keep_alive].into_iter().flatten().fold(self.heard + self.idle, Instant::min)
    }
}

/// Pings: Anthropic's `event: ping`; comments are frames without data.
fn says_something(frame: &Frame) -> bool {
    !frame.data().is_empty() && frame.event() != "ping"
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn frames(text: &'static str) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut splitter = portcullis_wire::framing::Framing::Sse.splitter();
        splitter.push(&bytes::Bytes::from_static(text.as_bytes()), &mut frames).unwrap();
        frames
    }

    #[tokio::test]
    async fn pings_and_comments_are_silence() {
        let mut clock = StreamClock::new(10 * SECOND, Duration::ZERO);
        let before = clock.heard;
        clock.hear(&frames(": still here\n\n"));
        clock.hear(&frames("event: ping\ndata: {\"type\":\"ping\"}\n\n"));
        assert_eq!(clock.heard, before);
        clock.hear(&frames("data: {}\n\n"));
        assert!(clock.heard > before);
    }

    #[tokio::test]
    async fn what_is_due_first_is_told_first() {
        let clock = StreamClock::new(10 * SECOND, 3 * SECOND);
        let start = clock.heard;
        let held = Some(start + 2 * SECOND);
        assert_eq!(clock.due(start + SECOND, held), None);
        assert_eq!(clock.due(start + 2 * SECOND, held), Some(Due::Held));
        assert_eq!(clock.due(start + 3 * SECOND, None), Some(Due::KeepAlive));
        assert_eq!(clock.due(start + 10 * SECOND, held), Some(Due::Silence));
        assert_eq!((clock.next(held), clock.next(None)), (start + 2 * SECOND, start + 3 * SECOND));
        let without = StreamClock::new(10 * SECOND, Duration::ZERO);
        assert_eq!(
            (without.due(without.heard + 9 * SECOND, None), without.next(None)),
            (None, without.heard + 10 * SECOND)
        );
    }
}
