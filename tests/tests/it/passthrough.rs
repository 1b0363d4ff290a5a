//! Same format in and out: the provider gets the client's bytes and the client the provider's, but for declared splices.

use bytes::Bytes;
use portcullis_tests::{Act, Setup, Upstream, json_answer, recordings, sse, stream_head};

/// Odd, and valid. `MODEL` is where the model stands.
const ODD: [&str; 8] = [
    r#"{"model":"MODEL","messages":[{"role":"user","content":"plain"}]}"#,
    "\t{ \"messages\" : [ { \"content\" :\"white\\u0020space\" , \"role\":\"user\" } ]\r\n,\n \"model\"\t:\n\"MODEL\" }  \n",
    r#"{"messages":[{"role":"user","content":"\u0041\ud83c\udff0\/\b\f\n\r\t\"\\"}],"model":"MODEL","temperature":1e0}"#,
    r#"{"model":"MODEL","messages":[{"role":"user","content":"x"}],"seed":123456789012345678901234567890,"top_p":0.10000000000000000000001,"x":-0,"y":1E+400}"#,
    r#"{"model":"MODEL","messages":[{"role":"user","content":"twice","z":1,"z":2,"content2":{"a":1,"a":1}}]}"#,
    r#"{"model":"MODEL","messages":[{"role":"user","content":"größe 門 🏰  \u2028"}],"":{"":[[],{},[[[]]]]}}"#,
    r#"{"model":"MODEL","messages":[{"role":"user","content":"{\"model\":\"other\",\"stream\":true}"}],"metadata":{"model":"inner","stream":true},"stream":false}"#,
    r#"{"model":"MODEL","messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"made_up","deep":{"deeper":[null,true,false]}}]}],"stream":null,"unknown_field":[1,2,3]}"#,
];

const OPENAI_ANSWER: &str = "{ \"id\" : \"c\\u0031\",\n\"object\":\"chat.completion\",\"created\":1,\"model\":\"demo\",\"big\":123456789012345678901234567890,\"choices\":[{\"index\":0,\"finish_reason\":\"stop\",\"message\":{\"role\":\"assistant\",\"content\":\"gr\\u00fc\u{df}e \\/ \u{1f3f0}\",\"odd\":{\"a\":1,\"a\":2}}}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5,\"total_tokens\":8,\"made_up\":1.10}} \n";
const ANTHROPIC_ANSWER: &str = "{\"type\":\"message\", \"id\":\"m\\u0031\",\"role\":\"assistant\",\"model\":\"demo\",\"content\":[{\"type\":\"text\",\"text\":\"gr\\u00fc\u{df}e \\/\"},{\"type\":\"made_up\",\"x\":1e5}],\"stop_reason\":\"end_turn\",\"stop_sequence\":null,\"usage\":{\"input_tokens\":3,\"output_tokens\":5,\"more\":{\"z\":1}}}\n\n";

async fn both() -> Upstream {
    Upstream::start(|request| {
        let anthropic = request.head.starts_with("POST /v1/messages");
        json_answer(200, "", if anthropic { ANTHROPIC_ANSWER } else { OPENAI_ANSWER })
    })
    .await
}

fn gateway(upstream: &Upstream) -> Setup {
    Setup::new().openai("same", upstream.address).anthropic("other", upstream.address)
}

#[tokio::test]
async fn whole_requests_and_answers_byte_for_byte() {
    let upstream = both().await;
    let gateway = gateway(&upstream).start().await;
    let client = gateway.client().await;
    for (path, provider, answer) in
        [("/v1/chat/completions", "same", OPENAI_ANSWER), ("/v1/messages", "other", ANTHROPIC_ANSWER)]
    {
        for odd in ODD {
            // Anthropic's protocol has no `max_tokens` by default, and a top-level `"":{}` is nobody's.
            let body = odd.replace("MODEL", &format!("{provider}/demo"));
            let told = client.post(path, body).await.ok();
            assert_eq!(told.text(), answer);
            let received = upstream.requests().pop().expect("it was passed on");
            assert_eq!(String::from_utf8_lossy(&received.body), odd.replace("MODEL", "demo"));
            assert!(received.head.starts_with(&format!("POST {path} HTTP/1.1\r\n")), "{}", received.head);
        }
    }
}

/// A bare name needs no splice at all.
#[tokio::test]
async fn a_bare_name_is_not_even_spliced() {
    let upstream = both().await;
    let setup = gateway(&upstream).with("[routing]\nauto = [\"same/demo\"]\n");
    let gateway = setup.without("router-heuristic").start().await;
    let client = gateway.client().await;
    let body = ODD[2].replace("MODEL", "\\u0073ame\\/demo");
    client.post("/v1/chat/completions", body).await.ok();
    let received = upstream.requests().pop().expect("it was passed on");
    assert_eq!(String::from_utf8_lossy(&received.body), ODD[2].replace("MODEL", "demo"));
}

/// Guards splice what they replace and leave the rest alone.
#[tokio::test]
async fn a_guards_replacement_is_all_that_changes() {
    let upstream = both().await;
    let gateway = gateway(&upstream).start().await;
    let client = gateway.client().await;
    let odd = "{\"model\" :\"MODEL\", \"messages\":[ {\"role\":\"user\",\"content\":\"\\u00fc to MAIL \\/ \\ud83c\\udff0\", \"n\":1.0e2} ] }";
    for written in ["ada@example.org", "\\u0061da\\u0040example.org"] {
        let body = odd.replace("MODEL", "same/demo").replace("MAIL", written);
        client.post("/v1/chat/completions", body).await.ok();
        let received = upstream.requests().pop().expect("it was passed on");
        let expected = odd.replace("MODEL", "demo").replace("MAIL", "[EMAIL]");
        assert_eq!(String::from_utf8_lossy(&received.body), expected);
    }
}

#[tokio::test]
async fn keys_that_stand_twice_or_wrong_are_refused_before_anybody_differs_on_them() {
    let upstream = both().await;
    let gateway = gateway(&upstream).start().await;
    let client = gateway.client().await;
    for body in [
        r#"{"model":"same/demo","model":"other/demo","messages":[]}"#,
        r#"{"model":"same/demo","mod\u0065l":"other/demo","messages":[]}"#,
        r#"{"model":"same/demo","messages":[],"stream":false,"stream":true}"#,
        r#"{"model":"same/demo","messages":[],"stream":"yes"}"#,
        r#"{"model":5,"messages":[]}"#,
        r#"{"messages":[]}"#,
        r#"["model","same/demo"]"#,
        r#"{"model":"same/demo","messages":[{"content":"\ud800"#,
        r#"{"model":"same/demo","messages":[]} {"#,
        r#"{'model':'same/demo'}"#,
        "",
        "null",
        "\u{feff}{}",
    ] {
        for path in ["/v1/chat/completions", "/v1/messages"] {
            let answer = client.post(path, body).await;
            assert_eq!(answer.status.as_u16(), 400, "{body}: {:?}", answer.body);
            assert!(answer.json()["error"]["message"].is_string());
        }
    }
    let answer =
        client.post("/v1/chat/completions", Bytes::from_static(b"{\"model\":\"same/demo\",\"x\":\"\xff\"}")).await;
    assert_eq!(answer.status.as_u16(), 400);
    assert!(upstream.requests().is_empty());
}

const STREAM: &str = ": a comment\r\n\r\ndata: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"demo\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"gr\\u00fc\"},\"finish_reason\":null}]}\r\n\r\ndata:{\"id\":\"c\", \"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"demo\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\u{df}e \u{1f3f0}. \",\"odd\":[1,2]},\"finish_reason\":null}]}\n\nevent: ping\ndata: {\"type\": \"ping\"}\n\ndata: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"demo\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"demo\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5,\"total_tokens\":8}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// Cut anywhere: at every byte in turn, and into single bytes.
fn cut_anywhere(request: &portcullis_tests::Received, text: &[u8]) -> Vec<Act> {
    let body: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
    let cut = body["seed"].as_u64().expect("a seed") as usize;
    let mut acts = vec![stream_head()];
    if cut == 0 {
        acts.extend(text.iter().map(|byte| Act::chunk([*byte])));
    } else {
        acts.push(Act::chunk(&text[..cut]));
        if cut < text.len() {
            acts.extend([Act::pause(1), Act::chunk(&text[cut..])]);
        }
    }
    acts.push(Act::end());
    acts
}

fn streamed(model: &str, cut: usize, flag: &str) -> String {
    format!(r#"{{"model":"{model}","stream":true,"seed":{cut}{flag},"messages":[{{"role":"user","content":"x"}}]}}"#)
}

const WANTS_USAGE: &str = r#","stream_options":{"include_usage":true}"#;

#[tokio::test]
async fn streams_byte_for_byte_wherever_they_are_cut() {
    let text = format!("{STREAM}{USAGE}{DONE}");
    let length = text.len();
    let upstream = Upstream::start(move |request| cut_anywhere(request, text.as_bytes())).await;
    let gateway = gateway(&upstream).without("pii").start().await;
    let client = gateway.client().await;
    for cut in (0..length).step_by(3).chain([1, 2]) {
        let mut stream = client.stream("/v1/chat/completions", streamed("same/demo", cut, WANTS_USAGE)).await;
        let (told, complete) = stream.rest().await;
        assert!(complete);
        assert_eq!(told, format!("{STREAM}{USAGE}{DONE}"), "cut at {cut}");
        let received = upstream.requests().pop().expect("it was passed on");
        assert_eq!(String::from_utf8_lossy(&received.body), streamed("demo", cut, WANTS_USAGE));
        // The gateway asked for usage, and takes the frame out again.
        let mut stream = client.stream("/v1/chat/completions", streamed("same/demo", cut, "")).await;
        let (told, complete) = stream.rest().await;
        assert!(complete);
        assert_eq!(told, format!("{STREAM}{DONE}"), "cut at {cut}");
        let received = upstream.requests().pop().expect("it was passed on");
        let sent: serde_json::Value = serde_json::from_slice(&received.body).expect("JSON");
        assert_eq!(sent["stream_options"]["include_usage"], true);
    }
}

/// A guard may hold the end of a text until more of it came; it then stands in a later frame, and that is all.
#[tokio::test]
async fn a_guard_that_finds_nothing_moves_text_at_most() {
    let text = format!("{STREAM}{USAGE}{DONE}");
    let length = text.len();
    let upstream = Upstream::start(move |request| cut_anywhere(request, text.as_bytes())).await;
    let gateway = gateway(&upstream).start().await;
    let client = gateway.client().await;
    let without_text = |text: &str| {
        let events = sse::events(text).into_iter();
        let events = events.map(|event| match event.json() {
            serde_json::Value::Null => (event.name, serde_json::Value::from(event.data)),
            mut json => {
                if let Some(text) = json.pointer_mut("/choices/0/delta/content") {
                    *text = "".into();
                }
                (event.name, json)
            }
        });
        events.collect::<Vec<_>>()
    };
    let whole = format!("{STREAM}{USAGE}{DONE}");
    for cut in (0..length).step_by(7) {
        let mut stream = client.stream("/v1/chat/completions", streamed("same/demo", cut, WANTS_USAGE)).await;
        let (told, complete) = stream.rest().await;
        assert!(complete);
        assert_eq!(sse::text(&sse::events(&told)), "gr\u{fc}\u{df}e \u{1f3f0}. ", "cut at {cut}: {told}");
        assert_eq!(without_text(&told), without_text(&whole), "cut at {cut}: {told}");
    }
    // What came at once goes as it came.
    let mut stream = client.stream("/v1/chat/completions", streamed("same/demo", length, WANTS_USAGE)).await;
    assert_eq!(stream.rest().await.0, whole);
}

/// Every recorded answer of a chat, in its own protocol, whole and streamed.
#[tokio::test]
async fn recorded_answers_byte_for_byte() {
    for (name, provider, path) in [("openai", "same", "/v1/chat/completions"), ("anthropic", "other", "/v1/messages")] {
        let Some(mut recordings) = recordings::of(name, path.trim_start_matches("/v1")) else { return };
        recordings.retain(|recording| recording.status == 200);
        let answers: Vec<(bool, String)> =
            recordings.iter().map(|recording| (recording.stream, recording.response.clone())).collect();
        let upstream = Upstream::start(move |request| {
            let number = request.head.lines().find_map(|line| line.strip_prefix("anthropic-beta: rec-"));
            let body: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
            let number = number.or(body["model"].as_str().and_then(|model| model.strip_prefix("rec-")));
            let (stream, text) = &answers[number.expect("a recording").parse::<usize>().expect("its number")];
            if *stream { vec![stream_head(), Act::chunk(text), Act::end()] } else { json_answer(200, "", text) }
        })
        .await;
        let (base, open) = (format!("http://{}", upstream.address), "shared_objects = true\n");
        let key = format!("auth = \"header:x-api-key\"\n{open}");
        // They name files and containers of the account that made them, and a guard would mask what is in them.
        let gateway = Setup::new()
            .provider("same", "openai", &format!("{base}/v1"), open)
            .provider("other", "anthropic", &base, &key)
            .without("pii")
            .start()
            .await;
        let client = gateway.client().await;
        for (number, recording) in recordings.iter().enumerate() {
            let mut request = recording.request.clone();
            request["model"] = format!("{provider}/rec-{number}").into();
            if recording.stream {
                request["stream"] = true.into();
                if name == "openai" {
                    request["stream_options"] = serde_json::json!({"include_usage": true});
                }
            }
            let answer = client.post(path, request.to_string()).await.ok();
            assert_eq!(answer.text(), recording.response, "recording {}", recording.id);
            request["model"] = format!("rec-{number}").into();
            let received = upstream.requests().pop().expect("it was passed on");
            assert_eq!(String::from_utf8_lossy(&received.body), request.to_string(), "recording {}", recording.id);
        }
    }
}
