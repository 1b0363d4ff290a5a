//! How requests to providers are authenticated (invariant 1: no plugin sees any of it, and nothing prints it).
//!
//! A credential that is a word is put on when the request is made, synchronously. One that must be fetched, or that signs the
//! finished request, is put on just before sending; only connections that use such a scheme pay for it.

mod aws;
mod cache;
mod entra;
mod error;
mod fetch;
mod google;
mod profile;
mod sigv4;

use std::sync::Arc;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::Full;

pub use error::CredentialError;

use crate::config::{AuthScheme, AwsConfig, EntraConfig, GoogleConfig, ProviderConfig};
use crate::upstream::{Address, Pool};
use cache::Cached;

/// A connection's credential.
pub enum Credential {
    /// For servers that want none.
    None,
    /// Marked sensitive, so that nothing prints it.
    Header(HeaderName, HeaderValue),
    /// `NAME=KEY`, encoded.
    Query(String),
    /// Put on by [`Authority::authorise`].
    Fetched(Arc<Authority>),
}

impl Credential {
    /// A `former` credential that is fetched the same way is kept, with what it has fetched: a swap or a reload asks nobody.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn of(name: &str, provider: &ProviderConfig, former: Option<&Credential>) -> Result<Self, String> {
        let origin = Origin::of(provider);
        if let Some(Credential::Fetched(authority)) = former
            && authority.origin == origin
        {
            return Ok(Credential::Fetched(Arc::clone(authority)));
        }
        let fetched = |kind| Ok(Credential::Fetched(Arc::new(Authority { connection: name.to_owned(), origin, kind })));
        let key = provider.api_key.as_ref().map(|key| key.expose());
        let header = |header: &HeaderName, value: &str| {
            let value = sensitive(value).ok_or_else(|| format!("providers.{name}.api_key is no header value"))?;
            Ok(Credential::Header(header.clone(), value))
        };
        match (&provider.auth, key) {
            (AuthScheme::Bearer, Some(key)) => header(&AUTHORIZATION, &format!("Bearer {key}")),
            (AuthScheme::Header(name), Some(key)) => header(name, key),
            (AuthScheme::Query(name), Some(key)) => {
                let pair = form_urlencoded::Serializer::new(String::new()).append_pair(name, key).finish();
                Ok(Credential::Query(pair))
            }
            (AuthScheme::Bearer | AuthScheme::Header(_) | AuthScheme::Query(_), None) => Ok(Credential::None),
            (AuthScheme::AwsSigv4, _) => {
                let aws = provider.aws.clone().unwrap_or_default();
                fetched(Kind::Aws {
                    signer: sigv4::Signer::of(&aws),
                    sources: Arc::new(aws::Sources::of(aws)),
                    keys: Cached::new(),
                })
            }
            (AuthScheme::GoogleServiceAccount, _) => {
                let google = google::Google::of(provider.google.clone().unwrap_or_default());
                fetched(Kind::Google { source: Arc::new(google), token: Cached::new() })
            }
            (AuthScheme::AzureEntra, _) => {
                let entra = entra::Entra::of(provider.entra.clone().unwrap_or_default());
                fetched(Kind::Entra { source: Arc::new(entra), token: Cached::new() })
            }
        }
    }
}

/// Credentials that are fetched, and renewed before they expire.
pub struct Authority {
    /// For the log.
    connection: String,
    origin: Origin,
    kind: Kind,
}

/// Where a credential comes from.
#[derive(PartialEq, Eq)]
struct Origin {
    scheme: AuthScheme,
    aws: Option<AwsConfig>,
    google: Option<GoogleConfig>,
    entra: Option<EntraConfig>,
}

impl Origin {
    fn of(provider: &ProviderConfig) -> Self {
        let ProviderConfig { auth, aws, google, entra, .. } = provider.clone();
        Origin { scheme: auth, aws, google, entra }
    }
}

enum Kind {
    Aws { signer: sigv4::Signer, sources: Arc<aws::Sources>, keys: Cached<aws::Keys> },
    Google { source: Arc<google::Google>, token: Cached<HeaderValue> },
    Entra { source: Arc<entra::Entra>, token: Cached<HeaderValue> },
}

impl Authority {
    /// Puts the credential on a request that is otherwise as it will be sent. `now`: milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// When there is no credential that is valid now.
    pub async fn authorise(
        &self,
        request: &mut Request<Full<Bytes>>,
        address: &Address,
        pool: &Arc<Pool>,
        now: u64,
    ) -> Result<(), CredentialError> {
        let owned = |connection: &str| (connection.to_owned(), Arc::clone(pool));
        let (connection, pool) = owned(&self.connection);
        match &self.kind {
            Kind::Aws { signer, sources, keys } => {
                let sources = Arc::clone(sources);
                let keys = keys.get(&connection, now, move || async move { sources.fetch(&pool, now).await }).await?;
                signer.sign(request, address, &keys, now)
            }
            Kind::Google { source, token } => {
                let source = Arc::clone(source);
                let token = token.get(&connection, now, move || async move { source.fetch(&pool, now).await }).await?;
                bear(request.headers_mut(), &token);
                Ok(())
            }
            Kind::Entra { source, token } => {
                let source = Arc::clone(source);
                let token = token.get(&connection, now, move || async move { source.fetch(&pool, now).await }).await?;
                bear(request.headers_mut(), &token);
                Ok(())
            }
        }
    }
}

fn bear(headers: &mut HeaderMap, token: &HeaderValue) {
    headers.insert(AUTHORIZATION, token.clone());
}

/// A header value that nothing prints.
fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, former: Option<&Credential>) -> Credential {
        let text = format!("plugin = \"p\"\nbase_url = \"https://x.example\"\n{text}");
        let mut config: ProviderConfig = toml::from_str(&text).unwrap();
        config.resolve("x", &std::collections::HashMap::<&str, &str>::new()).unwrap();
        Credential::of("x", &config, former).ok().unwrap()
    }

    #[test]
    fn words_are_put_where_the_scheme_says() {
        let Credential::Header(name, value) = of("api_key = \"k\"", None) else { panic!("no header") };
        assert_eq!((name.as_str(), value.to_str().unwrap(), value.is_sensitive()), ("authorization", "Bearer k", true));
        let Credential::Header(name, value) = of("api_key = \"k\"\nauth = \"header:api-key\"", None) else {
            panic!("no header")
        };
        assert_eq!((name.as_str(), value.to_str().unwrap(), value.is_sensitive()), ("api-key", "k", true));
        let Credential::Query(pair) = of("api_key = \"a&b\"\nauth = \"query:key\"", None) else { panic!("no query") };
        assert_eq!(pair, "key=a%26b");
        assert!(matches!(of("", None), Credential::None));
    }

    #[test]
    fn what_is_fetched_outlives_a_reload_that_does_not_change_it() {
        let text =
            |profile: &str| format!("auth = \"aws-sigv4\"\naws = {{ region = \"r-1\", profile = \"{profile}\" }}");
        let authority = |credential: &Credential| match credential {
            Credential::Fetched(authority) => Arc::as_ptr(authority),
            _ => panic!("not fetched"),
        };
        let first = of(&text("a"), None);
        assert_eq!(authority(&of(&text("a"), Some(&first))), authority(&first));
        assert_ne!(authority(&of(&text("b"), Some(&first))), authority(&first));
        assert!(matches!(of("", Some(&first)), Credential::None));
    }
}

#[cfg(test)]
mod testing {
    //! A server of canned answers, for what fetches.

    use std::sync::{Arc, Mutex};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Answers each request with the first of `answers` whose path prefix fits; keeps what was asked.
    pub struct Server {
        pub url: String,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl Server {
        pub async fn start(answers: &[(&str, u16, &str)]) -> Self {
            let answers: Vec<_> =
                answers.iter().map(|(path, status, body)| ((*path).to_owned(), *status, (*body).to_owned())).collect();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let asked = Arc::new(Mutex::new(Vec::new()));
            let kept = Arc::clone(&asked);
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let (answers, kept) = (answers.clone(), Arc::clone(&kept));
                    tokio::spawn(async move {
                        let mut bytes = Vec::new();
                        loop {
                            let text = String::from_utf8_lossy(&bytes).into_owned();
                            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                                let length = head
                                    .lines()
                                    .find_map(|line| line.strip_prefix("content-length: "))
                                    .map_or(0, |length| length.parse::<usize>().unwrap());
                                if body.len() >= length {
                                    break;
                                }
                            }
                            if stream.read_buf(&mut bytes).await.unwrap() == 0 {
                                return;
                            }
                        }
                        let text = String::from_utf8(bytes).unwrap();
                        let path = text.split(' ').nth(1).unwrap().to_owned();
                        kept.lock().unwrap().push(text);
                        let fitting = answers.iter().find(|(prefix, ..)| path.starts_with(prefix.as_str()));
                        let (status, body) = fitting.map_or((404, ""), |(_, status, body)| (*status, body.as_str()));
                        let answer = format!(
                            "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                            body.len()
                        );
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    });
                }
            });
            Server { url, asked }
        }

        pub fn asked(&self) -> Vec<String> {
            self.asked.lock().unwrap().clone()
        }
    }
}
