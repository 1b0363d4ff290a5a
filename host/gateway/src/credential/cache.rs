//! A value that expires: fetched once for all who wait, renewed in the background before its end.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use super::CredentialError;

/// Renewal begins this long before the end, or when a fifth of the life is left if that is later. Metadata services hand out new
/// credentials at least five minutes before the old ones end.
const AHEAD_MS: u64 = 300_000;
/// After a failure nobody asks again for so long.
const PAUSE_MS: u64 = 1000;
/// … and in the background, where the old value still serves.
const BACKGROUND_PAUSE_MS: u64 = 15_000;

/// What was fetched.
pub struct Fresh<T> {
    pub value: T,
    /// Milliseconds since the Unix epoch.
    pub expires: u64,
}

pub struct Cached<T>(Arc<Inner<T>>);

struct Inner<T> {
    current: ArcSwapOption<Held<T>>,
    /// Held while somebody fetches; keeps the last failure and when it was.
    fetching: Mutex<Option<(u64, CredentialError)>>,
    renewing: AtomicBool,
}

struct Held<T> {
    value: Arc<T>,
    renew: u64,
    expires: u64,
}

impl<T> Held<T> {
    fn new(fresh: Fresh<T>, now: u64) -> Self {
        let ahead = (fresh.expires.saturating_sub(now) / 5).min(AHEAD_MS);
        Held { value: Arc::new(fresh.value), renew: fresh.expires.saturating_sub(ahead), expires: fresh.expires }
    }
}

impl<T: Send + Sync + 'static> Cached<T> {
    pub fn new() -> Self {
        Cached(Arc::new(Inner {
            current: ArcSwapOption::const_empty(),
            fetching: Mutex::const_new(None),
            renewing: AtomicBool::new(false),
        }))
    }

    /// The value, if it is valid `now`; else a new one. `name` is for the log.
    ///
    /// # Errors
    /// That of `fetch`, also for a second after it failed.
    pub async fn get<F, Fut>(&self, name: &str, now: u64, fetch: F) -> Result<Arc<T>, CredentialError>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Fresh<T>, CredentialError>> + Send,
    {
        if let Some(held) = self.0.valid(now) {
            if now >= held.renew && !self.0.renewing.swap(true, Ordering::Relaxed) {
                let (inner, name) = (Arc::clone(&self.0), name.to_owned());
                tokio::spawn(async move {
                    inner.renew(&name, now, fetch).await;
                    inner.renewing.store(false, Ordering::Relaxed);
                });
            }
            return Ok(Arc::clone(&held.value));
        }
        let mut last = self.0.fetching.lock().await;
        if let Some(held) = self.0.valid(now) {
            return Ok(Arc::clone(&held.value));
        }
        if let Some((at, error)) = &*last
            && now < at.saturating_add(PAUSE_MS)
        {
            return Err(error.clone());
        }
        match fetch().await {
            Ok(fresh) => {
                *last = None;
                Ok(Arc::clone(&self.0.keep(fresh, now).value))
            }
            Err(error) => {
                tracing::error!(provider = name, %error, "a credential cannot be fetched");
                *last = Some((now, error.clone()));
                Err(error)
            }
        }
    }
}

impl<T> Inner<T> {
    fn valid(&self, now: u64) -> Option<Arc<Held<T>>> {
        self.current.load_full().filter(|held| now < held.expires)
    }

    fn keep(&self, fresh: Fresh<T>, now: u64) -> Arc<Held<T>> {
        let held = Arc::new(Held::new(fresh, now));
        self.current.store(Some(Arc::clone(&held)));
        held
    }

    async fn renew<F, Fut>(&self, name: &str, now: u64, fetch: F)
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Fresh<T>, CredentialError>>,
    {
        let mut last = self.fetching.lock().await;
        if last.as_ref().is_some_and(|(at, _)| now < at.saturating_add(BACKGROUND_PAUSE_MS)) {
            return;
        }
        match fetch().await {
            Ok(fresh) => {
                *last = None;
                self.keep(fresh, now);
            }
            Err(error) => {
                tracing::warn!(provider = name, %error, "a credential cannot be renewed; the old one serves until it ends");
                *last = Some((now, error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    struct Source {
        cached: Cached<u64>,
        asked: Arc<AtomicU64>,
    }

    impl Source {
        fn new() -> Self {
            Source { cached: Cached::new(), asked: Arc::default() }
        }

        async fn get(&self, now: u64, life: Option<u64>) -> Result<u64, CredentialError> {
            let asked = Arc::clone(&self.asked);
            let fetch = move || async move {
                let value = asked.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                let life = life.ok_or_else(|| CredentialError::Absent("none".to_owned()))?;
                Ok(Fresh { value, expires: now + life })
            };
            self.cached.get("c", now, fetch).await.map(|value| *value)
        }

        fn asked(&self) -> u64 {
            self.asked.load(Ordering::SeqCst)
        }
    }

    const HOUR: u64 = 3_600_000;

    #[tokio::test]
    async fn one_fetch_serves_all_who_wait() {
        let source = Source::new();
        let (a, b, c) = tokio::join!(source.get(0, Some(HOUR)), source.get(0, Some(HOUR)), source.get(0, Some(HOUR)));
        assert_eq!((a, b, c), (Ok(0), Ok(0), Ok(0)));
        assert_eq!(source.asked(), 1);
    }

    #[tokio::test]
    async fn it_is_renewed_before_its_end_while_the_old_one_serves() {
        let source = Source::new();
        source.get(0, Some(HOUR)).await.unwrap();
        let early = HOUR - AHEAD_MS - 1;
        assert_eq!(source.get(early, Some(HOUR)).await, Ok(0));
        tokio::task::yield_now().await;
        assert_eq!(source.asked(), 1);
        assert_eq!(source.get(HOUR - AHEAD_MS, Some(HOUR)).await, Ok(0));
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(source.get(HOUR - AHEAD_MS, Some(HOUR)).await, Ok(1));
    }

    #[tokio::test]
    async fn an_expired_value_is_never_given() {
        let source = Source::new();
        source.get(0, Some(1000)).await.unwrap();
        assert_eq!(source.get(1000, Some(1000)).await, Ok(1));
        assert!(source.get(5000, None).await.is_err());
    }

    #[tokio::test]
    async fn a_failure_is_not_repeated_at_once() {
        let source = Source::new();
        assert!(source.get(0, None).await.is_err());
        assert!(source.get(PAUSE_MS - 1, Some(HOUR)).await.is_err());
        assert_eq!(source.asked(), 1);
        assert_eq!(source.get(PAUSE_MS, Some(HOUR)).await, Ok(1));
    }

    #[tokio::test]
    async fn a_renewal_that_fails_leaves_the_old_value_until_its_end() {
        let source = Source::new();
        source.get(0, Some(HOUR)).await.unwrap();
        assert_eq!(source.get(HOUR - 1000, None).await, Ok(0));
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!((source.asked(), source.get(HOUR - 500, None).await), (2, Ok(0)));
    }
}
