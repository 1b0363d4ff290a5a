//! Conversations that go on by the name of an answer: what a provider is sent then, what is kept, for whom, and for how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use portcullis_tests::{
    Act, Answer, Client, Gateway, Received, Setup, Upstream, eventually, json_answer, sse, stream_head,
};
use serde_json::{Value, json};

const RESPONSES: &str = "/v1/responses";
const KEPT: &str = "[conversations]\nenabled = true\n";

fn message(number: usize, text: &str) -> Value {
    json!({"type": "message", "id": format!("msg_{number}"), "status": "completed", "role": "assistant",
        "content": [{"type": "output_text", "text": text, "annotations": []}]})
}

fn document(number: usize, text: &str) -> Value {
    json!({"id": format!("resp_{number}"), "object": "response", "created_at": 1, "status": "completed", "model": "demo",
        "output": [message(number, text)], "parallel_tool_calls": true, "tool_choice": "auto", "tools": [], "store": false,
        "previous_response_id": null, "usage": {"input_tokens": 3, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 8}})
}

/// The same as a client is told that this gateway keeps it.
fn kept(number: usize, text: &str, previous: Option<&str>) -> Value {
    let mut document = document(number, text);
    (document["store"], document["previous_response_id"]) = (json!(true), json!(previous));
    document
}

fn frame(event: &Value) -> Act {
    Act::chunk(format!("event: {}\ndata: {event}\n\n", event["type"].as_str().expect("a type")))
}

/// A provider of the Responses API that numbers its answers, in Anthropic's protocol too. Told to `leak` it names an address, told
/// to `cut` it breaks off.
async fn provider() -> Upstream {
    let count = Arc::new(AtomicUsize::new(0));
    Upstream::start(move |request| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let text = format!("answer {number}");
        if request.head.starts_with("POST /v1/messages") {
            let body = json!({"id": format!("msg_{number}"), "type": "message", "role": "assistant", "model": "demo",
                "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": null,
                "usage": {"input_tokens": 3, "output_tokens": 5}});
            return json_answer(200, "", &body.to_string());
        }
        let said = body["input"].to_string();
        let text = if said.contains("leak") { "bob@example.org".to_owned() } else { text };
        let document = document(number, &text);
        if body["stream"] != json!(true) {
            return json_answer(200, "", &document.to_string());
        }
        let mut begun = document.clone();
        (begun["output"], begun["status"], begun["usage"]) = (json!([]), json!("in_progress"), json!(null));
        let mut acts = vec![
            stream_head(),
            frame(&json!({"type": "response.created", "sequence_number": 0, "response": begun})),
            frame(
                &json!({"type": "response.output_text.delta", "sequence_number": 1, "item_id": format!("msg_{number}"),
                "output_index": 0, "content_index": 0, "delta": text, "logprobs": []}),
            ),
        ];
        if said.contains("cut") {
            acts.push(Act::Close);
            return acts;
        }
        acts.push(frame(&json!({"type": "response.completed", "sequence_number": 2, "response": document})));
        acts.push(Act::end());
        acts
    })
    .await
}

async fn start(upstream: &Upstream, more: &str) -> Gateway {
    Setup::new().openai("one", upstream.address).anthropic("two", upstream.address).with(more).start().await
}

fn ask(input: Value, previous: Option<&str>) -> Value {
    let mut body = json!({"model": "one/demo", "input": input});
    if let Some(previous) = previous {
        body["previous_response_id"] = json!(previous);
    }
    body
}

async fn say(client: &Client, body: Value) -> Answer {
    client.post(RESPONSES, body.to_string()).await
}

fn body(request: &Received) -> Value {
    serde_json::from_slice(&request.body).expect("JSON")
}

fn last(upstream: &Upstream) -> Value {
    body(upstream.requests().last().expect("a request"))
}

fn user(text: &str) -> Value {
    json!({"type": "message", "role": "user", "content": text})
}

fn is_unknown(answer: &Answer, name: &str) {
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{:?}", answer.body);
    let error = &answer.json()["error"];
    assert_eq!(error["code"], "previous_response_not_found", "{error}");
    assert_eq!((&error["type"], &error["param"]), (&json!("invalid_request_error"), &json!("previous_response_id")));
    assert!(error["message"].as_str().is_some_and(|text| text.contains(name)), "{error}");
}

#[tokio::test]
async fn what_was_said_comes_before_what_is_new() {
    let upstream = provider().await;
    let gateway = start(&upstream, KEPT).await;
    let client = gateway.client().await;

    let mut first = ask(json!("one"), None);
    first["instructions"] = json!("Be brief");
    say(&client, first).await.ok();
    assert_eq!(last(&upstream), json!({"model": "demo", "input": "one", "instructions": "Be brief", "store": false}));

    let own = json!([{"role": "user", "content": "two"}, {"role": "user", "content": "two again"}]);
    let answer = say(&client, ask(own, Some("resp_1"))).await.ok();
    assert_eq!(
        answer.json(),
        kept(2, "answer 2", Some("resp_1")),
        "the provider's own bytes but for what it cannot know"
    );
    let said = [
        user("one"),
        message(1, "answer 1"),
        json!({"role": "user", "content": "two"}),
        json!({"role": "user", "content": "two again"}),
    ];
    // Neither the name nor the instructions of before.
    assert_eq!(last(&upstream), json!({"model": "demo", "input": said, "store": false}));

    say(&client, ask(json!("three"), Some("resp_2"))).await.ok();
    let mut further = said.to_vec();
    further.extend([message(2, "answer 2"), user("three")]);
    assert_eq!(last(&upstream)["input"], Value::from(further));

    // A branch: another turn goes on from the first.
    let answer = say(&client, ask(json!("other"), Some("resp_1"))).await.ok();
    assert_eq!(last(&upstream)["input"], json!([user("one"), message(1, "answer 1"), user("other")]));
    let receipt = client.receipt(&answer.id()).await;
    assert_eq!(receipt["passthrough"], json!(true));
}

#[tokio::test]
async fn a_conversation_goes_on_at_another_provider() {
    let upstream = provider().await;
    let gateway = start(&upstream, KEPT).await;
    let client = gateway.client().await;
    say(&client, ask(json!("one"), None)).await.ok();

    let mut body = ask(json!("two"), Some("resp_1"));
    body["model"] = json!("two/demo");
    let answer = say(&client, body).await.ok().json();
    let sent = last(&upstream)["messages"].clone();
    let texts: Vec<(&str, &str)> = sent
        .as_array()
        .expect("messages")
        .iter()
        .map(|message| {
            let text = message["content"].as_str().or_else(|| message["content"][0]["text"].as_str());
            (message["role"].as_str().expect("a role"), text.expect("a text"))
        })
        .collect();
    assert_eq!(texts, [("user", "one"), ("assistant", "answer 1"), ("user", "two")]);

    // And back: its answer has a name as well.
    let name = answer["id"].as_str().expect("a name");
    say(&client, ask(json!("three"), Some(name))).await.ok();
    let sent = last(&upstream)["input"].clone();
    assert_eq!(sent.as_array().map(Vec::len), Some(5), "{sent}");
    assert_eq!((&sent[0], &sent[2], &sent[4]), (&user("one"), &user("two"), &user("three")));
    assert_eq!(sent[3]["content"][0]["text"], "answer 2");
}

#[tokio::test]
async fn a_stream_is_kept_when_its_end_arrives_and_not_when_it_is_cut() {
    let upstream = provider().await;
    let gateway = start(&upstream, KEPT).await;
    let client = gateway.client().await;
    let streamed = |input: &str, previous: Option<String>| {
        let mut body = ask(json!(input), previous.as_deref());
        body["stream"] = json!(true);
        body
    };
    // Again and again, at once when the end is read: the turn is there.
    let mut previous: Option<String> = None;
    for turn in 1..=10 {
        let answer = say(&client, streamed("go on", previous.clone())).await.ok();
        let events = sse::events(answer.text());
        let end: Value = serde_json::from_str(&events.last().expect("events").data).expect("JSON");
        assert_eq!(end["type"], "response.completed");
        assert_eq!(last(&upstream)["input"].as_array().map_or(1, Vec::len), 2 * turn - 1);
        previous = end["response"]["id"].as_str().map(str::to_owned);
    }
    let answer = say(&client, streamed("cut here", None)).await;
    assert!(!answer.text().contains("response.completed"), "{:?}", answer.body);
    let number = upstream.requests().len();
    is_unknown(&say(&client, ask(json!("more"), Some(&format!("resp_{number}")))).await, &format!("resp_{number}"));
}

#[tokio::test]
async fn an_answer_says_what_was_asked_of_its_conversation() {
    let upstream = provider().await;
    let gateway = start(&upstream, KEPT).await;
    let client = gateway.client().await;
    say(&client, ask(json!("one"), None)).await.ok();
    for model in ["one/demo", "two/demo"] {
        for (store, previous) in
            [(None, None), (Some(true), Some("resp_1")), (Some(false), Some("resp_1")), (Some(false), None)]
        {
            let mut body = ask(json!("more"), previous);
            body["model"] = json!(model);
            if let Some(store) = store {
                body["store"] = json!(store);
            }
            let expected = (json!(store.unwrap_or(true)), json!(previous));
            let told = |document: &Value| (document["store"].clone(), document["previous_response_id"].clone());
            let answer = say(&client, body.clone()).await.ok().json();
            assert_eq!(told(&answer), expected, "{model} {body} {answer}");
            if model == "two/demo" {
                continue;
            }
            body["stream"] = json!(true);
            let answer = say(&client, body.clone()).await.ok();
            let events: Vec<Value> = answer.events().iter().map(sse::Event::json).collect();
            let documents: Vec<&Value> = events.iter().filter_map(|event| event.get("response")).collect();
            assert!(documents.len() >= 2 && events.len() > documents.len(), "{}", answer.text());
            for document in documents {
                assert_eq!(told(document), expected, "{model} {body} {document}");
            }
        }
    }
    // In a stream that is translated, too.
    let demo = portcullis_tests::demo().await;
    let translating = Setup::demo(&demo).with(KEPT).start().await;
    let client = translating.client().await;
    let body = |previous: Option<&str>| json!({"model": "demo-anthropic/demo", "input": "hello", "previous_response_id": previous, "stream": true});
    let mut previous: Option<String> = None;
    for _ in 0..2 {
        let answer = say(&client, body(previous.as_deref())).await.ok();
        let events: Vec<Value> = answer.events().iter().map(sse::Event::json).collect();
        let documents: Vec<&Value> = events.iter().filter_map(|event| event.get("response")).collect();
        assert!(documents.len() >= 3, "{}", answer.text());
        for document in &documents {
            assert_eq!((&document["store"], &document["previous_response_id"]), (&json!(true), &json!(previous)));
        }
        let numbers: Vec<_> = events.iter().map(|event| event["sequence_number"].as_u64().expect("a number")).collect();
        assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
        previous = documents[0]["id"].as_str().map(str::to_owned);
    }

    // Where nothing is kept, that is what it says, whatever was asked; the receipt notes it.
    let gateway = start(&upstream, "").await;
    let mut body = ask(json!("one"), None);
    body["store"] = json!(true);
    let answer = say(&gateway.client().await, body).await.ok().json();
    assert_eq!((&answer["store"], &answer["previous_response_id"]), (&json!(false), &json!(null)));
}

#[tokio::test]
async fn what_there_is_not_is_refused_clearly() {
    let upstream = provider().await;
    let gateway = start(&upstream, KEPT).await;
    let client = gateway.client().await;
    say(&client, ask(json!("one"), None)).await.ok();
    for (method, path, status, code) in [
        ("POST", "/v1/responses/resp_1/cancel", 404, "unsupported_operation"),
        ("GET", "/v1/responses/resp_1/input_items", 404, "unsupported_operation"),
        ("GET", "/v1/responses/resp_1/input_items?limit=1", 404, "unsupported_operation"),
        ("POST", "/v1/responses/resp_1", 405, "method_not_allowed"),
        ("POST", "/v1/responses/compact", 405, "method_not_allowed"),
        ("GET", "/v1/responses/resp_1?stream=true", 400, "unsupported_feature"),
        ("GET", "/v1/responses/resp_2", 404, "response_not_found"),
    ] {
        let answer = client.ask(method, path, Some("application/json"), "{}").await;
        let error = answer.json()["error"].clone();
        assert_eq!((answer.status.as_u16(), &error["code"]), (status, &json!(code)), "{method} {path} {error}");
        for member in ["message", "type"] {
            assert!(error[member].is_string(), "{method} {path} {error}");
        }
        assert!(error.get("param").is_some(), "{method} {path} {error}");
    }
    assert_eq!(upstream.requests().len(), 1, "a provider was asked in vain");
}

#[tokio::test]
async fn only_the_key_that_said_it_can_go_on() {
    let upstream = provider().await;
    let gateway = start(&upstream, KEPT).await;
    let (client, stranger) = (gateway.client().await, gateway.client().await);
    say(&client, ask(json!("mine"), None)).await.ok();
    is_unknown(&say(&stranger, ask(json!("and?"), Some("resp_1"))).await, "resp_1");
    for method in ["GET", "DELETE"] {
        let answer = stranger.ask(method, "/v1/responses/resp_1", None, "").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {:?}", answer.body);
    }
    assert_eq!(client.get("/v1/responses/resp_1").await.ok().json(), kept(1, "answer 1", None));
    let deleted = client.ask("DELETE", "/v1/responses/resp_1", None, "").await.ok().json();
    assert_eq!(deleted, json!({"id": "resp_1", "object": "response", "deleted": true}));
    for method in ["GET", "DELETE"] {
        let answer = client.ask(method, "/v1/responses/resp_1", None, "").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method}");
        assert!(answer.json()["error"]["message"].is_string(), "{:?}", answer.body);
    }
    is_unknown(&say(&client, ask(json!("and?"), Some("resp_1"))).await, "resp_1");
    assert_eq!(upstream.requests().len(), 1, "a provider was asked in vain");
}

#[tokio::test]
async fn nothing_is_kept_unasked() {
    let upstream = provider().await;
    let gateway = start(&upstream, "").await;
    let client = gateway.client().await;
    let mut body = ask(json!("one"), None);
    body["store"] = json!(true);
    let answer = say(&client, body).await.ok();
    assert_eq!(last(&upstream)["store"], json!(false), "the account is everybody's");
    let notes = client.receipt(&answer.id()).await["notes"].clone();
    assert_eq!(notes, json!([{"code": "dropped", "subject": "store"}]));
    is_unknown(&say(&client, ask(json!("two"), Some("resp_1"))).await, "resp_1");
    assert_eq!(client.get("/v1/responses/resp_1").await.status, StatusCode::NOT_FOUND);

    // Switched on while it runs; what was said before is not there, and what a client wants to have forgotten neither.
    let upstream_url = format!("http://{}/v1", upstream.address);
    gateway.configure(&format!(
        "[providers.one]\nplugin = \"openai\"\nbase_url = \"{upstream_url}\"\nmodels = [\"*\"]\nonly = [\"none\"]\n\
         [[pricing.price]]\nmodel = \"one/*\"\ninput = \"1\"\noutput = \"2\"\n{KEPT}"
    ));
    gateway.logged(&["the configuration was reloaded"]).await;
    is_unknown(&say(&client, ask(json!("two"), Some("resp_1"))).await, "resp_1");
    let mut body = ask(json!("secret"), None);
    body["store"] = json!(false);
    say(&client, body).await.ok();
    is_unknown(&say(&client, ask(json!("two"), Some("resp_2"))).await, "resp_2");
    say(&client, ask(json!("three"), None)).await.ok();
    say(&client, ask(json!("four"), Some("resp_3"))).await.ok();
}

#[tokio::test]
async fn what_is_kept_is_what_the_guards_let_pass() {
    let upstream = provider().await;
    let gateway = start(&upstream, KEPT).await;
    let client = gateway.client().await;
    let mut body = ask(json!("I am ada@example.org: leak"), None);
    for stream in [false, true] {
        body["stream"] = json!(stream);
        say(&client, body.clone()).await.ok();
        let number = upstream.requests().len();
        let name = format!("resp_{number}");
        let kept = client.get(&format!("/v1/responses/{name}")).await.ok();
        assert!(kept.text().contains("[EMAIL]") && !kept.text().contains("example.org"), "{:?}", kept.body);
        say(&client, ask(json!("go on"), Some(&name))).await.ok();
        let sent = last(&upstream)["input"].to_string();
        assert_eq!(sent.matches("[EMAIL]").count(), 2, "{sent}");
        assert!(!sent.contains("example.org"), "{sent}");
    }
}

#[tokio::test]
async fn a_turn_lives_its_time_and_through_a_restart() {
    let upstream = provider().await;
    let gateway = start(&upstream, &format!("{KEPT}ttl_seconds = 5\n")).await;
    let client = gateway.client().await;
    say(&client, ask(json!("one"), None)).await.ok();
    let gateway = gateway.kill_and_restart().await;
    let client = Client { address: gateway.address, ..client };
    say(&client, ask(json!("two"), Some("resp_1"))).await.ok();
    assert_eq!(last(&upstream)["input"].as_array().map(Vec::len), Some(3));
    tokio::time::sleep(Duration::from_secs(4)).await;
    eventually("the turn's end", || async { client.get("/v1/responses/resp_1").await.status == StatusCode::NOT_FOUND })
        .await;
    is_unknown(&say(&client, ask(json!("three"), Some("resp_2"))).await, "resp_2");
}

#[tokio::test]
async fn models_that_think_are_asked_for_their_thoughts() {
    let upstream = provider().await;
    let url = format!("http://{}/v1", upstream.address);
    let models = "only = [\"gpt-5-mini\", \"gpt-4.1\"]";
    let config = format!("[providers.one]\nplugin = \"openai\"\nbase_url = \"{url}\"\n{models}\n{KEPT}");
    let gateway = Setup::new().with(&config).start().await;
    let client = gateway.client().await;
    let include = async |model: &str, more: Value| {
        let mut body = json!({"model": model, "input": "hello"});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        say(&client, body).await.ok();
        last(&upstream)["include"].clone()
    };
    let sealed = json!("reasoning.encrypted_content");
    assert_eq!(include("gpt-5-mini", json!({})).await, json!([sealed]));
    assert_eq!(include("gpt-5-mini", json!({"include": null})).await, json!([sealed]));
    assert_eq!(include("gpt-5-mini", json!({"include": []})).await, json!([sealed]));
    assert_eq!(include("gpt-5-mini", json!({"include": ["a.b"]})).await, json!([sealed, "a.b"]));
    assert_eq!(include("gpt-5-mini", json!({"include": ["a.b", sealed]})).await, json!(["a.b", sealed]));
    // Encoded anew, since the thought is another provider's.
    let thought = json!({"type": "reasoning", "id": "rs_1", "summary": [], "format": "anthropic-messages"});
    let input = json!([thought, {"role": "user", "content": "hello"}]);
    assert_eq!(include("gpt-5-mini", json!({"input": input})).await, json!([sealed]));
    assert_eq!(include("gpt-5-mini", json!({"input": input, "include": ["a.b"]})).await, json!([sealed, "a.b"]));
    // A client that keeps its conversation itself asks for what it wants; a model that does not think refuses to be asked.
    assert_eq!(include("gpt-5-mini", json!({"store": false})).await, json!(null));
    assert_eq!(include("gpt-4.1", json!({})).await, json!(null));
}

#[tokio::test]
async fn a_conversation_has_the_length_of_a_request_at_most() {
    let upstream = provider().await;
    let gateway = start(&upstream, &format!("{KEPT}[limits]\nrequest_bytes = 4096\n")).await;
    let client = gateway.client().await;
    let long = "x".repeat(2500);
    say(&client, ask(json!(long), None)).await.ok();
    say(&client, ask(json!("short"), Some("resp_1"))).await.ok();
    say(&client, ask(json!(long), Some("resp_2"))).await.ok();
    let answer = say(&client, ask(json!("more"), Some("resp_3"))).await;
    assert_eq!(answer.json()["error"]["code"], "context_length_exceeded", "{:?}", answer.body);
    assert_eq!(upstream.requests().len(), 3);
}
