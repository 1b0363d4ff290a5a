//! The one place where an upstream path is made: invariant 1. A plugin gives values for the parameters of templates it declared;
//! each becomes one percent-encoded segment, or part of one, and none can climb out of it.

use std::fmt::Write as _;

use thiserror::Error;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum TargetError {
    #[error("the path parameter `{0}` has no value")]
    Missing(String),
    #[error("the path parameter `{0}` is a dot segment, is empty, or holds a control character")]
    Refused(String),
    #[error("the query name `{0}` was not declared")]
    Query(String),
}

/// Fills a template like `/v1beta/models/{model}:generateContent` and appends declared query pairs.
///
/// # Errors
/// When a parameter has no value or one that could change the path's shape, or a query name was not declared.
pub fn build_path<'a>(
    base: &str,
    template: &str,
    value_of: impl Fn(&str) -> Option<&'a str>,
    query: impl IntoIterator<Item = (&'a str, &'a str)>,
    declared_query: &[String],
) -> Result<String, TargetError> {
    let mut path = String::with_capacity(base.len() + template.len() + 32);
    path.push_str(base);
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let (literal, parameter) = rest.split_at(open);
        path.push_str(literal);
        let Some(close) = parameter.find('}') else { return Err(TargetError::Missing(parameter.to_owned())) };
        let name = &parameter[1..close];
        let value = value_of(name).ok_or_else(|| TargetError::Missing(name.to_owned()))?;
        if value.is_empty() || value == "." || value == ".." || value.chars().any(char::is_control) {
            return Err(TargetError::Refused(name.to_owned()));
        }
        encode(value, &mut path);
        rest = &parameter[close + 1..];
    }
    path.push_str(rest);
    for (index, (name, value)) in query.into_iter().enumerate() {
        if !declared_query.iter().any(|declared| declared == name) {
            return Err(TargetError::Query(name.to_owned()));
        }
        path.push(if index == 0 { '?' } else { '&' });
        encode(name, &mut path);
        path.push('=');
        encode(value, &mut path);
    }
    Ok(path)
}

/// Everything but RFC 3986's unreserved characters, so that no `/`, `?`, `#` or `%` of a value keeps its meaning.
fn encode(value: &str, into: &mut String) {
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => into.push(char::from(byte)),
            other => {
                let _ = write!(into, "%{other:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(template: &str, model: &str) -> Result<String, TargetError> {
        build_path("/base", template, |name| (name == "model").then_some(model), [], &[])
    }

    #[test]
    fn a_value_stays_within_its_segment() {
        assert_eq!(fill("/models/{model}:generate", "gemini-2.5").unwrap(), "/base/models/gemini-2.5:generate");
        assert_eq!(fill("/models/{model}", "a/../b?c#d%2f").unwrap(), "/base/models/a%2F..%2Fb%3Fc%23d%252f");
    }

    #[test]
    fn dot_segments_and_controls_are_refused() {
        for value in ["", ".", "..", "a\nb", "a\0"] {
            assert_eq!(fill("/models/{model}", value), Err(TargetError::Refused("model".into())), "{value:?}");
        }
    }

    #[test]
    fn only_declared_query_names_pass() {
        let declared = ["alt".to_owned()];
        let path = build_path("", "/x", |_| None, [("alt", "s&e")], &declared).unwrap();
        assert_eq!(path, "/x?alt=s%26e");
        assert_eq!(build_path("", "/x", |_| None, [("key", "1")], &declared), Err(TargetError::Query("key".into())));
    }
}
