//! Where a route's requests and answers say how a conversation goes on: `continuation` in `wit/describe.wit`, compiled, and what
//! the host does with it by splices and byte ranges. Nothing is decoded.

use std::borrow::Cow;
use std::ops::Range;

use portcullis_runtime::contract::manifest;
use portcullis_wire::json::{self, Condition, EditError, Edits, Pattern, Pointer};

use crate::text_map;

/// See `continuation` in the contract.
pub struct Continuation {
    pub previous: Pointer,
    input: Pointer,
    input_items: Pattern,
    store: Pointer,
    id: Pointer,
    output_items: Pattern,
    output: Pointer,
    ends: Vec<Condition>,
    within: Pointer,
}

/// What an answer says of itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Answered {
    pub name: String,
    /// Its items, with the commas between them.
    pub output: Range<u32>,
}

impl Continuation {
    /// # Errors
    /// What is malformed.
    pub fn compile(continuation: &manifest::Continuation) -> Result<Self, String> {
        let pointer = |text: &str| Pointer::parse(text).map_err(|error| error.to_string());
        let items = |list: &str| Pattern::parse(&format!("{list}/*")).map_err(|error| error.to_string());
        Ok(Continuation {
            previous: pointer(&continuation.previous)?,
            input: pointer(&continuation.input)?,
            input_items: items(&continuation.input)?,
            store: pointer(&continuation.store)?,
            id: pointer(&continuation.id)?,
            output_items: items(&continuation.output)?,
            output: pointer(&continuation.output)?,
            ends: continuation.ends.iter().map(text_map::condition).collect::<Result<_, _>>()?,
            within: pointer(&continuation.within)?,
        })
    }

    /// The name of the answer that a request goes on from.
    ///
    /// # Errors
    /// What stands there is no string.
    pub fn previous<'b>(&self, body: &'b str) -> Result<Option<Cow<'b, str>>, NotText> {
        match json::locate(body, &self.previous).map(|range| &body[range]) {
            None | Some("null") => Ok(None),
            Some(value) => text(value).map(Some).ok_or(NotText),
        }
    }

    /// Whether a request lets its turn be kept.
    pub fn may_keep(&self, body: &str) -> bool {
        !self.says_false(body)
    }

    fn says_false(&self, body: &str) -> bool {
        json::locate(body, &self.store).is_some_and(|range| &body[range] == "false")
    }

    /// Whether a request asks in so many words for its turn to be kept.
    pub fn must_keep(&self, body: &str) -> bool {
        json::locate(body, &self.store).is_some_and(|range| &body[range] == "true")
    }

    /// The request without the name of another, with those items before its own, and such that no provider keeps it: what one
    /// tenant stored in the account that all share, another could name. `None` where it is so already.
    ///
    /// # Errors
    /// The body has no place for them.
    pub fn detached(&self, body: &str, before: &str) -> Result<Option<String>, EditError> {
        let mut edits = Edits::new();
        if json::locate(body, &self.previous).is_some() {
            edits.remove(body, &self.previous);
        }
        if !self.says_false(body) {
            edits.set(body, &self.store, "false")?;
        }
        if !before.is_empty() {
            self.put_before(&mut edits, body, before)?;
        }
        Ok((!edits.is_empty()).then(|| edits.apply(body)))
    }

    fn put_before(&self, edits: &mut Edits, body: &str, before: &str) -> Result<(), EditError> {
        let Some(range) = json::locate(body, &self.input) else {
            return edits.set(body, &self.input, &format!("[{before}]"));
        };
        let own = &body[range.clone()];
        if let Some(inside) = own.strip_prefix('[') {
            let comma = if inside.trim_ascii_start().starts_with(']') { "" } else { "," };
            let at = range.start + 1;
            return edits.replace(at..at, format!("{before}{comma}"));
        }
        let own = if own.starts_with('"') { Cow::Owned(format!(",{}", message(own))) } else { Cow::Borrowed("") };
        edits.replace(range, format!("[{before}{own}]"))
    }

    /// A request's items past the first `skip`, with the commas between them. A text is the item that it stands for.
    pub fn own_items<'b>(&self, body: &'b str, skip: usize) -> Cow<'b, str> {
        let whole = json::locate(body, &self.input).map(|range| &body[range]);
        match whole {
            Some(own) if own.starts_with('"') && skip == 0 => Cow::Owned(message(own)),
            Some(own) if own.starts_with('[') => Cow::Borrowed(&body[span(body, &self.input_items, skip)]),
            _ => Cow::Borrowed(""),
        }
    }

    /// The name and the items of an answer's document. `None` where it lacks either.
    pub fn answered(&self, document: &str) -> Option<Answered> {
        let name = text(&document[json::locate(document, &self.id)?])?.into_owned();
        let output = json::locate(document, &self.output)?;
        if name.is_empty() || !document[output].starts_with('[') {
            return None;
        }
        let items = span(document, &self.output_items, 0);
        Some(Answered { name, output: u32::try_from(items.start).ok()?..u32::try_from(items.end).ok()? })
    }

    /// An answer's document as its client knows the conversation: the provider, which keeps nothing, says that nothing is kept and
    /// nothing gone on from. An answer repeats both where the request has them, or not at all. `None` where it is so already.
    pub fn as_asked(&self, document: &str, previous: Option<&str>, stored: bool) -> Option<String> {
        let mut edits = Edits::new();
        let mut put = |at: &Pointer, value: String| {
            let range = json::locate(document, at).filter(|range| !json::same_json(&document[range.clone()], &value));
            range.is_some_and(|range| edits.replace(range, value).is_ok())
        };
        let mut changed = false;
        if let Some(previous) = previous {
            changed |= put(&self.previous, json::quote(previous));
        }
        if stored {
            changed |= put(&self.store, "true".to_owned());
        }
        changed.then(|| edits.apply(document))
    }

    /// The same of a frame's data, where it holds an answer's document.
    pub fn frame_as_asked(&self, data: &str, previous: Option<&str>, stored: bool) -> Option<String> {
        let range = json::locate(data, &self.within)?;
        let document = self.as_asked(&data[range.clone()], previous, stored)?;
        Some([&data[..range.start], &document, &data[range.end..]].concat())
    }

    /// The answer's document, where a frame's data is the one that ends it.
    pub fn ended<'d>(&self, data: &'d str) -> Option<&'d str> {
        if !self.ends.iter().any(|end| end.holds(data)) {
            return None;
        }
        json::locate(data, &self.within).map(|range| &data[range])
    }
}

/// The name of an answer is none.
#[derive(Debug)]
pub struct NotText;

/// How many items there are.
pub fn count(items: &str) -> usize {
    let every = Pattern::parse("/*").expect("a pattern");
    json::select(&format!("[{items}]"), &[every]).len()
}

/// "A text input to the model, equivalent to a text input with the `user` role"
/// (<https://platform.openai.com/docs/api-reference/responses/create>, `input`).
fn message(text: &str) -> String {
    format!(r#"{{"type":"message","role":"user","content":{text}}}"#)
}

/// From the first to the last value of a pattern, but for the first `skip`; empty where there is none.
fn span(body: &str, items: &Pattern, skip: usize) -> Range<usize> {
    let found = json::select(body, std::slice::from_ref(items));
    match (found.get(skip), found.last()) {
        (Some((_, first)), Some((_, last))) => first.start..last.end,
        _ => 0..0,
    }
}

fn text(value: &str) -> Option<Cow<'_, str>> {
    Some(json::unescape(value.strip_prefix('"')?.strip_suffix('"')?))
}

#[cfg(test)]
mod tests {
    use portcullis_runtime::contract::types;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn continuation() -> Continuation {
        let ends = vec![types::Condition {
            at: "/type".to_owned(),
            test: types::Test::Equals(r#""response.completed""#.to_owned()),
        }];
        Continuation::compile(&manifest::Continuation {
            previous: "/previous_response_id".to_owned(),
            input: "/input".to_owned(),
            store: "/store".to_owned(),
            id: "/id".to_owned(),
            output: "/output".to_owned(),
            ends,
            within: "/response".to_owned(),
        })
        .unwrap()
    }

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn whatever_the_input_is_what_was_said_comes_first() {
        let before = r#"{"a":1},{"b":2}"#;
        let said = json!({"type": "message", "role": "user", "content": "Hi"});
        for (input, own) in [
            (r#","input":"Hi""#, vec![said]),
            (r#","input":[]"#, vec![]),
            (r#","input":[ ]"#, vec![]),
            (r#","input":[{"c":3}]"#, vec![json!({"c": 3})]),
            (r#","input":[ {"c":3}, "d"]"#, vec![json!({"c": 3}), json!("d")]),
            (r#","input":null"#, vec![]),
            ("", vec![]),
        ] {
            let body = format!(r#"{{"model":"m","previous_response_id":"r"{input},"store":true}}"#);
            let detached = value(&continuation().detached(&body, before).unwrap().unwrap());
            let mut expected = vec![json!({"a": 1}), json!({"b": 2})];
            expected.extend(own);
            assert_eq!(detached, json!({"model": "m", "input": expected, "store": false}), "{body}");
        }
    }

    #[test]
    fn no_provider_keeps_anything() {
        let stored = |body: &str| continuation().detached(body, "").unwrap().map(|body| value(&body)["store"].clone());
        for body in [r#"{"input":"a"}"#, r#"{"store":true}"#, r#"{"store":null}"#, r#"{"store":"false"}"#] {
            assert_eq!(stored(body), Some(json!(false)), "{body}");
        }
        assert_eq!(stored(r#"{"store":false,"input":"a"}"#), None, "a copy in vain");
        let detached = continuation().detached(r#"{"store":false,"previous_response_id":null}"#, "").unwrap();
        assert_eq!(detached.as_deref(), Some(r#"{"store":false}"#));
    }

    #[test]
    fn a_name_is_text() {
        let previous = |body: &'static str| continuation().previous(body).map(|name| name.map(Cow::into_owned));
        assert_eq!(previous(r#"{"previous_response_id":"a\u0062"}"#).unwrap().as_deref(), Some("ab"));
        assert_eq!(previous(r#"{"previous_response_id":null}"#).unwrap(), None);
        assert_eq!(previous("{}").unwrap(), None);
        assert!(previous(r#"{"previous_response_id":7}"#).is_err());
    }

    #[test]
    fn an_answer_has_a_name_and_a_list() {
        let document = r#"{"id":"resp_1","output":[ {"a":[1]} , "b" ],"x":1}"#;
        let answered = continuation().answered(document).unwrap();
        assert_eq!(answered.name, "resp_1");
        assert_eq!(&document[answered.output.start as usize..answered.output.end as usize], r#"{"a":[1]} , "b""#);
        assert_eq!(continuation().answered(r#"{"id":"r","output":[]}"#).unwrap().output, 0..0);
        for without in [r#"{"output":[]}"#, r#"{"id":"r"}"#, r#"{"id":"r","output":{}}"#, r#"{"id":"","output":[]}"#] {
            assert_eq!(continuation().answered(without), None, "{without}");
        }
        let frame = r#"{"type":"response.completed","response":{"id":"r"}}"#;
        assert_eq!(continuation().ended(frame), Some(r#"{"id":"r"}"#));
        assert_eq!(continuation().ended(&frame.replace("completed", "created")), None);
    }

    #[test]
    fn an_answer_says_of_its_conversation_what_its_client_knows() {
        let continuation = continuation();
        let document = r#"{"id":"r","store": false ,"previous_response_id":null,"x":[1]}"#;
        let told = continuation.as_asked(document, Some("a\"b"), true).unwrap();
        assert_eq!(told, r#"{"id":"r","store": true ,"previous_response_id":"a\"b","x":[1]}"#);
        assert_eq!(continuation.as_asked(&told, Some("a\"b"), true), None);
        let only = continuation.as_asked(document, None, true).unwrap();
        assert_eq!((&value(&only)["store"], &value(&only)["previous_response_id"]), (&json!(true), &json!(null)));
        assert_eq!(continuation.as_asked(document, None, false), None);
        assert_eq!(continuation.as_asked(r#"{"id":"r"}"#, Some("a"), true), None, "it does not speak of it");
        let frame = format!(r#"{{"type":"response.created","response":{document},"n":1}}"#);
        let told = continuation.frame_as_asked(&frame, Some("a"), false).unwrap();
        let expected = json!({"id": "r", "store": false, "previous_response_id": "a", "x": [1]});
        assert_eq!((&value(&told)["response"], &value(&told)["n"]), (&expected, &json!(1)));
        assert_eq!(continuation.frame_as_asked(r#"{"type":"x","store":false}"#, Some("a"), true), None);
    }

    proptest! {
        /// What a turn keeps and what a next one puts before its own is the same conversation.
        #[test]
        fn turns_add_up(turns in proptest::collection::vec(proptest::collection::vec(item(), 0..4), 1..5)) {
            let continuation = continuation();
            let mut before = String::new();
            let mut said: Vec<Value> = Vec::new();
            for own in turns {
                let body = json!({"previous_response_id": "r", "input": own}).to_string();
                let sent = continuation.detached(&body, &before).unwrap().unwrap();
                let skip = count(&before);
                prop_assert_eq!(skip, said.len());
                let kept = continuation.own_items(&sent, skip).into_owned();
                said.extend(own);
                prop_assert_eq!(&value(&sent)["input"], &Value::from(said.clone()));
                if !before.is_empty() && !kept.is_empty() {
                    before.push(',');
                }
                before.push_str(&kept);
            }
        }
    }

    fn item() -> impl Strategy<Value = Value> {
        ("[ -~\u{e9}\u{1f600}\\\\\"]{0,12}", any::<bool>()).prop_map(|(text, nested)| {
            if nested { json!({"type": "message", "content": [{"text": text}, [1, null]]}) } else { json!(text) }
        })
    }
}
