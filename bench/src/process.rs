//! A child process on a core of its own, with its counters. It is ended when this is dropped.

use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cpus;

/// How long a process may take to end when asked to.
const ENDING: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Process {
    child: Child,
    pub started: Instant,
}

impl Process {
    /// Starts a command on these cores, or anywhere if none is named.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(mut command: Command, cores: &[usize]) -> Result<Self> {
        let cores = cores.to_vec();
        // SAFETY: between fork and exec, only an async-signal-safe system call over memory allocated before.
        unsafe {
            command.pre_exec(move || cpus::confine(&cores));
        }
        let started = Instant::now();
        let child = command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child, started })
    }

    /// The first line of its standard output, which must be piped.
    ///
    /// # Errors
    /// It ended without one.
    pub fn first_line(&mut self) -> Result<String> {
        let output = self.child.stdout.take().context("standard output is not piped")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line.is_empty() {
            bail!("ended without a word: {:?}", self.child.wait()?);
        }
        Ok(line.trim().to_owned())
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// It has: with what status.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("the measured process ended: {status}"),
            None => Ok(()),
        }
    }

    /// CPU time of all its threads, ended ones included, to the nanosecond.
    ///
    /// # Errors
    /// It has ended.
    #[cfg(target_os = "linux")]
    pub fn cpu(&self) -> Result<Duration> {
        let pid = libc::pid_t::try_from(self.child.id())?;
        let mut clock = 0;
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: both calls write to the places they are given and nowhere else.
        let read = unsafe {
            match libc::clock_getcpuclockid(pid, &mut clock) {
                0 => libc::clock_gettime(clock, &mut time),
                error => bail!("no CPU clock of {pid}: {}", io::Error::from_raw_os_error(error)),
            }
        };
        if read != 0 {
            bail!("cannot read the CPU clock of {pid}: {}", io::Error::last_os_error());
        }
        Ok(Duration::new(u64::try_from(time.tv_sec)?, u32::try_from(time.tv_nsec)?))
    }

    /// Always an error: the counters are read on Linux only.
    #[cfg(not(target_os = "linux"))]
    pub fn cpu(&self) -> Result<Duration> {
        bail!("the CPU time of another process is read on Linux only")
    }

    /// Resident memory, bytes.
    ///
    /// # Errors
    /// It has ended, or the system has no `/proc`.
    pub fn resident(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kilobytes * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Asked first: an instrumented build writes its profile as it ends, which a kill would take from it.
        if let Ok(pid) = libc::pid_t::try_from(self.child.id()) {
            // SAFETY: a signal to a child that has not been waited for, so the number is still its own.
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
        let asked = Instant::now();
        while asked.elapsed() < ENDING && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(2));
        }
        // It may have ended by itself: then there is nothing to kill, and waiting takes its status.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
