//! Where the API is offered, as far as requests differ by it. What a platform has not is refused or left out with a note, also where the
//! client spoke this very format.

use portcullis_plugin::ir::{Content, Failure, Media, Part, Request, ResultContent, Source};

use crate::provider::request::unsupported;

/// A platform's differences.
#[derive(Debug, Clone, Copy)]
pub struct Platform {
    /// For messages to clients.
    pub name: &'static str,
    /// `anthropic_version`, where it stands in the body. The model then stands in the path, and a body that names it is refused.
    pub version: Option<&'static str>,
    /// Whether there are uploaded files to refer to.
    pub files: bool,
    /// Members of a request that it has not.
    pub refused: &'static [&'static str],
    /// What the types of tools begin with that it has not.
    pub refused_tools: &'static [&'static str],
}

/// Anthropic's own API.
pub const ANTHROPIC: Platform =
    Platform { name: "Anthropic", version: None, files: true, refused: &[], refused_tools: &[] };

impl Platform {
    pub fn refuses(&self, member: &str) -> bool {
        self.refused.contains(&member)
    }

    pub fn refuses_tool(&self, kind: &str) -> bool {
        self.refused_tools.iter().any(|begins| kind.starts_with(begins))
    }

    /// # Errors
    /// A part lies in an uploaded file and the platform has none: without the part the question would be another.
    pub fn check(&self, request: &Request) -> Result<(), Failure> {
        if self.files || !request.messages.iter().flat_map(|message| &message.parts).any(names_file) {
            return Ok(());
        }
        let message = format!("{} has no uploaded files: send it inline or by URL", self.name);
        Err(unsupported("messages", &message))
    }
}

fn names_file(part: &Part) -> bool {
    let is_file = |media: &Media| matches!(media.source, Source::File(_));
    match &part.content {
        Content::Image(media) | Content::Document(media) => is_file(media),
        Content::ToolResult(result) => result.parts.iter().any(|part| match &part.content {
            ResultContent::Image(media) | ResultContent::Document(media) => is_file(media),
            _ => false,
        }),
        _ => false,
    }
}
