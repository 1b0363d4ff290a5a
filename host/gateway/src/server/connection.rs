//! One client's connection, from its first byte to its last.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::Surface;
use super::activity::{Activity, Phase, WatchedStream};
use crate::Gateway;
use crate::answer::AnswerBody;
use crate::service;

/// How often a connection's clock looks. What is overdue ends within this much more than its limit.
const TICK: Duration = Duration::from_secs(1);
/// Between requests. Longer than the 60 s that client libraries and load balancers commonly keep a connection, so that the
/// client closes first and no request meets a closing socket.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

pub(super) async fn run(
    gateway: Arc<Gateway>,
    surface: Surface,
    stream: TcpStream,
    peer: SocketAddr,
    mut drain: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, %peer, "a client's connection went before it began");
        return;
    }
    let _counted = Counted::new(&gateway);
    let activity = Activity::new();
    let io = TokioIo::new(WatchedStream::new(stream, Arc::clone(&activity)));
    let limits = gateway.snapshot().config.limits.clone();
    let service = service_fn(|request| {
        activity.enter(Phase::Serving);
        let gateway = Arc::clone(&gateway);
        let activity = Arc::clone(&activity);
        let surface = &surface;
        async move {
            let answer = service::serve(gateway, surface, request, peer).await;
            Ok::<Response<Tracked>, Infallible>(answer.map(|body| Tracked { body, activity }))
        }
    });
    let mut connection = pin!(http1::Builder::new().serve_connection(io, service));
    let mut clock = pin!(sleep_until(Instant::now() + TICK));
    let mut draining = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, %peer, "a client's connection ended");
                }
                return;
            }
            () = clock.as_mut() => {
                if let Some(why) = activity.overdue(limits.header_timeout(), KEEP_ALIVE, limits.client_idle()) {
                    tracing::debug!(why, %peer, "closing a client's connection");
                    return;
                }
                clock.as_mut().reset(Instant::now() + TICK);
            }
            _ = drain.changed(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// An open connection, in the metrics.
struct Counted(Arc<Gateway>);

impl Counted {
    fn new(gateway: &Arc<Gateway>) -> Self {
        gateway.metrics.counts.accepted.add();
        Counted(Arc::clone(gateway))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics.counts.closed.add();
    }
}

/// Marks the connection idle when an answer's body is done with.
struct Tracked {
    body: AnswerBody,
    activity: Arc<Activity>,
}

impl Body for Tracked {
    type Data = Bytes;
    type Error = crate::answer::AnswerCut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.activity.enter(Phase::Idle);
    }
}
