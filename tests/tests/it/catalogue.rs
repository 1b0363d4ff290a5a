//! What models are and cost: the plugins' catalogues, the operator's own before them, and the command that keeps its prices.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::process::Output;

use portcullis_demo_upstream::Handle;
use portcullis_tests::{Client, Gateway, PluginFolder, Setup, demo, eventually};
use serde_json::{Value, json};

/// A connection whose one model the plugin prices itself, beside one that offers anything and has no price.
fn sections(address: SocketAddr, more: &str) -> String {
    format!(
        "[providers.named]\nplugin = \"openai\"\nbase_url = \"http://{address}/v1\"\nmodels = [\"demo\"]\nonly = [\"gpt-4o-mini\", \"added\"]\n{more}"
    )
}

fn catalogue(gateway: &Gateway) -> std::path::PathBuf {
    gateway.config_path().with_file_name("models.json")
}

async fn start(demo: &Handle, content: &Value) -> Gateway {
    // The folder is known once it runs: the catalogue comes second.
    let gateway = Setup::new().with(&sections(demo.address(), "")).start().await;
    write(&gateway, content);
    gateway.configure(&sections(demo.address(), "[catalogue]\nfile = \"models.json\"\n"));
    gateway.logged(&["the configuration was reloaded"]).await;
    gateway
}

fn write(gateway: &Gateway, content: &Value) {
    let (path, aside) = (catalogue(gateway), gateway.config_path().with_file_name("models.json.new"));
    std::fs::write(&aside, content.to_string()).expect("the catalogue is written");
    std::fs::rename(aside, path).expect("the catalogue is put in place");
}

fn price(effective: &str, input: u64, output: u64) -> Value {
    json!({"effective": effective, "source": "a contract", "rates": {"input": input, "output": output}})
}

/// What a chat of known usage cost, in nano-USD, with its usage.
async fn cost(client: &Client, model: &str) -> (u64, u64, u64) {
    let answer = client.chat(model, "hello").await.ok();
    let receipt = client.receipt(&answer.id()).await;
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{receipt}"));
    (number(&receipt["cost"]["total_nano"]), number(&receipt["usage"]["input"]), number(&receipt["usage"]["output"]))
}

/// Whether a chat costs so many pico-USD for a token of input and of output.
async fn costs(client: &Client, model: &str, input: u64, output: u64) -> bool {
    let (total, used, made) = cost(client, model).await;
    total == (used * input + made * output).div_ceil(1_000)
}

#[tokio::test]
async fn an_entry_prices_a_model_that_has_no_price_and_the_operators_file_goes_first() {
    let demo = demo().await;
    let entry = json!({"plugin": "openai", "id": "demo", "prices": [price("2026-01-01", 7_000_000, 11_000_000)]});
    let gateway = start(&demo, &json!({"models": [entry]})).await;
    let client = gateway.client().await;
    assert!(costs(&client, "named/demo", 7_000_000, 11_000_000).await);

    // A change is taken up by itself; what is said of the connection goes before what is said of the plugin.
    let nearer = json!({"connection": "named", "id": "demo", "prices": [price("2026-01-01", 3_000_000, 5_000_000)]});
    write(&gateway, &json!({"models": [entry, nearer]}));
    eventually("the connection's entry holds", || costs(&client, "named/demo", 3_000_000, 5_000_000)).await;

    // A price of a day to come does not hold yet, and the plugin has none: nobody knows the price.
    write(&gateway, &json!({"models": [{"plugin": "openai", "id": "demo", "prices": [price("2999-01-01", 1, 1)]}]}));
    eventually("no price is known", || async { client.chat("named/demo", "hello").await.status != 200 }).await;

    // `[[pricing.price]]` goes before all.
    let first = "[catalogue]\nfile = \"models.json\"\n[[pricing.price]]\nmodel = \"named/demo\"\ninput = \"1\"\noutput = \"2\"\n";
    gateway.configure(&sections(demo.address(), first));
    eventually("it has a price again", || async { client.chat("named/demo", "hello").await.status == 200 }).await;
    assert!(costs(&client, "named/demo", 1_000_000, 2_000_000).await);
}

#[tokio::test]
async fn an_entry_changes_and_adds_models_and_a_mistake_changes_nothing() {
    let demo = demo().await;
    let added = json!({"connection": "named", "id": "added", "aliases": ["nick"], "operations": ["chat"], "context": 1234,
        "max_output": 99, "capabilities": ["streaming"], "quality": {"score": 1, "source": "me"}, "prices": [price("2026-01-01", 1_000_000, 1_000_000)]});
    let changed =
        json!({"plugin": "openai", "id": "gpt-4o-mini", "context": 777, "prices": [price("2026-01-01", 42, 43)]});
    let stranger = json!({"plugin": "openai", "id": "never-offered", "prices": [price("2026-01-01", 1, 1)]});
    let gateway = start(&demo, &json!({"models": [added, changed, stranger]})).await;
    let client = gateway.client().await;
    let models = client.get("/v1/models").await.ok().json();
    let model = |id: &str| models["data"].as_array().unwrap().iter().find(|model| model["id"] == id).cloned();
    let mini = model("named/gpt-4o-mini").expect("it is offered");
    assert_eq!(mini["context_length"], 777, "{mini}");
    let text = models.to_string();
    assert!(model("named/added").is_some() && model("named/never-offered").is_none(), "{text}");
    assert!(costs(&client, "nick", 1_000_000, 1_000_000).await, "it is known by its alias");

    let before = gateway.log().len();
    std::fs::write(catalogue(&gateway), "{\"models\": [{\"plugin\": \"openai\", \"id\": \"demo\", \"pricez\": []}]}")
        .unwrap();
    eventually("the mistake is refused", || async {
        gateway.log()[before..]
            .lines()
            .any(|line| line.contains("was refused") && line.contains("did you mean `prices`"))
    })
    .await;
    assert!(costs(&client, "nick", 1_000_000, 1_000_000).await, "the old catalogue stays");
    let check = gateway.run(&["check"]).await;
    assert!(!check.status.success() && String::from_utf8_lossy(&check.stderr).contains("models.json:1"), "{check:?}");
    // Mended without a change of the configuration. An entry for nobody is worth a word.
    let strange = json!({"plugin": "openia", "id": "misspelt"});
    write(
        &gateway,
        &json!({"models": [strange, {"connection": "named", "id": "demo", "prices": [price("2026-01-01", 9, 9)]}]}),
    );
    eventually("the mended one holds", || async {
        client.chat("named/demo", "hello").await.status == 200 && costs(&client, "named/demo", 9, 9).await
    })
    .await;
    let check = said(&gateway.run(&["check"]).await);
    assert!(check.contains("misspelt: warning"), "{check}");
}

/// What a refresh said.
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

const GENAI: &str = r#"[{"id":"openai","name":"OpenAI","api_pattern":"x","pricing_urls":["https://openai.example/prices"],"models":[
    {"id":"demo","match":{"equals":"demo"},"prices":{"input_mtok":0.1,"output_mtok":0.30000000000000004}},
    {"id":"gpt-4o-mini","match":{"equals":"gpt-4o-mini"},"prices":[{"prices":{"input_mtok":0.15,"output_mtok":0.6,"cache_read_mtok":0.075}},
        {"constraint":{"start_date":"2999-01-01"},"prices":{"input_mtok":0.1,"output_mtok":0.5,"cache_read_mtok":0.05}}]},
    {"id":"gpt-4o","match":{"equals":"gpt-4o"},"prices":{"input_mtok":77,"output_mtok":78}}]}]"#;

#[tokio::test]
async fn a_refresh_writes_what_differs_and_keeps_what_was_written_by_hand() {
    let demo = demo().await;
    let gateway = Setup::new().with(&sections(demo.address(), "")).start().await;
    let client = gateway.client().await;
    let source = gateway.config_path().with_file_name("data.json");
    std::fs::write(&source, GENAI).unwrap();
    let from = source.to_str().unwrap();
    let refresh = |more: &'static [&'static str]| {
        let mut arguments = vec!["catalogue", "refresh", "--from", from];
        arguments.extend(more);
        let gateway = &gateway;
        async move { gateway.run(&arguments).await }
    };
    let unnamed = refresh(&[]).await;
    assert!(
        !unnamed.status.success() && String::from_utf8_lossy(&unnamed.stderr).contains("[catalogue]"),
        "{unnamed:?}"
    );

    // Gpt-4o's price is the operator's, oddly written.
    let by_hand = "{ \"plugin\":\"openai\" ,\"id\":\"gpt-4o\",\"prices\":[ {\"effective\":\"2026-01-01\",\"source\":\"ours\",\"rates\":{\"input\":5,\"output\":6}} ]}";
    std::fs::write(catalogue(&gateway), format!("{{\"models\":[\n{by_hand}\n]}}")).unwrap();
    gateway.configure(&sections(demo.address(), "[catalogue]\nfile = \"models.json\"\n"));
    gateway.logged(&["the configuration was reloaded"]).await;
    let before = std::fs::read(catalogue(&gateway)).unwrap();
    let dry = said(&refresh(&["--dry-run", "--effective", "2026-02-03"]).await);
    assert!(dry.contains("openai demo: from 2026-02-03: input unknown -> 0.1, output unknown -> 0.300001"), "{dry}");
    assert!(dry.contains("rounded up") && dry.contains("a dry run"), "{dry}");
    assert!(dry.contains("openai gpt-4o: yours stays; the price file has input 0.000005 -> 77"), "{dry}");
    assert!(dry.contains("openai gpt-4o-mini: from 2999-01-01: input 0.15 -> 0.1"), "{dry}");
    assert_eq!(std::fs::read(catalogue(&gateway)).unwrap(), before, "a dry run writes nothing");

    let told = said(&refresh(&["--effective", "2026-02-03"]).await);
    assert_eq!(told.replace("was written", ""), dry.replace("was not written: a dry run", ""));
    let text = std::fs::read_to_string(catalogue(&gateway)).unwrap();
    assert!(text.contains(by_hand), "what was written by hand keeps every byte: {text}");
    let written: Value = serde_json::from_str(&text).unwrap();
    let entry =
        |id: &str| written["models"].as_array().unwrap().iter().find(|entry| entry["id"] == id).cloned().unwrap();
    let demo_price = json!([{"effective": "2026-02-03", "source": "https://openai.example/prices, by genai-prices", "refreshed": true,
        "rates": {"input": 100_000, "output": 300_001}}]);
    assert_eq!(entry("demo")["prices"], demo_price);
    let mini = entry("gpt-4o-mini")["prices"].clone();
    // Today's is the plugin's own and need not be written; what the file does not say stays as it is.
    assert_eq!((mini.as_array().unwrap().len(), &mini[0]["effective"]), (1, &json!("2999-01-01")), "{mini}");
    assert!(mini[0]["rates"]["search"].is_u64(), "{mini}");

    // The running gateway takes it up and settles by it.
    eventually("the new price holds", || async { client.chat("named/demo", "hello").await.status == 200 }).await;
    assert!(costs(&client, "named/demo", 100_000, 300_001).await);

    let again = said(&refresh(&[]).await);
    assert!(again.contains("0 changed") && again.contains("stays as it is"), "{again}");
    assert_eq!(std::fs::read_to_string(catalogue(&gateway)).unwrap(), text);
    let left = std::fs::read_dir(catalogue(&gateway).parent().unwrap()).unwrap();
    assert!(left.flatten().all(|file| !file.file_name().to_string_lossy().ends_with(".new")), "nothing is left aside");
}

#[tokio::test]
async fn a_refresh_reads_the_other_form_and_refuses_what_it_does_not_know() {
    let demo = demo().await;
    let gateway = start(&demo, &json!({"models": []})).await;
    let source = gateway.config_path().with_file_name("prices.json");
    let prices = json!({
        "demo": {"litellm_provider": "acme", "input_cost_per_token": 2.5e-7, "output_cost_per_token": 1e-6,
            "input_cost_per_token_above_128k_tokens": 5e-7},
    });
    std::fs::write(&source, prices.to_string()).unwrap();
    let from = source.to_str().unwrap();
    let told = said(&gateway.run(&["catalogue", "refresh", "--from", from, "--map", "acme=openai"]).await);
    assert!(told.contains("input unknown -> 0.25, output unknown -> 1; above 128000 tokens"), "{told}");
    let client = gateway.client().await;
    eventually("the price holds", || async { client.chat("named/demo", "hello").await.status == 200 }).await;
    assert!(costs(&client, "named/demo", 250_000, 1_000_000).await);

    let before = std::fs::read(catalogue(&gateway)).unwrap();
    for (bad, words) in [("{}", "neither"), ("{", "not JSON"), ("[{\"id\":7}]", "genai-prices")] {
        std::fs::write(&source, bad).unwrap();
        let output = gateway.run(&["catalogue", "refresh", "--from", from]).await;
        assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains(words), "{output:?}");
    }
    let output = gateway.run(&["catalogue", "refresh", "--from", from, "--effective", "2026-02-30"]).await;
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(std::fs::read(catalogue(&gateway)).unwrap(), before);
}

/// Models whose price nobody publishes: the gateway refuses them or sounds the alarm, as the operator chose, until it is told one.
const UNPRICED: [&str; 3] =
    ["anthropic-vertex claude-sonnet-5", "cohere command-a-vision-07-2025", "cohere command-a-translate-08-2025"];

/// Every built provider's catalogue: named once, dated, priced, with its sources.
#[tokio::test]
async fn the_catalogues_of_all_plugins_are_sane() {
    let gateway = Setup::new().plugins(&[]).start().await;
    let all = PluginFolder::all();
    let plugins = PluginFolder::create(gateway.config_path().with_file_name("all"), &all);
    let mut catalogues = Vec::new();
    // One by one: compiling takes its time where nobody did before.
    for name in &all {
        let output = gateway.run(&["plugin", "models", plugins.path(name).to_str().expect("UTF-8")]).await;
        let printed: Value = serde_json::from_str(&said(&output)).expect("JSON");
        catalogues.extend(printed.as_array().expect("a list").clone());
    }
    assert_eq!(catalogues.len(), all.len());
    let with_models = catalogues.iter().filter(|plugin| plugin["models"] != json!([])).count();
    assert!(with_models >= 4, "{with_models} plugins know models");
    let mut problems = Vec::new();
    for plugin in &catalogues {
        let mut names = HashSet::new();
        for model in plugin["models"].as_array().expect("a list") {
            let what = format!("{} {}", text(&plugin["plugin"]), text(&model["id"]));
            let found = faults(model, &mut names, UNPRICED.contains(&what.as_str()));
            problems.extend(found.into_iter().map(|fault| format!("{what}: {fault}")));
        }
    }
    assert!(problems.is_empty(), "{} faults:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn a_catalogue_that_is_not_sane_is_found_out() {
    let sane = json!({"id": "m", "aliases": ["n"], "operations": ["chat"], "context": 10, "max_output": 5, "capabilities": ["tools"],
        "quality": {"score": 50, "source": "somebody"}, "prices": [{"effective": "2026-01-01", "source": "https://x.example",
        "rates": {"input": 1_000, "output": 2_000, "cache_read": 100}, "tiers": [{"above": 5, "rates": {"input": 2_000, "output": 2_000}}]}]});
    let count = |model: &Value| faults(model, &mut HashSet::new(), false).len();
    assert_eq!(count(&sane), 0);
    let rates = "/prices/0/rates";
    for (pointer, value) in [
        ("/aliases/0", json!("m")),
        ("/operations", json!([])),
        ("/context", json!(4)),
        ("/max_output", json!(0)),
        ("/capabilities", json!([])),
        ("/quality/score", json!(101)),
        ("/quality/source", json!("")),
        ("/prices", json!([])),
        ("/prices/0/effective", json!("2026-1-1")),
        ("/prices/0/source", json!("")),
        (rates, json!({"input": 1_000})),
        (rates, json!({"input": 0, "output": 0})),
        (rates, json!({"input": 1, "output": 1})),
        (rates, json!({"input": 1_000, "output": 1_000, "cache_read": 1_001})),
        (rates, json!({"input": 1_000, "output": 1_000, "search": 5})),
        ("/prices/0/tiers/0/above", json!(0)),
    ] {
        let mut insane = sane.clone();
        *insane.pointer_mut(pointer).expect("a place") = value.clone();
        assert_eq!(count(&insane), 1, "{pointer} {value}");
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().map(text).collect()
}

/// What is wrong with a model. `names` are those of the models before it.
fn faults(model: &Value, names: &mut HashSet<String>, unpriced: bool) -> Vec<String> {
    let mut faults = Vec::new();
    let mut ensure = |holds: bool, fault: &str| {
        if !holds {
            faults.push(fault.to_owned());
        }
    };
    for name in std::iter::once(text(&model["id"])).chain(texts(&model["aliases"])) {
        ensure(!name.is_empty() && names.insert(name.to_owned()), &format!("`{name}` stands twice"));
    }
    let operations = texts(&model["operations"]);
    ensure(!operations.is_empty(), "for no operation");
    let is_chat = operations.contains(&"chat");
    if is_chat {
        let (context, output) = (model["context"].as_u64(), model["max_output"].as_u64());
        ensure(output > Some(0) && output <= context, &format!("{output:?} of {context:?} tokens"));
        ensure(!texts(&model["capabilities"]).is_empty(), "it can do nothing");
    }
    if !model["quality"].is_null() {
        let score = model["quality"]["score"].as_f64().expect("a number");
        let is_sane = (0.0..=100.0).contains(&score) && !text(&model["quality"]["source"]).is_empty();
        ensure(is_sane, &format!("quality {}", model["quality"]));
    }
    let prices = model["prices"].as_array().expect("a list");
    ensure(prices.is_empty() == unpriced, if unpriced { "it has a price by now" } else { "no price" });
    let days: Vec<&str> = prices.iter().map(|price| text(&price["effective"])).collect();
    let is_day = |day: &&str| day.len() == 10 && day.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    ensure(days.iter().all(is_day) && days.is_sorted_by(|one, two| one < two), &format!("days {days:?}"));
    for price in prices {
        let source = text(&price["source"]);
        ensure(source.len() > 8, &format!("source `{source}`"));
        let tiers: Vec<&Value> = price["tiers"].as_array().into_iter().flatten().collect();
        let above: Vec<Option<u64>> = tiers.iter().map(|tier| tier["above"].as_u64()).collect();
        ensure(
            above.is_sorted_by(|one, two| one < two) && above.first() != Some(&Some(0)),
            &format!("tiers above {above:?}"),
        );
        for rates in std::iter::once(&price["rates"]).chain(tiers.iter().map(|tier| &tier["rates"])) {
            ensure(are_sane(rates, is_chat, source.contains("free")), &format!("rates {rates}"));
        }
    }
    faults
}

/// A unit that was mistaken is out of these bounds.
fn are_sane(rates: &Value, is_chat: bool, is_free: bool) -> bool {
    let rate = |name: &str| rates[name].as_u64();
    let (input, output) = (rate("input"), rate("output"));
    // 1/10 of a cent to 10,000 USD for a million tokens.
    let token =
        |rate: Option<u64>| rate.is_some_and(|rate| (1_000..10_000_000_000).contains(&rate) || rate == 0 && is_free);
    // 1/1000 of a cent to 100 USD each.
    let piece = |name: &str| rate(name).is_none_or(|rate| (10_000..100_000_000_000).contains(&rate));
    rates.as_object().is_some_and(|rates| !rates.is_empty())
        && (!is_chat || token(input) && token(output))
        && rate("cache_read").is_none_or(|read| input.is_some_and(|input| read <= input))
        && piece("image")
        && piece("search")
}
