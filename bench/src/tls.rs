//! TLS before the upstream, as real ones have it. The certificate is for 127.0.0.1, until 2126, and guards nothing: it was made by
//! `openssl req -x509 -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE -days 36500`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::upstream::Upstream;

/// What clients are to trust, PEM.
pub const CERTIFICATE: &str = include_str!("../tls/certificate.pem");
const KEY: &str = include_str!("../tls/key.pem");

/// Starts it on the upstream's thread and returns its address.
///
/// # Errors
/// No port is free.
pub fn start(upstream: &Upstream) -> Result<SocketAddr> {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(CERTIFICATE.as_bytes())?],
            PrivateKeyDer::from_pem_slice(KEY.as_bytes())?,
        )?;
    let listener = std::net::TcpListener::bind((upstream.address.ip(), 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    upstream.thread.spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), upstream.address));
    Ok(address)
}

async fn serve(listener: std::net::TcpListener, acceptor: TlsAcceptor, upstream: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(relay(acceptor.clone(), stream, upstream));
    }
}

async fn relay(acceptor: TlsAcceptor, stream: TcpStream, upstream: SocketAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut outside = acceptor.accept(stream).await?;
    let mut inside = TcpStream::connect(upstream).await?;
    inside.set_nodelay(true)?;
    copy_bidirectional(&mut outside, &mut inside).await.map(drop)
}

#[cfg(test)]
mod tests {
    use portcullis_demo_upstream::{Options, serve as demo};
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, RootCertStore};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsConnector;

    use super::*;

    #[tokio::test]
    async fn one_who_trusts_the_certificate_reaches_the_upstream() {
        let server = demo(TcpListener::bind("127.0.0.1:0").await.unwrap(), Options::default()).unwrap();
        let upstream = Upstream { address: server.address(), thread: tokio::runtime::Handle::current() };
        let address = start(&upstream).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(address.ip().to_string()).unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let mut client = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        client.write_all(b"GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 404");
    }
}
