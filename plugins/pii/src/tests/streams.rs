use portcullis_plugin::prelude::*;
use proptest::prelude::*;
use serde_json::json;

use super::{applied, context, guard, masked, text};
use crate::Pii;
use crate::stream::Streams;

/// What the host shows again of what it released: at most so many bytes.
const CONTEXT: usize = 64;

/// A host that feeds a stream and joins what it released.
fn streamed(guard: &Pii, pieces: &[&str]) -> String {
    fed(guard, pieces).0
}

/// What a host released, and for every byte of the stream whether it was masked.
fn fed(guard: &Pii, pieces: &[&str]) -> (String, Vec<bool>) {
    let mut covered = Vec::new();
    let mut streams = Streams::default();
    let (mut out, mut held) = (String::new(), String::new());
    for index in 0..=pieces.len() {
        let piece = pieces.get(index);
        let shown = out[out.ceil_char_boundary(out.len().saturating_sub(CONTEXT))..].to_owned();
        let content = format!("{shown}{held}{}", piece.unwrap_or(&""));
        let window = text(&content, shown.len(), piece.is_some());
        let inspected = guard.inspect(&context(), Direction::Answer, &mut streams, &[window]).expect("an inspection");
        let hold = match inspected.holds[..] {
            [] => content.len(),
            [Hold { text: 0, start }] => start as usize,
            ref holds => panic!("{holds:?}"),
        };
        assert!(shown.len() <= hold && content.len() - hold < 4096, "{content:?} {hold}");
        assert!(piece.is_some() || hold == content.len(), "a closed text holds nothing: {content:?}");
        out += &applied(&content, &inspected.findings, shown.len(), hold);
        let first = covered.len();
        covered.resize(first + hold - shown.len(), false);
        for finding in &inspected.findings {
            let range = finding.start as usize - shown.len()..finding.end as usize - shown.len();
            covered[first..][range].fill(true);
        }
        held = content[hold..].to_owned();
    }
    (out, covered)
}

fn cut(content: &str, cuts: &[usize]) -> Vec<String> {
    let mut places: Vec<usize> =
        cuts.iter().map(|cut| content.floor_char_boundary(cut % (content.len() + 1))).collect();
    places.extend([0, content.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| content[pair[0]..pair[1]].to_owned()).collect()
}

fn everything() -> Pii {
    guard(json!({
        "ip": "mask",
        "custom": [
            {"name": "employee", "pattern": r"\bEMP-\d{6}\b"},
            {"name": "ticket", "pattern": r"(?i)case\s+no\.?\s*(?P<n>[a-f0-9]{4}(-[0-9]{2,3})?)", "max-length": 40},
            {"name": "words", "pattern": "foo(bar|baz+)?qux|éa"},
        ],
    }))
}

fn values() -> Vec<String> {
    let long = "A1b2C3d4E5f6G7h8I9j0".repeat(6);
    [
        "ada.lovelace+x@mail.example.org",
        "jürgen@müller.de",
        "4111 1111 1111 1111",
        "4242424242424242",
        "123-45-6789",
        "DE89 3704 0044 0532 0130 00",
        "GB29NWBK60161331926819",
        "+1 (415) 555-2671",
        "+44\u{a0}20\u{a0}7946\u{a0}0958",
        "(415) 555-2671",
        "415.555.2671",
        "020 7946 0958",
        "192.168.1.10",
        "2001:db8::ff00:42:8329",
        "AKIAIOSFODNN7EXAMPLE",
        "xoxb-123456789012-abcdefGHIJ",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "-----BEGIN PRIVATE KEY-----\nMIIEowIBAAKCAQEA7\nabc=\n-----END PRIVATE KEY-----",
        "EMP-123456",
        "Case No. beef-123",
        "foobazzzqux",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain([
        format!("sk-ant-api03-{long}"),
        format!("ghp_{}", &long[..36]),
        format!("sk-{}", long.repeat(3)),
        format!("eyJhbGciOiJIUzI1NiJ9.eyJ{}.c2lnbmF0dXJl", long.repeat(3)),
        format!(
            "-----BEGIN RSA PRIVATE KEY-----\n{}-----END RSA PRIVATE KEY-----",
            format!("{}\n", &long[..64]).repeat(70)
        ),
    ])
    .collect()
}

fn fillers() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-zA-Z ,.]{0,30}",
        2 => "[ .,;:()\"\\n-]{0,4}",
        1 => "[0-9 .+()-]{0,12}",
        1 => "[a-zA-Z0-9@._:+/=-]{0,20}",
        1 => "( Bearer |sk-|-----| SSN: |case no|foo|EMP-|\\\\n|日本|é| ){0,2}",
    ]
}

/// Text with values in it, but not so long a run of base64 that it is data: of that a stream sees only pieces.
fn texts(between: &'static str) -> impl Strategy<Value = String> {
    let part = (fillers(), prop::option::of(prop::sample::select(values())));
    let text = prop::collection::vec(part, 1..6).prop_map(move |parts| {
        parts
            .into_iter()
            .map(|(filler, value)| [&filler, between, &value.unwrap_or_default(), between].concat())
            .collect()
    });
    text.prop_filter("data", |text: &String| {
        let other = |byte: &u8| !(byte.is_ascii_alphanumeric() || b"+/=-_~.".contains(byte));
        text.as_bytes().split(other).all(|run| run.len() < 512)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_stream_reads_like_the_whole(content in texts(" "), cuts in prop::collection::vec(any::<usize>(), 0..20)) {
        let guard = guard(json!({"ip": "mask"}));
        let pieces = cut(&content, &cuts);
        let pieces: Vec<_> = pieces.iter().map(String::as_str).collect();
        prop_assert_eq!(streamed(&guard, &pieces), masked(&guard, &content), "{:?}", pieces);
    }

    #[test]
    fn a_stream_of_single_characters_reads_like_the_whole(content in texts(" ")) {
        let guard = guard(json!({"ip": "mask"}));
        let pieces: Vec<String> = content.chars().map(String::from).collect();
        let pieces: Vec<_> = pieces.iter().map(String::as_str).collect();
        prop_assert_eq!(streamed(&guard, &pieces), masked(&guard, &content));
    }

    /// Where values stand in one word, or patterns match within words, a stream sees masks at their left and may find more
    /// than the whole; never less.
    #[test]
    fn a_stream_masks_all_that_the_whole_does(
        content in texts(""),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
        single: bool,
    ) {
        let guard = everything();
        let pieces = if single { content.chars().map(String::from).collect() } else { cut(&content, &cuts) };
        let pieces: Vec<_> = pieces.iter().map(String::as_str).collect();
        let (_, covered) = fed(&guard, &pieces);
        prop_assert_eq!(covered.len(), content.len());
        for finding in super::inspect(&guard, &[text(&content, 0, false)]).findings {
            let range = finding.start as usize..finding.end as usize;
            prop_assert!(covered[range].iter().all(|&covered| covered), "{:?} in {:?}", finding, pieces);
        }
    }

    #[test]
    fn a_value_set_apart_never_passes(
        before in "[a-z ,.]{0,80}",
        value in prop::sample::select(values()),
        after in "([ ,;\n][a-z ,.]{0,80})?",
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let guard = everything();
        let content = format!("{before} {value}{after}");
        let pieces = cut(&content, &cuts);
        let pieces: Vec<_> = pieces.iter().map(String::as_str).collect();
        let out = streamed(&guard, &pieces);
        prop_assert!(out.starts_with(&format!("{before} [")) && out.ends_with(&format!("]{after}")), "{}", out);
        prop_assert!(!out.contains(&value[..]) && !out.contains(&value[value.floor_char_boundary(value.len() - 5)..]), "{}", out);
    }

    #[test]
    fn any_text_is_inspected(content in ".{0,200}", released in 0_usize..300, open: bool) {
        let guard = everything();
        let released = content.floor_char_boundary(released);
        let inspected = super::inspect(&guard, &[text(&content, released, open)]);
        let end = inspected.holds.first().map_or(content.len(), |hold| hold.start as usize);
        applied(&content, &inspected.findings, released, end);
    }
}

#[test]
fn every_value_cut_at_every_byte() {
    let guard = everything();
    for value in values().iter().filter(|value| value.len() < 300) {
        let content = format!("It is {value}, you know");
        let expected = masked(&guard, &content);
        assert!(!expected.contains(value.as_str()));
        for (place, _) in content.char_indices() {
            let (head, rest) = content.split_at(place);
            assert_eq!(streamed(&guard, &[head, rest]), expected, "cut at {place}");
        }
    }
}

#[test]
fn prose_is_released_up_to_its_last_word() {
    let guard = guard(json!({}));
    let held = |content: &str| {
        let inspected = super::inspect(&guard, &[text(content, 0, true)]);
        inspected.holds.first().map_or("", |hold| &content[hold.start as usize..]).to_owned()
    };
    assert_eq!(held("The quick brown fox "), "");
    assert_eq!(held("The quick brown fo"), "fo");
    assert_eq!(held("The quick brown fox."), "fox.");
    assert_eq!(held("这是一个测试"), "");
    assert_eq!(held("in 1984, "), "");
    assert_eq!(held("in 1984 and "), "");
    assert_eq!(held("write ada@example.org, "), "");
    assert_eq!(held("write ada@exam"), "ada@exam");
    assert_eq!(held("call +1 415 "), "+1 415 ");
    assert_eq!(held("a list:\n- "), "");
    assert_eq!(held(&"x".repeat(100)), "");
}

#[test]
fn what_outgrows_a_pattern_is_taken_as_found() {
    let guard = guard(json!({"email": "off", "api-key": "off", "iban": "off", "custom": [
        {"name": "tag", "pattern": "<[a-z]+>", "max-length": 20},
    ]}));
    let long = format!("see <{}", "a".repeat(30));
    let out = streamed(&guard, &[&long, "b> end"]);
    assert_eq!(out, "see [TAG]b> end");
    assert_eq!(streamed(&guard, &["see <aaa", "> end"]), "see [TAG] end");
    assert_eq!(streamed(&guard, &["see <aaa", " end"]), "see <aaa end");
}

#[test]
fn secrets_of_interleaved_choices_are_not_taken_for_one_another() {
    let guard = guard(json!({}));
    let mut streams = Streams::default();
    let mut inspect = |content: &str, released: usize| {
        let window = text(content, released, true);
        let inspected = guard.inspect(&context(), Direction::Answer, &mut streams, &[window]).expect("an inspection");
        let hold = inspected.holds.first().map_or(content.len(), |hold| hold.start as usize);
        applied(content, &inspected.findings, released, hold)
    };
    let key = format!("sk-{}", "A1b2C3d4E5".repeat(40));
    assert_eq!(inspect(&key, 0), "[API_KEY]");
    // The other choice, at the same place: another text, then one that has masked a key too.
    assert_eq!(inspect("Nothing", 0), "");
    assert_eq!(inspect("it is what it is ", 6), "what it is ");
    assert_eq!(inspect("[API_KEY], and so on ", 9), ", and so on ");
    assert_eq!(inspect("[API_KEY]A1b2C3d4E5 end ", 9), " end ");
    assert_eq!(inspect("[API_KEY] end of it ", 9), " end of it ");
}
