//! A call's limits: linear memory, processor time by epochs, time on the clock.

use std::time::{Duration, Instant};

use wasmtime::{ResourceLimiter, UpdateDeadline};

use crate::error::CallError;

/// Elements a table may have: as many as the pool's slots hold.
pub(crate) const TABLE_ELEMENTS: usize = 20_000;

/// Why the host stopped a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stop {
    #[error("processor time used up")]
    GuestDeadline,
    #[error("time used up")]
    WallDeadline,
    #[error("memory used up")]
    Memory,
}

#[derive(Debug)]
pub(crate) struct Limits {
    memory: usize,
    used: usize,
    guest: Duration,
    wall: Duration,
    started: Instant,
    /// This thread's processor time at the call's first tick. Reading that clock is a system call, which a call that
    /// ends within its first tick never makes.
    first_tick: Option<Duration>,
}

impl Limits {
    pub fn new(memory: usize, guest: Duration, wall: Duration) -> Self {
        Limits { memory, used: 0, guest, wall, started: Instant::now(), first_tick: None }
    }

    /// A call begins.
    pub fn begin(&mut self, now: Instant) {
        self.started = now;
        self.first_tick = None;
    }

    /// Looks at a running call once a tick.
    pub fn tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        self.judge(self.started.elapsed(), processor_time())?;
        Ok(UpdateDeadline::Continue(1))
    }

    /// Neither clock alone is enough: a guest is not to blame for a busy machine, and a caller cannot wait for ever.
    fn judge(&mut self, wall: Duration, processor: Option<Duration>) -> Result<(), Stop> {
        if wall > self.wall {
            return Err(Stop::WallDeadline);
        }
        // Where the thread's own clock is not to be had, the clock on the wall stands in for it.
        let processor = processor.unwrap_or(wall);
        let begun = *self.first_tick.get_or_insert(processor);
        let used = processor.saturating_sub(begun);
        if used >= self.guest && !used.is_zero() {
            return Err(Stop::GuestDeadline);
        }
        Ok(())
    }

    /// Whether a call that came back in one piece came back in time.
    pub fn late(&self, took: Duration) -> bool {
        took > self.wall
    }

    /// True while an instance has grown so little that it is worth keeping.
    pub fn modest(&self) -> bool {
        self.used <= self.memory / 2
    }

    pub fn error(&self, stop: Stop) -> CallError {
        match stop {
            Stop::GuestDeadline => CallError::GuestDeadline(self.guest),
            Stop::WallDeadline => CallError::WallDeadline(self.wall),
            Stop::Memory => CallError::Memory(self.memory),
        }
    }

    pub fn late_error(&self) -> CallError {
        self.error(Stop::WallDeadline)
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.used.saturating_add(desired.saturating_sub(current));
        if wanted > self.memory {
            // A trap and not a failed growth: the guest's allocator would abort with a bare `unreachable`.
            return Err(Stop::Memory.into());
        }
        self.used = wanted;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }
}

/// Processor time of the calling thread.
#[cfg(unix)]
fn processor_time() -> Option<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock is a constant of the platform and `time` is valid for the call's length.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    (answer == 0).then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

#[cfg(not(unix))]
fn processor_time() -> Option<Duration> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits::new(1 << 20, Duration::from_millis(50), Duration::from_millis(500))
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_busy_machine_does_not_fail_a_guest() {
        let mut limits = limits();
        for tick in 1..=49 {
            // Scheduled a tenth of the time.
            assert_eq!(limits.judge(ms(tick * 10), Some(ms(1000 + tick))), Ok(()), "tick {tick}");
        }
        assert_eq!(limits.judge(ms(501), Some(ms(1050))), Err(Stop::WallDeadline));
    }

    #[test]
    fn a_busy_guest_is_stopped_at_its_deadline() {
        let mut limits = limits();
        let stopped = (1..=20).find(|tick| limits.judge(ms(tick * 10), Some(ms(7 + tick * 10))).is_err());
        assert_eq!(stopped, Some(6), "50 ms after the first tick");
        limits.begin(Instant::now());
        assert_eq!(limits.judge(ms(10), Some(ms(900))), Ok(()), "the next call starts anew");
    }

    #[test]
    fn memory_is_counted_over_all_memories() {
        let mut limits = limits();
        assert!(limits.memory_growing(0, 600 << 10, None).is_ok());
        assert!(limits.memory_growing(0, 600 << 10, None).is_err());
        assert!(limits.memory_growing(600 << 10, 1 << 20, None).is_ok());
        assert!(!limits.modest());
    }
}
