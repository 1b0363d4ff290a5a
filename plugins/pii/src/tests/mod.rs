//! What is found and what is not, by kind; and that a stream, however cut, reads like the whole.

mod kinds;
mod rules;
mod speed;
mod streams;

use portcullis_plugin::prelude::*;
use serde_json::Value;

use crate::Pii;

pub fn guard(configuration: Value) -> Pii {
    Pii::configure(serde_json::from_value(configuration).expect("a configuration")).expect("a valid configuration")
}

pub fn context() -> Context {
    Context { now: 0, seed: 0, request_id: String::new(), development: true, extra: Vec::new() }
}

pub fn text(content: &str, released: usize, open: bool) -> Text<'_> {
    Text { kind: PlaceKind::Text, at: "/choices/0/delta/content", content, released: released as u32, open }
}

pub fn inspect(guard: &Pii, texts: &[Text<'_>]) -> Inspected {
    guard.inspect(&context(), Direction::Request, &mut Default::default(), texts).expect("an inspection")
}

/// The content with its findings replaced, from `from` to `to`.
pub fn applied(content: &str, findings: &[Finding], from: usize, to: usize) -> String {
    let (mut out, mut at) = (String::new(), from);
    for finding in findings {
        let (start, end) = (finding.start as usize, finding.end as usize);
        assert!(at <= start && start < end && end <= to, "{finding:?} in {content:?} from {from} to {to}");
        out += &content[at..start];
        match &finding.replacement {
            Replacement::None => out += &content[start..end],
            Replacement::Mask(mask) => out += mask,
            Replacement::Reversible(_) => panic!("never given"),
        }
        at = end;
    }
    out + &content[at..to]
}

/// A whole text as it goes on.
pub fn masked(guard: &Pii, content: &str) -> String {
    let inspected = inspect(guard, &[text(content, 0, false)]);
    assert!(inspected.holds.is_empty());
    applied(content, &inspected.findings, 0, content.len())
}

/// The kinds found, with their values.
pub fn found<'a>(guard: &Pii, content: &'a str) -> Vec<(String, &'a str)> {
    let inspected = inspect(guard, &[text(content, 0, false)]);
    let value = |finding: &Finding| (finding.kind.clone(), &content[finding.start as usize..finding.end as usize]);
    inspected.findings.iter().map(value).collect()
}
