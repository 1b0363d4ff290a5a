//! Sinks of audit events: batches that are signed, in order, and sent until they are taken; against receivers that are not well.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::StatusCode;
use portcullis_tests::{Client, Gateway, Setup, demo, eventually};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What a receiver does with a request that it has read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Deed {
    Take,
    Refuse,
    /// It dies before it answers.
    Die,
    /// It never answers.
    Hang,
}

struct Message {
    deed: Deed,
    head: String,
    body: String,
}

impl Message {
    fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("{name} in {}", self.head))
    }

    /// As <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md> has it, "Verifying": HMAC-SHA256 over
    /// `id.timestamp.payload`, with the secret's bytes behind `whsec_`, among the space-delimited signatures of version `v1`; and the
    /// timestamp within a tolerance.
    fn verify(&self) {
        let (id, timestamp) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        let key = BASE64_STANDARD.decode(SECRET.trim_start_matches("whsec_")).expect("base64");
        let expected = hmac(&key, format!("{id}.{timestamp}.{}", self.body).as_bytes());
        let given = self.header("webhook-signature").split(' ').filter_map(|one| one.strip_prefix("v1,"));
        assert!(given.into_iter().any(|one| BASE64_STANDARD.decode(one).expect("base64") == expected), "{}", self.head);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs();
        assert!(now.abs_diff(timestamp.parse().expect("seconds")) < 300, "{timestamp}");
    }

    fn events(&self) -> Vec<Value> {
        let body: Value = serde_json::from_str(&self.body).expect("JSON");
        assert_eq!(body["type"], "audit.events");
        let events = body["data"]["events"].as_array().expect("events").clone();
        assert_eq!(body["data"]["first"], events[0]["seq"]);
        assert_eq!(body["data"]["last"], events[events.len() - 1]["seq"]);
        events
    }

    fn places(&self) -> Vec<u64> {
        self.events().iter().map(|event| event["seq"].as_u64().expect("a place")).collect()
    }
}

/// RFC 2104 over SHA-256, whose blocks have 64 bytes.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let padded = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().to_vec()
}

/// An HTTP receiver; what it does with each request in turn is said beforehand, and after that it takes all.
struct Receiver {
    address: SocketAddr,
    messages: Arc<Mutex<Vec<Message>>>,
    serving: JoinHandle<()>,
}

impl Receiver {
    async fn start(deeds: &[Deed]) -> Self {
        Self::at("127.0.0.1:0".parse().expect("an address"), deeds).await
    }

    async fn at(address: SocketAddr, deeds: &[Deed]) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let messages: Arc<Mutex<Vec<Message>>> = Arc::default();
        let (seen, deeds) = (Arc::clone(&messages), deeds.to_vec());
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&seen), deeds.clone()));
            }
        });
        Receiver { address, messages, serving }
    }

    fn with<T>(&self, look: impl FnOnce(&[Message]) -> T) -> T {
        look(&self.messages.lock().expect("nobody panicked"))
    }

    /// The places of what was taken, as often as it was.
    fn taken(&self) -> Vec<u64> {
        self.with(|messages| messages.iter().filter(|one| one.deed == Deed::Take).flat_map(Message::places).collect())
    }

    fn events(&self) -> Vec<Value> {
        self.with(|messages| messages.iter().flat_map(Message::events).collect())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(mut socket: TcpStream, seen: Arc<Mutex<Vec<Message>>>, deeds: Vec<Deed>) {
    let mut read = Vec::new();
    loop {
        let whole = |read: &[u8]| {
            let text = std::str::from_utf8(read).ok()?;
            let (head, body) = text.split_once("\r\n\r\n")?;
            let lines = head.to_lowercase();
            let length = lines.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok())?;
            (body.len() == length).then(|| (head.to_owned(), body.to_owned()))
        };
        let Some((head, body)) = whole(&read) else {
            match socket.read_buf(&mut read).await {
                Ok(0) | Err(_) => return,
                Ok(_) => continue,
            }
        };
        read.clear();
        let deed = {
            let mut seen = seen.lock().expect("nobody panicked");
            let deed = deeds.get(seen.len()).copied().unwrap_or(Deed::Take);
            seen.push(Message { deed, head, body });
            deed
        };
        let answer: &[u8] = match deed {
            Deed::Take => b"HTTP/1.1 204 Taken\r\n\r\n",
            Deed::Refuse => b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n",
            Deed::Die => return,
            Deed::Hang => {
                let _ = socket.read(&mut [0; 1]).await;
                return;
            }
        };
        if socket.write_all(answer).await.is_err() {
            return;
        }
    }
}

fn sink(address: SocketAddr, more: &str) -> String {
    format!(
        "[[siem]]\nname = \"watch\"\nwebhook = {{ url = \"http://{address}/in\", secret = \"${{SIEM_SECRET}}\", authorization = \
         \"${{SIEM_AUTHORIZATION}}\" }}\n{more}\n"
    )
}

fn setup(demo: &portcullis_demo_upstream::Handle, sections: &str) -> Setup {
    let setup = Setup::demo(demo).environment("SIEM_SECRET", SECRET);
    setup.environment("SIEM_AUTHORIZATION", "Bearer siem-t0ken").with(sections)
}

async fn command(gateway: &Gateway, arguments: &[&str]) -> Value {
    let output = gateway.run(&[arguments, &["--json"]].concat()).await;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The places of all events there are.
async fn trail(gateway: &Gateway) -> BTreeSet<u64> {
    let events = command(gateway, &["audit", "list", "--limit", "1000"]).await;
    events.as_array().expect("events").iter().map(|event| event["seq"].as_u64().expect("a place")).collect()
}

/// Waits until all there is was taken.
async fn all_is_taken(gateway: &Gateway, receiver: &Receiver, seconds: u64) {
    let until = Instant::now() + Duration::from_secs(seconds);
    loop {
        let (there, taken) = (trail(gateway).await, receiver.taken().into_iter().collect::<BTreeSet<_>>());
        if there == taken {
            return;
        }
        assert!(Instant::now() < until, "{there:?} and not {taken:?}\n{}", gateway.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn every_event_arrives_signed_in_order_through_refusals_and_deaths() {
    let demo = demo().await;
    let receiver = Receiver::start(&[Deed::Refuse, Deed::Die, Deed::Take, Deed::Die, Deed::Take]).await;
    let gateway = setup(&demo, &sink(receiver.address, "batch_events = 3")).start().await;
    let key = gateway.key(&[]).await;
    let secret = key["key"].as_str().expect("a key").to_owned();
    for number in 0..5 {
        command(&gateway, &["org", "create", "--name", &format!("org-{number}")]).await;
    }
    let token = command(&gateway, &["token", "create", "--name", "ops", "--role", "superadmin"]).await;
    let guess = Client { address: gateway.address, key: "pk_live_0123456789abcdefghijklmnopqrstuv".into() };
    assert_eq!(guess.chat("demo/demo", "hello").await.status, StatusCode::UNAUTHORIZED);
    eventually("the failed access is told", async || {
        receiver.events().iter().any(|event| event["action"] == "access.failed")
    })
    .await;
    all_is_taken(&gateway, &receiver, 30).await;

    receiver.with(|messages| {
        for message in messages {
            message.verify();
            assert!(message.places().len() <= 3);
            assert_eq!(message.header("authorization"), "Bearer siem-t0ken");
            assert!(message.head.starts_with("POST /in HTTP/1.1"), "{}", message.head);
        }
        // What was not acknowledged came again, from where it began, in order and without a gap.
        let mut expected = 1;
        for message in messages {
            let places = message.places();
            assert_eq!(places[0], expected, "{places:?}");
            assert!(places.windows(2).all(|pair| pair[1] == pair[0] + 1));
            if message.deed == Deed::Take {
                expected = places[places.len() - 1] + 1;
            }
        }
        assert!(messages.iter().filter(|message| message.deed != Deed::Take).count() == 3);
        let said: String = messages.iter().map(|message| message.body.clone()).collect();
        for hidden in
            [secret.as_str(), token["token"].as_str().expect("a token"), "pk_live_0123456789abcdefghijkl", SECRET]
        {
            assert!(!said.contains(hidden), "{hidden}");
        }
        assert!(said.contains("\"action\":\"key.create\"") && said.contains("\"time\":\"20"), "{said}");
    });

    let listed = command(&gateway, &["siem", "list"]).await;
    assert_eq!((&listed[0]["failures"], &listed[0]["behind"]), (&0.into(), &0.into()));
    let admin = Client { address: gateway.address, key: token["token"].as_str().expect("a token").to_owned() };
    let count = async |name: &str| {
        let text = admin.get("/metrics").await.text().to_owned();
        let value = text.lines().find_map(|line| line.strip_prefix(&format!("portcullis_{name}{{sink=\"watch\"}} ")));
        value.unwrap_or_else(|| panic!("{name} in {text}")).parse::<f64>().expect("a number")
    };
    assert_eq!(count("siem_events_total").await, receiver.taken().len() as f64);
    assert_eq!(count("siem_failures_total").await, 3.0);
    eventually("it is not behind", async || count("siem_lag_events").await == 0.0).await;
}

#[tokio::test]
async fn a_sink_that_hangs_or_is_gone_slows_nobody_and_catches_up() {
    let demo = demo().await;
    let receiver = Receiver::start(&[Deed::Hang]).await;
    let address = receiver.address;
    let gateway = setup(&demo, &sink(address, "actions = [\"organisation.\"]\nbatch_bytes = 1024")).start().await;
    let client = gateway.client().await;
    command(&gateway, &["org", "create", "--name", "first"]).await;
    eventually("it hangs", async || receiver.with(|messages| messages.len() == 1)).await;
    for _ in 0..20 {
        let since = Instant::now();
        client.chat("demo/demo", "hello").await.ok();
        assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    }
    // Then it goes altogether, and much happens.
    drop(receiver);
    gateway.logged(&["a batch of events was not taken", "watch"]).await;
    for number in 0..8 {
        command(&gateway, &["org", "create", "--name", &format!("org-{number}")]).await;
    }
    eventually("its state says so", async || {
        let listed = command(&gateway, &["siem", "list"]).await;
        listed[0]["failures"].as_u64() >= Some(1)
            && listed[0]["error"].is_string()
            && listed[0]["behind"].as_u64() > Some(7)
    })
    .await;
    let receiver = Receiver::at(address, &[]).await;
    let organisations: BTreeSet<u64> =
        command(&gateway, &["audit", "list", "--limit", "1000", "--action", "organisation."])
            .await
            .as_array()
            .expect("events")
            .iter()
            .map(|event| event["seq"].as_u64().expect("a place"))
            .collect();
    let until = Instant::now() + Duration::from_secs(60);
    while receiver.taken().into_iter().collect::<BTreeSet<_>>() != organisations {
        assert!(Instant::now() < until, "{:?}\n{}", receiver.taken(), gateway.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    receiver.with(|messages| {
        assert!(messages.len() > 1, "batches are bounded");
        for message in messages {
            message.verify();
            assert!(message.body.len() < 1024 + 300 || message.places().len() == 1, "{}", message.body.len());
        }
    });
    assert!(receiver.taken().is_sorted());
    assert!(
        receiver
            .events()
            .iter()
            .all(|event| event["action"].as_str().is_some_and(|one| one.starts_with("organisation.")))
    );
    // What was not wanted is passed over.
    eventually("it is not behind", async || command(&gateway, &["siem", "list"]).await[0]["behind"] == 0).await;
}

#[tokio::test]
async fn of_two_gateways_one_sends_and_the_other_takes_over() {
    let Some(url) = portcullis_test_postgres::database() else { return };
    let demo = demo().await;
    let receiver = Receiver::start(&[]).await;
    let start = || setup(&demo, &sink(receiver.address, "batch_events = 2")).on_postgres(&url).start();
    let (one, other) = tokio::join!(start(), start());
    for number in 0..6 {
        let (here, there) = (format!("early-{number}"), format!("early-{number}-other"));
        let (here, there) = (["org", "create", "--name", &here], ["org", "create", "--name", &there]);
        tokio::join!(command(&one, &here), command(&other, &there));
    }
    all_is_taken(&one, &receiver, 30).await;
    // Nobody died and nobody failed: each came once, in order.
    let taken = receiver.taken();
    assert_eq!(taken, (1..=taken.len() as u64).collect::<Vec<_>>());
    let before = taken.len();
    drop(one);
    for number in 0..5 {
        command(&other, &["org", "create", "--name", &format!("late-{number}")]).await;
    }
    // At most as long as the dead one had it in hand.
    all_is_taken(&other, &receiver, 60).await;
    let taken = receiver.taken();
    assert!(taken.len() >= before + 5 && taken.is_sorted());
    receiver.with(|messages| messages.iter().for_each(Message::verify));
}
