//! The operator's file: read again when it changes, refused when it is wrong, and never the way out for a secret.

use http::StatusCode;
use portcullis_demo_upstream::Options;
use portcullis_tests::{Client, Setup, Traffic, demo, demo_with, eventually};

const UPSTREAM_KEY: &str = "sk-upstream-3f9a77c1e5";

async fn echo(client: &Client) -> StatusCode {
    client.chat("demo/demo-echo", "hello").await.status
}

/// The sections of a demo configuration, as text to be changed.
fn sections(address: std::net::SocketAddr, more: &str) -> String {
    format!(
        "[providers.demo]\nplugin = \"openai\"\nbase_url = \"http://{address}/v1\"\nmodels = [\"*\"]\nonly = [\"none\"]\n\
         [providers.demo-anthropic]\nplugin = \"anthropic\"\nbase_url = \"http://{address}\"\nmodels = [\"*\"]\nonly = [\"none\"]\n\
         [[pricing.price]]\nmodel = \"demo/*\"\ninput = \"1\"\noutput = \"2\"\n\
         [[pricing.price]]\nmodel = \"demo-anthropic/*\"\ninput = \"1\"\noutput = \"2\"\n{more}"
    )
}

const DENY_ECHO: &str = "[[plugin.policy-rules.config.rules]]\nname = \"no-echo\"\nwhen = { requested_models = [\"demo/demo-echo\"] }\nthen = \"deny\"\n";

#[tokio::test]
async fn a_change_is_taken_up_under_traffic_and_a_mistake_is_not() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let traffic = Traffic::start(&client, 4);
    assert_eq!(echo(&client).await, StatusCode::OK);
    gateway.configure(&sections(demo.address(), DENY_ECHO));
    eventually("the new rule holds", || async { echo(&client).await == StatusCode::FORBIDDEN }).await;
    for (wrong, words) in [
        ("[limits]\nrequest_byts = 1\n", "request_byts"),
        ("[plugin.policy-rules.config]\nrulez = []\n", "rulez"),
        ("[plugin.policy-rules]\nisolation = \"sometimes\"\n", "sometimes"),
        ("this is not TOML", "portcullis.toml"),
        ("[providers.third]\nplugin = \"openai\"\nbase_url = \"http://192.0.2.1/v1\"\n", "unencrypted"),
        (
            "[providers.third]\nplugin = \"openai\"\nbase_url = \"https://x.example\"\napi_key = \"${NOT_SET_ANYWHERE}\"\n",
            "NOT_SET_ANYWHERE",
        ),
    ] {
        let before = gateway.log().len();
        gateway.configure(&sections(demo.address(), wrong));
        // It would be noticed by itself; this is sooner.
        gateway.signal(libc::SIGHUP);
        eventually(&format!("{words} is refused"), || async {
            gateway.log()[before..].lines().any(|line| line.contains("was refused") && line.contains(words))
        })
        .await;
        assert_eq!(echo(&client).await, StatusCode::FORBIDDEN, "the old rule stays after {words}");
    }
    gateway.configure(&sections(demo.address(), ""));
    eventually("the rule is gone", || async { echo(&client).await == StatusCode::OK }).await;
    traffic.stop().await.all_went_well();
}

#[tokio::test]
async fn a_hangup_reads_the_file_again_and_limits_change_too() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    client.chat("demo/demo", &"x".repeat(2_000)).await.ok();
    gateway.configure(&sections(demo.address(), "[limits]\nrequest_bytes = 1000\n"));
    gateway.signal(libc::SIGHUP);
    eventually("the new limit holds", || async {
        client.chat("demo/demo", &"x".repeat(2_000)).await.status != StatusCode::OK
    })
    .await;
    client.chat("demo/demo", "short").await.ok();
}

#[tokio::test]
async fn providers_come_and_go() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let third = format!(
        "[providers.third]\nplugin = \"openai\"\nbase_url = \"http://{}/v1\"\nmodels = [\"fresh\"]\n[[pricing.price]]\nmodel = \"third/*\"\ninput = \"1\"\noutput = \"1\"\n",
        demo.address()
    );
    assert_eq!(client.chat("third/fresh", "hello").await.status, StatusCode::NOT_FOUND);
    gateway.configure(&sections(demo.address(), &third));
    eventually("it is there", || async { client.chat("third/fresh", "hello").await.status == StatusCode::OK }).await;
    let mut stream = client.chat_stream("third/fresh", "tell me about gates").await;
    gateway.configure(&sections(demo.address(), ""));
    eventually("it is gone", || async { client.chat("third/fresh", "hello").await.status == StatusCode::NOT_FOUND })
        .await;
    let (_, complete) = stream.rest().await;
    assert!(complete, "a stream of a provider that went ends nonetheless");
}

#[tokio::test]
async fn check_names_what_is_wrong_and_what_was_meant() {
    let gateway = Setup::new().start().await;
    let checked = gateway.run(&["check"]).await;
    assert!(checked.status.success(), "{checked:?}");
    for (wrong, told) in [
        ("[server]\nlistn = \"127.0.0.1:1\"\n", "did you mean `listen`"),
        ("[limits]\nrequest_bytess = 1\n", "did you mean `request_bytes`"),
        ("[plugin.pii]\ndeadline = 50\n", "did you mean `deadline_ms`"),
        ("[routing]\nattempts = \"three\"\n", "expected u32"),
        ("[plugin.pii.config]\nemial = \"mask\"\n", "emial"),
        ("[providers.x]\nplugin = \"nosuch\"\nbase_url = \"https://x.example\"\n", "nosuch.wasm"),
    ] {
        gateway.configure(wrong);
        let checked = gateway.run(&["check"]).await;
        assert!(!checked.status.success(), "{wrong} passed");
        let said = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
        assert!(said.contains(told), "{wrong}: {said}");
    }
}

#[tokio::test]
async fn without_a_file_the_defaults_serve() {
    let gateway = Setup::new().start().await;
    let folder = gateway.config_path().parent().unwrap().to_owned();
    std::fs::remove_file(gateway.config_path()).unwrap();
    // The plugins stand in `plugins`, where the defaults look.
    let program = std::env::var_os("PORTCULLIS_BIN")
        .map_or_else(|| "../target/debug/portcullis".into(), std::path::PathBuf::from);
    let mut child = tokio::process::Command::new(std::path::absolute(program).unwrap())
        .args(["serve", "--listen", "127.0.0.1:0"])
        .current_dir(&folder)
        .env_remove("PORTCULLIS_CONFIG")
        .env_remove("OPENAI_API_KEY")
        .env_remove("ANTHROPIC_API_KEY")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(child.stdout.take().unwrap()));
    let line = portcullis_tests::within(120, "its start", lines.next_line()).await.unwrap().expect("a line");
    let address = line.strip_prefix("listening on http://").expect("its address").parse().unwrap();
    let client = Client { address, key: String::new() };
    assert_eq!(client.get("/healthz").await.status, StatusCode::OK);
    assert_eq!(client.get("/v1/models").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn secrets_are_sent_to_their_provider_and_written_nowhere() {
    let options = Options { api_key: Some(UPSTREAM_KEY.to_owned()), keep_requests: 100, ..Options::default() };
    let demo = demo_with(options).await;
    let address = demo.address();
    let gateway = Setup::new()
        .provider("demo", "openai", &format!("http://{address}/v1"), "api_key = \"${TEST_UPSTREAM_KEY}\"\n")
        .provider(
            "other",
            "anthropic",
            &format!("http://{address}"),
            "api_key = \"${TEST_UPSTREAM_KEY}\"\nauth = \"header:x-api-key\"\n",
        )
        .provider("wrong", "openai", &format!("http://{address}/v1"), "api_key = \"sk-wrong-8c1d\"\n")
        .with("[server]\ndevelopment = true\n")
        .environment("TEST_UPSTREAM_KEY", UPSTREAM_KEY)
        .environment("RUST_LOG", "trace")
        .start()
        .await;
    let client = gateway.client().await;
    let mut seen = String::new();
    for model in ["demo/demo", "other/demo", "wrong/demo", "demo/demo-error-401", "demo/demo-error-500", "nosuch/model"]
    {
        for answer in [client.chat(model, "hello").await, client.messages(model, "hello").await] {
            seen.push_str(answer.text());
            for (name, value) in &answer.headers {
                seen.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
            }
            if answer.headers.contains_key("x-portcullis-request-id") {
                seen.push_str(&client.receipt(&answer.id()).await.to_string());
            }
        }
    }
    assert_eq!(client.chat("demo/demo", "hello").await.status, StatusCode::OK);
    for received in demo.received() {
        let sent = format!("{:?} {}", received.headers, String::from_utf8_lossy(&received.body));
        assert!(!sent.contains(&client.key), "a client's key is not the provider's to know");
    }
    gateway.run(&["check"]).await;
    let checked = gateway.run(&["check"]).await;
    seen.push_str(&String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()));
    let log = gateway.log();
    for secret in [UPSTREAM_KEY, "sk-wrong-8c1d", client.key.as_str()] {
        assert!(!seen.contains(secret), "told to a client");
        if let Some(line) = log.lines().find(|line| line.contains(secret)) {
            panic!("logged: {line}");
        }
    }
}

/// Plugins load after the configuration is read: that they are not there yet is no news.
#[tokio::test]
async fn a_start_warns_of_no_plugin_that_is_there() {
    let demo = portcullis_tests::demo().await;
    let gateway =
        Setup::demo(&demo).with("[providers.stranger]\nplugin = \"unheard-of\"\nbase_url = \"http://127.0.0.1:1\"\n");
    let gateway = gateway.start().await;
    gateway.logged(&["no such provider plugin is loaded", "stranger"]).await;
    let log = gateway.log();
    let warned: Vec<_> = log.lines().filter(|line| line.contains("no such provider plugin")).collect();
    assert_eq!(warned.len(), 1, "{warned:?}");
}
