//! Not a benchmark but a guard against a slip by orders of magnitude; run with `--release -- --nocapture speed` to read numbers.

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{guard, text};
use crate::scan::scan;
use crate::window::Window;

#[test]
fn speed() {
    let plain = "The quick brown fox jumps over the lazy dog; it is what typists write, and have written for long. "
        .repeat(1300);
    let prose =
        "The quick brown fox jumps over the lazy dog, well-known since the 19th century; it is what typists write. "
            .repeat(1300);
    let data: String = (0..131_072_u32)
        .map(|i| {
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
                [(i.wrapping_mul(2_654_435_761) >> 26) as usize] as char
        })
        .collect();
    let code =
        "    let user_id = request.headers().get(\"x-request-id\").map(|v| v.len() + 42).unwrap_or(0); // see #123\n"
            .repeat(1300);
    let guard = guard(json!({}));
    for (name, content) in [("plain", &plain), ("prose", &prose), ("base64", &data), ("code", &code)] {
        let window = Window { text: content, from: 0, open: false, clear: 0, last: None };
        let mut best = Duration::MAX;
        for _ in 0..20 {
            let start = Instant::now();
            assert!(black_box(scan(&guard.rules, black_box(&window), false, None)).found.is_empty());
            best = best.min(start.elapsed());
        }
        let per_kilobyte = best.as_nanos() * 1024 / content.len() as u128;
        println!("{name}: {per_kilobyte} ns/KB");
        assert!(per_kilobyte < 100_000, "{name}: {per_kilobyte} ns/KB");
    }
    let patterns = super::guard(json!({"custom": [
        {"name": "literal", "pattern": r"\bEMP-\d{6}\b"},
        {"name": "none", "pattern": r"[A-Z]{3}-\d{6}"},
    ]}));
    for rule in patterns.rules.rules.iter().filter_map(|rule| rule.pattern.as_ref()) {
        let start = Instant::now();
        rule.matches(&Window { text: &prose, from: 0, open: false, clear: 0, last: None }, |_, _| panic!("nothing"));
        println!("custom: {} ns/KB", start.elapsed().as_nanos() * 1024 / prose.len() as u128);
    }
    let delta = [text("the end of a sentence, and the next wor", 20, true)];
    let start = Instant::now();
    for _ in 0..10_000 {
        black_box(super::inspect(&guard, black_box(&delta)));
    }
    println!("delta: {} ns", start.elapsed().as_nanos() / 10_000);
}

/// No text makes the finders look at the same bytes over and over.
#[test]
fn hostile_texts_take_linear_time() {
    let guard = guard(json!({"ip": "mask"}));
    let pieces = [
        "1 ",
        "0 1",
        "sk-",
        "-eyJ",
        "-eyJaaaaaaaaa.eyJ",
        "eyJaaaaaaaaa.ey.",
        "a@",
        "@",
        "1:",
        "::1",
        "-",
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY-----",
        "4111 ",
        "+1",
        "(415) ",
        "Bearer 1",
        "Bearer 1 ",
        "AKIA",
        "a1.",
        "1.1.",
        "de89 ",
        "é@",
        "-----BEGIN PRIVATE KEY-----.",
        "a@b.",
        "ssn 123456789 ",
    ];
    for piece in pieces {
        let content = piece.repeat(262_144 / piece.len());
        for open in [false, true] {
            let window = Window { text: &content, from: 0, open, clear: 0, last: None };
            let start = Instant::now();
            black_box(scan(&guard.rules, &window, false, None));
            let took = start.elapsed();
            println!("{piece:?} {open}: {} ns/KB", took.as_nanos() * 1024 / content.len() as u128);
            assert!(
                took < Duration::from_millis(if cfg!(debug_assertions) { 2_000 } else { 200 }),
                "{piece:?}: {took:?}"
            );
        }
    }
}
