//! Arbitrary JSON and arbitrary ways to write it.
#![allow(dead_code)]

use proptest::prelude::*;
use serde_json::{Map, Value};

pub fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{0,6}", "\\PC{0,40}", "[\"\\\\/\u{0}-\u{1f}é😀a]{0,24}", "[a-z \n]{30,90}"]
}

pub fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // Eighths: serde_json does not read every float back as it wrote it.
        any::<i32>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(text(), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

pub fn object() -> impl Strategy<Value = Value> {
    prop::collection::btree_map(text(), json(), 0..8)
        .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>()))
}

/// Deterministic choices out of a seed: how a value is written must not be part of what shrinks.
pub struct Choices(pub u64);

impl Choices {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % limit
    }
}

/// Writes a value with arbitrary white space and escapes.
pub fn write(value: &Value, choices: &mut Choices, out: &mut String) {
    space(choices, out);
    match value {
        Value::String(text) => write_string(text, choices, out),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, choices, out);
            }
            space(choices, out);
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (at, (name, member)) in members.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                space(choices, out);
                write_string(name, choices, out);
                space(choices, out);
                out.push(':');
                write(member, choices, out);
            }
            space(choices, out);
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
    space(choices, out);
}

fn space(choices: &mut Choices, out: &mut String) {
    if choices.below(4) == 0 {
        out.push([' ', '\n', '\t', '\r'][choices.below(4) as usize]);
    }
}

pub fn write_string(text: &str, choices: &mut Choices, out: &mut String) {
    out.push('"');
    write_inside(text, choices, out);
    out.push('"');
}

pub fn write_inside(text: &str, choices: &mut Choices, out: &mut String) {
    for found in text.chars() {
        let must = found < ' ' || found == '"' || found == '\\';
        if !must && choices.below(6) != 0 {
            out.push(found);
            continue;
        }
        match found {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' if choices.below(2) == 0 => out.push_str("\\n"),
            '/' => out.push_str("\\/"),
            _ => {
                for unit in found.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04X}"));
                }
            }
        }
    }
}

/// The insides of string literals as they may arrive: sound and unsound escapes, surrogates alone and in pairs, control characters
/// and quotes, with plain runs between them that reach over any block a scanner reads at once.
pub fn inside() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => (0..150_usize, prop::sample::select(vec!["a", "é", "東", "😀"])).prop_map(|(count, of)| of.repeat(count)),
        8 => prop::sample::select(vec!["\\\"", "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t", "\\u00e9", "\\uABCD"]).prop_map(str::to_owned),
        4 => prop::sample::select(vec!["\\ud83d\\ude00", "\\ud83d", "\\ude00", "\\ud83d\\n", "\\ud83d\\u0041"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["\\", "\\x", "\\u12", "\\u12g4", "\\é", "\\\n", "\"", "\n", "\0", "\x1f", "\\ud83d\\u1"]).prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}
