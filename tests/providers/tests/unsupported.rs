//! What a provider does not have is never left out in silence: it goes along, or a note says what became of it. Whether such a note
//! is the end of the request is the operator's choice (`[routing] unsupported`), and so no plugin's: none refuses what it can
//! leave out.

use portcullis_plugin::ir::*;
use portcullis_provider_tests::providers;
use serde_json::Value;

/// Stands in what a feature says, so that a body that has it has the feature.
const MARK: &str = "7MARK7";

/// A text as Bedrock takes documents.
const MARK_IN_BASE64: &str = "N01BUks3";

/// Features that are there without a word to the provider.
const IDLE: &[(&str, &str)] = &[
    // Bedrock's models think where they are asked to and else not.
    ("bedrock", "no thinking"),
];

/// A feature: what it does to a request, and words one of which a note or refusal must have.
struct Feature {
    name: &'static str,
    words: &'static [&'static str],
    add: Box<dyn Fn(&mut Request)>,
}

fn feature(name: &'static str, words: &'static [&'static str], add: impl Fn(&mut Request) + 'static) -> Feature {
    Feature { name, words, add: Box::new(add) }
}

fn media(source: Source, media_type: &str) -> Media {
    Media { source, media_type: Some(media_type.to_owned()), name: None, detail: None }
}

fn sources() -> [(&'static str, Source); 3] {
    [
        ("inline", Source::Base64(MARK.to_owned())),
        ("by URL", Source::Url(format!("https://example.org/{MARK}"))),
        ("uploaded", Source::File(MARK.to_owned())),
    ]
}

fn item(kind: &str) -> RawItem {
    let value = format!(r#"{{"type":"{kind}","x":"{MARK}"}}"#);
    RawItem { format: "another-format".to_owned(), kind: kind.to_owned(), value }
}

fn function(name: &str) -> FunctionTool {
    FunctionTool {
        name: name.to_owned(),
        description: None,
        parameters: Some(r#"{"type":"object","properties":{"a":{"type":"string"}}}"#.to_owned()),
        strict: None,
        cache: None,
        extra: Vec::new(),
    }
}

/// With a tool that was called and is offered, for what needs one.
fn with_tool(request: &mut Request) {
    request.tools.push(Tool::Function(function("look")));
}

fn called(request: &mut Request, result: Vec<ResultPart>, is_error: bool) {
    with_tool(request);
    let call = ToolCall { id: "call_1".into(), name: "look".into(), arguments: "{}".into(), custom: false };
    let result = ToolResult { call_id: "call_1".into(), name: Some("look".into()), parts: result, is_error };
    request.messages.push(Message::new(Role::Assistant, vec![Part::new(Content::ToolCall(call))]));
    request.messages.push(Message::new(Role::Tool, vec![Part::new(Content::ToolResult(result))]));
}

fn said(content: Content) -> impl Fn(&mut Request) {
    move |request| request.messages[1].parts.push(Part::new(content.clone()))
}

fn features() -> Vec<Feature> {
    let mut all = Vec::new();
    for (how, source) in sources() {
        let named = |kind: &str| -> &'static str { Box::leak(format!("{kind} {how}").into_boxed_str()) };
        let with = |media_type| media(source.clone(), media_type);
        all.push(feature(named("image"), &["image", "media"], said(Content::Image(with("image/png")))));
        all.push(feature(named("audio"), &["audio", "media"], said(Content::Audio(with("audio/wav")))));
        all.push(feature(named("video"), &["video", "media"], said(Content::Video(with("video/mp4")))));
        all.push(feature(named("document"), &["document", "file"], said(Content::Document(with("application/pdf")))));
        let of_another_type = with("application/x-unheard-of");
        all.push(feature(
            named("document of an odd type"),
            &["document", "file"],
            said(Content::Document(of_another_type)),
        ));
        for (kind, content) in [
            ("image in a result", ResultContent::Image(with("image/png"))),
            ("document in a result", ResultContent::Document(with("application/pdf"))),
        ] {
            let words = &["image", "document", "tool_result", "media", "file"];
            all.push(feature(named(kind), words, move |request| {
                called(
                    request,
                    vec![ResultPart::new(ResultContent::Text("x".into())), ResultPart::new(content.clone())],
                    false,
                );
            }));
        }
    }
    let text = media(Source::Text(MARK.to_owned()), "text/plain");
    all.push(feature("document as text", &["document"], said(Content::Document(text))));
    all.push(feature("an item of another format", &["odd_item"], said(Content::Other(item("odd_item")))));
    all.push(feature("search result", &["search_result", "tool_result"], |request| {
        let found = SearchResult { source: MARK.into(), title: MARK.into(), texts: vec![MARK.into()], citations: None };
        called(request, vec![ResultPart::new(ResultContent::SearchResult(found))], false);
    }));
    all.push(feature("failed result", &["is_error"], |request| {
        called(request, vec![ResultPart::new(ResultContent::Text("x".into()))], true);
    }));
    all.push(feature("signed reasoning of another", &["reasoning"], |request| {
        let thought = Reasoning {
            text: "hm".into(),
            summary: false,
            signature: Some(MARK.into()),
            redacted: None,
            format: "another-format".into(),
        };
        let parts = vec![Part::new(Content::Reasoning(thought)), Part::text("yes")];
        request.messages.push(Message::new(Role::Assistant, parts));
        request.messages.push(Message::new(Role::User, vec![Part::text("and?")]));
    }));
    all.push(feature("participant's name", &["name"], |request| request.messages[1].name = Some(MARK.into())));
    all.push(feature("cache mark", &["cache"], |request| {
        request.messages[1].parts[0].cache = Some(CacheMark { ttl: Some(3600) })
    }));
    all.push(feature("part's own field", &["own_field"], |request| {
        request.messages[1].parts[0].extra.push(Field::new("own_field", format!("\"{MARK}\"")));
    }));
    all.push(feature("message's own field", &["own_field"], |request| {
        request.messages[1].extra.push(Field::new("own_field", format!("\"{MARK}\"")));
    }));
    all.push(feature("request's own field", &["own_field"], |request| {
        request.extra.push(Field::new("own_field", format!("\"{MARK}\"")));
    }));
    // Tools.
    all.push(feature("function", &["tools"], |request| request.tools.push(Tool::Function(function(MARK)))));
    all.push(feature("tool of another format", &["odd_tool"], |request| {
        request.tools.push(Tool::Other(item("odd_tool")))
    }));
    all.push(feature("function's own field", &["own_field", "tools"], |request| {
        let mut function = function("look");
        function.extra.push(Field::new("own_field", format!("\"{MARK}\"")));
        request.tools.push(Tool::Function(function));
    }));
    for (name, choice) in [
        ("tool choice none", ToolChoice::None),
        ("tool choice required", ToolChoice::Required),
        ("tool choice function", ToolChoice::Function("look".into())),
        ("tool choice of another format", ToolChoice::Other(item("odd"))),
    ] {
        all.push(feature(name, &["tool_choice", "tools"], move |request| {
            with_tool(request);
            request.tool_choice = Some(choice.clone());
        }));
    }
    all.push(feature("one call at a time", &["parallel_tool_calls", "tools"], |request| {
        with_tool(request);
        request.parallel_tool_calls = Some(false);
    }));
    all.push(feature("strict function", &["strict", "tools"], |request| {
        let strict = FunctionTool { strict: Some(true), ..function("look") };
        request.tools.push(Tool::Function(strict));
    }));
    // The answer.
    let schema = JsonSchema {
        name: Some("answer".into()),
        description: None,
        schema: format!(
            r#"{{"type":"object","properties":{{"{MARK}":{{"type":"string"}}}},"required":["{MARK}"],"additionalProperties":false}}"#
        ),
        strict: Some(true),
    };
    for (name, format) in [
        ("JSON", ResponseFormat::JsonObject),
        ("JSON schema", ResponseFormat::JsonSchema(schema)),
        ("answer of another format", ResponseFormat::Other(item("grammar"))),
    ] {
        all.push(feature(name, &["response_format"], move |request| request.response_format = Some(format.clone())));
    }
    all.push(feature("two answers", &["n"], |request| request.choices = Some(2)));
    all.push(feature("logprobs", &["logprobs"], |request| request.logprobs = Some(Logprobs { top: 0 })));
    all.push(feature("top logprobs", &["logprobs"], |request| request.logprobs = Some(Logprobs { top: 3 })));
    // Sampling and limits.
    all.push(feature("temperature", &["temperature"], |request| request.sampling.temperature = Some(0.5)));
    all.push(feature("top_p", &["top_p"], |request| request.sampling.top_p = Some(0.5)));
    all.push(feature("top_k", &["top_k"], |request| request.sampling.top_k = Some(7)));
    all.push(feature("frequency penalty", &["frequency_penalty"], |request| {
        request.sampling.frequency_penalty = Some(0.5)
    }));
    all.push(feature("presence penalty", &["presence_penalty"], |request| {
        request.sampling.presence_penalty = Some(0.5)
    }));
    all.push(feature("negative penalties", &["penalty"], |request| request.sampling.presence_penalty = Some(-0.5)));
    all.push(feature("seed", &["seed"], |request| request.sampling.seed = Some(5)));
    all.push(feature("negative seed", &["seed"], |request| request.sampling.seed = Some(-5)));
    all.push(feature("stop", &["stop"], |request| request.stop = vec![MARK.into()]));
    all.push(feature("many stops", &["stop"], |request| {
        request.stop = (0..40).map(|at| format!("stop {at}")).chain([MARK.to_owned()]).collect();
    }));
    all.push(feature("blank stop", &["stop"], |request| request.stop = vec!["\n".into()]));
    all.push(feature("user", &["user"], |request| request.user = Some(MARK.into())));
    all.push(feature("metadata", &["metadata"], |request| request.metadata = vec![Pair::new("team", MARK)]));
    // Thinking.
    let thinking = |effort: Option<&str>, budget, enabled| ReasoningSettings {
        effort: effort.map(str::to_owned),
        budget,
        enabled,
        summary: None,
    };
    for (name, settings) in [
        ("effort", thinking(Some("high"), None, None)),
        ("budget", thinking(None, Some(2048), None)),
        ("no thinking", thinking(None, None, Some(false))),
    ] {
        let words = &["reasoning", "thinking", "effort", "budget"];
        all.push(feature(name, words, move |request| {
            request.max_output_tokens = Some(8192);
            request.reasoning = Some(settings.clone());
        }));
    }
    all
}

fn plain() -> Request {
    let mut request = Request::new("a-client's-format", "some-model");
    request.messages = vec![
        Message::new(Role::System, vec![Part::text("Be brief.")]),
        Message::new(Role::User, vec![Part::text("What is this?")]),
    ];
    request.max_output_tokens = Some(8192);
    request
}

/// What became of a feature.
#[derive(Debug, PartialEq)]
enum Fate {
    Carried,
    Noted,
    Refused(String),
    Lost,
    /// There is a note, which does not say of what.
    Vague(String),
}

fn fate(feature: &Feature, with: &Result<(Value, Vec<Note>), Failure>, without: &(Value, Vec<Note>)) -> Fate {
    let named = |text: &str| feature.words.iter().any(|word| text.contains(word));
    match with {
        Err(failure) => Fate::Refused(format!("{:?} {}", failure.kind, failure.message)),
        Ok((body, notes)) => {
            // Of what is part of something that is left out whole, that one's note tells.
            if notes.iter().any(|note| named(&note.subject)) {
                return Fate::Noted;
            }
            let new: Vec<_> = notes.iter().filter(|note| !without.1.contains(note)).collect();
            let marked = {
                let mut request = plain();
                (feature.add)(&mut request);
                format!("{request:?}").contains(MARK)
            };
            let body_text = body.to_string();
            let is_marked = body_text.contains(MARK) || body_text.contains(MARK_IN_BASE64);
            let carried = if marked { is_marked } else { *body != without.0 };
            match (carried, new.as_slice()) {
                (true, _) => Fate::Carried,
                (false, []) => Fate::Lost,
                (false, new) => Fate::Vague(format!("{new:?}")),
            }
        }
    }
}

#[test]
fn nothing_is_left_out_in_silence_or_refused_for_good() {
    let mut faults = Vec::new();
    for provider in providers() {
        for feature in features() {
            let mut request = plain();
            (feature.add)(&mut request);
            // What it is compared with has the tool or the call that the feature is of.
            let mut rest = plain();
            if !request.tools.is_empty() && !matches!(&request.tools[0], Tool::Function(tool) if tool.name == MARK) {
                match &request.tools[0] {
                    Tool::Other(_) => {}
                    _ if request.messages.len() > 2 => {
                        called(&mut rest, vec![ResultPart::new(ResultContent::Text("x".into()))], false)
                    }
                    _ => with_tool(&mut rest),
                }
            }
            let without = provider.encode(rest).expect("a plain request");
            match fate(&feature, &provider.encode(request), &without) {
                Fate::Carried | Fate::Noted => {}
                Fate::Lost if IDLE.contains(&(provider.name, feature.name)) => {}
                fate => faults.push(format!("{}: {}: {fate:?}", provider.name, feature.name)),
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
