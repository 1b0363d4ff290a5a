//! Places at which a test ends the process, as `kill -9` would: no destructor runs, what is in memory is gone, what was written
//! to a file is not. Only in builds with debug assertions; elsewhere a place is nothing at all.
//!
//! `PORTCULLIS_FAIL_AT=lease.after:3` ends the process when it comes by `lease.after` for the third time.

#[cfg(debug_assertions)]
pub(crate) fn point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static AT: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();
    let at = AT.get_or_init(|| {
        let told = std::env::var("PORTCULLIS_FAIL_AT").ok()?;
        let (name, count) = told.split_once(':').unwrap_or((&told, "1"));
        Some((name.to_owned(), AtomicU64::new(count.parse().ok()?)))
    });
    if let Some((failing, left)) = at
        && failing == name
        && left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        std::process::abort();
    }
}

#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn point(_: &str) {}
