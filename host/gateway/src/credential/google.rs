//! Access tokens of a Google service account: by a signed assertion where there is a key file
//! (<https://developers.google.com/identity/protocols/oauth2/service-account#httprest>), else from the metadata server
//! (<https://docs.cloud.google.com/compute/docs/access/authenticate-workloads#applications>).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderName, HeaderValue};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};

use super::CredentialError;
use super::cache::Fresh;
use super::fetch::Ask;
use crate::config::GoogleConfig;
use crate::upstream::Pool;

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const ENDPOINT: &str = "Google's token endpoint";
const METADATA: &str = "Google's metadata server";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The longest life that Google gives, seconds.
const LIFE: u64 = 3600;

pub struct Google {
    key_file: Option<String>,
    scope: String,
    metadata: String,
}

/// The members of a key file that count.
#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    client_email: String,
    #[serde(default)]
    private_key_id: String,
    #[serde(default)]
    private_key: String,
    #[serde(default)]
    token_uri: String,
}

impl Google {
    pub fn of(config: GoogleConfig) -> Self {
        let scope = config.scope.unwrap_or_else(|| SCOPE.to_owned());
        Google { key_file: config.key_file, scope, metadata: config.metadata }
    }

    /// # Errors
    /// When the key file cannot be used, or no token is given.
    pub async fn fetch(&self, pool: &Arc<Pool>, now: u64) -> Result<Fresh<HeaderValue>, CredentialError> {
        let Some(path) = &self.key_file else {
            let scopes = form_urlencoded::Serializer::new(String::new()).append_pair("scopes", &self.scope).finish();
            let url = format!("{}/computeMetadata/v1/instance/service-accounts/default/token?{scopes}", self.metadata);
            let flavor = HeaderName::from_static("metadata-flavor");
            return Ask::get(METADATA, &url).with(flavor, "Google").token(pool, now).await;
        };
        // Read each time, so that a key that was replaced serves without a restart.
        let text = tokio::fs::read_to_string(path).await.map_err(|error| CredentialError::unreadable(path, error))?;
        let unusable = |why: &str| CredentialError::unreadable(path, why);
        let file: KeyFile = serde_json::from_str(&text).map_err(|_| unusable("is not a Google key file"))?;
        if file.kind != "service_account" {
            return Err(unusable(&format!("is of type `{}`; a service account's key is needed", file.kind)));
        }
        if crate::config::check_url("token_uri", &file.token_uri, false).is_err() {
            return Err(unusable("its token_uri is not an https URL"));
        }
        let assertion =
            assertion(&file, &self.scope, now / 1000).ok_or_else(|| unusable("its private key is no RSA key"))?;
        Ask::form(ENDPOINT, &file.token_uri, &[("grant_type", GRANT), ("assertion", &assertion)]).token(pool, now).await
    }
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
    kid: &'a str,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'a str,
    aud: &'a str,
    iat: u64,
    exp: u64,
}

/// A JWT signed with RS256 (RFC 7515, RFC 7518 section 3.3). `now`: seconds since the Unix epoch.
fn assertion(file: &KeyFile, scope: &str, now: u64) -> Option<String> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(file.private_key.as_bytes()).ok()?;
    let key = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).ok()?;
    let header = Header { alg: "RS256", typ: "JWT", kid: &file.private_key_id };
    let claims = Claims { iss: &file.client_email, scope, aud: &file.token_uri, iat: now, exp: now + LIFE };
    let (header, claims) = (serde_json::to_vec(&header).ok()?, serde_json::to_vec(&claims).ok()?);
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).ok()?;
    Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Server;
    use super::*;

    /// Made for this test with `openssl genpkey`; it opens nothing.
    const KEY: &str = include_str!("testdata/key.pem");

    fn key_file(token_uri: &str) -> KeyFile {
        KeyFile {
            kind: "service_account".to_owned(),
            client_email: "sa@p.iam.gserviceaccount.com".to_owned(),
            private_key_id: "k1".to_owned(),
            private_key: KEY.to_owned(),
            token_uri: token_uri.to_owned(),
        }
    }

    #[test]
    fn the_assertion_is_what_openssl_signs() {
        let signed = assertion(&key_file("https://oauth2.googleapis.com/token"), "S", 1_700_000_000).unwrap();
        // `openssl dgst -sha256 -sign key.pem` over the first two parts.
        let expected = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImsxIn0.eyJpc3MiOiJzYUBwLmlhbS5nc2VydmljZWFjY291bnQuY29tIiwic2NvcGUiOiJTIiwiYXVkIjoiaHR0cHM6Ly9vYXV0aDIuZ29vZ2xlYXBpcy5jb20vdG9rZW4iLCJpYXQiOjE3MDAwMDAwMDAsImV4cCI6MTcwMDAwMzYwMH0.deoLeOC3QBpyNT7_9jNghfllj7iWRXhR-nxnT7b-70TDHwAsNTHKai99oUmKVe2CgdIj7kOqbYTCDEKtu4CKkhWOzukO1wiwmySrngp8c-QUy9l6N3FCFE7HnstG2J1jpEqH80UXrG6sLvglmSoc4aJCjNtSACN1sW5EdoEI51gq2x18fxZ-SyoCMXABhr13Na1gt9JbheQa1rwAK98gkDNg0c5Asby1x7pB0IrX1lyVVPaS73Zoy6e4bz46ME93KGqrgbXHLOS36G9Wen-M2MXeUUn1Ayjqmr-oY4OOufOjqdA5UyTGNGUUvl-Jp4zgq86Nk5yAbdj3ZBj5I-pIdQ";
        assert_eq!(signed, expected);
        assert_eq!(assertion(&KeyFile { private_key: "no key".to_owned(), ..key_file("") }, "S", 0), None);
    }

    #[tokio::test]
    async fn a_key_files_assertion_buys_a_token() {
        let granted = r#"{"access_token":"ya29.x","expires_in":3599,"token_type":"Bearer"}"#;
        let server = Server::start(&[("/token", 200, granted)]).await;
        let folder = std::env::temp_dir().join(format!("portcullis-google-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("key.json");
        let written = |kind: &str| {
            serde_json::json!({
                "type": kind,
                "client_email": "sa@p.iam.gserviceaccount.com",
                "private_key_id": "k1",
                "private_key": KEY,
                "token_uri": format!("{}/token", server.url),
            })
        };
        std::fs::write(&path, written("service_account").to_string()).unwrap();
        let key_file = Some(path.display().to_string());
        let google = Google::of(GoogleConfig { key_file, ..GoogleConfig::default() });
        let fresh = google.fetch(&Arc::default(), 1_700_000_000_000).await.unwrap();
        assert_eq!((fresh.value.to_str().unwrap(), fresh.expires), ("Bearer ya29.x", 1_700_003_599_000));
        let asked = server.asked().remove(0);
        assert!(
            asked.contains("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=eyJ"),
            "{asked}"
        );
        std::fs::write(&path, written("authorized_user").to_string()).unwrap();
        let error = google.fetch(&Arc::default(), 0).await.err().unwrap().to_string();
        assert!(error.contains("authorized_user"), "{error}");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn without_a_key_file_the_metadata_server_is_asked() {
        let granted = r#"{"access_token":"ya29.m","expires_in":10,"token_type":"Bearer"}"#;
        let path = "/computeMetadata/v1/instance/service-accounts/default/token?scopes=a+b";
        let server = Server::start(&[(path, 200, granted)]).await;
        let config = GoogleConfig { key_file: None, scope: Some("a b".to_owned()), metadata: server.url.clone() };
        let fresh = Google::of(config).fetch(&Arc::default(), 0).await.unwrap();
        assert_eq!((fresh.value.to_str().unwrap(), fresh.expires), ("Bearer ya29.m", 10_000));
        assert!(server.asked()[0].contains("metadata-flavor: Google"));
    }
}
