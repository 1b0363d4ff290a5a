//! A connection for one call, whose state is never in doubt.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgConnection;

use crate::error::StoreError;

/// A pool's connection, which goes back only by [`done`](Self::done). Dropped without it (an error, a time-out, a future that
/// nobody polls any more) it is closed at once, unasked, and the server undoes what was not committed. The pool itself would ask
/// a connection how it is, and wait for an answer of a server that is frozen.
pub(super) struct Session(Option<PoolConnection<sqlx::Postgres>>);

impl Session {
    pub fn new(connection: PoolConnection<sqlx::Postgres>) -> Self {
        Self(Some(connection))
    }

    /// Gives the connection back: no transaction is open and no answer outstanding.
    pub fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}

impl Deref for Session {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.0.as_deref().expect("it has a connection until it is gone")
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.0.as_deref_mut().expect("it has a connection until it is gone")
    }
}

/// What a call says, or [`StoreError::Silent`] after `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(limit, call).await.unwrap_or(Err(StoreError::Silent(limit)))
}

/// One call on a connection for it alone, which comes to an end.
macro_rules! call {
    ($database:ident, |$session:ident| $body:block) => {
        Box::pin($crate::postgres::within($crate::postgres::CALL, async move {
            let mut own = $database.session().await?;
            let $session: &mut sqlx::postgres::PgConnection = &mut own;
            let answer: Result<_, $crate::error::StoreError> = async { $body }.await;
            let answer = answer?;
            own.done();
            Ok(answer)
        }))
    };
}
pub(super) use call;
