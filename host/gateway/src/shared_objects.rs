//! What a request names that the provider keeps for its whole account: files, containers, conversations, stored prompts. The provider
//! knows one account and keeps no tenant apart, so that such names reach it only where the operator opened the account
//! (invariant 11).
//!
//! A dialect says where the names stand, as needs of the capability [`CAPABILITY`]. A value there is a name where it is a string, or
//! an object that has an `id` and says neither by `type` nor by `role` what it is; with `equals`, where it is that value.
//!
//! Invariant: no spelling of a body hides a name. Where few names of members are enough to tell, the bytes are looked through for them
//! before the body is walked, and for the escapes by which their letters can be written.

use memchr::memmem::Finder;
use portcullis_runtime::contract::{manifest, types};
use portcullis_wire::json::{Condition, PatternSet, Test, TopLevel};

use crate::text_map;

/// The capability of connections with `shared_objects`, and of no other.
pub const CAPABILITY: &str = "shared-objects";

/// How every escape of a letter, a digit or a sign begins, but for that of the slash.
const ESCAPE: &str = r"\u00";

/// Up to so many names are searched for by themselves: each search takes 1.1 µs for 100 KB, the walk 4.7.
const MOST_NEEDLES: usize = 3;

/// Where a route's requests name such objects, compiled.
pub struct SharedObjects {
    /// One of these is in the bytes of every body that names one; absent where that takes a walk to tell.
    needles: Option<Vec<Finder<'static>>>,
    places: PatternSet,
    names: Vec<Place>,
}

struct Place {
    when: Condition,
    /// For the client: `input[].file_id`.
    shown: String,
}

impl SharedObjects {
    /// # Errors
    /// What is malformed.
    pub fn compile(features: &manifest::FeatureMap) -> Result<Self, String> {
        let mut needles: Vec<String> = Vec::new();
        let mut names = Vec::new();
        for need in features.needs.iter().filter(|need| need.capability == CAPABILITY) {
            names.push(Place { when: text_map::condition(&need.when)?, shown: shown(&need.when.at) });
            needles.push(needle(&need.when));
        }
        needles.sort_unstable();
        needles.dedup();
        let telling = needles.len() <= MOST_NEEDLES && needles.iter().all(|needle| !needle.contains(['{', '/']));
        let finder = |needle: &str| Finder::new(needle).into_owned();
        let needles = telling.then(|| needles.iter().map(String::as_str).chain([ESCAPE]).map(finder).collect());
        let places = PatternSet::new(names.iter().map(|place: &Place| &place.when.at));
        Ok(SharedObjects { needles, places, names })
    }

    /// Where a body names an object of the account, if it does.
    pub fn named(&self, body: &str) -> Option<&str> {
        let may_be = |needle: &Finder<'_>| needle.find(body.as_bytes()).is_some();
        if self.names.is_empty() || self.needles.as_ref().is_some_and(|needles| !needles.iter().any(may_be)) {
            return None;
        }
        let found = self.places.select(body).into_iter();
        let mut named = found.filter_map(|(place, range)| Some((self.names.get(place)?, &body[range])));
        named.find(|(place, value)| place.names(value)).map(|(place, _)| place.shown.as_str())
    }
}

impl Place {
    fn names(&self, value: &str) -> bool {
        if self.when.test != Test::Present {
            return self.when.passes(value);
        }
        if value.starts_with('"') {
            return true;
        }
        if !value.starts_with('{') {
            return false;
        }
        // Of a member that stands twice nobody knows which one counts.
        let Ok(members) = TopLevel::scan(value) else { return true };
        let says = |name: &str| members.get(name).is_some_and(|range| &value[range] != "null");
        says("id") && !says("type") && !says("role")
    }
}

/// Bytes that stand in every body with a name there, unless it has escapes.
fn needle(when: &types::Condition) -> String {
    let at = match &when.test {
        types::Test::Equals(text) | types::Test::StartsWith(text) => return text.clone(),
        types::Test::Present => &when.at,
    };
    let segments = at.split('/').skip(1);
    // Whether a number is a name or a place in a list depends on the body.
    let names = segments.filter(|segment| *segment != "*" && !segment.bytes().all(|byte| byte.is_ascii_digit()));
    match names.last() {
        Some(name) if !name.contains('~') => format!("\"{name}\""),
        _ => "{".to_owned(),
    }
}

fn shown(at: &str) -> String {
    at.trim_start_matches('/').replace("/*", "[]").replace('/', ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(places: &[(&str, Option<&str>)]) -> SharedObjects {
        let need = |&(at, equals): &(&str, Option<&str>)| manifest::Need {
            capability: CAPABILITY.to_owned(),
            when: types::Condition {
                at: at.to_owned(),
                test: equals.map_or(types::Test::Present, |json| types::Test::Equals(json.to_owned())),
            },
        };
        let other = manifest::Need {
            capability: "vision".to_owned(),
            when: types::Condition { at: "/image".to_owned(), test: types::Test::Present },
        };
        let needs = places.iter().map(need).chain([other]).collect();
        SharedObjects::compile(&manifest::FeatureMap { tool_names: Vec::new(), needs, prompts: Vec::new() }).unwrap()
    }

    fn responses() -> SharedObjects {
        objects(&[
            ("/conversation", None),
            ("/input/*", None),
            ("/input/*/type", Some(r#""item_reference""#)),
            ("/input/*/content/*/file_id", None),
            ("/tools/*/container", None),
            ("/tools/*/vector_store_ids/*", None),
            ("/tools/*/store", Some(r#""stores/1""#)),
        ])
    }

    #[test]
    fn a_name_is_a_string_or_an_object_that_is_nothing_else() {
        let objects = responses();
        for (body, at) in [
            (r#"{"conversation":"conv_1"}"#, "conversation"),
            (r#"{"conversation":{"id":"conv_1"}}"#, "conversation"),
            (r#"{"input":[{"type":"message","content":[]},{"id":"msg_1"}]}"#, "input[]"),
            (r#"{"input":[{"id":"msg_1","type":null}]}"#, "input[]"),
            (r#"{"input":[{"id":"msg_1","type":"item_reference"}]}"#, "input[].type"),
            (r#"{"input":[{"content":[{"type":"input_file", "file_id" : "file-1"}]}]}"#, "input[].content[].file_id"),
            (r#"{"tools":[{"container":"cntr_1"}]}"#, "tools[].container"),
            (r#"{"tools":[{"vector_store_ids":["vs_1"]}]}"#, "tools[].vector_store_ids[]"),
        ] {
            assert_eq!(objects.named(body), Some(at), "{body}");
        }
        for body in [
            "{}",
            r#"{"conversation":null}"#,
            r#"{"conversation":{}}"#,
            r#"{"input":"a file_id, \"conversation\":\"x\", item_reference"}"#,
            r#"{"input":[{"role":"user","content":"\"file_id\""},{"id":"msg_1","type":"message"}]}"#,
            r#"{"input":[{"id":"msg_1","role":"assistant","content":[{"file_id":null}]}]}"#,
            r#"{"tools":[{"container":{"type":"auto"},"vector_store_ids":[]}]}"#,
        ] {
            assert_eq!(objects.named(body), None, "{body}");
        }
    }

    #[test]
    fn however_it_is_written_it_is_found() {
        let objects = responses();
        for body in [
            r#"{"\u0063onversation":"conv_1"}"#,
            r#"{"input":[{"type":"item\u005freference"}]}"#,
            r#"{"input":[{"i\u0064":"msg_1"}]}"#,
            r#"{"input":[{"content":[{"file\u005Fid":"f"}]}]}"#,
            r#"{"input":[{"id":"a","type":"message","type":"item_reference"}]}"#,
            r#"{"tools":[{"container":{"type":"auto"},"container":"cntr_1"}]}"#,
            r#"{"tools":[{"store":"stores\/1"}]}"#,
        ] {
            assert!(objects.named(body).is_some(), "{body}");
        }
    }

    #[test]
    fn routes_without_such_places_look_for_nothing() {
        assert!(objects(&[]).names.is_empty());
        assert_eq!(objects(&[]).named(r#"{"conversation":"c"}"#), None);
    }
}
