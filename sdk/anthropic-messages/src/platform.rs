//! Where the API is offered, as far as requests differ by it. What a platform has not is left out with a note, also where the client spoke
//! this very format.

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
}
