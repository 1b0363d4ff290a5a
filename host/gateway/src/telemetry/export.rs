//! OTLP's requests, over the gateway's own way out: the same sockets, TLS and certificates as to providers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;

use crate::upstream::{Address, Patience, Pool};

const PATIENCE: Patience = Patience { connect: Duration::from_secs(5), first_byte: Duration::from_secs(10) };
const IDLE: Duration = Duration::from_secs(5);
/// What a receiver says is a few bytes.
const ANSWER_BYTES: usize = 64 << 10;

/// The exporter has a thread of its own, on which no socket of ours would wake; this sends over the runtime it was made in.
pub struct Client {
    runtime: Handle,
    pool: Arc<Pool>,
}

impl Client {
    pub fn here() -> Option<Self> {
        Some(Client { runtime: Handle::try_current().ok()?, pool: Arc::new(Pool::default()) })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl HttpClient for Client {
    fn send_bytes<'this, 'answer>(
        &'this self,
        request: Request<Bytes>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'answer>>
    where
        'this: 'answer,
        Self: 'answer,
    {
        let sent = self.runtime.spawn(send(Arc::clone(&self.pool), request));
        Box::pin(async move { sent.await? })
    }
}

async fn send(pool: Arc<Pool>, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let (mut head, body) = request.into_parts();
    let (Some(scheme), Some(authority)) = (head.uri.scheme_str(), head.uri.authority()) else {
        return Err("the endpoint is not a URL".into());
    };
    let address = Address::parse(&format!("{scheme}://{authority}")).ok_or("the endpoint is not a URL")?;
    head.uri = head.uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
    head.headers.insert(HOST, address.authority.clone());
    head.headers.insert(USER_AGENT, HeaderValue::from_static(concat!("portcullis/", env!("CARGO_PKG_VERSION"))));
    let answer = pool.send(&Arc::new(address), Request::from_parts(head, Full::new(body)), PATIENCE).await?;
    let (head, body) = answer.into_parts();
    let body = body.collect(ANSWER_BYTES, IDLE).await?;
    if !head.status.is_success() {
        tracing::warn!(status = head.status.as_u16(), "the receiver of traces refuses them");
    }
    Ok(Response::from_parts(head, body))
}
