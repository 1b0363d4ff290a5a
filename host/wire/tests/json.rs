mod common;

use common::{Choices, inside, json, object, text, write};
use portcullis_wire::json::{
    Condition, Edits, MAX_DEPTH, Pattern, Pointer, Test, TopLevel, escape_into, locate, quote, same_json, select,
    unescape,
};
use proptest::prelude::*;
use serde_json::Value;

fn pointer(text: &str) -> Pointer {
    Pointer::parse(text).expect("a pointer")
}

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).expect("a pattern")
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|fault| panic!("{fault}: {text}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn scan_reads_what_a_parser_reads(value in object(), seed in any::<u64>()) {
        let mut body = String::new();
        write(&value, &mut Choices(seed), &mut body);
        let top = TopLevel::scan(&body).expect("valid JSON");
        let members = value.as_object().expect("an object");
        prop_assert_eq!(top.members().len(), members.len());
        for (name, member) in members {
            let range = top.get(name).expect("the member");
            prop_assert_eq!(&parsed(&body[range]), member);
        }
        for member in top.members() {
            prop_assert_eq!(parsed(&body[member.key.clone()]), Value::from(member.name.as_ref()));
        }
    }

    #[test]
    fn arbitrary_text_never_panics_and_only_objects_pass(body in "[\\[\\]{}\",:\\\\u0-9a-e \\-.tfn]{0,40}") {
        let scanned = TopLevel::scan(&body);
        if let Ok(Value::Object(_)) = serde_json::from_str::<Value>(&body) {
            // serde_json keeps the last of two equal keys, the scan refuses them.
            let twice = scanned.as_ref().is_err_and(|fault| fault.message.contains("stands twice"));
            prop_assert!(scanned.is_ok() || twice, "{:?}", scanned);
        }
        let _ = select(&body, &[pattern("/*/*"), pattern("/a")]);
        let _ = locate(&body, &pointer("/a/0"));
        let _ = Edits::new().set(&body, &pointer("/a/b"), "1");
        let _ = Edits::new().remove(&body, &pointer("/a"));
        let _ = same_json(&body, &body);
        let _ = unescape(&body);
    }

    #[test]
    fn an_empty_string_is_found_however_it_is_written(
        name in "[a-z\"\\\\/é~]{1,3}", members in prop::collection::vec((any::<bool>(), text()), 0..4), seed in any::<u64>(),
    ) {
        let list = members.iter().map(|(named, text)| serde_json::json!({ if *named { &*name } else { "-" }: text }));
        let value = serde_json::json!({ "list": list.collect::<Vec<_>>() });
        let mut body = String::new();
        write(&value, &mut Choices(seed), &mut body);
        let at = pattern(&format!("/list/*/{}", name.replace('~', "~0").replace('/', "~1")));
        let holds = Condition { at, test: Test::Equals("\"\"".to_owned()) }.holds(&body);
        prop_assert_eq!(holds, members.iter().any(|(named, text)| *named && text.is_empty()), "{}", body);
    }

    #[test]
    fn a_broken_body_never_passes(value in object(), seed in any::<u64>(), cut in any::<prop::sample::Index>()) {
        let mut body = String::new();
        write(&value, &mut Choices(seed), &mut body);
        let body = body.trim();
        let cut = (0..cut.index(body.len())).rev().find(|&at| body.is_char_boundary(at)).unwrap_or(0);
        prop_assert!(TopLevel::scan(&body[..cut]).is_err());
        for garbage in ["x", "{}", ","] {
            let longer = [body, garbage].concat();
            prop_assert!(TopLevel::scan(&longer).is_err());
        }
    }

    #[test]
    fn escapes_undo_each_other(text in text(), seed in any::<u64>()) {
        let literal = quote(&text);
        prop_assert_eq!(parsed(&literal), Value::from(text.as_str()));
        prop_assert_eq!(unescape(&literal[1..literal.len() - 1]), text.as_str());
        let mut inside = String::new();
        common::write_inside(&text, &mut Choices(seed), &mut inside);
        prop_assert_eq!(unescape(&inside), text.as_str());
        let mut again = String::new();
        escape_into(&unescape(&inside), &mut again);
        prop_assert_eq!(unescape(&again), text.as_str());
    }

    /// Against the plainest way to do it, a character at a time; quotes and control characters stay as they are.
    #[test]
    fn escapes_are_undone_wherever_they_stand(raw in inside()) {
        prop_assert_eq!(unescape(&raw), plainly_unescaped(&raw));
    }

    #[test]
    fn strings_are_passed_to_their_quotes(inside in inside(), before in 0..70_usize, after in 0..200_usize) {
        let body = format!("{{{}\"k\":[\"{inside}\",7],\"{inside}\":8{}}}", " ".repeat(before), " ".repeat(after));
        let Ok(parsed) = serde_json::from_str::<Value>(&body) else { return Ok(()) };
        let found = select(&body, &[pattern("/k/1"), pattern("/k/0"), pattern("/k/0/x")]);
        prop_assert_eq!(found.len(), 2);
        prop_assert_eq!(&parsed_all(&body, &found), &[parsed["k"][0].clone(), parsed["k"][1].clone()]);
        let top = TopLevel::scan(&body);
        match parsed.as_object().map(|members| members.len()) {
            Some(2) => prop_assert_eq!(&body[top.expect("valid").members()[1].value.clone()], "8"),
            _ => prop_assert!(top.is_err()),
        }
    }

    #[test]
    fn every_place_is_located_and_selected(value in json(), seed in any::<u64>()) {
        let mut body = String::new();
        write(&value, &mut Choices(seed), &mut body);
        let mut places = Vec::new();
        all_places(&value, String::new(), &mut places);
        for (at, expected) in &places {
            let range = locate(&body, &pointer(at)).expect("it is there");
            prop_assert_eq!(&parsed(&body[range]), expected);
        }
        for (stars, text) in ["", "/*", "/*/*", "/*/*/*"].iter().enumerate() {
            let found = select(&body, &[pattern(text)]);
            let expected = places.iter().filter(|(at, _)| at.matches('/').count() == stars);
            let expected: Vec<_> = expected.map(|(_, value)| value.clone()).collect();
            let found: Vec<_> = found.into_iter().map(|(_, range)| parsed(&body[range])).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn set_and_remove_do_what_they_say(value in object(), seed in any::<u64>(), which in any::<prop::sample::Index>()) {
        let mut body = String::new();
        write(&value, &mut Choices(seed), &mut body);
        let mut expected = value.clone();
        let mut edits = Edits::new();
        let names: Vec<String> = value.as_object().expect("an object").keys().cloned().collect();
        if !names.is_empty() {
            let name = &names[which.index(names.len())];
            expected.as_object_mut().expect("an object").remove(name);
            let mut at = String::from("/");
            at.push_str(&name.replace('~', "~0").replace('/', "~1"));
            prop_assert!(edits.remove(&body, &pointer(&at)));
        }
        edits.set(&body, &pointer("/NEW/deep"), "[1]").expect("set");
        edits.set(&body, &pointer("/NEW/other"), "\"x\"").expect("set");
        expected["NEW"] = serde_json::json!({"deep": [1], "other": "x"});
        prop_assert_eq!(parsed(&edits.apply(&body)), expected);
    }
}

fn parsed_all(body: &str, found: &[(usize, std::ops::Range<usize>)]) -> Vec<Value> {
    found.iter().map(|(_, range)| parsed(&body[range.clone()])).collect()
}

fn plainly_unescaped(raw: &str) -> String {
    let unit = |text: &str| {
        let digits =
            text.strip_prefix("\\u")?.get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        u16::from_str_radix(digits, 16).ok()
    };
    let (mut out, mut rest) = (String::new(), raw);
    while let Some(first) = rest.chars().next() {
        let mut length = first.len_utf8();
        let simple = rest.strip_prefix('\\').and_then(|rest| rest.chars().next());
        let simple = simple.and_then(|kind| "\"\\/bfnrt".find(kind)).map(|at| "\"\\/\u{8}\u{c}\n\r\t".as_bytes()[at]);
        if let Some(simple) = simple {
            length = 2;
            out.push(simple.into());
        } else if let Some(high) = unit(rest) {
            let low = rest.get(6..).and_then(unit).filter(|low| (0xDC00..0xE000).contains(low));
            let pair =
                low.and_then(|low| char::decode_utf16([high, low]).next()?.ok().filter(|found| *found > '\u{FFFF}'));
            length = if pair.is_some() { 12 } else { 6 };
            out.push(pair.or_else(|| char::from_u32(high.into())).unwrap_or('\u{FFFD}'));
        } else {
            out.push(first);
        }
        rest = &rest[length..];
    }
    out
}

fn all_places(value: &Value, at: String, out: &mut Vec<(String, Value)>) {
    out.push((at.clone(), value.clone()));
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                all_places(item, format!("{at}/{index}"), out);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                all_places(member, format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), out);
            }
        }
        _ => {}
    }
}

#[test]
fn keys_are_compared_unescaped() {
    let fault = TopLevel::scan(r#"{"model":"a","mo\u0064el":"b"}"#).expect_err("twice");
    assert_eq!(fault.offset, 13);
    assert!(fault.to_string().contains("the key \"model\" stands twice"), "{fault}");
    let body = r#"{"mo\u0064el":"b"}"#;
    assert_eq!(&body[TopLevel::scan(body).expect("valid").get("model").expect("it")], "\"b\"");
}

#[test]
fn many_keys_are_checked_for_duplicates() {
    let mut body = String::from("{");
    for at in 0..50_000 {
        body.push_str(&format!("\"k{at}\":{at},"));
    }
    let unique = format!("{body}\"last\":0}}");
    assert_eq!(TopLevel::scan(&unique).expect("valid").members().len(), 50_001);
    let twice = format!("{body}\"k31\":0}}");
    assert!(TopLevel::scan(&twice).is_err());
}

#[test]
fn nesting_is_limited() {
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(TopLevel::scan(&nested(MAX_DEPTH)).is_ok());
    assert!(TopLevel::scan(&nested(MAX_DEPTH + 1)).is_err());
    assert!(TopLevel::scan(&nested(1_000_000)).is_err());
    assert!(TopLevel::scan(r#"{"a":[}}"#).is_err());
    assert!(select(&"[".repeat(1_000_000), &[pattern("/*/*/*")]).is_empty());
}

#[test]
fn pointers_follow_the_standard() {
    // The examples of RFC 6901, section 5.
    let body = r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#;
    let of = |text: &str| locate(body, &pointer(text)).map(|range| &body[range]);
    assert_eq!(of(""), Some(body));
    assert_eq!(of("/foo"), Some(r#"["bar","baz"]"#));
    assert_eq!(of("/foo/0"), Some("\"bar\""));
    assert_eq!(of("/"), Some("0"));
    assert_eq!(of("/a~1b"), Some("1"));
    assert_eq!(of("/i\\j"), Some("5"));
    assert_eq!(of("/k\"l"), Some("6"));
    assert_eq!(of("/m~0n"), Some("8"));
    assert_eq!(of("/foo/00"), None);
    assert_eq!(of("/foo/2"), None);
    assert_eq!(of("/foo/-"), None);
    assert!(Pointer::parse("foo").is_err());
    assert!(Pointer::parse("/a~2").is_err());
    assert_eq!(pointer("/a~1b/~0").to_string(), "/a~1b/~0");
}

#[test]
fn several_patterns_share_a_walk() {
    let body = r#"{"messages":[{"content":"a"},{"content":[{"text":"b"},{"text":"c"}]}],"tools":[{"name":"t"}],"n":1}"#;
    let patterns = ["/messages/*/content", "/messages/*/content/*/text", "/tools/*/name", "/messages/0/content", "/n"];
    let found = select(body, &patterns.map(pattern));
    let found: Vec<_> = found.into_iter().map(|(id, range)| (id, &body[range])).collect();
    let list = r#"[{"text":"b"},{"text":"c"}]"#;
    let expected = [(0, "\"a\""), (3, "\"a\""), (0, list), (1, "\"b\""), (1, "\"c\""), (2, "\"t\""), (4, "1")];
    let mut sorted = found.clone();
    sorted.sort();
    let mut wanted = expected.to_vec();
    wanted.sort();
    assert_eq!(sorted, wanted);
    assert_eq!(found[2], (0, list));
}

#[test]
fn conditions() {
    let holds = |at: &str, equals: Option<&str>, body: &str| {
        Condition { at: pattern(at), test: equals.map_or(Test::Present, |json| Test::Equals(json.to_owned())) }
            .holds(body)
    };
    assert!(holds("/a", None, r#"{"a":0}"#));
    assert!(!holds("/a", None, r#"{"a":null}"#));
    assert!(!holds("/a", None, "{}"));
    assert!(holds("/a/*/b", None, r#"{"a":[{"b":null},{"b":false}]}"#));
    assert!(holds("/a", Some("[]"), r#"{"a": [ ]}"#));
    assert!(holds("/a", Some("{}"), r#"{"a":{ }}"#));
    assert!(!holds("/a", Some("[]"), r#"{"a":[1]}"#));
    assert!(holds("/a", Some("null"), r#"{"a":null}"#));
    assert!(holds("/a", Some(r#""stop""#), r#"{"a":"st\u006fp"}"#));
    assert!(!holds("/a", Some("1"), r#"{"a":10}"#));
    assert!(!holds("/a", Some("[1,2]"), r#"{"a":[12]}"#));
    assert!(holds("/a", Some(r#"{"x": [true, "é"]}"#), r#"{"a":{"x":[true,"\u00e9"]}}"#));
    assert!(!holds("/a", Some("1"), r#"{"a":"#));
    let empty = Some(r#""""#);
    assert!(holds("/a/*/s", empty, "{\"a\":[{\"s\":\"x\"},{\"s\" :\n \"\"}]}"));
    assert!(!holds("/a/*/s", empty, r#"{"a":[{"s":"x","t":""},{"s":"\""},""],"s":""}"#));
    assert!(holds("/a/*/sig~0n", empty, r#"{"a":[{"\u0073\u0069\u0067\u007e\u006e":""}]}"#));
    assert!(holds("/a/1", empty, r#"{"a":[0,""]}"#));
    assert!(holds("/*", empty, r#"{"a":""}"#));
    let starts = |at: &str, text: &str, body: &str| {
        Condition { at: pattern(at), test: Test::StartsWith(text.to_owned()) }.holds(body)
    };
    assert!(starts("/a/*/s", "our:", r#"{"a":[{"s":"x"},{"s":"our:x"}]}"#));
    assert!(starts("/a", "our:", r#"{"a":"o\u0075r:x"}"#));
    assert!(starts("/a", "\"", r#"{"a":"\"x"}"#));
    assert!(starts("/a", "", r#"{"a":""}"#));
    for body in [r#"{"a":"x our:"}"#, r#"{"b":"our:"}"#, r#"{"a":["our:"]}"#, r#"{"a":{"our:":1}}"#, r#"{"a":"ou"}"#] {
        assert!(!starts("/a", "our:", body), "{body}");
    }
}

#[test]
fn edits_keep_every_other_byte() {
    let body = r#" { "model" : "gpt" , "n":1 , "stream_options": null, "o": { } }  "#;
    let mut edits = Edits::new();
    edits.set(body, &pointer("/model"), "\"other\"").expect("set");
    edits.set(body, &pointer("/stream_options/include_usage"), "true").expect("set");
    edits.set(body, &pointer("/o/p/q"), "2").expect("set");
    edits.set(body, &pointer("/o/p/r"), "3").expect("set");
    edits.set(body, &pointer("/max"), "5").expect("set");
    assert!(edits.remove(body, &pointer("/n")));
    assert!(!edits.remove(body, &pointer("/absent")));
    assert_eq!(
        edits.apply(body),
        r#" { "model" : "other" , "stream_options": {"include_usage":true}, "o": {"p":{"q":2,"r":3} },"max":5 }  "#
    );
    assert!(edits.set(body, &pointer("/model"), "1").is_err());
    assert!(Edits::new().set(body, &pointer("/model/x"), "1").is_err());
    assert!(Edits::new().set("[1]", &pointer("/3"), "1").is_err());
    assert_eq!(Edits::new().apply(body), body);
}

#[test]
fn removing_takes_the_comma_along() {
    let removed = |body: &str, names: &[&str], add: bool| {
        let mut edits = Edits::new();
        for name in names {
            assert!(edits.remove(body, &pointer(name)));
        }
        if add {
            edits.set(body, &pointer("/z"), "0").expect("set");
        }
        edits.apply(body)
    };
    assert_eq!(removed(r#"{"a":1,"b":2}"#, &["/a"], false), r#"{"b":2}"#);
    assert_eq!(removed(r#"{"a":1,"b":2}"#, &["/b"], false), r#"{"a":1}"#);
    assert_eq!(removed(r#"{"a":1,"b":2}"#, &["/a", "/b"], false), "{}");
    assert_eq!(removed(r#"{"a":1}"#, &["/a"], true), r#"{"z":0}"#);
    assert_eq!(removed(r#"{"a":1,"b":2}"#, &["/b"], true), r#"{"a":1,"z":0}"#);
    assert_eq!(removed(r#"{"a":1,"b":2,"c":3}"#, &["/a", "/c"], true), r#"{"b":2,"z":0}"#);
    assert_eq!(removed(r#"{"a":{"x":1,"y":2},"b":2}"#, &["/a/x"], true), r#"{"a":{"y":2},"b":2,"z":0}"#);
}
