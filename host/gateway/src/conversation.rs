//! What a conversation needs, found by one walk over the places that its dialect declared: nothing is decoded for routing.

use portcullis_runtime::contract::manifest;
use portcullis_wire::json::{self, Condition, Pattern, PatternSet};

use crate::shared_objects::{self, SharedObjects};
use crate::text_map;

/// Bytes of the newest prompt that a router may read: what is asked stands at its beginning, and a router's search for keywords
/// costs 2.4 µs a KB.
const PROMPT_BYTES: usize = 2 << 10;

/// The places of a route's feature map, compiled.
pub struct ConversationMap {
    /// The needs' conditions, then the prompts.
    places: PatternSet,
    needs: Vec<(String, Condition)>,
    /// What is no matter of the model but of the account.
    pub shared: SharedObjects,
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    pub needs: Vec<String>,
    /// Texts of the prompt.
    pub texts: u32,
    /// The newest of them, cut to 2 KB; only where it was asked for.
    pub newest: Option<String>,
}

impl ConversationMap {
    /// # Errors
    /// What is malformed.
    pub fn compile(features: &manifest::FeatureMap) -> Result<Self, String> {
        let of_model = features.needs.iter().filter(|need| need.capability != shared_objects::CAPABILITY);
        let needs = of_model.map(|need| Ok((need.capability.clone(), text_map::condition(&need.when)?)));
        let needs: Vec<(String, Condition)> = needs.collect::<Result<_, String>>()?;
        let prompts = features.prompts.iter().map(|text| Pattern::parse(text).map_err(|error| error.to_string()));
        let prompts: Vec<Pattern> = prompts.collect::<Result<_, String>>()?;
        let places = PatternSet::new(needs.iter().map(|(_, when)| &when.at).chain(&prompts));
        Ok(ConversationMap { places, needs, shared: SharedObjects::compile(features)? })
    }

    pub fn needs(&self) -> &[(String, Condition)] {
        &self.needs
    }

    /// Reads a request's body.
    pub fn read(&self, body: &str, newest: bool) -> Conversation {
        let mut found = Conversation::default();
        let mut last = None;
        for (place, range) in self.places.select(body) {
            match self.needs.get(place) {
                Some((capability, when)) if !found.needs.contains(capability) && when.passes(&body[range.clone()]) => {
                    found.needs.push(capability.clone());
                }
                Some(_) => {}
                None if body[range.clone()].starts_with('"') => {
                    found.texts += 1;
                    last = Some(range);
                }
                None => {}
            }
        }
        if let (true, Some(range)) = (newest, last) {
            found.newest = Some(beginning(&body[range.start + 1..range.end - 1]));
        }
        found
    }
}

/// The first bytes of what a string says.
fn beginning(raw: &str) -> String {
    // No byte of a text takes more than six to write, and an escape cut in two stands past what is kept.
    let enough = raw.floor_char_boundary(6 * (PROMPT_BYTES + 8));
    let mut text = json::unescape(&raw[..enough]).into_owned();
    text.truncate(text.floor_char_boundary(PROMPT_BYTES));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_runtime::contract::types;

    fn map() -> ConversationMap {
        let need = |capability: &str, at: &str| manifest::Need {
            capability: capability.to_owned(),
            when: types::Condition { at: at.to_owned(), test: types::Test::Present },
        };
        ConversationMap::compile(&manifest::FeatureMap {
            tool_names: Vec::new(),
            needs: vec![need("vision", "/messages/*/content/*/image_url"), need("tools", "/tools/0")],
            prompts: vec!["/messages/*/content".to_owned(), "/messages/*/content/*/text".to_owned()],
        })
        .unwrap()
    }

    #[test]
    fn one_walk_finds_needs_and_the_newest_prompt() {
        let body =
            r#"{"messages":[{"content":"one"},{"content":[{"text":"two\n"},{"image_url":{"url":"x"}}]}],"tools":[]}"#;
        let found = map().read(body, true);
        assert_eq!(found.needs, ["vision"]);
        assert_eq!((found.texts, found.newest.as_deref()), (2, Some("two\n")));
        assert_eq!(map().read(body, false).newest, None);
    }

    #[test]
    fn a_long_prompt_is_cut_between_characters() {
        let body = format!(r#"{{"messages":[{{"content":"{}"}}]}}"#, "ä".repeat(3000));
        let newest = map().read(&body, true).newest.unwrap();
        assert_eq!(newest.len(), PROMPT_BYTES);
    }

    #[test]
    fn however_a_long_prompt_is_written_its_beginning_is_the_same() {
        let written = [r"\u0041", r"\ud83d\ude00", r"\u00e4", r"\n", "ä", "a"];
        for (one, other) in written.iter().flat_map(|one| written.iter().map(move |other| (one, other))) {
            for lead in 0..7 {
                let raw = ["a".repeat(lead), format!("{one}{other}").repeat(9000)].concat();
                let whole = json::unescape(&raw);
                assert_eq!(beginning(&raw), whole[..whole.floor_char_boundary(PROMPT_BYTES)], "{one}{other} {lead}");
            }
        }
    }
}
