//! Idle connections by address, and the sending of a request over one of them.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use thiserror::Error;
use tokio::time::{timeout, timeout_at};

use super::connection::Connection;
use super::{Address, UpstreamBody};

/// Servers commonly close after 60 to 75 s; a connection that waited longer is likelier to fail than to save a handshake.
const IDLE: Duration = Duration::from_secs(50);
/// Per address. More than this idle at once comes from a burst that is over.
const MAX_IDLE: usize = 512;

/// What goes wrong before an answer's first byte.
#[derive(Debug, Error)]
pub enum UpstreamError {
    #[error("no connection to {host}: {source}")]
    Connect { host: String, source: std::io::Error },
    #[error("no connection to {host} within {after:?}")]
    ConnectTimeout { host: String, after: Duration },
    #[error("no answer within {after:?}")]
    FirstByteTimeout { after: Duration },
    #[error("the connection broke before the answer: {0}")]
    Broken(#[source] hyper::Error),
}

/// How long each step may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    pub connect: Duration,
    pub first_byte: Duration,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// Connections that wait for their next request.
#[derive(Default)]
pub struct Pool {
    idle: Mutex<HashMap<Address, Vec<Idle>>>,
}

impl Pool {
    /// Sends a request and waits for the head of its answer.
    ///
    /// A request that met a connection which the server had just closed was not read by anybody and is sent again over a new
    /// one; a request that may have been read never is.
    ///
    /// # Errors
    /// When there is no connection or no answer in time.
    pub async fn send(
        self: &Arc<Self>,
        address: &Arc<Address>,
        mut request: Request<Full<Bytes>>,
        patience: Patience,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        let deadline = tokio::time::Instant::now() + patience.first_byte;
        loop {
            let (mut connection, reused) = match self.checkout(address).await {
                Some(connection) => (connection, true),
                None => (open(address, patience.connect).await?, false),
            };
            let answer = {
                let Connection { sender, driving, .. } = &mut connection;
                let mut answer = pin!(sender.try_send_request(request));
                let exchange = poll_fn(|cx| {
                    if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                        return Poll::Ready(answer);
                    }
                    let _ = driving.poll_drive(cx);
                    answer.as_mut().poll(cx)
                });
                timeout_at(deadline, exchange).await
            };
            match answer {
                Ok(Ok(response)) => {
                    return Ok(response.map(|body| UpstreamBody::new(body, connection, Arc::clone(self), address)));
                }
                Ok(Err(mut failed)) => match failed.take_message() {
                    Some(unsent) if reused => request = unsent,
                    _ => return Err(UpstreamError::Broken(failed.into_error())),
                },
                Err(_) => return Err(UpstreamError::FirstByteTimeout { after: patience.first_byte }),
            }
        }
    }

    async fn checkout(&self, address: &Arc<Address>) -> Option<Connection> {
        loop {
            let idle = self.lock().get_mut(&**address)?.pop()?;
            let mut connection = idle.connection;
            if idle.since.elapsed() < IDLE
                && connection.is_reusable()
                && let Some(connection) = connection.for_next_request().await
            {
                return Some(connection);
            }
        }
    }

    pub(super) fn give_back(&self, address: &Arc<Address>, mut connection: Connection) {
        if !connection.is_reusable() {
            return;
        }
        let idle = Idle { connection, since: Instant::now() };
        let mut all = self.lock();
        match all.get_mut(&**address) {
            Some(list) if list.len() < MAX_IDLE => list.push(idle),
            Some(_) => {}
            None => {
                all.insert(Address::clone(address), vec![idle]);
            }
        }
    }

    /// Closes what has waited too long. Called now and then: popping from the newest end leaves the oldest to age.
    pub fn trim(&self) {
        self.lock().retain(|_, list| {
            list.retain(|idle| idle.since.elapsed() < IDLE);
            !list.is_empty()
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Address, Vec<Idle>>> {
        // A panic elsewhere leaves a map of idle connections, which is as good as ever.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn open(address: &Address, within: Duration) -> Result<Connection, UpstreamError> {
    match timeout(within, Connection::open(address)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(source)) => Err(UpstreamError::Connect { host: address.host.clone(), source }),
        Err(_) => Err(UpstreamError::ConnectTimeout { host: address.host.clone(), after: within }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers so many requests without a body on each connection, then closes it; counts connections.
    async fn server(each: usize) -> (Arc<Address>, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&accepted);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
                for _ in 0..each {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(stream.read_u8().await.unwrap());
                    }
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                }
            }
        });
        (Arc::new(address), accepted)
    }

    async fn ask(pool: &Arc<Pool>, address: &Arc<Address>) -> Bytes {
        let second = Duration::from_secs(1);
        let request = Request::get("/").header("host", "provider").body(Full::default()).unwrap();
        let answer = pool.send(address, request, Patience { connect: second, first_byte: second }).await.unwrap();
        answer.into_body().collect(100, second).await.unwrap()
    }

    #[tokio::test]
    async fn many_requests_share_a_connection() {
        let (address, accepted) = server(100).await;
        let pool = Arc::new(Pool::default());
        for _ in 0..100 {
            assert_eq!(ask(&pool, &address).await, "ok");
        }
        assert_eq!(accepted.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_connection_may_end_after_any_number_of_requests() {
        for each in 1..20 {
            let (address, accepted) = server(each).await;
            let pool = Arc::new(Pool::default());
            for _ in 0..2 {
                for _ in 0..each {
                    assert_eq!(ask(&pool, &address).await, "ok");
                }
                // The end arrives.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(accepted.load(Ordering::Relaxed), 2, "{each} requests on each");
        }
    }
}
