//! Requests that go on while something else happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tokio::task::JoinSet;

use crate::client::{chat, messages};
use crate::{Client, Connection, sse};

/// What came of the requests.
#[derive(Debug, Default)]
pub struct Tally {
    pub whole: u64,
    pub streams: u64,
    /// Everything that was not a complete 200.
    pub failures: Vec<String>,
    /// Receipt ids of those that were complete.
    pub ids: Vec<String>,
}

/// Clients that ask without pause, in both protocols, whole and streamed, over kept connections.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Tally>,
}

impl Traffic {
    /// `clients` of them, over the provider `demo`.
    pub fn start(client: &Client, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for number in 0..clients {
            tasks.spawn(ask(client.clone(), number, Arc::clone(&stop)));
        }
        Traffic { stop, tasks }
    }

    /// Lets what is under way end.
    pub async fn stop(mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        while let Some(one) = self.tasks.join_next().await {
            let one = one.expect("a client does not panic");
            all.whole += one.whole;
            all.streams += one.streams;
            all.failures.extend(one.failures);
            all.ids.extend(one.ids);
        }
        all
    }
}

impl Tally {
    /// # Panics
    /// When a request failed, or none was made.
    pub fn all_went_well(&self) {
        assert_eq!(self.failures, Vec::<String>::new());
        assert!(self.whole > 0 && self.streams > 0, "there was no traffic: {self:?}");
    }
}

async fn ask(client: Client, number: usize, stop: Arc<AtomicBool>) -> Tally {
    let mut tally = Tally::default();
    let mut round = number;
    let mut kept: Option<Connection> = None;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let stream = round.is_multiple_of(3);
        let (path, body) = match round % 4 {
            0 => ("/v1/messages", messages("demo/demo", "hello", stream)),
            1 => ("/v1/messages", messages("demo-anthropic/demo", "hello", stream)),
            2 => ("/v1/chat/completions", chat("demo-anthropic/demo", "hello", stream)),
            _ => ("/v1/chat/completions", chat("demo/demo", "hello", stream)),
        };
        match exchange(&client, &mut kept, path, &body).await {
            Ok(id) => {
                tally.ids.push(id);
                if stream {
                    tally.streams += 1;
                } else {
                    tally.whole += 1;
                }
            }
            Err(why) => {
                kept = None;
                tally.failures.push(format!("{path} {body}: {why}"));
            }
        }
    }
    tally
}

async fn exchange(client: &Client, kept: &mut Option<Connection>, path: &str, body: &Value) -> Result<String, String> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => Connection::open(client).await.map_err(|error| format!("{error:#}"))?,
    };
    let answer = connection.post(path, body.to_string()).await.map_err(|error| format!("{error:#}"))?;
    if answer.status != http::StatusCode::OK {
        return Err(format!("{} {}", answer.status, answer.text()));
    }
    if body["stream"] == true && !sse::ended(&answer.events()) {
        return Err(format!("a stream without its end: {}", answer.text()));
    }
    *kept = Some(connection);
    Ok(answer.id())
}
