//! One HTTP/1.1 connection to a provider, driven by whoever uses it.
//!
//! hyper's connection future is not spawned: the task that waits for the answer polls it. That saves a task switch and a
//! wake-up per read, and lets the body take every frame that one read brought (see [`super::body`]).
//!
//! hyper's half is made anew around the same socket every [`RENEW_AFTER`] requests, so that what a connection keeps in memory does
//! not depend on how many requests it has served.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{Address, tls};

pub(super) type Sender = http1::SendRequest<Full<Bytes>>;
type Driver = http1::Connection<TokioIo<Stream>, Full<Bytes>>;

/// hyper hands requests from one half to the other through a channel whose blocks have 32 places of some 280 bytes. Each request
/// takes the next place, and two blocks are kept: 18 KB are touched, bit by bit, by the time 64 requests went over a connection.
/// Renewed earlier, a connection stays within the first page of the first block. It costs four allocations, an eighth of them a
/// request.
const RENEW_AFTER: u32 = 8;

/// A TCP connection, with or without TLS.
pub(super) struct Stream {
    socket: Socket,
    /// The socket took no more: hyper holds bytes that are not sent yet.
    stuck: bool,
}

enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The two halves are apart so that a request can wait on one while its task polls the other.
pub(super) struct Connection {
    pub(super) sender: Sender,
    pub(super) driving: Driving,
    /// Requests since hyper's halves were made, with the one that they were made for.
    requests: u32,
}

/// The half that moves bytes; without a driver once the connection has ended. Boxed: it is handed on with every answer, and is a
/// part of every state of the futures that do.
pub(super) struct Driving(Option<Box<Driver>>);

impl Connection {
    pub(super) async fn open(address: &Address) -> std::io::Result<Self> {
        let stream = match address.resolved {
            Some(resolved) => TcpStream::connect(resolved).await?,
            None => TcpStream::connect((address.host.as_str(), address.port)).await?,
        };
        stream.set_nodelay(true)?;
        let socket = if address.tls {
            Socket::Tls(Box::new(tls::handshake(&address.host, stream).await?))
        } else {
            Socket::Plain(stream)
        };
        Self::over(Stream { socket, stuck: false }).await.map_err(std::io::Error::other)
    }

    /// Nothing is sent: HTTP/1.1 has no handshake of its own.
    async fn over(stream: Stream) -> hyper::Result<Self> {
        let (sender, driver) = http1::Builder::new().handshake(TokioIo::new(stream)).await?;
        Ok(Connection { sender, driving: Driving(Some(Box::new(driver))), requests: 1 })
    }

    /// To be asked before each request, of a connection that [is reusable](Self::is_reusable). Nothing where the socket is not
    /// between two messages after all.
    pub(super) async fn for_next_request(mut self) -> Option<Self> {
        if self.requests < RENEW_AFTER {
            self.requests += 1;
            return Some(self);
        }
        let parts = self.driving.0?.into_parts();
        let stream = parts.io.into_inner();
        if stream.stuck || !parts.read_buf.is_empty() {
            return None;
        }
        Self::over(stream).await.ok()
    }

    /// Whether another request can be sent: looks once whether the server has closed it meanwhile.
    pub(super) fn is_reusable(&mut self) -> bool {
        self.driving.poll_drive(&mut Context::from_waker(Waker::noop())).is_pending() && self.sender.is_ready()
    }
}

impl Driving {
    /// Moves bytes in both directions. Ready once the connection has ended, and then always.
    pub(super) fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(driver) = &mut self.0 else { return Poll::Ready(()) };
        match Pin::new(&mut **driver).poll(cx) {
            Poll::Ready(ended) => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "an upstream connection ended");
                }
                self.0 = None;
                Poll::Ready(())
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Stream {
    fn wrote<T>(&mut self, result: Poll<T>) -> Poll<T> {
        self.stuck = result.is_pending();
        result
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Socket::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        let result = match &mut this.socket {
            Socket::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Socket::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        };
        this.wrote(result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        let result = match &mut this.socket {
            Socket::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Socket::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        };
        this.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Socket::Plain(stream) => stream.is_write_vectored(),
            Socket::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Socket::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
