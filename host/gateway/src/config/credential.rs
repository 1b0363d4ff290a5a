//! `[providers.NAME.aws]`, `.google` and `.entra`: where the credentials of a cloud come from.
//!
//! What the environment says is read once, with the file, so that nothing later depends on who changed it; what lies in files or
//! is asked of a metadata service is read when it is needed, since those are renewed.

use serde::Deserialize;

use super::{ConfigError, Environment, Secret};

/// For `auth = "aws-sigv4"`. All keys are optional: without any, credentials come from the environment, the profile's file, the
/// container's service or the instance's, whichever is there first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AwsConfig {
    /// An access key's id, with `secret_access_key`. References to the environment: `"${AWS_ACCESS_KEY_ID}"`.
    pub access_key_id: Option<Secret>,
    pub secret_access_key: Option<Secret>,
    /// For temporary keys.
    pub session_token: Option<Secret>,
    /// A profile of `~/.aws/credentials` or `~/.aws/config` that holds keys.
    pub profile: Option<String>,
    /// The region to sign for. Default: the one in the host's name, then the connection's `region`, then `AWS_REGION`.
    pub region: Option<String>,
    /// The service to sign for. Default `bedrock`.
    pub service: Option<String>,
    #[serde(skip)]
    pub found: AwsEnvironment,
}

/// What the environment says of AWS credentials
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AwsEnvironment {
    /// `AWS_PROFILE`.
    pub profile: Option<String>,
    /// `AWS_SHARED_CREDENTIALS_FILE`, or `~/.aws/credentials`.
    pub credentials_file: Option<String>,
    /// `AWS_CONFIG_FILE`, or `~/.aws/config`.
    pub config_file: Option<String>,
    /// `AWS_CONTAINER_CREDENTIALS_FULL_URI`, or the fixed address with `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`.
    pub container_uri: Option<String>,
    /// `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`.
    pub container_token_file: Option<String>,
    /// `AWS_CONTAINER_AUTHORIZATION_TOKEN`.
    pub container_token: Option<Secret>,
    /// `AWS_EC2_METADATA_SERVICE_ENDPOINT`; absent where `AWS_EC2_METADATA_DISABLED` is `true`.
    pub instance_endpoint: Option<String>,
}

/// The container credentials' fixed address (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>).
const CONTAINER: &str = "http://169.254.170.2";
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-imds-credentials.html>
const INSTANCE: &str = "http://169.254.169.254";

impl AwsConfig {
    /// `host` is the connection's; `region` what the connection says of itself.
    pub(super) fn resolve(
        &mut self,
        place: &dyn Fn(&str) -> String,
        host: &str,
        region: Option<&str>,
        environment: &dyn Environment,
    ) -> Result<(), ConfigError> {
        let given = [
            ("access_key_id", &mut self.access_key_id),
            ("secret_access_key", &mut self.secret_access_key),
            ("session_token", &mut self.session_token),
        ];
        for (key, secret) in given {
            if let Some(secret) = secret {
                secret.resolve(&place(&format!("aws.{key}")), environment)?;
            }
        }
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            return Err(ConfigError::invalid(place("aws"), "access_key_id and secret_access_key belong together"));
        }
        if self.session_token.is_some() && self.access_key_id.is_none() {
            return Err(ConfigError::invalid(place("aws.session_token"), "belongs to an access key"));
        }
        if self.access_key_id.is_some() && self.profile.is_some() {
            return Err(ConfigError::invalid(place("aws.profile"), "keys are given too; keep one of the two"));
        }
        if self.access_key_id.is_none() && self.profile.is_none() {
            let secret = |name: &str| environment.get(name).map(Secret::known);
            if let (Some(id), Some(key)) = (secret("AWS_ACCESS_KEY_ID"), secret("AWS_SECRET_ACCESS_KEY")) {
                self.access_key_id = Some(id);
                self.secret_access_key = Some(key);
                self.session_token = secret("AWS_SESSION_TOKEN");
            }
        }
        self.found = AwsEnvironment::read(environment);
        let region = self
            .region
            .take()
            .or_else(|| region_of(host))
            .or_else(|| region.map(str::to_owned))
            .or_else(|| environment.get("AWS_REGION"))
            .or_else(|| environment.get("AWS_DEFAULT_REGION"));
        self.region = Some(
            region.ok_or_else(|| ConfigError::invalid(place("aws.region"), "is needed: the host's name holds none"))?,
        );
        Ok(())
    }
}

impl AwsEnvironment {
    fn read(environment: &dyn Environment) -> Self {
        let get = |name: &str| environment.get(name);
        let home = get("HOME").or_else(|| get("USERPROFILE"));
        let at_home = |name: &str| home.as_ref().map(|home| format!("{home}/.aws/{name}"));
        let relative = get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").map(|path| format!("{CONTAINER}{path}"));
        let disabled = get("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let instance = get("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_else(|| INSTANCE.to_owned());
        AwsEnvironment {
            profile: get("AWS_PROFILE"),
            credentials_file: get("AWS_SHARED_CREDENTIALS_FILE").or_else(|| at_home("credentials")),
            config_file: get("AWS_CONFIG_FILE").or_else(|| at_home("config")),
            container_uri: relative.or_else(|| get("AWS_CONTAINER_CREDENTIALS_FULL_URI")),
            container_token_file: get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
            container_token: get("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(Secret::known),
            instance_endpoint: (!disabled).then_some(instance),
        }
    }
}

/// The region in an AWS host's name: `bedrock-runtime.eu-west-1.amazonaws.com`, `bedrock-runtime-fips.…`,
/// `vpce-….bedrock-runtime.eu-west-1.vpce.amazonaws.com`
/// (<https://docs.aws.amazon.com/general/latest/gr/bedrock.html>).
fn region_of(host: &str) -> Option<String> {
    let is_aws = host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn") || host.ends_with(".api.aws");
    let mut labels = host.split('.').skip_while(|label| !label.starts_with("bedrock"));
    labels.next()?;
    labels.next().filter(|label| is_aws && label.contains('-')).map(str::to_owned)
}

/// For `auth = "google-service-account"`. Without a key file, `GOOGLE_APPLICATION_CREDENTIALS` names it; without that, tokens come
/// from the metadata server (workload identity).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GoogleConfig {
    /// A service account's key file (JSON).
    pub key_file: Option<String>,
    /// Default `https://www.googleapis.com/auth/cloud-platform`.
    pub scope: Option<String>,
    /// The metadata server's address; by `GCE_METADATA_HOST` where that is set.
    #[serde(skip)]
    pub metadata: String,
}

impl GoogleConfig {
    pub(super) fn resolve(&mut self, environment: &dyn Environment) {
        self.key_file = self.key_file.take().or_else(|| environment.get("GOOGLE_APPLICATION_CREDENTIALS"));
        let host = environment.get("GCE_METADATA_HOST").unwrap_or_else(|| "metadata.google.internal".to_owned());
        self.metadata = format!("http://{host}");
    }
}

/// For `auth = "azure-entra"`: an application's client credentials. What is left out comes from `AZURE_TENANT_ID`,
/// `AZURE_CLIENT_ID` and `AZURE_CLIENT_SECRET`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EntraConfig {
    pub tenant: Option<String>,
    pub client_id: Option<String>,
    /// `"${AZURE_CLIENT_SECRET}"`
    pub client_secret: Option<Secret>,
    /// Default `https://cognitiveservices.azure.com/.default`.
    pub scope: Option<String>,
    /// Default `https://login.microsoftonline.com`; another for national clouds.
    pub authority: Option<String>,
}

impl EntraConfig {
    pub(super) fn resolve(
        &mut self,
        place: &dyn Fn(&str) -> String,
        environment: &dyn Environment,
    ) -> Result<(), ConfigError> {
        let missing = |key: &str, variable: &str| {
            ConfigError::invalid(place(&format!("entra.{key}")), format!("is needed, here or as {variable}"))
        };
        let tenant = self.tenant.take().or_else(|| environment.get("AZURE_TENANT_ID"));
        let tenant = tenant.ok_or_else(|| missing("tenant", "AZURE_TENANT_ID"))?;
        if !tenant.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')) {
            return Err(ConfigError::invalid(place("entra.tenant"), "is a tenant's id or domain"));
        }
        self.tenant = Some(tenant);
        let client = self.client_id.take().or_else(|| environment.get("AZURE_CLIENT_ID"));
        self.client_id = Some(client.ok_or_else(|| missing("client_id", "AZURE_CLIENT_ID"))?);
        match &mut self.client_secret {
            Some(secret) => secret.resolve(&place("entra.client_secret"), environment)?,
            none => {
                let found = environment.get("AZURE_CLIENT_SECRET").map(Secret::known);
                *none = Some(found.ok_or_else(|| missing("client_secret", "AZURE_CLIENT_SECRET"))?);
            }
        }
        if let Some(authority) = &self.authority {
            super::provider::check_url(&place("entra.authority"), authority, false)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn resolved(mut config: AwsConfig, host: &str, environment: &[(&str, &str)]) -> Result<AwsConfig, String> {
        let environment: HashMap<&str, &str> = environment.iter().copied().collect();
        let place = |key: &str| format!("providers.b.{key}");
        config.resolve(&place, host, None, &environment).map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn the_region_stands_in_the_hosts_name() {
        for (host, region) in [
            ("bedrock-runtime.eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", Some("us-gov-west-1")),
            ("vpce-0a.bedrock-runtime.us-east-1.vpce.amazonaws.com", Some("us-east-1")),
            ("bedrock-runtime.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("bedrock-runtime.us-east-1.api.aws", Some("us-east-1")),
            ("bedrock.example-proxy.com", None),
            ("localhost", None),
        ] {
            assert_eq!(region_of(host).as_deref(), region, "{host}");
        }
        let config = resolved(AwsConfig::default(), "localhost", &[("AWS_REGION", "ap-south-1")]).unwrap();
        assert_eq!(config.region.as_deref(), Some("ap-south-1"));
        assert!(resolved(AwsConfig::default(), "localhost", &[]).unwrap_err().contains("aws.region"));
    }

    #[test]
    fn the_environments_keys_count_where_the_file_has_none() {
        let environment = [
            ("AWS_ACCESS_KEY_ID", "AKID"),
            ("AWS_SECRET_ACCESS_KEY", "s3cret"),
            ("AWS_REGION", "us-east-1"),
            ("HOME", "/home/u"),
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x"),
        ];
        let config = resolved(AwsConfig::default(), "localhost", &environment).unwrap();
        assert_eq!(config.secret_access_key.as_ref().unwrap().expose(), "s3cret");
        assert!(!format!("{config:?}").contains("s3cret"));
        assert_eq!(config.found.container_uri.as_deref(), Some("http://169.254.170.2/v2/x"));
        assert_eq!(config.found.credentials_file.as_deref(), Some("/home/u/.aws/credentials"));
        let profile = AwsConfig { profile: Some("p".to_owned()), ..AwsConfig::default() };
        assert!(resolved(profile, "localhost", &environment).unwrap().access_key_id.is_none());
    }

    #[test]
    fn half_a_key_is_an_error() {
        let config: AwsConfig = toml::from_str("access_key_id = \"AKID\"").unwrap();
        assert!(resolved(config, "localhost", &[]).unwrap_err().contains("belong together"));
    }

    #[test]
    fn entra_takes_from_the_environment_what_is_not_said() {
        let place = |key: &str| key.to_owned();
        let environment =
            HashMap::from([("AZURE_TENANT_ID", "t-1"), ("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "s3cret")]);
        let mut config = EntraConfig::default();
        config.resolve(&place, &environment).unwrap();
        assert_eq!(config.client_secret.as_ref().unwrap().expose(), "s3cret");
        assert!(!format!("{config:?}").contains("s3cret"));
        let mut config = EntraConfig { tenant: Some("a/../b".to_owned()), ..EntraConfig::default() };
        assert!(config.resolve(&place, &environment).unwrap_err().to_string().contains("tenant"));
        let error = EntraConfig::default().resolve(&place, &HashMap::new()).unwrap_err().to_string();
        assert!(error.contains("AZURE_TENANT_ID"), "{error}");
    }
}
