//! Claude on Google Cloud (Vertex AI, now Agent Platform): Anthropic Messages behind `rawPredict` and `streamRawPredict`
//! (<https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai>). Whatever the model says is as with Anthropic; this
//! plugin is what differs: [`GOOGLE_CLOUD`], the addresses (`manifest`) and the names of models (`catalogue`).
//!
//! The connection's base URL ends in `/publishers/anthropic`, and its authentication is Google's.

mod catalogue;
mod manifest;

use portcullis_anthropic_messages::platform::Platform;
use portcullis_anthropic_messages::provider::{error, meter, request, response, stream};
use portcullis_plugin::prelude::*;

use crate::manifest::{CHAT, COUNT, STREAM};

/// What Google Cloud has not, by Anthropic's documentation of each: uploaded files ("Files API"), containers and code execution
/// ("Platform availability"), the MCP connector ("Limitations"), searching with dynamic filtering ("Web search tool"), the place of
/// inference ("Data residency"), the fast mode and fallbacks on Anthropic's side; fetching pages by the tools that `@ai-sdk/google-vertex`
/// lists. `anthropic_version` is this plugin's to write.
pub const GOOGLE_CLOUD: Platform = Platform {
    name: "Google Cloud",
    version: Some("vertex-2023-10-16"),
    files: false,
    refused: &["anthropic_version", "container", "fallbacks", "inference_geo", "mcp_servers", "speed"],
    refused_tools: &["code_execution_", "mcp_toolset", "web_fetch_", "web_search_2026"],
};

/// The plugin. It has nothing to configure.
#[derive(Debug)]
pub struct AnthropicVertex;

impl Plugin for AnthropicVertex {
    type Config = NoConfig;

    fn manifest() -> Manifest {
        manifest::manifest()
    }

    fn configure(_: NoConfig) -> Result<Self, String> {
        Ok(AnthropicVertex)
    }
}

impl Provider for AnthropicVertex {
    type State = stream::State;

    fn encode_request(&self, _: &Context, target: &Target, request: Request) -> Result<UpstreamRequest, Failure> {
        let (body, notes) = request::encode(&GOOGLE_CLOUD, target, &request)?;
        let endpoint = if target.stream { STREAM } else { CHAT };
        let path = vec![Pair::new("model", catalogue::name(&target.model).as_ref())];
        Ok(UpstreamRequest { path, ..UpstreamRequest::new(endpoint, body, notes) })
    }

    fn decode_response(&self, _: &Context, _: &AnswerHead, body: &str) -> Result<DecodedResponse, Failure> {
        Ok(DecodedResponse { response: response::decode(body)?, notes: Vec::new() })
    }

    fn decode_frames(
        &self,
        _: &Context,
        _endpoint: &str,
        state: &mut stream::State,
        frames: Vec<Frame>,
        last: bool,
    ) -> Result<Vec<Event>, Failure> {
        stream::decode(state, &frames, last)
    }

    fn decode_error(&self, _: &Context, head: &AnswerHead, body: &str) -> Failure {
        error::decode(head, body)
    }

    fn meter(
        &self,
        _: &Context,
        endpoint: &str,
        metered: &mut Metered,
        frames: &[Frame],
        last: bool,
    ) -> Result<(), Failure> {
        if endpoint == COUNT {
            return Ok(());
        }
        meter::read(metered, frames, last)
    }
}

portcullis_plugin::export!(AnthropicVertex: provider);
portcullis_plugin::golden_vectors!(AnthropicVertex: provider);
