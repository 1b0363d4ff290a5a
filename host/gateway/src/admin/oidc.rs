//! An issuer that vouches for people: OpenID Connect's authorization code flow with PKCE.
//!
//! <https://openid.net/specs/openid-connect-core-1_0.html>, section 3.1, and RFC 7636. What the issuer says of itself and its keys is
//! read anew now and then, and when a token was signed by a key that is not known.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod, CoreProviderMetadata, CoreUserInfoClaims,
};
use openidconnect::{
    AuthType, AuthorizationCode, ClientId, ClientSecret, CsrfToken, IssuerUrl, Nonce, OAuth2TokenResponse,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope, TokenResponse,
};
use thiserror::Error;
use tokio::sync::Mutex;

use crate::config::OidcConfig;
use crate::upstream::{Address, Patience, Pool};

/// How long what an issuer said of itself is good for.
const KNOWN: Duration = Duration::from_secs(600);
/// After it was read it is not read again for so long, whatever tokens come.
const RESPITE: Duration = Duration::from_secs(10);
const PATIENCE: Patience = Patience { connect: Duration::from_secs(5), first_byte: Duration::from_secs(10) };
const IDLE: Duration = Duration::from_secs(5);
const ANSWER_BYTES: usize = 1 << 20;

/// Why nobody was vouched for. For the log: who tries is told less.
#[derive(Debug, Error)]
pub enum OidcError {
    #[error("the issuer does not answer as one: {0}")]
    Discovery(String),
    #[error("the issuer took no code: {0}")]
    Exchange(String),
    #[error("the issuer's token does not hold: {0}")]
    Token(String),
}

/// An HTTP exchange with the issuer that failed.
#[derive(Debug, Error)]
#[error("{0}")]
struct Unreachable(String);

/// Whom the issuer vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub subject: String,
    /// Only where it is the person's beyond doubt.
    pub email: Option<String>,
}

/// What a browser keeps between leaving for the issuer and coming back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub state: String,
    pub nonce: String,
    pub verifier: String,
}

/// What issuers have said of themselves.
#[derive(Default)]
pub struct Issuers {
    pool: Arc<Pool>,
    known: Mutex<Option<Known>>,
}

struct Known {
    issuer: String,
    since: Instant,
    metadata: CoreProviderMetadata,
}

impl Issuers {
    /// Where a browser goes to be vouched for.
    ///
    /// # Errors
    /// The issuer does not say how.
    pub async fn begin(&self, config: &OidcConfig) -> Result<(String, Attempt), OidcError> {
        let metadata = self.metadata(config, KNOWN).await?;
        let client = CoreClient::from_provider_metadata(metadata, ClientId::new(config.client_id.clone()), None)
            .set_redirect_uri(redirect(config)?);
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let scopes = config.scopes.iter().filter(|scope| *scope != "openid").cloned().map(Scope::new);
        let (url, state, nonce) = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
            .add_scopes(scopes)
            .set_pkce_challenge(challenge)
            .url();
        let attempt = Attempt {
            state: state.secret().clone(),
            nonce: nonce.secret().clone(),
            verifier: verifier.secret().clone(),
        };
        Ok((url.into(), attempt))
    }

    /// Whom the issuer vouches for with this code.
    ///
    /// # Errors
    /// It does for nobody.
    pub async fn finish(&self, config: &OidcConfig, attempt: Attempt, code: String) -> Result<Person, OidcError> {
        let metadata = self.metadata(config, KNOWN).await?;
        let secret = config.client_secret.as_ref().map(|secret| ClientSecret::new(secret.expose().to_owned()));
        let client = |metadata: CoreProviderMetadata| -> Result<_, OidcError> {
            let id = ClientId::new(config.client_id.clone());
            let method = told_how(&metadata);
            let client = CoreClient::from_provider_metadata(metadata, id, secret.clone());
            Ok(client.set_redirect_uri(redirect(config)?).set_auth_type(method))
        };
        let fetch = |request| fetch(Arc::clone(&self.pool), request);
        let first = client(metadata)?;
        let answer = first
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|error| OidcError::Discovery(error.to_string()))?
            .set_pkce_verifier(PkceCodeVerifier::new(attempt.verifier))
            .request_async(&fetch)
            .await
            .map_err(|error| OidcError::Exchange(error.to_string()))?;
        let token = answer.id_token().ok_or_else(|| OidcError::Token("there is none".to_owned()))?;
        let nonce = Nonce::new(attempt.nonce);
        let claims = match token.claims(&first.id_token_verifier(), &nonce) {
            Ok(claims) => claims,
            // Its keys may have been rotated since they were read.
            Err(_) => {
                let anew = client(self.metadata(config, RESPITE).await?)?;
                token.claims(&anew.id_token_verifier(), &nonce).map_err(|error| OidcError::Token(error.to_string()))?
            }
        };
        let subject = claims.subject().to_string();
        let verified = |verified: Option<bool>| verified.unwrap_or(false) || config.trust_email;
        let mut email = claims.email().filter(|_| verified(claims.email_verified())).map(|email| email.to_string());
        if email.is_none()
            && let Ok(asking) = first.user_info(answer.access_token().clone(), Some(claims.subject().clone()))
        {
            // Many issuers say it only there.
            let told: CoreUserInfoClaims =
                asking.request_async(&fetch).await.map_err(|error| OidcError::Exchange(error.to_string()))?;
            email = told.email().filter(|_| verified(told.email_verified())).map(|email| email.to_string());
        }
        Ok(Person { subject, email })
    }

    async fn metadata(&self, config: &OidcConfig, good_for: Duration) -> Result<CoreProviderMetadata, OidcError> {
        // Held while it is read: those behind the first find it there.
        let mut known = self.known.lock().await;
        if let Some(known) = &*known
            && known.issuer == config.issuer
            && known.since.elapsed() < good_for
        {
            return Ok(known.metadata.clone());
        }
        let discovery = |error: String| OidcError::Discovery(error);
        let issuer = IssuerUrl::new(config.issuer.clone()).map_err(|error| discovery(error.to_string()))?;
        let metadata = CoreProviderMetadata::discover_async(issuer, &|request| fetch(Arc::clone(&self.pool), request))
            .await
            .map_err(|error| discovery(error.to_string()))?;
        *known = Some(Known { issuer: config.issuer.clone(), since: Instant::now(), metadata: metadata.clone() });
        Ok(metadata)
    }
}

/// How the issuer wants the client's secret: by RFC 6749, section 2.3.1, in the header, unless it says that it only reads the body.
fn told_how(metadata: &CoreProviderMetadata) -> AuthType {
    let methods = metadata.token_endpoint_auth_methods_supported();
    let body_only = methods.is_some_and(|methods| {
        methods.contains(&CoreClientAuthMethod::ClientSecretPost)
            && !methods.contains(&CoreClientAuthMethod::ClientSecretBasic)
    });
    if body_only { AuthType::RequestBody } else { AuthType::BasicAuth }
}

fn redirect(config: &OidcConfig) -> Result<RedirectUrl, OidcError> {
    RedirectUrl::new(config.redirect_url.clone()).map_err(|error| OidcError::Discovery(error.to_string()))
}

/// One exchange. A redirect is not followed: an issuer's own places do not need it, and it could lead anywhere.
async fn fetch(pool: Arc<Pool>, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Unreachable> {
    let unreachable = |error: &dyn std::fmt::Display| Unreachable(error.to_string());
    let (mut parts, body) = request.into_parts();
    let address = Address::parse(&parts.uri.to_string()).ok_or_else(|| Unreachable("its URL is none".to_owned()))?;
    parts.headers.insert(header::HOST, address.authority.clone());
    parts
        .headers
        .insert(header::USER_AGENT, HeaderValue::from_static(concat!("portcullis/", env!("CARGO_PKG_VERSION"))));
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = path.parse().map_err(|error: http::uri::InvalidUri| unreachable(&error))?;
    // Where it is, without the path: connections are kept by it.
    let address = Arc::new(Address { base_path: String::new(), ..address });
    let request = Request::from_parts(parts, Full::new(Bytes::from(body)));
    let answer = pool.send(&address, request, PATIENCE).await.map_err(|error| unreachable(&error))?;
    let (head, body) = answer.into_parts();
    let body = body.collect(ANSWER_BYTES, IDLE).await.map_err(|error| unreachable(&error))?;
    Ok(Response::from_parts(head, body.to_vec()))
}
