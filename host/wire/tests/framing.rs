use bytes::Bytes;
use portcullis_wire::framing::{Frame, Framing, FramingError, aws, json_array, ndjson, sse};
use proptest::prelude::*;

/// Splits `input` at these places and collects all frames.
fn split(framing: Framing, input: &[u8], cuts: &[usize]) -> Result<Vec<Frame>, FramingError> {
    let input = Bytes::copy_from_slice(input);
    let mut splitter = framing.splitter();
    let mut frames = Vec::new();
    let mut start = 0;
    for &cut in cuts.iter().filter(|&&cut| cut <= input.len()) {
        if cut >= start {
            splitter.push(&input.slice(start..cut), &mut frames)?;
            start = cut;
        }
    }
    splitter.push(&input.slice(start..), &mut frames)?;
    splitter.finish(&mut frames)?;
    Ok(frames)
}

fn joined(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(|frame| frame.raw().to_vec()).collect()
}

fn said(frames: &[Frame]) -> Vec<(String, String)> {
    let with_data = frames.iter().filter(|frame| !frame.data().is_empty());
    with_data.map(|frame| (frame.event().to_owned(), frame.data().to_owned())).collect()
}

/// The same, read by the standard's own words, line by line over the whole input.
fn sse_reference(input: &str) -> Vec<(String, String)> {
    let input = input.strip_prefix('\u{feff}').unwrap_or(input).replace("\r\n", "\n").replace('\r', "\n");
    let (mut out, mut event, mut data) = (Vec::new(), String::new(), None::<String>);
    let mut dispatch = |event: &mut String, data: &mut Option<String>| {
        let event = std::mem::take(event);
        if let Some(data) = data.take().filter(|data| !data.is_empty()) {
            out.push((event, data));
        }
    };
    for line in input.split('\n') {
        if line.is_empty() {
            dispatch(&mut event, &mut data);
            continue;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => event = value.to_owned(),
            "data" => match &mut data {
                Some(data) => *data = format!("{data}\n{value}"),
                None => data = Some(value.to_owned()),
            },
            _ => {}
        }
    }
    dispatch(&mut event, &mut data);
    out
}

fn sse_text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "data",
        "event",
        "id",
        ":",
        " ",
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "\r\n\r\n",
        "x",
        "{\"é\":1}",
        "data: ",
        "event: e",
        ": ping",
        "\u{feff}",
        "data:a\n\n",
        "data: b\r\n\r\n",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn sse_is_split_alike_at_every_byte(input in sse_text(), mut cuts in prop::collection::vec(0usize..120, 0..12)) {
        cuts.sort_unstable();
        let expected = sse_reference(&input);
        for cuts in [cuts, (0..input.len()).collect(), Vec::new()] {
            let frames = split(Framing::Sse, input.as_bytes(), &cuts).expect("no limit is reached");
            prop_assert_eq!(joined(&frames), input.as_bytes());
            prop_assert_eq!(said(&frames), expected.clone());
        }
    }

    #[test]
    fn any_bytes_pass_whole(input in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..200) {
        for framing in [Framing::Sse, Framing::Ndjson] {
            let frames = split(framing, &input, &[cut]).expect("no limit is reached");
            prop_assert_eq!(joined(&frames), input.clone());
        }
        // Garbage is no event stream of AWS's, and says so instead of panicking.
        prop_assert!(input.is_empty() || split(Framing::AwsEventStream, &input, &[cut]).is_err());
    }

    #[test]
    fn ndjson_is_split_alike_at_every_byte(lines in prop::collection::vec("[a-zé\"{}\r]{0,12}", 0..8), ended in any::<bool>()) {
        let mut input = lines.join("\n");
        if ended { input.push('\n'); }
        let expected: Vec<_> = input.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line))
            .filter(|line| !line.is_empty()).map(|line| (String::new(), line.to_owned())).collect();
        // A last line that ends with a lone CR at the end of the stream is treated as one that ends with CRLF.
        for cuts in [(0..input.len()).collect(), Vec::new()] {
            let frames = split(Framing::Ndjson, input.as_bytes(), &cuts).expect("no limit is reached");
            prop_assert_eq!(joined(&frames), input.as_bytes());
            prop_assert_eq!(said(&frames), expected.clone());
        }
    }

    #[test]
    fn every_framing_reads_what_it_writes(
        messages in prop::collection::vec(("[a-z.]{1,12}", "[a-zé😀\"{}: ]{1,40}"), 0..6),
        cut in 0usize..400,
    ) {
        for framing in [Framing::Sse, Framing::Ndjson, Framing::AwsEventStream] {
            let mut wire = Vec::new();
            let mut encoder = framing.encoder();
            for (event, data) in &messages {
                encoder.frame(event, data, &mut wire);
            }
            encoder.finish(&mut wire);
            let expected: Vec<_> = messages.iter().map(|(event, data)| {
                (if framing == Framing::Ndjson { String::new() } else { event.clone() }, data.clone())
            }).collect();
            for cuts in [vec![cut], (0..wire.len()).collect()] {
                let frames = split(framing, &wire, &cuts).expect("well framed");
                prop_assert_eq!(said(&frames), expected.clone());
                prop_assert_eq!(joined(&frames), wire.clone());
                for frame in &frames {
                    prop_assert_eq!(frame.with_data(frame.data()), frame.raw());
                    let other = split(framing, &frame.with_data("{\"other\":1}"), &[]).expect("well framed");
                    let expected = vec![(frame.event().to_owned(), "{\"other\":1}".to_owned())];
                    prop_assert_eq!(said(&other), expected);
                }
            }
        }
    }

    /// Any array of any values with any white space, wherever it is cut: its items are those that serde_json reads, its bytes are all
    /// there, and a changed item leaves the others.
    #[test]
    fn an_arrays_items_are_alike_at_every_byte(
        items in prop::collection::vec((json_value(), "[ \t\r\n]{0,2}", "[ \t\r\n]{0,2}"), 0..5),
        (before, after) in ("[ \n]{0,2}", "[ \n]{0,2}"),
    ) {
        let written: Vec<String> =
            items.iter().map(|(item, before, after)| format!("{before}{item}{after}")).collect();
        let wire = format!("{before}[{}]{after}", written.join(","));
        let expected: Vec<String> = items.iter().map(|(item, ..)| item.clone()).collect();
        let read: Vec<serde_json::Value> = serde_json::from_str(&wire).expect("an array");
        prop_assert_eq!(read.len(), expected.len());
        let mut cuts: Vec<Vec<usize>> = (0..=wire.len()).map(|at| vec![at]).collect();
        cuts.push((0..wire.len()).collect());
        for cuts in cuts {
            let frames = split(Framing::JsonArray, wire.as_bytes(), &cuts).expect("an array");
            prop_assert_eq!(joined(&frames), wire.as_bytes());
            let found: Vec<&str> = frames.iter().map(Frame::data).filter(|data| !data.is_empty()).collect();
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(frames.iter().filter(|frame| frame.closes()).count(), 1);
            for (at, frame) in frames.iter().enumerate().filter(|(_, frame)| !frame.data().is_empty()) {
                prop_assert_eq!(frame.with_data(frame.data()), frame.raw());
                let mut changed = joined(&frames[..at]);
                changed.extend_from_slice(&frame.with_data("\"x\""));
                changed.extend(joined(&frames[at + 1..]));
                let mut wanted = read.clone();
                let place = frames[..at].iter().filter(|frame| !frame.data().is_empty()).count();
                wanted[place] = "x".into();
                prop_assert_eq!(serde_json::from_slice::<Vec<serde_json::Value>>(&changed).expect("JSON"), wanted);
            }
        }
        // Cut short it gives whole items only, and says so where it is within one.
        for end in 0..wire.len() {
            let Ok(frames) = split(Framing::JsonArray, &wire.as_bytes()[..end], &[]) else { continue };
            prop_assert!(expected.iter().map(String::as_str).zip(frames.iter().map(Frame::data)).all(|(one, two)| two.is_empty() || one == two));
        }
    }

    #[test]
    fn what_is_written_as_an_array_is_one(items in prop::collection::vec(json_value(), 0..5), batches in 1usize..3) {
        let mut encoder = Framing::JsonArray.encoder();
        let (mut wire, mut splitter, mut frames) = (Vec::new(), Framing::JsonArray.splitter(), Vec::new());
        for batch in items.chunks(batches) {
            let mut out = Vec::new();
            batch.iter().for_each(|item| encoder.frame("", item, &mut out));
            wire.extend_from_slice(&out);
            splitter.push(&out.into(), &mut frames).expect("an array");
        }
        let mut end = Vec::new();
        encoder.finish(&mut end);
        encoder.finish(&mut end);
        encoder.frame("", "1", &mut end);
        wire.extend_from_slice(&end);
        splitter.push(&end.into(), &mut frames).expect("an array");
        prop_assert_eq!(joined(&frames), wire.clone());
        let read: Vec<serde_json::Value> = serde_json::from_slice(&wire).expect("an array");
        let expected: Vec<serde_json::Value> =
            items.iter().map(|item| serde_json::from_str(item).expect("JSON")).collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn multi_line_data_is_replaced(input in sse_text(), data in "[a-z\n]{1,20}") {
        let frames = split(Framing::Sse, input.as_bytes(), &[]).expect("no limit is reached");
        for (at, frame) in frames.iter().enumerate() {
            // Only the first frame's byte order mark is one.
            let before: &[u8] = if at == 0 { b"" } else { b"\n" };
            let written = [before, &frame.with_data(&data)].concat();
            let again = split(Framing::Sse, &written, &[]).expect("no limit is reached");
            prop_assert_eq!(said(&again), vec![(frame.event().to_owned(), data.clone())], "{:?}", frame);
        }
    }
}

/// JSON texts, with what could be taken for an item's end in them.
fn json_value() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "1",
        "-2.5e3",
        "null",
        "true",
        "\"\"",
        "\"]\"",
        "\"a\\\"],[\"",
        "\"é\\\\\"",
        "{}",
        "[]",
        "[[],[{}]]",
    ]);
    let leaf = leaf.prop_map(str::to_owned);
    leaf.prop_recursive(3, 12, 3, |inner| {
        let key = prop::sample::select(vec!["a", "]", "\\\"", "é"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[ {} ]", items.join(" , "))),
            (key, inner).prop_map(|(key, value)| format!("{{\n\"{key}\" : {value}\n}}")),
        ]
    })
}

#[test]
fn what_is_no_array_says_so() {
    for wire in ["{}", "[,1]", "[1,]", "[1 2]", "[1]x", "[1]]", "]", "[}", "data: {}\n\n", "[{}{}]", "[1,,2]"] {
        let error = split(Framing::JsonArray, wire.as_bytes(), &[]).expect_err(wire);
        assert_eq!(error, FramingError::Malformed("the stream is no JSON array"), "{wire}");
    }
    for (wire, left) in [("[{\"a\":", 6), ("[{},\"x", 3), ("[{},12", 3)] {
        assert_eq!(split(Framing::JsonArray, wire.as_bytes(), &[]).map(|_| ()), Err(FramingError::Cut(left)), "{wire}");
    }
    for wire in ["", " ", "[", "[{}", "[{},", "[{} "] {
        assert!(split(Framing::JsonArray, wire.as_bytes(), &[]).is_ok(), "{wire}");
    }
    let mut out = Vec::new();
    let long = Bytes::from_static(b"[\"aaaaaaaaaaaaaaaaaaaa\"]");
    assert_eq!(json_array::Splitter::with_limit(16).push(&long, &mut out), Err(FramingError::TooLong(16)));
}

#[test]
fn a_frame_within_a_chunk_is_not_copied() {
    let chunk = Bytes::from_static(b"data: a\n\ndata: b\n\n");
    let mut frames = Vec::new();
    sse::Splitter::default().push(&chunk, &mut frames).expect("fits");
    assert_eq!(frames[1].raw().as_ptr(), chunk[9..].as_ptr());
}

#[test]
fn comments_and_blank_lines_are_frames_without_data() {
    let frames = split(Framing::Sse, b": ping\n\n\nevent: x\ndata: 1\n\n", &[]).expect("fits");
    let read: Vec<_> = frames.iter().map(|frame| (frame.event(), frame.data())).collect();
    assert_eq!(read, [("", ""), ("", ""), ("x", "1")]);
}

#[test]
fn a_changed_frame_keeps_its_other_lines() {
    let frames =
        split(Framing::Sse, b": note\r\nevent: e\r\nid: 7\r\ndata: {\"a\":1}\r\nretry: 5\r\n\r\n", &[]).expect("fits");
    let changed = frames[0].with_data("{}");
    assert_eq!(&changed[..], b": note\r\nevent: e\r\nid: 7\r\ndata: {}\r\nretry: 5\r\n\r\n");
    let frames = split(Framing::Sse, b"data: {\nid: 7\ndata: }\n\n", &[]).expect("fits");
    assert_eq!(frames[0].data(), "{\n}");
    assert_eq!(&frames[0].with_data("[]")[..], b"data: []\nid: 7\n\n");
}

#[test]
fn text_that_is_not_utf8_is_repaired_for_reading_only() {
    let input = b"data: \xFFok\n\n";
    let frames = split(Framing::Sse, input, &[]).expect("fits");
    assert_eq!(frames[0].data(), "\u{fffd}ok");
    assert_eq!(&frames[0].raw()[..], input);
}

#[test]
fn limits_hold_over_chunks() {
    let mut out = Vec::new();
    let mut lines = sse::Splitter::with_limit(16);
    assert_eq!(lines.push(&Bytes::from_static(b"data: 12345\n\n"), &mut out), Ok(()));
    assert_eq!(lines.push(&Bytes::from_static(b"data: 12345"), &mut out), Ok(()));
    assert_eq!(lines.push(&Bytes::from_static(b"67890123"), &mut out), Err(FramingError::TooLong(16)));
    let mut wire = Vec::new();
    aws::encode("e", &"x".repeat(100), &mut wire);
    assert_eq!(aws::Splitter::with_limit(64).push(&wire.into(), &mut out), Err(FramingError::TooLong(64)));
    let line = Bytes::from_static(b"{\"a\":\"aaaaaaaaaaaaaaa\"}\n");
    assert_eq!(ndjson::Splitter::with_limit(16).push(&line, &mut out), Err(FramingError::TooLong(16)));
}

#[test]
fn aws_reads_every_type_of_header() {
    let mut headers = Vec::new();
    let mut header = |name: &str, kind: u8, value: &[u8]| {
        headers.push(name.len() as u8);
        headers.extend_from_slice(name.as_bytes());
        headers.push(kind);
        headers.extend_from_slice(value);
    };
    header("t", 0, b"");
    header("f", 1, b"");
    header("b", 2, &[1]);
    header("s", 3, &[0; 2]);
    header("i", 4, &[0; 4]);
    header("l", 5, &[0; 8]);
    header("y", 6, &[0, 3, 1, 2, 3]);
    header("m", 8, &[0; 8]);
    header("u", 9, &[0; 16]);
    header(":message-type", 7, b"\0\x09exception");
    header(":exception-type", 7, b"\0\x13throttlingException");
    let mut wire = Vec::new();
    wire.extend_from_slice(&((16 + headers.len() + 2) as u32).to_be_bytes());
    wire.extend_from_slice(&(headers.len() as u32).to_be_bytes());
    wire.extend_from_slice(&crc32fast::hash(&wire).to_be_bytes());
    wire.extend_from_slice(&headers);
    wire.extend_from_slice(b"{}");
    wire.extend_from_slice(&crc32fast::hash(&wire).to_be_bytes());
    let frames = split(Framing::AwsEventStream, &wire, &(0..wire.len()).collect::<Vec<_>>()).expect("well framed");
    assert_eq!((frames[0].event(), frames[0].data()), ("throttlingException", "{}"));
    for at in 0..wire.len() {
        let mut broken = wire.clone();
        broken[at] ^= 1;
        assert!(split(Framing::AwsEventStream, &broken, &[]).is_err(), "byte {at}");
    }
    assert_eq!(split(Framing::AwsEventStream, &wire[..20], &[]).map(|_| ()), Err(FramingError::Cut(20)));
}

/// A stream's first frame stands for a later one without what only its first bytes can be.
#[test]
fn a_first_frame_said_again_is_no_first_frame() {
    let cases = [
        (Framing::JsonArray, "\r\n[\n{\"a\":1}", "\r\n,\n{\"b\":2}"),
        (Framing::JsonArray, "[[1]", ",{\"b\":2}"),
        (Framing::Sse, "\u{feff}event: x\ndata: {\"a\":1}\n\n", "event: x\ndata: {\"b\":2}\n\n"),
        (Framing::Ndjson, "{\"a\":1}\n", "{\"b\":2}\n"),
    ];
    for (framing, first, expected) in cases {
        let frames = split(framing, first.as_bytes(), &[]).expect("well framed");
        assert_eq!(frames[0].again_with_data("{\"b\":2}"), expected.as_bytes());
    }
}
