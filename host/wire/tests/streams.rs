mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use common::{Choices, json, write, write_string};
use portcullis_wire::framing::{Frame, Framing};
use portcullis_wire::json::Test;
use portcullis_wire::texts::{
    ChannelEndSpec, ChannelSpec, ConditionSpec, Finding, Hold, PlaceKind, Resolved, StreamLimits, StreamTexts, Text,
    TextKind, TextMap, TextMapSpec,
};
use proptest::prelude::*;
use serde_json::Value;

const SECRET: &str = "SECRET";

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

fn channel(text: &str, kind: TextKind, key: &[&str], ends: &[(&str, Option<&str>, &[&str])]) -> ChannelSpec {
    let ends = ends.iter().map(|(at, equals, key)| ChannelEndSpec {
        when: ConditionSpec { at: (*at).into(), test: equals.map_or(Test::Present, |json| Test::Equals(json.into())) },
        key: strings(key),
    });
    ChannelSpec { text: text.into(), kind, when: Vec::new(), key: strings(key), ends: ends.collect() }
}

/// Chunks as OpenAI's chat completions have them.
fn chat() -> Arc<TextMap> {
    let ends: &[(&str, Option<&str>, &[&str])] = &[("/choices/*/finish_reason", None, &["/choices/*/index"])];
    let call = "/choices/*/delta/tool_calls/*";
    let spec = TextMapSpec {
        opaque: strings(&["/id", "/choices/*/finish_reason", &format!("{call}/id"), &format!("{call}/type")]),
        derived: strings(&["/choices/*/logprobs"]),
        channels: vec![
            channel("/choices/*/delta/content", TextKind::Text, &["/choices/*/index"], ends),
            channel(
                &format!("{call}/function/arguments"),
                TextKind::ToolArguments,
                &["/choices/*/index", &format!("{call}/index")],
                ends,
            ),
        ],
        ..TextMapSpec::default()
    };
    Arc::new(TextMap::new(&spec).expect("patterns"))
}

/// Events as Anthropic's messages have them.
fn messages() -> Arc<TextMap> {
    let ends: &[(&str, Option<&str>, &[&str])] = &[("/type", Some("\"content_block_stop\""), &["/index"])];
    let spec = TextMapSpec {
        opaque: strings(&["/type", "/delta/type", "/delta/signature"]),
        derived: strings(&["/delta/signature"]),
        channels: vec![
            channel("/delta/text", TextKind::Text, &["/index"], ends),
            channel("/delta/thinking", TextKind::Reasoning, &["/index"], ends),
            channel("/delta/partial_json", TextKind::ToolArguments, &["/index"], ends),
        ],
        terminators: vec![ConditionSpec { at: "/type".into(), test: Test::Equals("\"message_stop\"".into()) }],
        ..TextMapSpec::default()
    };
    Arc::new(TextMap::new(&spec).expect("patterns"))
}

/// Chunks as OpenRouter's have reasoning.
fn details() -> Arc<TextMap> {
    let detail = "/choices/*/delta/reasoning_details/*";
    let spec = TextMapSpec {
        opaque: strings(&[&format!("{detail}/signature")]),
        derived: strings(&["/choices/*/logprobs", &format!("{detail}/signature")]),
        channels: vec![
            channel("/choices/*/delta/content", TextKind::Text, &["/choices/*/index"], &[]),
            channel(
                &format!("{detail}/text"),
                TextKind::Reasoning,
                &["/choices/*/index", &format!("{detail}/index")],
                &[],
            ),
        ],
        ..TextMapSpec::default()
    };
    Arc::new(TextMap::new(&spec).expect("patterns"))
}

/// Events as OpenAI's Responses have them: numbered.
fn numbered() -> Arc<TextMap> {
    let ends: &[(&str, Option<&str>, &[&str])] = &[("/text", None, &["/output_index"])];
    let spec = TextMapSpec {
        opaque: strings(&["/type"]),
        channels: vec![channel("/delta", TextKind::Text, &["/output_index"], ends)],
        derived: strings(&["/sequence_number"]),
        ..TextMapSpec::default()
    };
    Arc::new(TextMap::new(&spec).expect("patterns"))
}

/// A guard that masks one word and holds what may become it.
fn inspect(texts: &[Text], mask: &str) -> (Vec<Finding>, Vec<Hold>) {
    let (mut findings, mut holds) = (Vec::new(), Vec::new());
    for (at, text) in texts.iter().enumerate() {
        let mut done = 0;
        for (start, _) in text.content.match_indices(SECRET) {
            done = start + SECRET.len();
            findings.push(Finding {
                text: at as u32,
                start: start as u32,
                end: done as u32,
                kind: "word".into(),
                replacement: Some(mask.to_owned()),
            });
        }
        let rest = &text.content[done..];
        let suffix = (1..SECRET.len()).rev().find(|&length| rest.ends_with(&SECRET[..length]));
        if let Some(length) = suffix.filter(|_| text.open) {
            holds.push(Hold { text: at as u32, start: (text.content.len() - length) as u32 });
        }
    }
    (findings, holds)
}

fn frames(wire: &str) -> Vec<Frame> {
    let (mut splitter, mut out) = (Framing::Sse.splitter(), Vec::new());
    splitter.push(&Bytes::copy_from_slice(wire.as_bytes()), &mut out).expect("fits");
    splitter.finish(&mut out).expect("fits");
    out
}

/// Runs a stream through the guard in batches; the choices say how large.
fn guarded(map: Arc<TextMap>, wire: &str, mask: &str, choices: &mut Choices) -> String {
    let mut texts = StreamTexts::new(map, StreamLimits::default());
    let mut left = frames(wire);
    let mut out = Vec::new();
    loop {
        let take = (choices.below(4) as usize).min(left.len());
        let batch: Vec<Frame> = left.drain(..take).collect();
        let last = left.is_empty();
        let shown = texts.cut(batch, last).to_vec();
        for text in &shown {
            assert!(text.released <= 64 && text.content.is_char_boundary(text.released as usize));
            assert!(!last || !text.open);
        }
        let (findings, holds) = inspect(&shown, mask);
        let resolved = texts.resolve(&findings, &holds).expect("findings fit");
        out.extend(resolved.frames.iter().flat_map(|bytes| bytes.to_vec()));
        if last {
            assert!(!texts.has_held());
            return String::from_utf8(out).expect("UTF-8");
        }
    }
}

fn quote(text: &str, choices: &mut Choices) -> String {
    let mut out = String::new();
    write_string(text, choices, &mut out);
    out
}

/// Cuts a text into pieces at arbitrary characters.
fn pieces(text: &str, choices: &mut Choices) -> Vec<String> {
    let mut out = vec![String::new()];
    for found in text.chars() {
        if choices.below(3) == 0 {
            out.push(String::new());
        }
        out.last_mut().expect("never empty").push(found);
    }
    out
}

/// What a client puts together from a stream: content by choice, arguments by choice and call.
fn put_together(wire: &str) -> (BTreeMap<u64, String>, BTreeMap<(u64, u64), String>) {
    let (mut contents, mut arguments) = (BTreeMap::new(), BTreeMap::new());
    for frame in frames(wire) {
        if frame.data().is_empty() || frame.data() == "[DONE]" {
            continue;
        }
        let data: Value =
            serde_json::from_str(frame.data()).unwrap_or_else(|fault| panic!("{fault}: {}", frame.data()));
        for choice in data["choices"].as_array().expect("choices") {
            let index = choice["index"].as_u64().expect("index");
            if let Some(text) = choice["delta"]["content"].as_str() {
                contents.entry(index).or_insert_with(String::new).push_str(text);
            }
            for call in choice["delta"]["tool_calls"].as_array().unwrap_or(&Vec::new()) {
                let key = (index, call["index"].as_u64().expect("index"));
                let text = call["function"]["arguments"].as_str().unwrap_or_default();
                arguments.entry(key).or_insert_with(String::new).push_str(text);
            }
        }
    }
    (contents, arguments)
}

/// Text that is likely to hold the word, whole and in parts.
fn risky_text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec!["SECRET", "SEC", "RET", "S", "E", "T", "é😀", "\"", "\\", "\n", "ab "]);
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

fn plant(value: &mut Value) {
    match value {
        Value::String(text) => text.push_str("xSECRETy"),
        Value::Array(items) => items.iter_mut().for_each(plant),
        Value::Object(members) => members.values_mut().for_each(plant),
        _ => {}
    }
}

fn replace_strings(value: &mut Value, mask: &str) {
    match value {
        Value::String(text) => *text = text.replace(SECRET, mask),
        Value::Array(items) => items.iter_mut().for_each(|item| replace_strings(item, mask)),
        Value::Object(members) => members.values_mut().for_each(|member| replace_strings(member, mask)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn text_split_anywhere_never_passes(first in risky_text(), second in risky_text(), seed in any::<u64>(), done in any::<bool>()) {
        let choices = &mut Choices(seed);
        let mut wire = String::new();
        let mut queues = [pieces(&first, choices), pieces(&second, choices)].map(|list| list.into_iter());
        let mut open = [true, true];
        while open.contains(&true) {
            let index = choices.below(2) as usize;
            if choices.below(9) == 0 {
                wire.push_str(": ping\n\n");
            }
            if let Some(piece) = queues[index].next() {
                wire.push_str("id: 7\n");
                wire.push_str(&content(index, &quote(&piece, choices)));
            } else if std::mem::take(&mut open[index]) {
                wire.push_str(&format!("data: {{\"choices\":[{{\"index\":{index},\"delta\":{{}},\"finish_reason\":\"stop\"}}]}}\n\n"));
            }
        }
        if done { wire.push_str("data: [DONE]\n\n"); }
        let out = guarded(chat(), &wire, "[é\"]", choices);
        let (found, _) = put_together(&out);
        let (given, _) = put_together(&wire);
        for (index, text) in [&first, &second].into_iter().enumerate() {
            let index = index as u64;
            let expected = text.replace(SECRET, "[é\"]");
            prop_assert_eq!(given.get(&index).cloned().unwrap_or_default(), text.as_str());
            prop_assert_eq!(found.get(&index).cloned().unwrap_or_default(), expected);
        }
        if !first.contains('S') && !second.contains('S') {
            prop_assert_eq!(out, wire);
        }
    }

    #[test]
    fn arguments_split_anywhere_stay_json(value in json(), seed in any::<u64>(), mask in "[\"\\\\\na]{0,4}") {
        let choices = &mut Choices(seed);
        let mut value = value;
        plant(&mut value);
        let mut source = String::new();
        write(&value, choices, &mut source);
        let mut wire = String::new();
        for piece in pieces(&source, choices) {
            let text = quote(&piece, choices);
            wire.push_str(&format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"tool_calls\":[{{\"index\":1,\"function\":{{\"arguments\":{text}}}}}]}}}}]}}\n\n"));
        }
        wire.push_str("data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n");
        let out = guarded(chat(), &wire, &mask, choices);
        let (_, arguments) = put_together(&out);
        replace_strings(&mut value, &mask);
        let found = arguments.get(&(0, 1)).cloned().unwrap_or_default();
        prop_assert_eq!(serde_json::from_str::<Value>(&found).expect("still JSON"), value, "{}", found);
    }

    #[test]
    fn arguments_that_are_no_json_hide_nothing(pieces in prop::collection::vec("[SECRET\"\\\\{\\[:,1et nu0]{0,8}", 0..8), seed in any::<u64>()) {
        let choices = &mut Choices(seed);
        let mut wire = String::new();
        for piece in &pieces {
            let text = quote(&[piece, SECRET].concat(), choices);
            wire.push_str(&format!("data: {{\"type\":\"d\",\"index\":0,\"delta\":{{\"type\":\"j\",\"partial_json\":{text}}}}}\n\n"));
        }
        wire.push_str("data: {\"type\":\"message_stop\"}\n\n");
        let out = guarded(messages(), &wire, "*", choices);
        let mut joined = String::new();
        for frame in frames(&out) {
            let data: Value = serde_json::from_str(frame.data()).expect("JSON");
            joined.push_str(data["delta"]["partial_json"].as_str().unwrap_or_default());
        }
        prop_assert!(!joined.contains(SECRET), "{}", joined);
    }

    #[test]
    fn a_signature_stays_with_the_text_that_was_signed(
        texts in prop::collection::vec(risky_text(), 1..4), seed in any::<u64>(),
    ) {
        let choices = &mut Choices(seed);
        let mut wire = String::new();
        let mut queues: Vec<_> = texts.iter().map(|text| pieces(text, choices).into_iter()).collect();
        let mut open: Vec<usize> = (0..texts.len()).collect();
        while !open.is_empty() {
            let at = choices.below(open.len() as u64) as usize;
            let index = open[at];
            if let Some(piece) = queues[index].next() {
                wire.push_str(&thinking(index, &quote(&piece, choices)));
            } else {
                open.remove(at);
                wire.push_str(&signature(index, "c2ln"));
                // More of it, which is the same signature's.
                wire.push_str(&signature(index, "bmVk"));
                wire.push_str(&format!("data: {{\"type\":\"content_block_stop\",\"index\":{index}}}\n\n"));
            }
        }
        let out = guarded(messages(), &wire, "[é\"]", choices);
        let mut found = vec![String::new(); texts.len()];
        for frame in frames(&out) {
            let data: Value = serde_json::from_str(frame.data()).expect("JSON");
            let index = data["index"].as_u64().expect("index") as usize;
            found[index].push_str(data["delta"]["thinking"].as_str().unwrap_or_default());
            if let Some(signature) = data["delta"]["signature"].as_str() {
                // All of the text is out, and the signature is if it is the text that was signed.
                prop_assert_eq!(&found[index], &texts[index].replace(SECRET, "[é\"]"));
                prop_assert_eq!(signature.is_empty(), texts[index].contains(SECRET));
            }
        }
        if !texts.iter().any(|text| text.contains('S')) {
            prop_assert_eq!(out, wire);
        }
    }

    #[test]
    fn numbers_of_frames_go_on_increasing(
        texts in prop::collection::vec(risky_text(), 1..4), first in 0..3_u64, seed in any::<u64>(), ended in any::<bool>(),
    ) {
        let choices = &mut Choices(seed);
        let mut wire = String::new();
        let mut queues: Vec<_> = texts.iter().map(|text| pieces(text, choices).into_iter()).collect();
        let mut open: Vec<usize> = (0..texts.len()).collect();
        let mut number = first;
        while !open.is_empty() {
            let at = choices.below(open.len() as u64) as usize;
            let index = open[at];
            if let Some(piece) = queues[index].next() {
                let piece = quote(&piece, choices);
                wire.push_str(&format!("data: {{\"type\":\"d\",\"sequence_number\":{number},\"output_index\":{index},\"delta\":{piece}}}\n\n"));
            } else {
                open.remove(at);
                // Without it, the end of the stream is what ends the text.
                if !ended { continue; }
                wire.push_str(&format!("data: {{\"type\":\"e\",\"output_index\":{index},\"text\":\"\",\"sequence_number\" : {number} }}\n\n"));
            }
            number += 1;
        }
        let out = guarded(numbered(), &wire, "[é\"]", choices);
        let mut found = vec![String::new(); texts.len()];
        for (at, frame) in frames(&out).iter().enumerate() {
            let data: Value = serde_json::from_str(frame.data()).expect("JSON");
            prop_assert_eq!(data["sequence_number"].as_u64(), Some(first + at as u64), "{}", out);
            let index = data["output_index"].as_u64().expect("index") as usize;
            found[index].push_str(data["delta"].as_str().unwrap_or_default());
        }
        for (found, text) in found.iter().zip(&texts) {
            prop_assert_eq!(found, &text.replace(SECRET, "[é\"]"));
        }
        if !texts.iter().any(|text| text.contains('S')) {
            prop_assert_eq!(out, wire);
        }
    }

    #[test]
    fn other_strings_of_frames_are_read(seed in any::<u64>(), names in prop::collection::vec(prop::sample::select(vec!["a", "SECRET", "b"]), 1..12)) {
        let choices = &mut Choices(seed);
        let wire: String = names.iter().map(|name| format!("event: e\ndata: {{\"model\":\"{name}\", \"n\":1}}\n\n")).collect();
        let out = guarded(chat(), &wire, "*", choices);
        prop_assert_eq!(out, wire.replace(SECRET, "*"));
    }
}

fn content(index: usize, text: &str) -> String {
    format!("data: {{\"id\":\"x\",\"choices\":[{{\"index\":{index},\"delta\":{{\"content\":{text}}}}}]}}\n\n")
}

fn thinking(index: usize, text: &str) -> String {
    format!("data: {{\"type\":\"d\",\"index\":{index},\"delta\":{{\"type\":\"t\",\"thinking\":{text}}}}}\n\n")
}

fn signature(index: usize, text: &str) -> String {
    format!("data: {{\"type\":\"d\",\"index\":{index},\"delta\":{{\"type\":\"s\",\"signature\":\"{text}\"}}}}\n\n")
}

fn detail(choice: usize, index: usize, text: &str) -> String {
    format!(
        "data: {{\"choices\":[{{\"index\":{choice},\"delta\":{{\"reasoning_details\":[{{\"index\":{index},{text}}}]}}}}]}}\n\n"
    )
}

fn step(texts: &mut StreamTexts, wire: &str, last: bool) -> (Vec<Text>, Resolved) {
    let shown = texts.cut(frames(wire), last).to_vec();
    let (findings, holds) = inspect(&shown, "*");
    (shown.clone(), texts.resolve(&findings, &holds).expect("findings fit"))
}

fn written(resolved: &Resolved) -> String {
    resolved.frames.iter().map(|bytes| std::str::from_utf8(bytes).expect("UTF-8")).collect()
}

#[test]
fn held_text_goes_before_the_next_piece() {
    let mut texts = StreamTexts::new(chat(), StreamLimits::default());
    let (shown, resolved) = step(&mut texts, &content(0, r#""my \u0053E""#), false);
    assert_eq!((shown[0].kind, shown[0].at.as_str()), (PlaceKind::Text, "/choices/0/delta/content"));
    assert_eq!(written(&resolved), content(0, r#""my ""#));
    assert!(resolved.changed && texts.has_held());
    let (shown, resolved) = step(&mut texts, &content(0, r#""lf \u0053""#), false);
    assert_eq!(shown[0], Text { content: "my SElf S".into(), released: 3, open: true, ..shown[0].clone() });
    assert_eq!(written(&resolved), content(0, r#""SElf ""#));
    // The end of the channel lets it out in a frame of its own.
    let end = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let (shown, resolved) = step(&mut texts, end, false);
    assert_eq!(shown[0], Text { content: "my SElf S".into(), released: 8, open: false, ..shown[0].clone() });
    assert_eq!(written(&resolved), [content(0, "\"S\""), end.to_owned()].concat());
    assert!(!texts.has_held());
}

#[test]
fn a_piece_in_the_frame_that_ends_it_carries_what_was_held() {
    let mut texts = StreamTexts::new(chat(), StreamLimits::default());
    step(&mut texts, &content(0, "\"SEC\""), false);
    let end = r#"data: {"choices":[{"index":0,"delta":{"content":"ret"},"finish_reason":"stop"}]}"#;
    let (shown, resolved) = step(&mut texts, &format!("{end}\n\n"), false);
    assert!(!shown[0].open);
    assert_eq!(written(&resolved), format!("{}\n\n", end.replace("ret", "SECret")));
}

#[test]
fn frames_of_one_read_are_read_together() {
    let mut texts = StreamTexts::new(chat(), StreamLimits::default());
    let wire = [content(0, "\"a SEC\""), content(1, "\"SE\""), content(0, "\"RET b\"")].concat();
    let (shown, resolved) = step(&mut texts, &wire, false);
    assert_eq!(shown.iter().map(|text| text.content.as_str()).collect::<Vec<_>>(), ["a SECRET b", "SE"]);
    let expected = [content(0, "\"a *\""), content(1, "\"\""), content(0, "\" b\"")].concat();
    assert_eq!(written(&resolved), expected);
}

#[test]
fn a_flush_says_nothing_twice() {
    let first = r#"data: {"id":"x","choices":[{"index":0,"delta":{"role":"assistant","tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"a\":\"SEC"}},{"index":1,"id":"call_2","type":"function","function":{"name":"g","arguments":"{}"}}]},"logprobs":{"t":"SEC"}}]}"#;
    let mut texts = StreamTexts::new(chat(), StreamLimits::default());
    let (_, resolved) = step(&mut texts, &format!("{first}\n\n"), false);
    let shortened = first.replace(r#"\"SEC""#, r#"\"""#).replace(r#"{"t":"SEC"}"#, "null");
    assert_eq!(written(&resolved), format!("{shortened}\n\n"));
    let (_, resolved) = step(&mut texts, "data: [DONE]\n\n", true);
    let flush = r#"data: {"id":"x","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"type":"function","function":{"arguments":"SEC"}}]},"logprobs":null}]}"#;
    assert_eq!(written(&resolved), format!("{flush}\n\ndata: [DONE]\n\n"));
}

#[test]
fn a_signature_waits_for_its_text() {
    let mut texts = StreamTexts::new(messages(), StreamLimits::default());
    step(&mut texts, &thinking(0, "\"a SEC\""), false);
    step(&mut texts, &thinking(1, "\"SE\""), false);
    let (shown, resolved) = step(&mut texts, &signature(0, "s"), false);
    assert_eq!(shown[0], Text { content: "a SEC".into(), released: 2, open: false, ..shown[0].clone() });
    // Held and let go unchanged: still what was signed.
    assert_eq!(written(&resolved), [thinking(0, "\"SEC\""), signature(0, "s")].concat());
    let (_, resolved) = step(&mut texts, &[thinking(1, "\"CRET\""), signature(1, "s")].concat(), false);
    assert_eq!(written(&resolved), [thinking(1, "\"*\""), signature(1, "")].concat());
    let (_, resolved) = step(&mut texts, &signature(0, "more"), false);
    assert_eq!(written(&resolved), signature(0, "more"));
    // Redacted as a whole.
    step(&mut texts, &thinking(2, "\"S\""), false);
    texts.redact_held("[held]");
    let (_, resolved) = step(&mut texts, &signature(2, "s"), true);
    assert_eq!(written(&resolved), signature(2, ""));
}

#[test]
fn a_signature_goes_with_the_text_of_its_own_key_alone() {
    let mut texts = StreamTexts::new(details(), StreamLimits::default());
    let wire = [
        content(0, "\"SECRET SEC\""),
        detail(0, 0, "\"text\":\"SECRET\""),
        detail(0, 1, "\"text\":\"a\""),
        detail(1, 0, "\"text\":\"SE\",\"signature\":\"s\""),
        detail(0, 0, "\"signature\":\"s\""),
        detail(0, 1, "\"signature\":\"s\""),
    ];
    let (_, resolved) = step(&mut texts, &wire.concat(), false);
    let expected = [
        content(0, "\"* \""),
        detail(0, 0, "\"text\":\"*\""),
        wire[2].clone(),
        wire[3].clone(),
        detail(0, 0, "\"signature\":\"\""),
        wire[5].clone(),
    ];
    assert_eq!(written(&resolved), expected.concat());
    // The content is no text of the signature's: it is still held.
    assert!(texts.has_held());
}

#[test]
fn what_is_derived_from_a_text_beside_it_goes_with_it() {
    let spec = TextMapSpec {
        opaque: strings(&["/block/signature"]),
        derived: strings(&["/block/signature"]),
        channels: vec![channel("/delta/thinking", TextKind::Reasoning, &["/index"], &[])],
        ..TextMapSpec::default()
    };
    let mut texts = StreamTexts::new(Arc::new(TextMap::new(&spec).expect("patterns")), StreamLimits::default());
    let frame = "data: {\"index\":0,\"block\":{\"thinking\":\"a\",\"signature\":\"s\"}}\n\n";
    assert_eq!(written(&step(&mut texts, frame, false).1), frame);
    let (_, resolved) = step(&mut texts, &frame.replace("\"a\"", "\"SECRET\""), false);
    assert_eq!(written(&resolved), frame.replace("\"a\"", "\"*\"").replace("\"s\"", "\"\""));
}

#[test]
fn after_too_many_changed_texts_nothing_is_signed() {
    let mut texts = StreamTexts::new(messages(), StreamLimits::default());
    for index in 0..300 {
        step(&mut texts, &thinking(index, "\"SECRET\""), false);
    }
    for index in [0, 299, 300] {
        assert_eq!(written(&step(&mut texts, &signature(index, "s"), false).1), signature(index, ""));
    }
}

#[test]
fn an_unchanged_string_is_read_once() {
    let mut texts = StreamTexts::new(chat(), StreamLimits::default());
    let frame = "data: {\"model\":\"m\",\"choices\":[]}\n\n";
    let (shown, _) = step(&mut texts, &frame.repeat(3), false);
    assert_eq!(shown.len(), 1);
    assert!(step(&mut texts, frame, false).0.is_empty());
    assert_eq!(step(&mut texts, &frame.replace("\"m\"", "\"n\""), false).0.len(), 1);
}

#[test]
fn text_that_is_no_json_is_read_too() {
    let mut texts = StreamTexts::new(chat(), StreamLimits::default());
    let (_, resolved) = step(&mut texts, "data: oh SECRET\n\ndata: [DONE]\n\n", true);
    assert_eq!(written(&resolved), "data: oh *\n\ndata: [DONE]\n\n");
}

#[test]
fn numbers_in_arguments_are_read_whole_and_masked_as_strings() {
    let frame = |text: &str| format!("data: {{\"type\":\"d\",\"index\":0,\"delta\":{{\"partial_json\":{text}}}}}\n\n");
    let mut texts = StreamTexts::new(messages(), StreamLimits::default());
    let shown = texts.cut(frames(&frame(r#""{\"card\": 41111111""#)), false).to_vec();
    assert_eq!(shown[0].content, "{\"card\": ");
    let resolved = texts.resolve(&[], &[]).expect("fits");
    assert_eq!(written(&resolved), frame(r#""{\"card\": ""#));
    let shown = texts.cut(frames(&frame(r#""11111111}""#)), false).to_vec();
    assert_eq!(shown[0].content, "{\"card\": 4111111111111111}");
    let start = "{\"card\": ".len() as u32;
    let finding = Finding { text: 0, start, end: start + 16, kind: "card".into(), replacement: Some("[card]".into()) };
    let resolved = texts.resolve(&[finding], &[]).expect("fits");
    assert_eq!(written(&resolved), frame(r#""\"[card]\"}""#));
}

/// Frames that all have their text at one place and say by their type what it is, as Responses do.
#[test]
fn a_channel_has_only_the_frames_that_its_condition_leaves_it() {
    let of = |kind, types: &[&str]| {
        let when =
            types.iter().map(|name| ConditionSpec { at: "/type".into(), test: Test::Equals(format!("\"{name}\"")) });
        ChannelSpec { when: when.collect(), ..channel("/delta", kind, &["/index"], &[]) }
    };
    let map = |rest: Option<ChannelSpec>| {
        let named = [of(TextKind::ToolArguments, &["args", "more args"]), of(TextKind::Reasoning, &["thought"])];
        let channels = named.into_iter().chain(rest).collect();
        let spec = TextMapSpec { opaque: strings(&["/type"]), channels, ..TextMapSpec::default() };
        Arc::new(TextMap::new(&spec).expect("a map"))
    };
    // The type may come after the text.
    let frame = |name: &str, text: &str| format!("data: {{\"delta\":{text},\"index\":0,\"type\":\"{name}\"}}\n\n");
    let wire = [
        frame("args", r#""{\"k\":\"SE""#),
        frame("thought", r#""my SE""#),
        frame("said", r#""SELF""#),
        frame("more args", r#""LF\"}""#),
    ]
    .concat();
    let mut texts = StreamTexts::new(map(None), StreamLimits::default());
    let kinds = |shown: &[Text]| shown.iter().map(|text| (text.kind, text.content.clone())).collect::<Vec<_>>();
    let (shown, _) = step(&mut texts, &wire, true);
    let said = |kind| (kind, "SELF".to_owned());
    assert_eq!(
        kinds(&shown),
        [
            said(PlaceKind::Value),
            (PlaceKind::ToolArguments, "{\"k\":\"SELF\"}".to_owned()),
            (PlaceKind::Reasoning, "my SE".to_owned()),
        ]
    );
    let mut texts = StreamTexts::new(map(Some(of(TextKind::Text, &[]))), StreamLimits::default());
    let (shown, _) = step(&mut texts, &wire, true);
    assert!(kinds(&shown).contains(&said(PlaceKind::Text)), "{shown:?}");
}

#[test]
fn structure_is_never_replaced() {
    let frame = |text: &str| format!("data: {{\"type\":\"d\",\"index\":0,\"delta\":{{\"partial_json\":{text}}}}}\n\n");
    let mut texts = StreamTexts::new(messages(), StreamLimits::default());
    let shown = texts.cut(frames(&frame(r#""{\"a\":\"b\",\"c\":true,\"d\":12 }""#)), true).to_vec();
    let end = shown[0].content.len() as u32;
    let finding = Finding { text: 0, start: 0, end, kind: "all".into(), replacement: Some("\"".into()) };
    let resolved = texts.resolve(&[finding], &[]).expect("fits");
    assert_eq!(written(&resolved), frame(r#""{\"\\\"\":\"\",\"\":true,\"\":\"\" }""#));
}

#[test]
fn too_much_held_is_an_overflow_and_can_be_redacted() {
    let limits = StreamLimits { max_held_bytes: 8, context_bytes: 4 };
    let mut texts = StreamTexts::new(chat(), limits);
    let hold_all = |texts: &mut StreamTexts, wire: &str| {
        let shown = texts.cut(frames(wire), false).to_vec();
        let holds: Vec<_> =
            (0..shown.len() as u32).map(|text| Hold { text, start: shown[text as usize].released }).collect();
        (shown, texts.resolve(&[], &holds).expect("fits"))
    };
    assert!(!hold_all(&mut texts, &content(0, "\"12345678\"")).1.overflow);
    let (_, resolved) = hold_all(&mut texts, &content(0, "\"9\""));
    assert!(resolved.overflow);
    assert_eq!(written(&resolved), content(0, "\"\""));
    let redacted: Vec<_> = texts.redact_held("[held]");
    assert_eq!(redacted, [Bytes::from(content(0, "\"[held]\""))]);
    assert!(!texts.has_held());
    let (shown, resolved) = step(&mut texts, &content(0, "\"go on\""), true);
    assert_eq!((shown[0].content.as_str(), shown[0].released), ("eld]go on", 4));
    assert_eq!(written(&resolved), content(0, "\"go on\""));
    // Arguments keep their form, and a token cut at the end.
    let frame = |text: &str| format!("data: {{\"type\":\"d\",\"index\":0,\"delta\":{{\"partial_json\":{text}}}}}\n\n");
    let mut texts = StreamTexts::new(messages(), limits);
    hold_all(&mut texts, &frame(r#""{\"a\":\"secret\\u00""#));
    assert_eq!(texts.redact_held("*"), [Bytes::from(frame(r#""{\"*\":\"""#))]);
    let (_, resolved) = step(&mut texts, &frame(r#""e9\"}""#), true);
    assert_eq!(written(&resolved), frame(r#""\\u00e9\"}""#));
}

#[test]
fn a_faulty_guard_is_an_error() {
    let mut texts = StreamTexts::new(chat(), StreamLimits::default());
    let finding =
        |text, start, end| Finding { text, start, end, kind: String::new(), replacement: Some(String::new()) };
    for bad in [finding(1, 0, 0), finding(0, 1, 2), finding(0, 0, 9)] {
        texts.cut(frames(&content(0, "\"é\"")), false);
        assert!(texts.resolve(&[bad], &[]).is_err());
    }
    for bad in [Hold { text: 1, start: 0 }, Hold { text: 0, start: 1 }, Hold { text: 0, start: 9 }] {
        let mut texts = StreamTexts::new(chat(), StreamLimits::default());
        texts.cut(frames(&content(0, "\"é\"")), false);
        assert!(texts.resolve(&[], &[bad]).is_err());
    }
}

#[test]
fn other_framings_are_spliced_too() {
    for framing in [Framing::Ndjson, Framing::AwsEventStream, Framing::JsonArray] {
        let (mut wire, mut encoder) = (Vec::new(), framing.encoder());
        for text in ["a SEC", "RET b", "c"] {
            encoder.frame(
                "contentBlockDelta",
                &format!("{{\"index\":0,\"delta\":{{\"text\":\"{text}\"}}}}"),
                &mut wire,
            );
        }
        encoder.finish(&mut wire);
        let (mut splitter, mut list) = (framing.splitter(), Vec::new());
        splitter.push(&wire.into(), &mut list).expect("well framed");
        let mut texts = StreamTexts::new(messages(), StreamLimits::default());
        let (findings, holds) = inspect(&texts.cut(list, true).to_vec(), "*");
        let resolved = texts.resolve(&findings, &holds).expect("fits");
        let (mut again, mut list) = (framing.splitter(), Vec::new());
        for bytes in &resolved.frames {
            again.push(bytes, &mut list).expect("well framed");
        }
        let read: Vec<_> = list.iter().map(Frame::data).filter(|data| !data.is_empty()).collect();
        let expected = ["a *", " b", "c"].map(|text| format!("{{\"index\":0,\"delta\":{{\"text\":\"{text}\"}}}}"));
        assert_eq!(read, expected);
    }
}

/// What a guard held till the end has a frame of its own, and an array ends after it.
#[test]
fn nothing_follows_an_arrays_end() {
    let (mut wire, mut encoder) = (Vec::new(), Framing::JsonArray.encoder());
    encoder.frame("", r#"{"choices":[{"index":0,"delta":{"content":"a SEC"}}]}"#, &mut wire);
    let open = wire.len();
    encoder.finish(&mut wire);
    for batches in [vec![&wire[..]], vec![&wire[..open], &wire[open..]]] {
        let (mut splitter, mut texts) =
            (Framing::JsonArray.splitter(), StreamTexts::new(chat(), StreamLimits::default()));
        let mut out = Vec::new();
        for (at, batch) in batches.iter().enumerate() {
            let mut list = Vec::new();
            splitter.push(&batch.to_vec().into(), &mut list).expect("well framed");
            let shown = texts.cut(list, at + 1 == batches.len()).to_vec();
            let holds: Vec<_> =
                shown.first().filter(|_| at == 0).map(|_| Hold { text: 0, start: 2 }).into_iter().collect();
            let resolved = texts.resolve(&[], &holds).expect("fits");
            out.extend(resolved.frames.iter().flat_map(|bytes| bytes.to_vec()));
        }
        let read: Vec<serde_json::Value> = serde_json::from_slice(&out).expect("an array");
        let said: String = read.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(said, "a SEC", "{}", String::from_utf8_lossy(&out));
    }
}
