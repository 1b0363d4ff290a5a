//! Files reach a folder and a real S3 server.

use std::net::SocketAddr;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use portcullis_export::{Destination, ExportError, S3Options};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;

/// An S3 server over a folder; its buckets are the folder's own.
async fn server(root: &std::path::Path) -> SocketAddr {
    let service = {
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root).unwrap());
        builder.set_auth(SimpleAuth::from_single("id", "secret"));
        builder.build()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
            });
        }
    });
    address
}

fn options(address: SocketAddr, secret: &str) -> S3Options {
    S3Options {
        endpoint: Some(format!("http://{address}")),
        region: Some("us-east-1".into()),
        access_key_id: Some("id".into()),
        secret_access_key: Some(secret.into()),
        allow_http: false,
    }
}

/// More than two parts, and no two of them alike.
fn long() -> Vec<u8> {
    (0..5_000_000_u32).flat_map(u32::to_be_bytes).collect()
}

#[tokio::test]
async fn a_bucket_takes_files_of_any_size() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("reports")).unwrap();
    let address = server(root.path()).await;
    let destination = Destination::open("s3://reports/daily/usage", &options(address, "secret")).unwrap();
    for (name, content) in [("empty.csv", vec![]), ("short.csv", b"a,b\r\n".to_vec()), ("long.csv", long())] {
        destination.put(name, &content[..]).await.unwrap();
        let kept = std::fs::read(root.path().join("reports/daily/usage").join(name)).unwrap();
        assert!(kept == content, "{name} has {} bytes and not {}", kept.len(), content.len());
    }
    destination.put("short.csv", &b"again"[..]).await.unwrap();
    assert_eq!(std::fs::read(root.path().join("reports/daily/usage/short.csv")).unwrap(), b"again");
}

#[tokio::test]
async fn a_refusal_is_an_error_that_holds_no_secret() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("reports")).unwrap();
    let address = server(root.path()).await;
    let destination = Destination::open("s3://reports", &options(address, "wrong-s3cret")).unwrap();
    let error = destination.put("a.csv", &b"x"[..]).await.unwrap_err();
    assert!(matches!(error, ExportError::Storage(_)));
    assert!(!format!("{error} {error:?} {:?}", options(address, "wrong-s3cret")).contains("s3cret"));
    assert!(std::fs::read_dir(root.path().join("reports")).unwrap().next().is_none());
}

#[tokio::test]
async fn a_folder_takes_files_whole() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("not/there/yet");
    let destination = Destination::open(folder.to_str().unwrap(), &S3Options::default()).unwrap();
    destination.put("usage-2026-05-28.csv", &long()[..]).await.unwrap();
    destination.put("usage-2026-05-28.csv", &b"again"[..]).await.unwrap();
    let names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["usage-2026-05-28.csv"]);
    assert_eq!(std::fs::read(folder.join("usage-2026-05-28.csv")).unwrap(), b"again");
}

#[test]
fn other_addresses_are_refused() {
    for address in ["", "ftp://x/y", "s3:///prefix"] {
        assert!(
            matches!(Destination::open(address, &S3Options::default()), Err(ExportError::Destination(_))),
            "{address}"
        );
    }
}
