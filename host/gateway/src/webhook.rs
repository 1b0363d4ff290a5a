//! Telling somebody else's server, signed: one POST, and how long to wait before the next.
//!
//! Signed as Standard Webhooks has it (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>):
//! `webhook-id`, `webhook-timestamp` (seconds) and `webhook-signature: v1,` with the base64 of an HMAC-SHA256 over
//! `id.timestamp.body`. A receiver knows a message that comes twice by its id: whoever delivers at least once keeps what was not yet
//! taken and sends it again under the same id.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use ring::hmac;
use thiserror::Error;

use crate::config::WebhookConfig;
use crate::upstream::{Address, Patience, Pool, UpstreamError};

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

const PATIENCE: Patience = Patience { connect: Duration::from_secs(5), first_byte: Duration::from_secs(15) };
/// Of the answer nothing but its status matters; it is read so that the connection can be used again.
const ANSWER_BYTES: usize = 64 << 10;
const IDLE: Duration = Duration::from_secs(5);

const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(300);

/// Why a message was not taken.
#[derive(Debug, Error)]
pub enum WebhookError {
    #[error("{0}")]
    Unreachable(String),
    #[error("it answered {0}")]
    Refused(StatusCode),
}

/// A receiver.
pub struct Webhook {
    address: Arc<Address>,
    headers: HeaderMap,
    key: Option<hmac::Key>,
    pool: Arc<Pool>,
}

impl Webhook {
    /// `None` where the URL or the secret is none that the configuration lets pass.
    pub fn new(config: &WebhookConfig) -> Option<Self> {
        let address = Address::parse(&config.url)?;
        let mut headers = HeaderMap::new();
        headers.insert(HOST, address.authority.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("portcullis/", env!("CARGO_PKG_VERSION"))));
        if let Some(authorization) = &config.authorization {
            let mut value = HeaderValue::from_str(authorization.expose()).ok()?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let key = match &config.secret {
            Some(secret) => Some(hmac::Key::new(hmac::HMAC_SHA256, &secret_bytes(secret.expose())?)),
            None => None,
        };
        Some(Webhook { address: Arc::new(address), headers, key, pool: Arc::default() })
    }

    /// Sends a message once. `id` is the message's own and stays the same when it is sent again; `now_ms` is when it is sent.
    ///
    /// # Errors
    /// When nobody answers in time, or not with 2xx: it may have been taken all the same.
    pub async fn send(&self, id: &str, now_ms: u64, body: Bytes) -> Result<(), WebhookError> {
        let seconds = now_ms / 1000;
        let signature = self.key.as_ref().map(|key| signature(key, id, seconds, &body));
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        let path = if self.address.base_path.is_empty() { "/" } else { &self.address.base_path };
        *request.uri_mut() = path.parse().unwrap_or_default();
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        headers.insert(TIMESTAMP, HeaderValue::from(seconds));
        for (name, value) in [(ID, Some(id)), (SIGNATURE, signature.as_deref())] {
            headers.extend(value.and_then(|value| HeaderValue::from_str(value).ok()).map(|value| (name, value)));
        }
        let sent = self.pool.send(&self.address, request, PATIENCE).await;
        let answer = sent.map_err(|error: UpstreamError| WebhookError::Unreachable(error.to_string()))?;
        let status = answer.status();
        // A body that breaks off takes nothing back.
        let _ = answer.into_body().collect(ANSWER_BYTES, IDLE).await;
        if status.is_success() { Ok(()) } else { Err(WebhookError::Refused(status)) }
    }
}

/// How long to wait after so many failures in a row: 1 s doubled each time, 5 minutes at the most.
pub fn wait_after(failures: u32) -> Duration {
    RETRY_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(RETRY_LAST)
}

/// `whsec_` and base64 as the standard writes secrets, or any other text as it is. `None` where what follows `whsec_` is not base64, or
/// nothing.
pub(crate) fn secret_bytes(secret: &str) -> Option<Vec<u8>> {
    match secret.strip_prefix("whsec_") {
        Some(coded) => BASE64_STANDARD.decode(coded).ok().filter(|bytes| !bytes.is_empty()),
        None => Some(secret.as_bytes().to_vec()),
    }
}

fn signature(key: &hmac::Key, id: &str, seconds: u64, body: &[u8]) -> String {
    let mut signing = hmac::Context::with_key(key);
    signing.update(format!("{id}.{seconds}.").as_bytes());
    signing.update(body);
    format!("v1,{}", BASE64_STANDARD.encode(signing.sign()))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// The example of the standard's own libraries
    /// (<https://github.com/standard-webhooks/standard-webhooks/blob/main/libraries/rust/src/lib.rs>).
    #[test]
    fn a_signature_is_the_standard_s() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret_bytes("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap());
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn waiting_doubles_and_has_an_end() {
        let seconds = |failures| wait_after(failures).as_secs();
        assert_eq!([0, 1, 2, 3, 8, 9, 10, 1_000_000].map(seconds), [1, 1, 2, 4, 128, 256, 300, 300]);
    }

    /// A receiver that answers each request with the next status, and gives out what it was sent.
    async fn receiver(statuses: &'static [&'static str]) -> (String, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hooks/in", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let mut seen = Vec::new();
            for status in statuses {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"{}") {
                    assert_ne!(socket.read_buf(&mut request).await.unwrap(), 0);
                }
                seen.push(String::from_utf8(request).unwrap());
                let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
            seen
        });
        (url, served)
    }

    #[tokio::test]
    async fn a_message_is_signed_and_its_refusal_told() {
        let (url, served) = receiver(&["200 OK", "503 Busy"]).await;
        let config: WebhookConfig =
            toml::from_str(&format!("url = \"{url}\"\nsecret = \"${{S}}\"\nauthorization = \"${{A}}\"")).unwrap();
        let known = std::collections::HashMap::from([("S", "hush"), ("A", "Splunk token")]);
        let webhook = Webhook::new(&config.resolved("t", &known).unwrap()).unwrap();
        webhook.send("alr_1", 1_700_000_000_999, Bytes::from_static(b"{}")).await.unwrap();
        let refused = webhook.send("alr_1", 1_700_000_001_000, Bytes::from_static(b"{}")).await.unwrap_err();
        assert_eq!(refused.to_string(), "it answered 503 Service Unavailable");
        let seen = served.await.unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"hush");
        assert!(seen[0].starts_with("POST /hooks/in HTTP/1.1\r\n"), "{}", seen[0]);
        for line in [
            "webhook-id: alr_1".to_owned(),
            "webhook-timestamp: 1700000000".to_owned(),
            "authorization: Splunk token".to_owned(),
            format!("webhook-signature: {}", signature(&key, "alr_1", 1_700_000_000, b"{}")),
        ] {
            assert!(seen[0].contains(&line), "{line} is not in {}", seen[0]);
        }
    }
}
