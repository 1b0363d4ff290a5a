//! `[telemetry]`

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ConfigError, Environment, Secret, check_url};

/// Traces. What was said is never in them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// Where spans are sent, by OTLP over HTTP: `http://127.0.0.1:4318`; `/v1/traces` is put after it where it is not there. Absent,
    /// the default, for no traces. Read at start only.
    pub endpoint: Option<String>,
    /// Headers that the receiver wants, values as references to the environment: `authorization = "${OTLP_TOKEN}"`. Read at start
    /// only.
    pub headers: BTreeMap<String, Secret>,
    /// `service.name` of the spans. Default `portcullis`. Read at start only.
    pub service: String,
    /// Share of requests that are traced, 0 to 1, where the client does not decide it. Default 1.
    pub sample: f64,
    /// Whether a client's `traceparent` is gone on from, and whether it is traced is then the client's choice. Default true.
    pub from_clients: bool,
    /// Whether providers are told the trace. Default false: it names nothing, but it lets them tell which requests belong together.
    pub to_providers: bool,
    /// Permits plain `http://` to an address that is not loopback. Default false.
    pub allow_http: bool,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        TelemetryConfig {
            endpoint: None,
            headers: BTreeMap::new(),
            service: "portcullis".to_owned(),
            sample: 1.0,
            from_clients: true,
            to_providers: false,
            allow_http: false,
        }
    }
}

impl TelemetryConfig {
    pub(crate) fn resolve(&mut self, environment: &dyn Environment) -> Result<(), ConfigError> {
        if let Some(endpoint) = &self.endpoint {
            check_url("telemetry.endpoint", endpoint, self.allow_http)?;
        }
        if !(0.0..=1.0).contains(&self.sample) {
            return Err(ConfigError::invalid("telemetry.sample", "is a share from 0 to 1"));
        }
        for (name, value) in &mut self.headers {
            let place = format!("telemetry.headers.{name}");
            if name.parse::<http::HeaderName>().is_err() {
                return Err(ConfigError::invalid(place, "is not a header's name"));
            }
            value.resolve(&place, environment)?;
        }
        Ok(())
    }
}
