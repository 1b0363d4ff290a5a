//! What can be wrong with a configuration, said so that it can be mended.

use std::path::PathBuf;

use thiserror::Error;

#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("{}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{place}: {message}")]
    Invalid { place: String, message: String },
    #[error("{place} refers to the environment variable {variable}, which is not set")]
    Unset { place: String, variable: String },
}

impl ConfigError {
    pub(crate) fn invalid(place: impl Into<String>, message: impl Into<String>) -> Self {
        ConfigError::Invalid { place: place.into(), message: message.into() }
    }

    /// Adds the line and, for a misspelt key, the nearest one that exists.
    pub(super) fn from_toml(name: &str, text: &str, error: &toml::de::Error) -> Self {
        let place = match error.span() {
            Some(span) => format!("{name}:{}", text[..span.start.min(text.len())].matches('\n').count() + 1),
            None => name.to_owned(),
        };
        let message = error.message().to_owned();
        let key = error.span().and_then(|span| key_on_line(text, span.start));
        let place = match key {
            Some(key) => format!("{place}: {key}"),
            None => place,
        };
        let message = match suggestion(&message) {
            Some(nearest) => format!("{message}; did you mean `{nearest}`?"),
            None => message,
        };
        ConfigError::Invalid { place, message }
    }

    /// The same for JSON.
    pub(super) fn from_json(name: &str, error: &serde_json::Error) -> Self {
        let message = error.to_string();
        // serde_json ends with where; the place says it already.
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
        let message = match suggestion(message) {
            Some(nearest) => format!("{message}; did you mean `{nearest}`?"),
            None => message.to_owned(),
        };
        ConfigError::Invalid { place: format!("{name}:{}", error.line()), message }
    }
}

/// The key of the line that an error is on; never its value, which may be a secret.
fn key_on_line(text: &str, at: usize) -> Option<&str> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
    let (key, _) = text[start..].lines().next()?.split_once('=')?;
    Some(key.trim())
}

/// serde says "unknown field `x`, expected one of `a`, `b`": the nearest of those, if any is near.
fn suggestion(message: &str) -> Option<String> {
    let mut quoted = message.strip_prefix("unknown ")?.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    quoted
        .map(|known| (strsim::damerau_levenshtein(unknown, known), known))
        .filter(|&(distance, known)| distance <= 1 + known.len() / 4)
        .min()
        .map(|(_, known)| known.to_owned())
}
