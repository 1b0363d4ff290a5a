//! What a client's connection is doing and since when, so that one slow clock per connection can end what takes too long.
//! Timers for each request would cost more than all else the connection does.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Between requests.
    Idle = 0,
    /// Some of a request's head has arrived.
    Head = 1,
    /// A request is being served.
    Serving = 2,
}

/// Shared by a connection's socket, its requests and its clock.
#[derive(Debug)]
pub(super) struct Activity {
    start: Instant,
    phase: AtomicU8,
    /// Milliseconds after `start` at which the phase began.
    since: AtomicU64,
    /// Milliseconds after `start`, plus one, at which the client stopped taking bytes; 0 while it takes them.
    stalled: AtomicU64,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Activity {
            start: Instant::now(),
            phase: AtomicU8::new(Phase::Idle as u8),
            since: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.since.store(self.now(), Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) == phase as u8
    }

    /// What has taken too long, if anything has.
    pub(super) fn overdue(&self, header: Duration, keep_alive: Duration, write: Duration) -> Option<&'static str> {
        let now = self.now();
        let over = |since: u64, limit: Duration| u128::from(now.saturating_sub(since)) > limit.as_millis();
        let since = self.since.load(Ordering::Relaxed);
        let stalled = self.stalled.load(Ordering::Relaxed);
        if stalled > 0 && over(stalled - 1, write) {
            return Some("the client takes no bytes");
        }
        if self.is(Phase::Head) && over(since, header) {
            return Some("the request's head takes too long");
        }
        (self.is(Phase::Idle) && over(since, keep_alive)).then_some("idle")
    }
}

/// A client's socket that notes what happens on it.
pub(super) struct WatchedStream {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl WatchedStream {
    pub(super) fn new(stream: TcpStream, activity: Arc<Activity>) -> Self {
        WatchedStream { stream, activity }
    }

    fn wrote<T>(&self, result: Poll<T>) -> Poll<T> {
        let stalled = &self.activity.stalled;
        if result.is_ready() {
            if stalled.load(Ordering::Relaxed) != 0 {
                stalled.store(0, Ordering::Relaxed);
            }
        } else if stalled.load(Ordering::Relaxed) == 0 {
            stalled.store(self.activity.now() + 1, Ordering::Relaxed);
        }
        result
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before && this.activity.is(Phase::Idle) {
            this.activity.enter(Phase::Head);
        }
        result
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.wrote(result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(0);
    const LONG: Duration = Duration::from_secs(100);

    #[test]
    fn each_phase_has_its_own_patience() {
        let activity = Activity::new();
        std::thread::sleep(Duration::from_millis(3));
        assert_eq!(activity.overdue(SHORT, LONG, LONG), None);
        assert_eq!(activity.overdue(LONG, SHORT, LONG), Some("idle"));
        activity.enter(Phase::Head);
        std::thread::sleep(Duration::from_millis(3));
        assert!(activity.overdue(SHORT, LONG, LONG).is_some());
        activity.enter(Phase::Serving);
        std::thread::sleep(Duration::from_millis(3));
        assert_eq!(activity.overdue(SHORT, SHORT, SHORT), None);
        activity.stalled.store(1, Ordering::Relaxed);
        assert!(activity.overdue(LONG, LONG, SHORT).is_some());
    }
}
