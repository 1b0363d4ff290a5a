//! Scheduled exports of the built program: to a folder and to a real S3 server, whole, to the nano-dollar, and each period once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;

use http::StatusCode;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use portcullis_tests::{Client, Gateway, Ledger, Setup, demo, eventually};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use serde_json::Value;
use time::{Duration, OffsetDateTime};
use tokio::net::TcpListener;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn ok(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

async fn listed(gateway: &Gateway) -> BTreeMap<String, Value> {
    let rows: Vec<Value> = serde_json::from_str(&ok(gateway.run(&["export", "list", "--json"]).await)).expect("a list");
    rows.into_iter().map(|row| (row["name"].as_str().expect("a name").to_owned(), row)).collect()
}

fn date(days_ago: i64) -> String {
    (OffsetDateTime::now_utc() - Duration::days(days_ago)).date().to_string()
}

/// The demo provider's sections, for configurations that replace a running one.
fn sections(address: SocketAddr) -> String {
    format!(
        "[providers.demo]\nplugin = \"openai\"\nbase_url = \"http://{address}/v1\"\nmodels = [\"*\"]\nonly = [\"none\"]\n\
         [[pricing.price]]\nmodel = \"demo/*\"\ninput = \"1\"\noutput = \"2\"\n"
    )
}

fn export(name: &str, what: &str, format: &str, to: &str, more: &str) -> String {
    let to = Value::from(to);
    format!(
        "[[export]]\nname = \"{name}\"\nwhat = \"{what}\"\nformat = \"{format}\"\nto = {to}\nsettle_minutes = 0\n{more}\n"
    )
}

/// An S3 server over a folder that knows one pair of keys; its buckets are the folder's own.
async fn s3(root: &Path, address: SocketAddr) {
    let service = {
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root).expect("a folder"));
        builder.set_auth(SimpleAuth::from_single("id", "s3cret-of-the-bucket"));
        builder.build()
    };
    let listener = TcpListener::bind(address).await.expect("its port");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
            });
        }
    });
}

/// Requests of three keys: with one tag, with another, and one that failed.
async fn traffic(gateway: &Gateway) -> usize {
    let one = gateway.client_with(&["--tag", "project=apollo"]).await;
    for _ in 0..4 {
        one.chat("demo/demo", "hello").await.ok();
    }
    let other = gateway.client_with(&["--environment", "development", "--tag", "project==gemini"]).await;
    for model in ["demo/demo", "demo/demo-echo"] {
        other.chat(model, "good morning").await.ok();
    }
    let third = gateway.client().await;
    assert_ne!(third.chat("nobody/knows", "hello").await.status, StatusCode::OK);
    let ledger = gateway.ledger().await;
    eventually("all is written", async || ledger.requests().await.len() == 7).await;
    7
}

fn csv_rows(path: &Path) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(path).expect("a file");
    reader.deserialize().map(|row| row.expect("a row")).collect()
}

fn json_rows(path: &Path) -> Vec<BTreeMap<String, Value>> {
    let text = std::fs::read_to_string(path).expect("a file");
    text.lines().map(|line| serde_json::from_str(line).expect("a line")).collect()
}

/// Rows as their columns' texts; absent values are left out.
fn parquet_rows(path: &Path) -> Vec<BTreeMap<String, String>> {
    let reader = SerializedFileReader::new(std::fs::File::open(path).expect("a file")).expect("parquet");
    let row = |row: parquet::errors::Result<parquet::record::Row>| {
        let row = row.expect("a row");
        let present = row.get_column_iter().filter(|(_, field)| !matches!(field, Field::Null));
        present
            .map(|(name, field)| {
                let text = match field {
                    Field::Str(text) => text.clone(),
                    Field::Long(number) => number.to_string(),
                    other => other.to_string(),
                };
                (name.clone(), text)
            })
            .collect()
    };
    reader.get_row_iter(None).expect("rows").map(row).collect()
}

fn sum(rows: &[BTreeMap<String, String>], column: &str) -> u64 {
    rows.iter().map(|row| row[column].parse::<u64>().expect("a number")).sum()
}

#[tokio::test]
async fn what_was_missed_is_written_and_agrees_with_the_ledger() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let requests = traffic(&gateway).await;
    Ledger::copied_to_the_past(&gateway.path("portcullis.db"), DAY_MS).await;
    // Half of the entries are today's, half are as they were a day ago.
    let entries = gateway.ledger().await.entries().await;
    let spent = entries.iter().map(|entry| u64::try_from(entry.amount).expect("an amount")).sum::<u64>() / 2;
    assert!(spent > 0);
    let out = gateway.path("out");
    let (day, to) = (date(1), out.to_str().expect("a path"));
    let since = format!("since = \"{day}\"\n");
    let by = format!(
        "{since}by = [\"day\", \"organisation\", \"team\", \"key\", \"user\", \"environment\", \"provider\", \"model\", \"tag\"]\n\
         tag = \"project\"\n"
    );
    let config = [
        sections(demo.address()),
        export("sheet", "usage", "csv", to, &by),
        export("lines", "usage", "jsonl", to, &by),
        export("columns", "usage", "parquet", to, &by),
        export("entries", "ledger", "csv", to, &since),
        export("records", "requests", "parquet", to, &since),
        export("trail", "audit", "jsonl", to, &since),
        export("monthly", "usage", "csv", to, "every = \"month\"\ntime_zone = \"Europe/Berlin\"\n"),
    ];
    gateway.configure(&config.concat());
    gateway.signal(libc::SIGHUP);
    let file = |name: &str, format: &str| out.join(format!("{name}-{day}.{format}"));
    let due = [
        file("sheet", "csv"),
        file("lines", "jsonl"),
        file("columns", "parquet"),
        file("entries", "csv"),
        file("records", "parquet"),
        file("trail", "jsonl"),
    ];
    eventually("yesterday's files are written", async || due.iter().all(|path| path.exists())).await;

    let sheet = csv_rows(&due[0]);
    assert_eq!((sum(&sheet, "cost_nano_usd"), sum(&sheet, "requests")), (spent, requests as u64));
    assert_eq!(sum(&sheet, "failed"), 1);
    assert!(sheet.iter().all(|row| row["day"] == day), "{sheet:?}");
    for (column, values) in [
        ("tag_project", &["", "'=gemini", "apollo"][..]),
        ("environment", &["development", "production"]),
        ("provider", &["", "demo"]),
    ] {
        let mut found: Vec<_> = sheet.iter().map(|row| row[column].as_str()).collect();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, values, "{column}");
    }
    let decimal: u64 =
        sheet.iter().map(|row| row["cost_usd"].replace('.', "").parse::<u64>().expect("nine places")).sum();
    assert_eq!(decimal, spent);
    let lines = json_rows(&due[1]);
    assert_eq!(lines.iter().map(|row| row["cost_nano_usd"].as_u64().expect("a number")).sum::<u64>(), spent);
    assert!(lines.iter().any(|row| row["tag_project"] == "=gemini"), "{lines:?}");
    let columns = parquet_rows(&due[2]);
    assert_eq!((sum(&columns, "cost_nano_usd"), columns.len()), (spent, sheet.len()));

    let ends = csv_rows(&due[3]);
    assert_eq!((sum(&ends, "amount_nano_usd"), ends.len() * 2), (spent, entries.len()));
    let records = parquet_rows(&due[4]);
    assert_eq!(records.len(), requests);
    let costs =
        records.iter().filter_map(|row| row.get("cost_nano_usd")).map(|cost| cost.parse::<u64>().expect("a number"));
    assert_eq!(costs.sum::<u64>(), spent);
    assert!(json_rows(&due[5]).is_empty(), "nothing was done yesterday");

    let exports = listed(&gateway).await;
    assert_eq!((&exports["sheet"]["files"], &exports["sheet"]["failures"]), (&1.into(), &0.into()));
    assert_eq!(exports["sheet"]["next"], format!("sheet-{}.csv", date(0)));
    assert_eq!(exports["monthly"]["files"], 0);
    // By hand, as far as it goes.
    let now = OffsetDateTime::now_utc().date().to_string();
    ok(gateway.run(&["export", "run", "entries", "--at", &now]).await);
    assert_eq!(sum(&csv_rows(&out.join(format!("entries-{now}.csv"))), "amount_nano_usd"), spent);
    ok(gateway.run(&["export", "run", "trail", "--at", &now]).await);
    let trail = json_rows(&out.join(format!("trail-{now}.jsonl")));
    assert!(trail.iter().any(|row| row["action"] == "export.run" && row["target"] == "entries"), "{trail:?}");
    assert!(trail.is_sorted_by_key(|row| row["seq"].as_u64()));
    assert_eq!(listed(&gateway).await["entries"]["files"], 1, "the schedule goes on as it was");
}

#[tokio::test]
async fn a_bucket_takes_files_and_a_mistake_is_told_and_mended() {
    let root = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(root.path().join("reports")).expect("a bucket");
    // A port on which nobody listens yet.
    let address = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let demo = demo().await;
    let more = |secret: &str| {
        format!(
            "since = \"{}\"\n[export.s3]\nendpoint = \"http://{address}\"\nregion = \"us-east-1\"\naccess_key_id = \"${{S3_ID}}\"\n\
             secret_access_key = \"${{{secret}}}\"\n",
            date(2)
        )
    };
    let gateway = Setup::demo(&demo)
        .environment("S3_ID", "id")
        .environment("S3_SECRET", "s3cret-of-the-bucket")
        .environment("S3_WRONG", "s3cret-of-nobody")
        .with(&export("good", "usage", "parquet", "s3://reports/daily", &more("S3_SECRET")))
        .with(&export("wrong", "usage", "parquet", "s3://reports/wrong", &more("S3_WRONG")))
        .start()
        .await;
    gateway.logged(&["could not be written", "good", "WARN"]).await;
    eventually("its state says so", async || {
        let good = listed(&gateway).await.remove("good").expect("it is listed");
        good["failures"].as_u64() >= Some(1) && good["error"].is_string() && good["files"] == 0
    })
    .await;
    let client = gateway.client().await;
    client.chat("demo/demo", "hello").await.ok();
    s3(root.path(), address).await;
    let there = |day: i64| root.path().join(format!("reports/daily/good-{}.parquet", date(day))).exists();
    eventually("both days are written", async || there(2) && there(1)).await;
    let good = listed(&gateway).await.remove("good").expect("it is listed");
    assert_eq!((&good["files"], &good["failures"], &good["error"]), (&2.into(), &0.into(), &Value::Null));
    // Who cannot sign cannot write, and is told so by the server.
    eventually("the refusal is known", async || {
        let wrong = listed(&gateway).await.remove("wrong").expect("it is listed");
        wrong["files"] == 0 && wrong["error"].as_str().is_some_and(|error| error.contains("SignatureDoesNotMatch"))
    })
    .await;
    let wrong = listed(&gateway).await.remove("wrong").expect("it is listed");
    let ran = gateway.run(&["export", "run", "wrong"]).await;
    assert!(!ran.status.success() && !root.path().join("reports/wrong").exists(), "{ran:?}");
    for said in [wrong.to_string(), gateway.log(), format!("{ran:?}")] {
        assert!(!said.contains("s3cret-of"), "{said}");
    }
}

#[tokio::test]
async fn two_gateways_write_each_period_once() {
    let Some(url) = portcullis_test_postgres::database() else { return };
    let demo = demo().await;
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().to_str().expect("a path");
    let since = format!("since = \"{}\"\n", date(1));
    let start = || {
        let setup = Setup::demo(&demo).on_postgres(&url);
        let setup = setup.with(&export("hourly", "usage", "csv", to, &format!("{since}every = \"hour\"\n")));
        setup.with(&export("daily", "ledger", "jsonl", to, &since)).start()
    };
    let (one, other) = tokio::join!(start(), start());
    let client: Client = one.client().await;
    client.chat("demo/demo", "hello").await.ok();
    let hours = || 24 + usize::from(OffsetDateTime::now_utc().hour());
    eventually("all hours are written", async || {
        std::fs::read_dir(folder.path()).expect("the folder").count() > hours()
    })
    .await;
    // Whatever a second one would write is written by now.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let files: Vec<String> = std::fs::read_dir(folder.path())
        .expect("the folder")
        .map(|file| file.expect("a file").file_name().to_string_lossy().into_owned())
        .collect();
    let times = |file: &String| {
        let lines = [one.log(), other.log()].map(|log| {
            log.lines().filter(|line| line.contains("an export was written") && line.contains(file.as_str())).count()
        });
        lines[0] + lines[1]
    };
    for file in &files {
        // A file is there before it is said to be.
        eventually(file, async || times(file) > 0).await;
        assert_eq!(times(file), 1, "{file}: {}{}", one.log(), other.log());
    }
    assert!(files.contains(&format!("daily-{}.jsonl", date(1))), "{files:?}");
    // None is left out.
    let first = format!("hourly-{}T00.csv", date(1));
    assert!(files.contains(&first), "{files:?}");
    let exports = listed(&other).await;
    assert!(exports["hourly"]["files"].as_u64() >= Some(files.len() as u64 - 1));
    assert!(csv_rows(&folder.path().join(first)).is_empty());
}
