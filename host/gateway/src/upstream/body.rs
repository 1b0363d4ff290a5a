//! A provider's answer as it arrives: all that one read brought at once.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use hyper::body::Incoming;

use super::connection::Connection;
use super::{Address, Pool};

/// Enough to amortise a write and a plugin call, little enough not to delay the first of it.
const BATCH_BYTES: usize = 64 << 10;

/// The body of an answer, with the connection it comes by. Dropping it before its end closes the connection, which is how a
/// provider learns that nobody listens any more.
pub struct UpstreamBody {
    incoming: Incoming,
    connection: Option<Connection>,
    pool: Arc<Pool>,
    address: Arc<Address>,
    ended: bool,
}

impl UpstreamBody {
    pub(super) fn new(incoming: Incoming, connection: Connection, pool: Arc<Pool>, address: &Arc<Address>) -> Self {
        UpstreamBody { incoming, connection: Some(connection), pool, address: Arc::clone(address), ended: false }
    }

    /// Takes every chunk that is there. hyper hands out one chunk per poll, so between two the connection is polled for the
    /// next; it reads from the socket only when its buffer is empty.
    ///
    /// Ready with true when the body has ended, with whatever `chunks` then holds as its last.
    ///
    /// # Errors
    /// When the connection breaks before the end that the head promised.
    pub fn poll_batch(&mut self, cx: &mut Context<'_>, chunks: &mut Vec<Bytes>) -> Poll<Result<bool, hyper::Error>> {
        if self.ended {
            return Poll::Ready(Ok(true));
        }
        let mut taken = 0;
        let mut driven = false;
        while taken < BATCH_BYTES {
            match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    driven = false;
                    if let Ok(data) = frame.into_data() {
                        taken += data.len();
                        chunks.push(data);
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    self.connection = None;
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(None) => {
                    self.ended = true;
                    if let Some(connection) = self.connection.take() {
                        self.pool.give_back(&self.address, connection);
                    }
                    return Poll::Ready(Ok(true));
                }
                Poll::Pending if driven => break,
                Poll::Pending => {
                    if let Some(connection) = &mut self.connection {
                        let _ = connection.driving.poll_drive(cx);
                    }
                    driven = true;
                }
            }
        }
        if taken == 0 { Poll::Pending } else { Poll::Ready(Ok(false)) }
    }

    /// The whole body, if it is no longer than the limit.
    ///
    /// # Errors
    /// When it is longer, the connection breaks, or nothing comes for so long.
    pub async fn collect(mut self, limit: usize, idle: Duration) -> Result<Bytes, CollectError> {
        let mut chunks = Vec::new();
        let mut length = 0;
        let mut counted = 0;
        loop {
            let batch = std::future::poll_fn(|cx| self.poll_batch(cx, &mut chunks));
            let ended = tokio::time::timeout(idle, batch).await.map_err(|_| CollectError::Idle)??;
            length += chunks[counted..].iter().map(Bytes::len).sum::<usize>();
            counted = chunks.len();
            if length > limit {
                return Err(CollectError::TooLong { limit });
            }
            if ended {
                break;
            }
        }
        if chunks.len() == 1 {
            return Ok(chunks.swap_remove(0));
        }
        let mut whole = BytesMut::with_capacity(length);
        for chunk in chunks {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    #[error("the answer is longer than {limit} bytes")]
    TooLong { limit: usize },
    #[error("the answer stopped coming")]
    Idle,
    #[error("the answer broke off: {0}")]
    Broken(#[from] hyper::Error),
}
