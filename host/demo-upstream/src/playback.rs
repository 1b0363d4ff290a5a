//! An answer's body as a script: bytes, waits, silence, a cut. Invariant: what is counted as in flight ends exactly once,
//! finished or cancelled, also when the client goes away and the body is dropped.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// A moment in a body.
#[derive(Debug)]
pub enum Step {
    Send(Bytes),
    Wait(Duration),
    /// Never goes on.
    Hang,
    /// Closes the connection without an end.
    Cut,
}

/// What the server has seen since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Requests whose body was read.
    pub requests: u64,
    /// Answers begun and not ended.
    pub active: u64,
    /// Answers that the client did not wait for.
    pub cancelled: u64,
}

#[derive(Debug, Default)]
pub struct Counters {
    pub requests: AtomicU64,
    pub active: AtomicU64,
    pub cancelled: AtomicU64,
}

impl Counters {
    pub fn read(&self) -> Stats {
        Stats {
            requests: self.requests.load(Ordering::Relaxed),
            active: self.active.load(Ordering::Relaxed),
            cancelled: self.cancelled.load(Ordering::Relaxed),
        }
    }
}

/// Counts one answer for as long as it lives.
#[derive(Debug)]
pub struct InFlight {
    counters: Arc<Counters>,
    finished: bool,
}

impl InFlight {
    pub fn begin(counters: &Arc<Counters>) -> Self {
        counters.active.fetch_add(1, Ordering::Relaxed);
        Self { counters: counters.clone(), finished: false }
    }

    fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.counters.active.fetch_sub(1, Ordering::Relaxed);
        if !self.finished {
            self.counters.cancelled.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A body that plays its steps.
#[derive(Debug)]
pub struct Playback {
    steps: VecDeque<Step>,
    waiting: Option<Pin<Box<Sleep>>>,
    /// The whole length, announced to the client; a stream has none.
    length: Option<u64>,
    in_flight: InFlight,
}

impl Playback {
    pub fn whole(bytes: Bytes, in_flight: InFlight) -> Self {
        let length = Some(bytes.len() as u64);
        Self { steps: VecDeque::from([Step::Send(bytes)]), waiting: None, length, in_flight }
    }

    /// Steps under an announced length, which they need not reach.
    pub fn partial(length: u64, steps: Vec<Step>, in_flight: InFlight) -> Self {
        Self { steps: steps.into(), waiting: None, length: Some(length), in_flight }
    }

    pub fn stream(steps: Vec<Step>, in_flight: InFlight) -> Self {
        Self { steps: steps.into(), waiting: None, length: None, in_flight }
    }
}

impl Body for Playback {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        loop {
            if let Some(waiting) = &mut this.waiting {
                if waiting.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                this.waiting = None;
            }
            match this.steps.pop_front() {
                Some(Step::Send(bytes)) => {
                    if this.steps.is_empty() {
                        this.in_flight.finish();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Step::Wait(time)) => this.waiting = (!time.is_zero()).then(|| Box::pin(sleep(time))),
                Some(Step::Hang) => {
                    this.steps.push_front(Step::Hang);
                    return Poll::Pending;
                }
                Some(Step::Cut) => {
                    this.in_flight.finish();
                    return Poll::Ready(Some(Err(io::Error::other("told to cut the answer short"))));
                }
                None => {
                    this.in_flight.finish();
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && self.waiting.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
