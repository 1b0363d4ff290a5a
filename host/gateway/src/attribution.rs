//! Whom a request is for and what it is marked with, by its client's own word: for budgets, usage and receipts.
//!
//! A header says it for any protocol; where protocols have a place of their own for it, their routes name that in `extra`
//! (`user`, `tags`; see docs/plugins.md). A client can say what it likes here, so a key's own tags go before: nobody takes one off.

use std::borrow::Cow;

use http::HeaderMap;
use portcullis_runtime::contract::types;
use portcullis_wire::json::{self, Pointer, TopLevel};

const USER_HEADER: &str = "x-portcullis-user";
/// `name=value`, several by commas.
const TAGS_HEADER: &str = "x-portcullis-tags";

/// Bytes of a user's name or a tag's value; longer ones are nobody's.
const VALUE_BYTES: usize = 256;
const NAME_BYTES: usize = 64;
/// As many as OpenAI's `metadata` may have (<https://platform.openai.com/docs/api-reference/chat/create#chat-create-metadata>).
const TAGS: usize = 16;

/// Where a route's requests say it.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// The first that holds a text is taken.
    user: Vec<Pointer>,
    /// Objects whose texts are tags.
    tags: Vec<Pointer>,
}

/// What a request's body says of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attribution {
    pub user: Option<String>,
    pub tags: Vec<(String, String)>,
}

impl Places {
    /// From the `extra` of a route; fields of other names are for others.
    pub fn of(extra: &[types::Field]) -> Result<Self, String> {
        let mut places = Places::default();
        for field in extra {
            let list = match field.name.as_str() {
                "user" => &mut places.user,
                "tags" => &mut places.tags,
                _ => continue,
            };
            // A field's value is JSON.
            let pointer: String = serde_json::from_str(&field.value).map_err(|error| error.to_string())?;
            list.push(Pointer::parse(&pointer).map_err(|error| error.to_string())?);
        }
        Ok(places)
    }

    /// Reads a body's places by `find`, which gives the JSON that stands at one.
    pub fn read<'b>(&self, find: impl Fn(&Pointer) -> Option<&'b str>) -> Attribution {
        let user = self.user.iter().find_map(|at| user(&text(find(at)?)?));
        let mut tags = Vec::new();
        for object in self.tags.iter().filter_map(&find) {
            // What is no object has none.
            let Ok(members) = TopLevel::scan(object) else { continue };
            for member in members.members() {
                if let Some(value) = text(&object[member.value.clone()]) {
                    add(&mut tags, &member.name, &value);
                }
            }
        }
        Attribution { user, tags }
    }

    /// The form field that names the user.
    pub fn form_field(&self) -> Option<&str> {
        self.user.iter().find_map(|at| match at.segments() {
            [name] => Some(name.as_ref()),
            _ => None,
        })
    }
}

impl Attribution {
    /// Of a form's field.
    pub fn of_user(name: Option<&str>) -> Self {
        Attribution { user: name.and_then(user), tags: Vec::new() }
    }

    /// With what headers say, which goes before, and the key's own tags, which nobody changes.
    pub fn complete(self, headers: &HeaderMap, own: Vec<types::Pair>) -> (Option<String>, Vec<types::Pair>) {
        let word = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let user = word(USER_HEADER).and_then(user).or(self.user);
        let mut said = Vec::new();
        for pair in word(TAGS_HEADER).into_iter().flat_map(|value| value.split(',')) {
            if let Some((name, value)) = pair.split_once('=') {
                add(&mut said, name.trim(), value.trim());
            }
        }
        for (name, value) in &self.tags {
            add(&mut said, name, value);
        }
        let mut tags = own;
        for (name, value) in said {
            if !tags.iter().any(|tag| tag.name == name) {
                tags.push(types::Pair { name, value });
            }
        }
        (user, tags)
    }
}

fn text(json: &str) -> Option<Cow<'_, str>> {
    Some(json::unescape(json.strip_prefix('"')?.strip_suffix('"')?))
}

fn shown(text: &str, bytes: usize) -> bool {
    !text.is_empty() && text.len() <= bytes && !text.chars().any(char::is_control)
}

fn user(name: &str) -> Option<String> {
    shown(name, VALUE_BYTES).then(|| name.to_owned())
}

/// The first of a name stays.
fn add(tags: &mut Vec<(String, String)>, name: &str, value: &str) {
    let known = tags.iter().any(|(known, _)| known == name);
    if tags.len() < TAGS && !known && shown(name, NAME_BYTES) && shown(value, VALUE_BYTES) {
        tags.push((name.to_owned(), value.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        let field = |name: &str, at: &str| types::Field { name: name.to_owned(), value: format!("\"{at}\"") };
        Places::of(&[
            field("user", "/user"),
            field("user", "/metadata/user_id"),
            field("tags", "/metadata"),
            field("x", "-"),
        ])
        .unwrap()
    }

    fn read(body: &str) -> Attribution {
        places().read(|at| json::locate(body, at).map(|range| &body[range]))
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_body_says_who_and_what_for() {
        let said = read(r#"{"user": "ada\u0040x", "metadata": {"job": "nightly", "n": 7, "user_id": "u"}}"#);
        assert_eq!(said.user.as_deref(), Some("ada@x"));
        assert_eq!(said.tags, [("job".to_owned(), "nightly".to_owned()), ("user_id".to_owned(), "u".to_owned())]);
        assert_eq!(read(r#"{"user": 7, "metadata": {"user_id": "u"}}"#).user.as_deref(), Some("u"));
        assert_eq!(read(r#"{"metadata": null}"#), Attribution::default());
        let long = "x".repeat(VALUE_BYTES + 1);
        assert_eq!(
            read(&format!(r#"{{"user": "{long}", "metadata": {{"a": "{long}", "b": ""}}}}"#)),
            Attribution::default()
        );
        let many: Vec<String> = (0..40).map(|at| format!("\"k{at}\":\"v\"")).collect();
        assert_eq!(read(&format!(r#"{{"metadata": {{{}}}}}"#, many.join(","))).tags.len(), TAGS);
    }

    #[test]
    fn headers_go_before_bodies_and_a_key_s_tags_before_all() {
        let said = Attribution {
            user: Some("body".into()),
            tags: vec![("job".into(), "body".into()), ("team".into(), "b".into())],
        };
        let own = vec![types::Pair { name: "team".into(), value: "a".into() }];
        let (user, tags) = said.clone().complete(
            &headers(&[("x-portcullis-user", "head"), ("x-portcullis-tags", "job=head, team=evil,=x, plain, a = b ")]),
            own.clone(),
        );
        let tags: Vec<_> = tags.iter().map(|tag| (tag.name.as_str(), tag.value.as_str())).collect();
        assert_eq!((user.as_deref(), tags), (Some("head"), vec![("team", "a"), ("job", "head"), ("a", "b")]));
        let (user, tags) = said.complete(&HeaderMap::new(), own);
        assert_eq!((user.as_deref(), tags.len()), (Some("body"), 2));
    }
}
