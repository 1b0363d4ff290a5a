//! One file from a URL that a client named.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body_util::Full;

use super::address::is_public;
use super::{Inline, Kind, MediaError};
use crate::config::{MediaConfig, MediaTypes};
use crate::upstream::{Address, Patience, Pool, UpstreamBody, UpstreamError};

/// What a server says that knows nothing of a file's type.
const UNKNOWN: &[&str] = &["application/octet-stream", "binary/octet-stream"];

/// Bytes that a request's files may still take.
pub(crate) struct Budget {
    left: AtomicUsize,
    whole: usize,
}

impl Budget {
    pub fn new(whole: usize) -> Self {
        Budget { left: AtomicUsize::new(whole), whole }
    }

    fn take(&self, bytes: usize) -> Result<(), MediaError> {
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        taken.map(|_| ()).map_err(|_| MediaError::TooLong(self.whole))
    }
}

/// Fetches a file. `declared` is the media type that the request gives it.
///
/// # Errors
/// When it is not to be had, or not allowed.
pub(crate) async fn fetch(
    url: &str,
    kind: Kind,
    declared: Option<&str>,
    config: &MediaConfig,
    budget: &Budget,
) -> Result<Inline, MediaError> {
    let fetched = tokio::time::timeout(config.timeout(), within_time(url, kind, declared, config, budget));
    fetched.await.unwrap_or(Err(MediaError::Timeout))
}

async fn within_time(
    url: &str,
    kind: Kind,
    declared: Option<&str>,
    config: &MediaConfig,
    budget: &Budget,
) -> Result<Inline, MediaError> {
    let uri: Uri = url.parse().map_err(|_| MediaError::Url)?;
    let address = Arc::new(resolve(&uri, config).await?);
    let answer = ask(&address, &uri, config).await?;
    match answer.status().as_u16() {
        200 => {}
        300..=399 => return Err(MediaError::Redirect),
        status => return Err(MediaError::Status(status)),
    }
    let media_type = media_type(answer.headers(), declared, allowed(&config.types, kind))?;
    let promised = answer.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    // It need not come to be refused.
    if promised.is_some_and(|promised: usize| promised > budget.left.load(Ordering::Relaxed)) {
        return Err(MediaError::TooLong(budget.whole));
    }
    let base64 = read(answer.into_body(), budget).await?;
    Ok(Inline { base64, media_type: Some(media_type) })
}

/// The one address that is connected to, looked up once and checked.
async fn resolve(uri: &Uri, config: &MediaConfig) -> Result<Address, MediaError> {
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if config.allow_http => {}
        Some("http") => return Err(MediaError::Scheme),
        _ => return Err(MediaError::Url),
    }
    let authority = uri.authority().ok_or(MediaError::Url)?.as_str();
    if authority.contains('@') {
        return Err(MediaError::Credentials);
    }
    let scheme = uri.scheme_str().unwrap_or_default();
    let address = Address::parse(&format!("{scheme}://{authority}")).ok_or(MediaError::Url)?;
    let found = tokio::net::lookup_host((address.host.as_str(), address.port)).await;
    let found: Vec<SocketAddr> = found.map_err(|_| MediaError::Unresolved)?.collect();
    let first = *found.first().ok_or(MediaError::Unresolved)?;
    // A name with both sorts of addresses is nobody's honest one.
    if !config.allow_private && !found.iter().all(|found| is_public(found.ip())) {
        return Err(MediaError::Private);
    }
    Ok(Address { resolved: Some(first), ..address })
}

/// Nothing of the client's or the operator's goes along.
async fn ask(address: &Arc<Address>, uri: &Uri, config: &MediaConfig) -> Result<Response<UpstreamBody>, MediaError> {
    let mut request = Request::new(Full::new(Bytes::new()));
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|_| MediaError::Url)?;
    let headers = request.headers_mut();
    headers.insert(HOST, address.authority.clone());
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("portcullis/", env!("CARGO_PKG_VERSION"))));
    let patience = Patience { connect: config.timeout(), first_byte: config.timeout() };
    // A pool of its own: the connection ends with the file.
    let pool = Arc::new(Pool::default());
    pool.send(address, request, patience).await.map_err(|error| {
        tracing::debug!(%error, "media cannot be fetched");
        match error {
            UpstreamError::ConnectTimeout { .. } | UpstreamError::FirstByteTimeout { .. } => MediaError::Timeout,
            UpstreamError::Connect { .. } | UpstreamError::Broken(_) => MediaError::Unreachable,
        }
    })
}

async fn read(mut body: UpstreamBody, budget: &Budget) -> Result<String, MediaError> {
    let mut chunks = Vec::new();
    let mut whole = Vec::new();
    loop {
        let batch = std::future::poll_fn(|cx| body.poll_batch(cx, &mut chunks)).await;
        let ended = batch.map_err(|_| MediaError::Unreachable)?;
        for chunk in chunks.drain(..) {
            budget.take(chunk.len())?;
            whole.extend_from_slice(&chunk);
        }
        if ended {
            return Ok(STANDARD.encode(&whole));
        }
    }
}

fn media_type(headers: &HeaderMap, declared: Option<&str>, allowed: &[String]) -> Result<String, MediaError> {
    let coding = headers.get(CONTENT_ENCODING).map(|value| value.as_bytes());
    if coding.is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
        return Err(MediaError::Encoding);
    }
    let said = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(essence);
    let known = said.filter(|said| !UNKNOWN.contains(&said.as_str()));
    let media_type = known.or_else(|| declared.map(essence)).unwrap_or_default();
    if allowed.iter().any(|allowed| covers(allowed, &media_type)) {
        Ok(media_type)
    } else {
        Err(MediaError::Type(media_type))
    }
}

fn essence(value: &str) -> String {
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    // Common, and not registered.
    if essence == "image/jpg" { "image/jpeg".to_owned() } else { essence }
}

fn covers(allowed: &str, media_type: &str) -> bool {
    match allowed.strip_suffix('*') {
        Some(family) => family.ends_with('/') && media_type.len() > family.len() && media_type.starts_with(family),
        None => allowed == media_type,
    }
}

fn allowed(types: &MediaTypes, kind: Kind) -> &[String] {
    match kind {
        Kind::Image => &types.image,
        Kind::Audio => &types.audio,
        Kind::Video => &types.video,
        Kind::Document => &types.document,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn local() -> MediaConfig {
        MediaConfig { fetch: true, allow_http: true, allow_private: true, ..MediaConfig::default() }
    }

    /// Answers every connection with these bytes; the first line and headers that it was sent come back by the channel.
    async fn server(answer: &'static [u8]) -> (SocketAddr, tokio::sync::mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, heads) = tokio::sync::mpsc::channel(16);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let _ = asked.try_send(String::from_utf8(head).unwrap());
                let _ = stream.write_all(answer).await;
            }
        });
        (address, heads)
    }

    async fn get(url: &str, config: &MediaConfig) -> Result<Inline, MediaError> {
        fetch(url, Kind::Image, None, config, &Budget::new(config.max_bytes)).await
    }

    #[tokio::test]
    async fn a_file_comes_with_its_type_and_nothing_of_ours_goes() {
        let (address, mut heads) =
            server(b"HTTP/1.1 200 OK\r\ncontent-type: image/PNG; x=y\r\ncontent-length: 3\r\n\r\n\x01\x02\x03").await;
        let inline = get(&format!("http://{address}/a/b.png?size=1#part"), &local()).await.unwrap();
        assert_eq!(inline, Inline { base64: "AQID".to_owned(), media_type: Some("image/png".to_owned()) });
        let head = heads.recv().await.unwrap().to_ascii_lowercase();
        assert!(head.starts_with("get /a/b.png?size=1 http/1.1\r\n"), "{head}");
        let names: Vec<&str> = head.lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0)).collect();
        assert!(names.iter().all(|name| ["host", "accept", "user-agent"].contains(name)), "{head}");
    }

    #[tokio::test]
    async fn a_private_address_is_not_even_connected_to() {
        let (address, mut heads) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        let config = MediaConfig { allow_private: false, ..local() };
        let port = address.port();
        for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0.0.0.0", "0x7f.1"] {
            let refused = get(&format!("http://{host}:{port}/"), &config).await.unwrap_err();
            assert!(matches!(refused, MediaError::Private | MediaError::Unresolved), "{host}: {refused}");
        }
        assert!(heads.try_recv().is_err());
    }

    #[tokio::test]
    async fn other_urls_are_refused() {
        let secure = MediaConfig { allow_http: false, ..local() };
        assert_eq!(get("http://example.org/", &secure).await, Err(MediaError::Scheme));
        for (url, error) in [
            ("ftp://example.org/", MediaError::Url),
            ("file:///etc/passwd", MediaError::Url),
            ("/etc/passwd", MediaError::Url),
            ("", MediaError::Url),
            ("http://", MediaError::Url),
            ("http://a b/", MediaError::Url),
            ("http://user:secret@127.0.0.1/", MediaError::Credentials),
        ] {
            assert_eq!(get(url, &local()).await, Err(error), "{url}");
        }
    }

    #[tokio::test]
    async fn other_answers_are_refused() {
        let cases: [(&'static [u8], MediaError); 6] = [
            (
                b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n",
                MediaError::Redirect,
            ),
            (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", MediaError::Status(404)),
            (
                b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 0\r\n\r\n",
                MediaError::Type("text/html".to_owned()),
            ),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", MediaError::Type(String::new())),
            (
                b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-encoding: gzip\r\ncontent-length: 0\r\n\r\n",
                MediaError::Encoding,
            ),
            (b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 9\r\n\r\n123", MediaError::Unreachable),
        ];
        for (answer, error) in cases {
            let (address, _heads) = server(answer).await;
            assert_eq!(get(&format!("http://{address}/"), &local()).await, Err(error));
        }
    }

    #[tokio::test]
    async fn a_file_is_cut_off_where_it_becomes_too_long() {
        // It says nothing of its length, and never ends.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n").await.unwrap();
            while stream.write_all(&[0; 1024]).await.is_ok() {}
        });
        let config = MediaConfig { max_bytes: 100_000, ..local() };
        assert_eq!(get(&format!("http://{address}/"), &config).await, Err(MediaError::TooLong(100_000)));
        let (address, _heads) =
            server(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 101\r\n\r\n").await;
        let config = MediaConfig { max_bytes: 100, ..local() };
        assert_eq!(get(&format!("http://{address}/"), &config).await, Err(MediaError::TooLong(100)));
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = MediaConfig { timeout_ms: 50, ..local() };
        let started = std::time::Instant::now();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        assert_eq!(get(&url, &config).await, Err(MediaError::Timeout));
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn the_server_s_word_goes_before_the_request_s() {
        let allowed = ["image/png".to_owned(), "audio/*".to_owned(), "image/jpeg".to_owned()];
        let of = |said: Option<&'static str>, declared: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.extend(said.map(|said| (CONTENT_TYPE, HeaderValue::from_static(said))));
            media_type(&headers, declared, &allowed).ok()
        };
        assert_eq!(of(Some("image/png"), Some("audio/wav")).as_deref(), Some("image/png"));
        assert_eq!(of(Some("image/jpg"), None).as_deref(), Some("image/jpeg"));
        assert_eq!(of(Some("application/octet-stream"), Some("audio/wav")).as_deref(), Some("audio/wav"));
        assert_eq!(of(None, Some("Image/PNG")).as_deref(), Some("image/png"));
        assert_eq!(of(Some("text/html"), Some("image/png")), None);
        assert_eq!(of(Some("audio/"), None), None);
        assert_eq!(of(None, None), None);
    }
}
