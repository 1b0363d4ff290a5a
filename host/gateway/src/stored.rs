//! Connections from the database, as the catalogue takes them. What an organisation may say of its own connection is less than what
//! the operator's file may: nothing in it refers to this machine's environment, files or identity, so that nobody can have the
//! gateway send away what is the operator's.

use portcullis_core::{ConnectionId, OrganisationId};
use portcullis_store::{ConnectionRecord, ConnectionSecret};
use serde_json::{Map, Value};

use crate::config::{AuthScheme, ConnectionsConfig, Environment, ProviderConfig, check_url};

/// One of them, with its credential.
#[derive(Debug, Clone)]
pub struct StoredProvider {
    pub id: ConnectionId,
    /// Who alone may use it; `None` for everybody.
    pub organisation: Option<OrganisationId>,
    /// What models are asked for by.
    pub provider: String,
    pub weight: u32,
    pub(crate) config: ProviderConfig,
}

/// This machine's environment is not for whoever writes to the database.
struct Nothing;

impl Environment for Nothing {
    fn get(&self, _: &str) -> Option<String> {
        None
    }
}

impl StoredProvider {
    /// # Errors
    /// A sentence that holds nothing of the credential.
    pub fn of(record: &ConnectionRecord, secret: &ConnectionSecret) -> Result<Self, String> {
        let plain = |settings: Map<String, Value>| {
            serde_json::from_value::<ProviderConfig>(Value::Object(settings)).map_err(|error| error.to_string())
        };
        let auth = plain(record.settings.clone())?.auth;
        let mut settings = record.settings.clone();
        let object = |members: &[&str]| -> Result<Value, String> {
            // What serde says of a malformed document quotes it.
            let Ok(Value::Object(object)) = serde_json::from_str(secret.expose()) else {
                return Err(format!("the credential is a JSON object with {}", members.join(", ")));
            };
            for member in members {
                let there =
                    object.get(*member).is_some_and(|value| value.as_str().is_some_and(|text| !text.is_empty()));
                if !there {
                    return Err(format!("the credential has no `{member}`"));
                }
            }
            Ok(Value::Object(object))
        };
        match auth {
            AuthScheme::Bearer | AuthScheme::Header(_) | AuthScheme::Query(_) => {
                if !secret.expose().is_empty() {
                    settings.insert("api_key".to_owned(), Value::from(secret.expose()));
                }
            }
            AuthScheme::AwsSigv4 => {
                settings.insert("aws".to_owned(), object(&["access_key_id", "secret_access_key"])?);
            }
            AuthScheme::AzureEntra => {
                let object = object(&["tenant", "client_id", "client_secret"])?;
                if object.get("authority").is_some() && record.organisation.is_some() {
                    return Err("`authority` is for connections that are everybody's".to_owned());
                }
                settings.insert("entra".to_owned(), object);
            }
            AuthScheme::GoogleServiceAccount => {
                return Err("`google-service-account` is for connections of the operator's file".to_owned());
            }
        }
        let mut config = serde_json::from_value::<ProviderConfig>(Value::Object(settings))
            .map_err(|_| "the credential is not as this `auth` wants it".to_owned())?;
        config.resolve(&record.provider, &Nothing).map_err(|error| error.to_string())?;
        Ok(StoredProvider {
            id: record.id,
            organisation: record.organisation,
            provider: record.provider.clone(),
            weight: record.weight,
            config,
        })
    }

    /// One of the operator's file, as if it were kept.
    pub fn of_file(name: &str, config: &ProviderConfig) -> Self {
        StoredProvider {
            id: ConnectionId::from_bytes([0; 16]),
            organisation: None,
            provider: name.to_owned(),
            weight: 1,
            config: config.clone(),
        }
    }

    /// Whether it may lead where it leads.
    ///
    /// # Errors
    /// A sentence.
    pub fn check(&self, rules: &ConnectionsConfig) -> Result<(), String> {
        if self.organisation.is_none() {
            return Ok(());
        }
        let host = check_url("base_url", &self.config.base_url, false).map_err(|error| error.to_string())?;
        if !rules.allows_host(&host) {
            return Err(format!("an organisation's own connection may not lead to `{host}`: see [connections] hosts"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(organisation: Option<OrganisationId>, settings: Value) -> ConnectionRecord {
        ConnectionRecord {
            id: ConnectionId::from_bytes([1; 16]),
            organisation,
            name: "main".into(),
            provider: "openai".into(),
            settings: settings.as_object().unwrap().clone(),
            weight: 1,
            suspended_ms: None,
            created_ms: 0,
            rotated_ms: None,
            master: String::new(),
        }
    }

    fn of(settings: Value, secret: &str) -> Result<StoredProvider, String> {
        StoredProvider::of(&record(None, settings), &ConnectionSecret::new(secret))
    }

    #[test]
    fn the_credential_stands_where_its_scheme_wants_it() {
        let base = json!({"plugin": "openai", "base_url": "https://api.openai.com/v1"});
        let stored = of(base.clone(), "sk-1").unwrap();
        assert_eq!(stored.config.api_key.as_ref().unwrap().expose(), "sk-1");
        assert!(!format!("{stored:?}").contains("sk-1"));
        let mut aws = json!({"plugin": "bedrock", "base_url": "https://bedrock-runtime.us-east-1.amazonaws.com"});
        aws["auth"] = "aws-sigv4".into();
        let stored = of(aws.clone(), r#"{"access_key_id": "AK", "secret_access_key": "s3"}"#).unwrap();
        assert_eq!(stored.config.aws.unwrap().secret_access_key.unwrap().expose(), "s3");
        for bad in ["sk-1", "{}", r#"{"access_key_id": "AK"}"#, r#"{"access_key_id": "AK", "secret_access_key": ""}"#] {
            let error = of(aws.clone(), bad).unwrap_err();
            assert!(!error.contains("AK") && !error.contains("sk-1"), "{error}");
        }
    }

    /// Else whoever keeps a connection could have the operator's own keys sent to a server of theirs.
    #[test]
    fn nothing_of_this_machine_s_is_to_be_had() {
        let base = json!({"plugin": "openai", "base_url": "https://api.openai.com/v1"});
        let error = of(base.clone(), "${PATH}").unwrap_err();
        assert!(error.contains("not set"), "{error}");
        let mut google = base.clone();
        google["auth"] = "google-service-account".into();
        assert!(of(google, "{}").is_err());
        let mut aws = base.clone();
        aws["auth"] = "aws-sigv4".into();
        let profile =
            r#"{"access_key_id": "AK", "secret_access_key": "s", "profile": "default", "region": "us-east-1"}"#;
        assert!(of(aws, profile).is_err());
        let mut unknown = base;
        unknown["key_file"] = "/etc/passwd".into();
        assert!(of(unknown, "sk-1").is_err());
    }

    #[test]
    fn an_organisation_s_own_leads_to_known_hosts() {
        let rules = ConnectionsConfig::default();
        let leads = |url: &str, organisation| {
            let settings = json!({"plugin": "openai", "base_url": url, "allow_http": true});
            let stored = StoredProvider::of(&record(organisation, settings), &ConnectionSecret::new("sk-1"));
            stored.and_then(|stored| stored.check(&rules)).is_ok()
        };
        let own = Some(OrganisationId::DEFAULT);
        assert!(leads("https://api.openai.com/v1", own) && leads("https://x.openai.azure.com/openai/v1", own));
        for elsewhere in
            ["https://evil.example", "http://169.254.169.254", "http://127.0.0.1:1", "http://api.openai.com"]
        {
            assert!(!leads(elsewhere, own), "{elsewhere}");
            assert!(leads(elsewhere, None), "{elsewhere}");
        }
    }
}
