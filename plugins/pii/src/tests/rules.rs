use portcullis_plugin::prelude::*;
use serde_json::json;

use super::{context, found, guard, inspect, masked, text};
use crate::Pii;

#[test]
fn actions() {
    let guard = guard(
        json!({"email": "report", "card": "block", "phone": {"action": "mask", "mask": "(phone)"}, "ssn": "off"}),
    );
    let content = "ada@example.org 4111111111111111 415-555-2671 123-45-6789";
    let inspected = inspect(&guard, &[text(content, 0, false)]);
    assert_eq!(inspected.verdict, GuardVerdict::Block("pii.card".to_owned()));
    let replacements: Vec<_> = inspected.findings.iter().map(|finding| &finding.replacement).collect();
    let mask = |text: &str| Replacement::Mask(text.to_owned());
    assert_eq!(replacements, [&Replacement::None, &mask("[CARD]"), &mask("(phone)")]);
}

#[test]
fn allowed_values_and_domains() {
    let guard =
        guard(json!({"ip": "mask", "allow": ["Example.com", "127.0.0.1", "4111111111111111", "help@acme.test"]}));
    for content in ["Ada@example.com", "ada@mail.example.COM", "127.0.0.1", "4111 1111 1111 1111", "HELP@acme.test"] {
        assert_eq!(found(&guard, content), [], "{content}");
    }
    for content in ["ada@badexample.com", "ada@acme.test", "127.0.0.2", "4242 4242 4242 4242", "example.com@evil.test"]
    {
        assert_eq!(found(&guard, content).len(), 1, "{content}");
    }
}

#[test]
fn directions() {
    let guard = guard(json!({"directions": ["answer"]}));
    let texts = [text("ada@example.org", 0, false)];
    assert!(inspect(&guard, &texts).findings.is_empty());
    let answer = guard.inspect(&context(), Direction::Answer, &mut Default::default(), &texts).expect("an inspection");
    assert_eq!(answer.findings.len(), 1);
}

#[test]
fn custom_patterns() {
    let guard = guard(json!({"custom": [
        {"name": "employee", "pattern": r"\bEMP-\d{6}\b"},
        {"name": "project-x", "pattern": r"(?i)project\s+(x-ray|manhattan)", "mask": "it"},
    ]}));
    assert_eq!(masked(&guard, "EMP-123456, EMP-12345, PROJECT  Manhattan"), "[EMPLOYEE], EMP-12345, it");
    let data = "iVBORw0KGgoAAAANSUhEUgAA".repeat(100);
    assert_eq!(masked(&guard, &format!("{data}/EMP-123456/{data}")), format!("{data}/[EMPLOYEE]/{data}"));
}

#[test]
fn a_number_is_searched_for_cards_and_patterns() {
    let guard = guard(json!({"custom": [{"name": "id", "pattern": "^77\\d{8}$"}]}));
    let number = |content: &str| {
        let text = Text { kind: PlaceKind::Number, ..text(content, 0, false) };
        inspect(&guard, &[text]).findings.into_iter().map(|finding| finding.kind).collect::<Vec<_>>()
    };
    assert_eq!(number("4111111111111111"), ["card"]);
    assert_eq!(number("7700000001"), ["id"]);
    assert_eq!(number("4111111111111112"), [""; 0]);
    assert_eq!(number("0.4111111111111111"), [""; 0]);
}

#[test]
fn what_overlaps_goes_together_under_the_strongest_name() {
    let guard = guard(json!({"custom": [
        {"name": "ada", "pattern": "ada@exa"},
        {"name": "loud", "pattern": "org!+", "action": "report"},
        {"name": "stop", "pattern": "lovelace", "action": "block"},
    ]}));
    assert_eq!(found(&guard, "ada@example.org!!"), [("email".to_owned(), "ada@example.org")]);
    assert_eq!(found(&guard, "lovelace@example.org"), [("stop".to_owned(), "lovelace@example.org")]);
}

#[test]
fn bad_configurations_say_what_is_wrong() {
    let error = |configuration: serde_json::Value| match serde_json::from_value(configuration) {
        Ok(config) => Pii::configure(config).err().expect("an error"),
        Err(error) => error.to_string(),
    };
    for (configuration, says) in [
        (json!({"emial": "mask"}), "unknown field `emial`"),
        (json!({"email": "hide"}), "unknown variant `hide`"),
        (json!({"email": {"mask": "x"}}), "missing field `action`"),
        (json!({"email": 1}), "an action, or a table"),
        (json!({"custom": [{"name": "x", "pattern": "("}]}), "custom pattern `x` is not a regular expression"),
        (json!({"custom": [{"name": "x", "pattern": "a*"}]}), "custom pattern `x` matches the empty text"),
        (json!({"custom": [{"name": "X", "pattern": "a"}]}), "lower-case"),
        (json!({"custom": [{"name": "card", "pattern": "a"}]}), "the name is taken"),
        (json!({"custom": [{"name": "x", "pattern": "a", "max-length": 4000}]}), "max-length is 1 to 3072"),
        (json!({"email": {"action": "mask", "mask": ""}}), "email: a mask is 1 to 256 bytes"),
        (json!({"allow": [" "]}), "is no value"),
    ] {
        let said = error(configuration.clone());
        assert!(said.contains(says), "{configuration}: {said}");
    }
}
