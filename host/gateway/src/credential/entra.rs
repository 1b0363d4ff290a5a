//! Access tokens of a Microsoft Entra application by its client credentials
//! (<https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-client-creds-grant-flow>).

use std::sync::Arc;

use http::HeaderValue;

use super::CredentialError;
use super::cache::Fresh;
use super::fetch::Ask;
use crate::config::{EntraConfig, Secret};
use crate::upstream::Pool;

const AUTHORITY: &str = "https://login.microsoftonline.com";
/// What Azure OpenAI asks for (<https://learn.microsoft.com/en-us/azure/ai-foundry/openai/how-to/managed-identity>).
const SCOPE: &str = "https://cognitiveservices.azure.com/.default";
const ENDPOINT: &str = "Entra's token endpoint";

pub struct Entra {
    url: String,
    client_id: String,
    client_secret: Option<Secret>,
    scope: String,
}

impl Entra {
    pub fn of(config: EntraConfig) -> Self {
        let authority = config.authority.as_deref().unwrap_or(AUTHORITY).trim_end_matches('/');
        Entra {
            url: format!("{authority}/{}/oauth2/v2.0/token", config.tenant.unwrap_or_default()),
            client_id: config.client_id.unwrap_or_default(),
            client_secret: config.client_secret,
            scope: config.scope.unwrap_or_else(|| SCOPE.to_owned()),
        }
    }

    /// # Errors
    /// When no token is given.
    pub async fn fetch(&self, pool: &Arc<Pool>, now: u64) -> Result<Fresh<HeaderValue>, CredentialError> {
        let secret = self.client_secret.as_ref().map_or("", |secret| secret.expose());
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", &*self.client_id),
            ("client_secret", secret),
            ("scope", &*self.scope),
        ];
        Ask::form(ENDPOINT, &self.url, &fields).token(pool, now).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Server;
    use super::*;

    fn entra(authority: &str) -> Entra {
        Entra::of(EntraConfig {
            tenant: Some("my-tenant".to_owned()),
            client_id: Some("app".to_owned()),
            client_secret: Some(Secret::known("a&b=c".to_owned())),
            scope: None,
            authority: Some(authority.to_owned()),
        })
    }

    #[tokio::test]
    async fn a_token_is_asked_for_and_lives_as_said() {
        let granted = r#"{"token_type":"Bearer","expires_in":3599,"access_token":"eyJ0"}"#;
        let server = Server::start(&[("/my-tenant/oauth2/v2.0/token", 200, granted)]).await;
        let fresh = entra(&server.url).fetch(&Arc::default(), 1000).await.unwrap();
        assert_eq!((fresh.value.to_str().unwrap(), fresh.expires), ("Bearer eyJ0", 3_600_000));
        assert!(fresh.value.is_sensitive());
        let asked = server.asked().remove(0);
        let body = "grant_type=client_credentials&client_id=app&client_secret=a%26b%3Dc\
            &scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default";
        assert!(asked.starts_with("POST /my-tenant/oauth2/v2.0/token ") && asked.ends_with(body), "{asked}");
    }

    #[tokio::test]
    async fn a_refusal_is_told_by_its_codes() {
        let refused =
            r#"{"error":"invalid_client","error_description":"AADSTS7000215: a&b=c","error_codes":[7000215]}"#;
        let server = Server::start(&[("/", 401, refused)]).await;
        let error = entra(&server.url).fetch(&Arc::default(), 0).await.err().unwrap().to_string();
        assert!(
            error.contains("401") && error.contains("invalid_client 7000215") && !error.contains("a&b=c"),
            "{error}"
        );
    }
}
