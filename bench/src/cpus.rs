//! Which core is whose.

use std::io;

/// The division of the machine's cores.
#[derive(Clone, Debug, PartialEq)]
pub struct Cores {
    /// The measured process's own.
    pub measured: usize,
    /// Upstream's and load's.
    pub others: Vec<usize>,
}

impl Cores {
    /// Divides the cores this process may use: the last is measured, the others carry the load.
    ///
    /// # Errors
    /// There are fewer than two, or the system does not say.
    pub fn divide() -> anyhow::Result<Self> {
        let mut others = allowed()?;
        let measured = others.pop().filter(|_| !others.is_empty());
        let measured =
            measured.ok_or_else(|| anyhow::anyhow!("the benchmark needs two cores: one to measure, one to load it"))?;
        Ok(Self { measured, others })
    }
}

/// Confines the calling thread, and the threads and processes it starts, to these cores; leaves them where they are if none is
/// named.
///
/// # Errors
/// The system refuses.
pub fn confine(cores: &[usize]) -> io::Result<()> {
    if cores.is_empty() { Ok(()) } else { pin(cores) }
}

#[cfg(target_os = "linux")]
fn pin(cores: &[usize]) -> io::Result<()> {
    // SAFETY: a zeroed cpu_set_t is an empty one; the macros stay within it, since cores come from `allowed`.
    let done = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        for core in cores {
            libc::CPU_SET(*core, &mut set);
        }
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(target_os = "linux")]
fn allowed() -> io::Result<Vec<usize>> {
    // SAFETY: as above; the call fills the set, whose size it is told.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((0..libc::CPU_SETSIZE as usize).filter(|core| libc::CPU_ISSET(*core, &set)).collect())
    }
}

#[cfg(not(target_os = "linux"))]
fn pin(_cores: &[usize]) -> io::Result<()> {
    Err(unsupported())
}

#[cfg(not(target_os = "linux"))]
fn allowed() -> io::Result<Vec<usize>> {
    Err(unsupported())
}

#[cfg(not(target_os = "linux"))]
fn unsupported() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "the benchmark pins processes to cores, which it can do on Linux only")
}
