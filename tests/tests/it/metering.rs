//! What an answer tells of its own price: a cost by the provider's word, a service tier with rates of its own.

use portcullis_tests::{Act, Gateway, Setup, Upstream, json_answer, sse, stream_head};
use serde_json::{Value, json};

/// OpenRouter, whose usage has a cost in USD; 10 tokens in and 20 out, for 0.00007 USD.
async fn router() -> Upstream {
    Upstream::start(|request| {
        let asked: Value = serde_json::from_slice(&request.body).expect("JSON");
        let usage = json!({"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30, "cost": 7e-5});
        let tier = if asked["model"] == "flexible" { json!("flex") } else { json!("default") };
        if asked["stream"] != true {
            let choice =
                json!({"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"});
            let answer = json!({"id": "gen-1", "object": "chat.completion", "created": 1, "model": asked["model"],
                "choices": [choice], "service_tier": tier, "usage": usage});
            return json_answer(200, "", &answer.to_string());
        }
        let chunk = |choices: Value, usage: Value| {
            let chunk = json!({"id": "gen-1", "object": "chat.completion.chunk", "created": 1, "model": asked["model"],
                "choices": choices, "service_tier": tier, "usage": usage});
            Act::chunk(format!("data: {chunk}\n\n"))
        };
        let said = json!([{"index": 0, "delta": {"role": "assistant", "content": "Hello."}, "finish_reason": null}]);
        let stop = json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]);
        vec![
            stream_head(),
            chunk(said, Value::Null),
            chunk(stop, Value::Null),
            chunk(json!([]), usage),
            Act::chunk("data: [DONE]\n\n"),
            Act::end(),
        ]
    })
    .await
}

async fn gateway(router: &Upstream, settle: &str) -> Gateway {
    Setup::new()
        .plugins(&["openai", "anthropic", "openrouter"])
        .provider("router", "openrouter", &format!("http://{}/api/v1", router.address), settle)
        .start()
        .await
}

/// Passed through and translated, whole and streamed.
async fn receipts(gateway: &Gateway) -> Vec<Value> {
    let client = gateway.client().await;
    let mut ids =
        vec![client.chat("router/m", "Hello").await.ok().id(), client.messages("router/m", "Hello").await.ok().id()];
    let mut stream = client.chat_stream("router/m", "Hello").await;
    ids.push(stream.id());
    let (told, _) = stream.rest().await;
    assert_eq!(sse::text(&sse::events(&told)), "Hello.");
    let mut stream = client.messages_stream("router/m", "Hello").await;
    ids.push(stream.id());
    stream.rest().await;
    let mut receipts = Vec::new();
    for id in ids {
        receipts.push(client.receipt(&id).await);
    }
    receipts
}

#[tokio::test]
async fn the_gateways_prices_settle_and_the_receipt_shows_both() {
    let router = router().await;
    let gateway = gateway(&router, "").await;
    for receipt in receipts(&gateway).await {
        // 1 and 2 USD for a million.
        assert_eq!(receipt["cost"]["total_nano"], 50_000, "{receipt}");
        let both = json!({"stated_nano": 70_000, "computed_nano": 50_000, "settled_by": "computed"});
        assert_eq!(receipt["metering"], both, "{receipt}");
    }
}

#[tokio::test]
async fn a_provider_is_taken_at_its_word_where_the_operator_says_so() {
    let router = router().await;
    let gateway = gateway(&router, "settle = \"stated\"").await;
    for receipt in receipts(&gateway).await {
        let cost = &receipt["cost"];
        assert_eq!(
            (&cost["total_nano"], &cost["input_nano"], &cost["output_nano"]),
            (&json!(70_000), &json!(14_000), &json!(56_000))
        );
        assert_eq!(cost["price_source"], "stated by the provider");
        assert_eq!(receipt["attempts"][0]["settled"], 70_000, "{receipt}");
        let both = json!({"stated_nano": 70_000, "computed_nano": 50_000, "settled_by": "stated"});
        assert_eq!(receipt["metering"], both, "{receipt}");
    }
}

/// By the operator's own catalogue, whose price lists `flex` at half.
#[tokio::test]
async fn a_service_tier_has_its_own_rates() {
    let router = router().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rates = |input: u64, output: u64| json!({"input": input, "output": output});
    let model = |id: &str, services: Value| {
        json!({"connection": "gpt", "id": id, "operations": ["chat"], "prices": [
            {"effective": "2026-01-01", "source": "test", "rates": rates(1_000_000, 2_000_000), "services": services}]})
    };
    let services = json!([{"service_tier": "flex", "rates": rates(500_000, 1_000_000)}]);
    let others = json!([{"service_tier": "priority", "rates": rates(2_000_000, 4_000_000)}]);
    let catalogue = folder.path().join("models.json");
    let models = json!({"models": [model("flexible", services), model("plain", others)]});
    std::fs::write(&catalogue, models.to_string()).expect("a writable folder");
    let gateway = Setup::new()
        .plugins(&["openai"])
        .with(&format!(
            "[catalogue]\nfile = {:?}\n[providers.gpt]\nplugin = \"openai\"\nbase_url = \"http://{}/v1\"\n",
            catalogue.display().to_string(),
            router.address
        ))
        .start()
        .await;
    let client = gateway.client().await;
    for (model, cost) in [("gpt/flexible", 25_000), ("gpt/plain", 50_000)] {
        let id = client.chat(model, "Hello").await.ok().id();
        let receipt = client.receipt(&id).await;
        assert_eq!(receipt["cost"]["total_nano"], cost, "{receipt}");
        let tier = if model == "gpt/flexible" { json!("flex") } else { Value::Null };
        assert_eq!(receipt["metering"]["service_tier"], tier, "{receipt}");
    }
}
