//! The yardstick: a reverse proxy of hyper and nothing else. It parses no body, keeps its upstream connections open, sets
//! TCP_NODELAY, streams both ways and strips hop-by-hop headers, as any proxy must. One thread, since it gets one core.

use std::cell::RefCell;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::rc::Rc;

use clap::Parser;
use http::header::{CONNECTION, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER};
use http::header::{TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::{Either, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

/// As the gateway's, so that an allocator is not what is compared.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A reverse proxy that does nothing else.
#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    #[arg(long)]
    upstream: SocketAddr,
}

type Answer = Response<Either<Incoming, Empty<Bytes>>>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

struct Proxy {
    upstream: SocketAddr,
    host: HeaderValue,
    /// Connections, those whose answer is still being read among them.
    kept: RefCell<Vec<SendRequest<Incoming>>>,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(arguments.listen).await?;
        println!("{}", listener.local_addr()?);
        io::stdout().flush()?;
        let proxy = Rc::new(Proxy {
            upstream: arguments.upstream,
            host: HeaderValue::try_from(arguments.upstream.to_string())?,
            kept: RefCell::default(),
        });
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let proxy = proxy.clone();
            tokio::task::spawn_local(async move {
                let service = service_fn(|request| {
                    let proxy = proxy.clone();
                    async move { Ok::<_, Failure>(proxy.answer(request).await) }
                });
                // A client that leaves is no failure of the proxy's.
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

impl Proxy {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        self.forward(request).await.unwrap_or_else(|error| {
            eprintln!("upstream: {error}");
            let mut answer = Response::new(Either::Right(Empty::new()));
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            answer
        })
    }

    async fn forward(&self, mut request: Request<Incoming>) -> Result<Answer, Failure> {
        strip(request.headers_mut());
        request.headers_mut().insert(HOST, self.host.clone());
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
        let mut sender = self.sender().await?;
        let answer = sender.send_request(request).await?;
        // Ready again only once the answer has been read; `sender` passes over those that are not.
        self.kept.borrow_mut().push(sender);
        let (mut parts, body) = answer.into_parts();
        strip(&mut parts.headers);
        Ok(Response::from_parts(parts, Either::Left(body)))
    }

    async fn sender(&self) -> Result<SendRequest<Incoming>, Failure> {
        {
            let mut kept = self.kept.borrow_mut();
            kept.retain(|sender| !sender.is_closed());
            if let Some(ready) = kept.iter().rposition(SendRequest::is_ready) {
                return Ok(kept.swap_remove(ready));
            }
        }
        let stream = TcpStream::connect(self.upstream).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(connection);
        Ok(sender)
    }
}

/// What concerns one connection only, by RFC 9110 section 7.6.1.
fn strip(headers: &mut HeaderMap) {
    const HOP_BY_HOP: [HeaderName; 8] = [
        CONNECTION,
        HeaderName::from_static("keep-alive"),
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    if let Some(named) = headers.remove(CONNECTION) {
        for name in named.to_str().unwrap_or_default().split(',') {
            headers.remove(name.trim());
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}
