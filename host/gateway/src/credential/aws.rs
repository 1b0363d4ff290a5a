//! Where AWS credentials come from, in the order of AWS's own SDKs: keys of the file or the environment, a profile, the container's
//! service, the instance's (<https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>). Roles that would have
//! to be assumed, and SSO, are not supported: an instance's or a container's role is the way to those.

use std::fmt;
use std::sync::Arc;

use http::{HeaderName, Method};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::cache::Fresh;
use super::fetch::Ask;
use super::{CredentialError, profile};
use crate::config::{AwsConfig, AwsEnvironment};
use crate::upstream::Pool;

/// How long a profile's keys are taken to hold: tools rewrite the file.
const FILE_MS: u64 = 300_000;
const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const TOKEN_TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
const CONTAINER: &str = "the container credentials service";
const INSTANCE: &str = "the instance metadata service";

/// An access key. No `Debug` shows its secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    pub id: String,
    pub secret: String,
    pub token: Option<String>,
}

impl Keys {
    pub fn new(id: &str, secret: &str, token: Option<&str>) -> Self {
        Keys { id: id.to_owned(), secret: secret.to_owned(), token: token.map(str::to_owned) }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Keys(…)")
    }
}

pub struct Sources {
    keys: Option<Keys>,
    profile: Option<String>,
    found: AwsEnvironment,
}

impl Sources {
    pub fn of(config: AwsConfig) -> Self {
        let keys = match (&config.access_key_id, &config.secret_access_key) {
            (Some(id), Some(secret)) => {
                Some(Keys::new(id.expose(), secret.expose(), config.session_token.as_ref().map(|token| token.expose())))
            }
            _ => None,
        };
        Sources { keys, profile: config.profile, found: config.found }
    }

    /// # Errors
    /// When no source has any, or the one that is there fails.
    pub async fn fetch(&self, pool: &Arc<Pool>, now: u64) -> Result<Fresh<Keys>, CredentialError> {
        if let Some(keys) = &self.keys {
            return Ok(Fresh { value: keys.clone(), expires: u64::MAX });
        }
        if let Some(keys) = self.profile().await? {
            return Ok(Fresh { value: keys, expires: now.saturating_add(FILE_MS) });
        }
        if let Some(uri) = &self.found.container_uri {
            return self.container(uri, pool).await;
        }
        if let Some(endpoint) = &self.found.instance_endpoint {
            return instance(endpoint.trim_end_matches('/'), pool).await;
        }
        Err(CredentialError::Absent(
            "no keys, no profile, no container, and the instance's service is disabled".to_owned(),
        ))
    }

    async fn profile(&self) -> Result<Option<Keys>, CredentialError> {
        async fn read(path: Option<&str>) -> Result<String, CredentialError> {
            let Some(path) = path else { return Ok(String::new()) };
            match tokio::fs::read_to_string(path).await {
                Ok(text) => Ok(text),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
                Err(error) => Err(CredentialError::unreadable(path, error)),
            }
        }
        let credentials = read(self.found.credentials_file.as_deref()).await?;
        let config = read(self.found.config_file.as_deref()).await?;
        let named = self.profile.as_deref().or(self.found.profile.as_deref());
        let keys = profile::keys(named.unwrap_or("default"), &credentials, &config)?;
        match (keys, &self.profile) {
            (None, Some(profile)) => Err(CredentialError::Absent(format!("there is no profile `{profile}` with keys"))),
            (keys, _) => Ok(keys),
        }
    }

    /// ECS and EKS Pod Identity (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>).
    async fn container(&self, uri: &str, pool: &Arc<Pool>) -> Result<Fresh<Keys>, CredentialError> {
        if !may_ask(uri) {
            return Err(CredentialError::unreadable(
                CONTAINER,
                "its address is neither https nor one of the machine's own",
            ));
        }
        let mut ask = Ask::get(CONTAINER, uri);
        if let Some(path) = &self.found.container_token_file {
            let token = tokio::fs::read_to_string(path).await;
            let token = token.map_err(|error| CredentialError::unreadable(path, error))?;
            ask = ask.with(http::header::AUTHORIZATION, token.trim());
        } else if let Some(token) = &self.found.container_token {
            ask = ask.with(http::header::AUTHORIZATION, token.expose());
        }
        ask.json::<Issued>(pool).await?.keys(CONTAINER)
    }
}

/// IMDSv2 (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html>): a session token first,
/// then the name of the role, then its credentials.
async fn instance(endpoint: &str, pool: &Arc<Pool>) -> Result<Fresh<Keys>, CredentialError> {
    const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
    let text = |bytes: bytes::Bytes| {
        String::from_utf8(bytes.into()).map_err(|_| CredentialError::unreadable(INSTANCE, "its answer is no text"))
    };
    let url = format!("{endpoint}/latest/api/token");
    let ask = Ask { method: Method::PUT, ..Ask::get(INSTANCE, &url) }.with(TOKEN_TTL, "300");
    let token = text(ask.text(pool).await?)?;
    let url = format!("{endpoint}{ROLES}");
    let roles = text(Ask::get(INSTANCE, &url).with(TOKEN, &token).text(pool).await?)?;
    let role = roles.lines().next().map(str::trim).filter(|role| !role.is_empty());
    let role = role.ok_or_else(|| CredentialError::Absent("the instance has no role".to_owned()))?;
    let url = format!("{endpoint}{ROLES}{role}");
    Ask::get(INSTANCE, &url).with(TOKEN, &token).json::<Issued>(pool).await?.keys(INSTANCE)
}

/// The token must not leave the machine in clear text: plain http only to loopback and to the addresses AWS names.
fn may_ask(uri: &str) -> bool {
    let Ok(uri) = uri.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    match uri.scheme_str() {
        Some("https") => true,
        Some("http") => {
            matches!(host, "localhost" | "169.254.170.2" | "169.254.170.23" | "fd00:ec2::23")
                || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        _ => false,
    }
}

/// What both services answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Issued {
    /// The instance's service says `Success`, or why not.
    code: Option<String>,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    token: Option<String>,
    expiration: Option<String>,
}

impl Issued {
    fn keys(self, what: &'static str) -> Result<Fresh<Keys>, CredentialError> {
        let absent =
            || CredentialError::Absent(format!("{what} gave no keys ({})", self.code.as_deref().unwrap_or("no code")));
        let (Some(id), Some(secret)) = (&self.access_key_id, &self.secret_access_key) else { return Err(absent()) };
        let expires = self.expiration.as_deref().and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok());
        let expires =
            expires.ok_or_else(|| CredentialError::unreadable(what, "it does not say when its keys expire"))?;
        let expires = u64::try_from(expires.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
        Ok(Fresh { value: Keys::new(id, secret, self.token.as_deref()), expires })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Server;
    use super::*;
    use crate::config::Secret;

    const ISSUED: &str = r#"{"Code":"Success","AccessKeyId":"ASIA1","SecretAccessKey":"s","Token":"t","Expiration":"2026-11-20T10:00:00Z"}"#;
    const EXPIRES: u64 = 1_795_168_800_000;

    fn sources(found: AwsEnvironment) -> Sources {
        Sources { keys: None, profile: None, found }
    }

    #[tokio::test]
    async fn a_containers_service_is_asked_with_its_token() {
        let server = Server::start(&[("/v2/creds", 200, ISSUED)]).await;
        let found = AwsEnvironment {
            container_uri: Some(format!("{}/v2/creds?a=b", server.url)),
            container_token: Some(Secret::known("let me".to_owned())),
            ..AwsEnvironment::default()
        };
        let fresh = sources(found).fetch(&Arc::default(), 0).await.unwrap();
        assert_eq!((fresh.value, fresh.expires), (Keys::new("ASIA1", "s", Some("t")), EXPIRES));
        let asked = server.asked();
        assert!(
            asked[0].starts_with("GET /v2/creds?a=b HTTP/1.1") && asked[0].contains("authorization: let me"),
            "{asked:?}"
        );
    }

    #[tokio::test]
    async fn an_instance_gives_its_roles_keys_by_a_session() {
        let answers = [
            ("/latest/api/token", 200, "SESSION"),
            ("/latest/meta-data/iam/security-credentials/my-role", 200, ISSUED),
            ("/latest/meta-data/iam/security-credentials/", 200, "my-role"),
        ];
        let server = Server::start(&answers).await;
        let found = AwsEnvironment { instance_endpoint: Some(server.url.clone()), ..AwsEnvironment::default() };
        let fresh = sources(found).fetch(&Arc::default(), 0).await.unwrap();
        assert_eq!(fresh.value.id, "ASIA1");
        let asked = server.asked();
        assert!(asked[0].starts_with("PUT ") && asked[0].contains("x-aws-ec2-metadata-token-ttl-seconds: 300"));
        assert!(asked[1..].iter().all(|request| request.contains("x-aws-ec2-metadata-token: SESSION")), "{asked:?}");
    }

    #[tokio::test]
    async fn failures_are_told_without_secrets() {
        let refused = r#"{"code":"AccessDenied","message":"token s3cret is wrong"}"#;
        let server = Server::start(&[("/", 403, refused)]).await;
        let found = AwsEnvironment { container_uri: Some(server.url.clone()), ..AwsEnvironment::default() };
        let error = sources(found).fetch(&Arc::default(), 0).await.err().unwrap().to_string();
        assert!(error.contains("403") && error.contains("AccessDenied") && !error.contains("s3cret"), "{error}");
        let failed = r#"{"Code":"AssumeRoleUnauthorizedAccess"}"#;
        let server = Server::start(&[("/", 200, failed)]).await;
        let found = AwsEnvironment { container_uri: Some(server.url.clone()), ..AwsEnvironment::default() };
        let error = sources(found).fetch(&Arc::default(), 0).await.err().unwrap().to_string();
        assert!(error.contains("AssumeRoleUnauthorizedAccess"), "{error}");
        let error = sources(AwsEnvironment::default()).fetch(&Arc::default(), 0).await.err().unwrap();
        assert!(matches!(error, CredentialError::Absent(_)), "{error}");
    }

    #[tokio::test]
    async fn a_profile_is_read_from_its_file() {
        let folder = std::env::temp_dir().join(format!("portcullis-aws-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("credentials");
        std::fs::write(&path, "[p]\naws_access_key_id = A\naws_secret_access_key = S\n").unwrap();
        let found = AwsEnvironment { credentials_file: Some(path.display().to_string()), ..AwsEnvironment::default() };
        let named = |profile: &str| Sources { profile: Some(profile.to_owned()), ..sources(found.clone()) };
        let fresh = named("p").fetch(&Arc::default(), 7).await.unwrap();
        assert_eq!((fresh.value, fresh.expires), (Keys::new("A", "S", None), 7 + FILE_MS));
        assert!(named("q").fetch(&Arc::default(), 7).await.err().unwrap().to_string().contains("`q`"));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn tokens_do_not_leave_the_machine_in_clear_text() {
        for (uri, may) in [
            ("http://169.254.170.2/v2", true),
            ("http://169.254.170.23/v1/credentials", true),
            ("http://[fd00:ec2::23]/v1/credentials", true),
            ("http://127.0.0.1:51679/x", true),
            ("https://creds.example.com/x", true),
            ("http://creds.example.com/x", false),
            ("http://169.254.169.254/x", false),
            ("ftp://127.0.0.1/x", false),
        ] {
            assert_eq!(may_ask(uri), may, "{uri}");
        }
    }
}
