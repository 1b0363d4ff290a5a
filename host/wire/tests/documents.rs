mod common;

use common::{Choices, inside, json, write, write_string};
use portcullis_wire::texts::{
    ChannelSpec, Direction, DocumentTexts, Finding, MapError, PlaceKind, SpliceError, Text, TextKind, TextMap,
    TextMapSpec,
};
use proptest::prelude::*;
use serde_json::Value;

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

fn map() -> TextMap {
    let spec = TextMapSpec {
        json_strings: strings(&["/calls/*/arguments"]),
        opaque: strings(&["/id"]),
        derived: strings(&["/logprobs", "/content/*/signature", "/content/*/parts/*/proof", "/tokens/*"]),
        ..TextMapSpec::default()
    };
    TextMap::new(&spec).expect("patterns")
}

fn cut(body: &str, direction: Direction) -> DocumentTexts {
    DocumentTexts::cut(body, &map(), direction).expect("JSON")
}

fn shown(body: &str, direction: Direction) -> Vec<(PlaceKind, String, String)> {
    cut(body, direction).texts().to_vec().into_iter().map(|text| (text.kind, text.at, text.content)).collect()
}

/// What a guard finds that looks for one word.
fn find(texts: &[Text], word: &str, replacement: &str) -> Vec<Finding> {
    let in_text = |(at, text): (usize, &Text)| {
        let found = text.content.match_indices(word).map(|(start, _)| start as u32).collect::<Vec<_>>();
        found.into_iter().map(move |start| Finding {
            text: at as u32,
            start,
            end: start + word.len() as u32,
            kind: "word".into(),
            replacement: Some(replacement.to_owned()),
        })
    };
    texts.iter().enumerate().flat_map(in_text).collect()
}

fn masked(body: &str, direction: Direction, word: &str, replacement: &str) -> String {
    let texts = cut(body, direction);
    texts.splice(body, &find(&texts.texts().to_vec(), word, replacement)).expect("findings fit")
}

fn replace_strings(value: &mut Value, word: &str, replacement: &str) {
    match value {
        Value::String(text) => *text = text.replace(word, replacement),
        Value::Array(items) => items.iter_mut().for_each(|item| replace_strings(item, word, replacement)),
        Value::Object(members) => members.values_mut().for_each(|member| replace_strings(member, word, replacement)),
        _ => {}
    }
}

fn leaves(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) if !text.is_empty() => out.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, out)),
        Value::Object(members) => members.values().for_each(|member| leaves(member, out)),
        _ => {}
    }
}

/// Puts a word into every string.
fn plant(value: &mut Value, word: &str) {
    match value {
        Value::String(text) => {
            let middle = (0..=text.len() / 2).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
            text.insert_str(middle, word);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| plant(item, word)),
        Value::Object(members) => members.values_mut().for_each(|member| plant(member, word)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_string_leaf_is_a_text(value in json(), seed in any::<u64>()) {
        let mut body = String::new();
        write(&value, &mut Choices(seed), &mut body);
        let mut expected = Vec::new();
        leaves(&value, &mut expected);
        let texts = DocumentTexts::cut(&body, &TextMap::new(&TextMapSpec::default()).expect("empty"), Direction::Answer);
        let found: Vec<_> = texts.expect("JSON").texts().to_vec().into_iter().map(|text| text.content).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn walking_accepts_exactly_json(body in "[\\[\\]{}\",:\\\\u0-9a-e \\-.tfnrsl\u{1}]{0,30}") {
        let cut = DocumentTexts::cut(&body, &map(), Direction::Request);
        let parsed = serde_json::from_str::<serde::de::IgnoredAny>(&body);
        prop_assert_eq!(cut.is_ok(), parsed.is_ok(), "{:?} {:?}", cut, parsed);
    }

    /// serde_json refuses lone surrogates in what it reads as text, so that it is asked for the text only where there are none.
    #[test]
    fn a_string_reads_as_a_parser_reads_it(inside in inside(), before in 0..70_usize, after in 0..200_usize) {
        let body = format!("{}[\"{inside}\",1{}]", " ".repeat(before), " ".repeat(after));
        let texts = DocumentTexts::cut(&body, &map(), Direction::Request);
        let sound = serde_json::from_str::<serde::de::IgnoredAny>(&body);
        prop_assert_eq!(texts.is_ok(), sound.is_ok(), "{:?} {:?}", texts, sound);
        let (Ok(texts), Ok(Value::Array(items))) = (texts, serde_json::from_str(&body)) else { return Ok(()) };
        let shown = texts.texts().to_vec();
        let found: Vec<&str> = shown.iter().map(|text| text.content.as_str()).collect();
        let expected: Vec<&str> = items.iter().filter_map(Value::as_str).filter(|text| !text.is_empty()).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn splices_change_what_was_found_and_nothing_else(value in json(), seed in any::<u64>(), mask in "[\"\\\\a\né]{0,5}") {
        let mut value = value;
        plant(&mut value, "SE\"CRET😀");
        let mut body = String::new();
        write(&value, &mut Choices(seed), &mut body);
        let spliced = masked(&body, Direction::Request, "SE\"CRET😀", &mask);
        replace_strings(&mut value, "SE\"CRET😀", &mask);
        prop_assert_eq!(serde_json::from_str::<Value>(&spliced).expect("still JSON"), value);
        // With no findings not a byte changes.
        prop_assert_eq!(cut(&body, Direction::Request).splice(&body, &[]).expect("fits"), body);
    }

    #[test]
    fn a_signature_stays_with_the_text_that_was_signed(
        blocks in prop::collection::vec((prop::sample::select(vec!["SECRET", "a SECRET b", "a", "SECRE", ""]), json()), 0..6),
        seed in any::<u64>(),
    ) {
        let list = blocks.iter().map(|(text, other)| serde_json::json!({"thinking": text, "other": other, "signature": "s\"=="}));
        let mut body = String::new();
        write(&serde_json::json!({"content": list.collect::<Vec<_>>()}), &mut Choices(seed), &mut body);
        let spliced: Value = serde_json::from_str(&masked(&body, Direction::Answer, "SECRET", "*")).expect("still JSON");
        for (at, (text, _)) in blocks.iter().enumerate() {
            let block = &spliced["content"][at];
            prop_assert_eq!(&block["thinking"], &text.replace("SECRET", "*"));
            prop_assert_eq!(&block["signature"], if text.contains("SECRET") { "" } else { "s\"==" });
        }
    }

    #[test]
    fn json_in_strings_is_read_through(value in json(), inner_seed in any::<u64>(), outer_seed in any::<u64>()) {
        let mut value = value;
        plant(&mut value, "SECRET");
        let mut inner = String::new();
        write(&value, &mut Choices(inner_seed), &mut inner);
        let mut body = String::from("{\"calls\":[{\"arguments\":");
        write_string(&inner, &mut Choices(outer_seed), &mut body);
        body.push_str("}]}");
        let spliced = masked(&body, Direction::Request, "SECRET", "\"[é]\\");
        replace_strings(&mut value, "SECRET", "\"[é]\\");
        let outer: Value = serde_json::from_str(&spliced).expect("still JSON");
        let inner = outer["calls"][0]["arguments"].as_str().expect("a string");
        prop_assert_eq!(serde_json::from_str::<Value>(inner).expect("still JSON"), value);
    }
}

#[test]
fn only_the_bytes_of_the_match_change() {
    let body = r#"{ "a" : "x\u00e9\/ S\u0045CRET \ud83d\ude00\ty" }"#;
    assert_eq!(masked(body, Direction::Answer, "SECRET", "[m]"), r#"{ "a" : "x\u00e9\/ [m] \ud83d\ude00\ty" }"#);
    assert_eq!(masked(body, Direction::Answer, "😀", "\""), r#"{ "a" : "x\u00e9\/ S\u0045CRET \"\ty" }"#);
}

#[test]
fn requests_show_telling_keys_and_long_numbers() {
    let body = r#"{"messages":[{"content":"hi"}],"max_completion_tokens":100,"ann@example.com":4111111111111111,
        "4111 1111 1111 1111":null,"x-1":{"AKIAIOSFODNN7EXAMPLE":1.5},"id":"i"}"#;
    let found = shown(body, Direction::Request);
    let expected = [
        (PlaceKind::Value, "/messages/0/content", "hi"),
        (PlaceKind::Key, "/ann@example.com", "ann@example.com"),
        (PlaceKind::Number, "/ann@example.com", "4111111111111111"),
        (PlaceKind::Key, "/4111 1111 1111 1111", "4111 1111 1111 1111"),
        (PlaceKind::Key, "/x-1", "x-1"),
        (PlaceKind::Key, "/x-1/AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
        (PlaceKind::Value, "/id", "i"),
    ];
    assert_eq!(found, expected.map(|(kind, at, content)| (kind, at.to_owned(), content.to_owned())));
    let answer = shown(body, Direction::Answer);
    assert_eq!(answer, [(PlaceKind::Value, "/messages/0/content".to_owned(), "hi".to_owned())]);
}

#[test]
fn numbers_become_strings_and_keys_stay_distinct() {
    let body = r#"{"n": -4111111111111111 , "a@b.c":1,"d@b.c":2}"#;
    assert_eq!(
        masked(body, Direction::Request, "4111111111111111", "[card]"),
        r#"{"n": "-[card]" , "a@b.c":1,"d@b.c":2}"#
    );
    let texts = cut(body, Direction::Request);
    let findings: Vec<_> = [(1, 5), (2, 5)]
        .map(|(text, end)| Finding { text, start: 0, end, kind: "email".into(), replacement: Some("[email]".into()) })
        .into();
    assert_eq!(texts.splice(body, &findings).expect("fits"), r#"{"n": -4111111111111111 , "[email]":1,"[email]_2":2}"#);
}

#[test]
fn arguments_show_keys_and_numbers_and_plain_text() {
    let body = r#"{"calls":[{"arguments":"{\"a@b.c\":[4111111111111111,\"x\\u0041\"]}"},{"arguments":"not JSON"},{"arguments":""}]}"#;
    let kind = PlaceKind::ToolArguments;
    let expected = [
        (kind, "/calls/0/arguments/a@b.c", "a@b.c"),
        (kind, "/calls/0/arguments/a@b.c/0", "4111111111111111"),
        (kind, "/calls/0/arguments/a@b.c/1", "xA"),
        (kind, "/calls/1/arguments", "not JSON"),
    ];
    assert_eq!(shown(body, Direction::Answer), expected.map(|(kind, at, text)| (kind, at.to_owned(), text.to_owned())));
    assert_eq!(
        masked(body, Direction::Answer, "4111111111111111", "[c]"),
        body.replace("4111111111111111", r#"\"[c]\""#)
    );
    assert_eq!(masked(body, Direction::Answer, "xA", "\""), body.replace(r"x\\u0041", r#"\\\""#));
    assert_eq!(masked(body, Direction::Answer, "not", "\""), body.replace("not", "\\\""));
}

#[test]
fn derived_values_go_with_changed_text() {
    let body = r#"{"text":"SECRET","logprobs":{"tokens":["SEC","SECRET"]},"tokens":["SEC",1],"other":1}"#;
    for direction in [Direction::Answer, Direction::Request] {
        let expected = r#"{"text":"x","logprobs":null,"tokens":["",null],"other":1}"#;
        assert_eq!(masked(body, direction, "SECRET", "x"), expected);
        assert_eq!(masked(body, direction, "absent", "x"), body);
    }
}

#[test]
fn a_derived_value_goes_with_its_own_text_alone() {
    let body = r#"{"content":[{"thinking":"SECRET","signature":"s1"},{"thinking":"b","signature":"s2"},
        {"signature":"s3","parts":[{"text":"c","proof":"p1"},{"text":"SECRET","proof":"p2"},{"proof":["p3"],"text":"SECRET"}]}]}"#;
    let expected = r#"{"content":[{"thinking":"x","signature":""},{"thinking":"b","signature":"s2"},
        {"signature":"","parts":[{"text":"c","proof":"p1"},{"text":"x","proof":""},{"proof":[],"text":"x"}]}]}"#;
    assert_eq!(masked(body, Direction::Answer, "SECRET", "x"), expected);
    let outside = r#"{"id":"i","name":"SECRET","content":[{"thinking":"a","signature":"s1"}]}"#;
    assert_eq!(masked(outside, Direction::Answer, "SECRET", "x"), outside.replace("SECRET", "x"));
}

#[test]
fn a_faulty_guard_is_an_error() {
    let body = r#"{"a":"é"}"#;
    let texts = cut(body, Direction::Request);
    let finding =
        |text, start, end| Finding { text, start, end, kind: String::new(), replacement: Some(String::new()) };
    assert_eq!(texts.splice(body, &[finding(1, 0, 1)]), Err(SpliceError::NoText(1)));
    for (start, end) in [(0, 1), (0, 3), (2, 0)] {
        assert!(texts.splice(body, &[finding(0, start, end)]).is_err());
    }
    // Findings that overlap: the first wins, the rest of the second goes as well.
    let body = r#"{"a":"abcdef"}"#;
    let found =
        [(0, 3), (2, 5)].map(|(start, end)| Finding { replacement: Some("*".into()), ..finding(0, start, end) });
    assert_eq!(cut(body, Direction::Request).splice(body, &found).expect("fits"), r#"{"a":"**f"}"#);
}

#[test]
fn depth_is_limited_without_recursion() {
    let deep = ["[".repeat(100_000), "]".repeat(100_000)].concat();
    assert!(DocumentTexts::cut(&deep, &map(), Direction::Request).is_err());
    let inner = ["[".repeat(600), "]".repeat(600)].concat();
    let body = format!("{{\"calls\":[{{\"arguments\":\"{inner}\"}}]}}");
    assert_eq!(shown(&body, Direction::Request).len(), 1);
}

#[test]
fn a_map_names_its_faults() {
    let bad = |spec: TextMapSpec| TextMap::new(&spec).expect_err("faulty");
    assert!(matches!(bad(TextMapSpec { opaque: strings(&["id"]), ..Default::default() }), MapError::Pattern(_)));
    let channel = |text: &str, key: &str| ChannelSpec {
        text: text.into(),
        kind: TextKind::Text,
        when: Vec::new(),
        key: strings(&[key]),
        ends: Vec::new(),
    };
    let channels = vec![channel("/a/*", "/*/*")];
    assert!(matches!(bad(TextMapSpec { channels, ..Default::default() }), MapError::Unbound { .. }));
    let channels = vec![channel("/*/*/*/*/*", "")];
    assert!(matches!(bad(TextMapSpec { channels, ..Default::default() }), MapError::Wildcards(_)));
}
