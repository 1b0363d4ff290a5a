//! Where files go: a folder, or a bucket of S3-compatible storage. A file appears whole or not at all.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Once};
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, RetryConfig, WriteMultipart};

use crate::error::ExportError;

/// Files up to this size go in one piece; S3 takes parts of 5 MiB at least.
const PART: usize = 8 << 20;
/// Parts that are under way at once.
const PARALLEL: usize = 2;
const PATIENCE: Duration = Duration::from_secs(60);

/// How to reach a bucket. What is absent is looked for where AWS's own tools look: the environment, the container, the instance.
#[derive(Clone, Default)]
pub struct S3Options {
    /// Of storage that is not Amazon's: `https://storage.example`.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<String>,
    /// Plain http to an endpoint that is not this machine's.
    pub allow_http: bool,
}

impl fmt::Debug for S3Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("S3Options").field("endpoint", &self.endpoint).field("region", &self.region).finish()
    }
}

/// A place for files.
#[derive(Clone)]
pub struct Destination {
    store: Arc<dyn ObjectStore>,
    prefix: object_store::path::Path,
    shown: String,
}

impl Destination {
    /// From `s3://bucket/prefix` or the path of a folder, which is made where it is missing.
    ///
    /// # Errors
    /// When the address names no bucket, or the folder cannot be made.
    pub fn open(address: &str, s3: &S3Options) -> Result<Self, ExportError> {
        let Some(rest) = address.strip_prefix("s3://") else {
            if address.is_empty() || address.contains("://") {
                return Err(ExportError::Destination(address.to_owned()));
            }
            return Self::folder(Path::new(address));
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(ExportError::Destination(address.to_owned()));
        }
        PROVIDER.call_once(use_ring);
        let retry = RetryConfig { max_retries: 5, retry_timeout: PATIENCE, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry);
        if let Some(endpoint) = &s3.endpoint {
            let plain = endpoint.starts_with("http://") && (s3.allow_http || is_loopback(endpoint));
            builder = builder.with_endpoint(endpoint).with_virtual_hosted_style_request(false).with_allow_http(plain);
        }
        if let Some(region) = &s3.region {
            builder = builder.with_region(region);
        }
        if let Some(id) = &s3.access_key_id {
            builder = builder.with_access_key_id(id);
        }
        if let Some(secret) = &s3.secret_access_key {
            builder = builder.with_secret_access_key(secret);
        }
        Ok(Self { store: Arc::new(builder.build()?), prefix: prefix.into(), shown: address.to_owned() })
    }

    fn folder(path: &Path) -> Result<Self, ExportError> {
        fs::create_dir_all(path)?;
        let store = LocalFileSystem::new_with_prefix(path)?.with_fsync(true);
        Ok(Self { store: Arc::new(store), prefix: "".into(), shown: path.display().to_string() })
    }

    /// Puts a file there; one of the same name is replaced.
    ///
    /// # Errors
    /// When the storage does not take it, after some tries; what was there before is there still.
    pub async fn put(&self, name: &str, mut content: impl Read) -> Result<(), ExportError> {
        let path = self.prefix.clone().join(name);
        let mut piece = Vec::new();
        if fill(&mut content, &mut piece)? < PART {
            self.store.put(&path, PutPayload::from(piece)).await?;
            return Ok(());
        }
        let mut upload = WriteMultipart::new_with_chunk_size(self.store.put_multipart(&path).await?, PART);
        loop {
            upload.wait_for_capacity(PARALLEL).await?;
            upload.put(std::mem::take(&mut piece).into());
            match fill(&mut content, &mut piece) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    // What was uploaded would else be kept, and paid for, though it is no file.
                    upload.abort().await?;
                    return Err(error.into());
                }
            }
        }
        upload.finish().await?;
        Ok(())
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shown)
    }
}

static PROVIDER: Once = Once::new();

/// The HTTP client asks the process for its cryptography; one that is there already is as good.
fn use_ring() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn is_loopback(endpoint: &str) -> bool {
    let host = endpoint.trim_start_matches("http://");
    ["localhost", "127.0.0.1", "[::1]"]
        .iter()
        .any(|known| host.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/'])))
}

/// Reads up to a part.
fn fill(content: &mut impl Read, piece: &mut Vec<u8>) -> io::Result<usize> {
    content.take(PART as u64).read_to_end(piece)
}
