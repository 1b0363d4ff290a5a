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
        let window = Window { text: content, from: 0, open: false };
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
    let delta = [text("the end of a sentence, and the next wor", 20, true)];
    let start = Instant::now();
    for _ in 0..10_000 {
        black_box(super::inspect(&guard, black_box(&delta)));
    }
    println!("delta: {} ns", start.elapsed().as_nanos() / 10_000);
}
