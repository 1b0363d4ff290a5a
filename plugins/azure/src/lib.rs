//! Azure OpenAI (<https://learn.microsoft.com/azure/foundry/openai/api-version-lifecycle>), by either of its surfaces: `/openai/v1`, where the model
//! of a request is a deployment's name, and the older one, where the deployment stands in the path and the version in the query.
//!
//! Its streams begin with a chunk without id, model and kind, its filter may leave out a message, and errors come with status 200
//! (recordings), so that its chat is always translated.

use portcullis_openai_chat::compat::Compat;
use portcullis_openai_chat::endpoint::{self, Compatible};
use portcullis_openai_chat::provider;
use portcullis_plugin::Plugin;
use portcullis_plugin::manifest::{Endpoint, Manifest, ModelPlace, list};
use portcullis_plugin::prelude::{Context, Failure, Pair, Provider, Request, Target, UpstreamRequest};
use serde::Deserialize;

const FORMAT: &str = "azure-chat";
/// The endpoint of the older surface.
const DEPLOYMENT: &str = "deployment";

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `api-version` of the older surface: `2024-10-21`. The base URL then ends in `/openai`; without it, in `/openai/v1`.
    api_version: Option<String>,
}

pub struct Azure {
    compat: Compat,
    config: Config,
}

impl Plugin for Azure {
    type Config = Config;

    fn manifest() -> Manifest {
        let mut manifest = endpoint::Provider {
            name: "azure",
            version: env!("CARGO_PKG_VERSION"),
            summary: "Azure OpenAI: Chat Completions of deployments; by its v1 API embeddings, completions, images, audio, files and batches too",
            format: FORMAT,
            models: include_str!("models.json"),
            base_url: "https://RESOURCE.openai.azure.com/openai/v1",
            auth: "header:api-key",
            environment: "AZURE_OPENAI_API_KEY",
            operations: &["embeddings", "completions", "images", "audio", "files", "batches"],
        }
        .manifest();
        let headers = ["apim-request-id", "x-ms-region", "x-ms-deployment-name"];
        for endpoint in &mut manifest.endpoints {
            endpoint.answer_headers.extend(list(&headers));
        }
        let chat = manifest.endpoints[0].clone();
        manifest.endpoints.push(Endpoint {
            name: DEPLOYMENT.to_owned(),
            path: "/deployments/{deployment}/chat/completions".to_owned(),
            query: list(&["api-version"]),
            model: vec![ModelPlace::path("deployment")],
            ..chat
        });
        manifest
    }

    fn configure(config: Config) -> Result<Self, String> {
        if config.api_version.as_deref() == Some("") {
            return Err("api_version is empty: leave it out for the v1 API".to_owned());
        }
        Ok(Azure { compat: Compat::default(), config })
    }
}

impl Compatible for Azure {
    fn compat(&self) -> &Compat {
        &self.compat
    }
}

impl Provider for Azure {
    type State = provider::stream::State;

    fn encode_request(&self, _: &Context, target: &Target, request: Request) -> Result<UpstreamRequest, Failure> {
        let (body, notes) = provider::request::encode_for(&self.compat, target, &request)?;
        let Some(version) = &self.config.api_version else {
            return Ok(UpstreamRequest::new(endpoint::CHAT, body, notes));
        };
        Ok(UpstreamRequest {
            path: vec![Pair::new("deployment", target.model.as_str())],
            query: vec![Pair::new("api-version", version.as_str())],
            ..UpstreamRequest::new(DEPLOYMENT, body, notes)
        })
    }

    portcullis_openai_chat::__decode!();
}

portcullis_plugin::export!(Azure: provider);
portcullis_plugin::golden_vectors!(Azure: provider);
