//! What a period's file consists of, read back from a store.

use std::collections::BTreeMap;
use std::io::Read;

use portcullis_core::RequestId;
use portcullis_export::{Every, Export, Format, Period, What, Zone};
use portcullis_store::{Batch, EndKind, EntryRow, RequestRow, Store, StoreOptions, UsageGroup};
use serde_json::Value;

const HOUR: u64 = 3_600_000;

fn entry(id: RequestId, ms: u64, nano: u64) -> EntryRow<'static> {
    EntryRow {
        request_id: *id.as_bytes(),
        attempt: 1,
        kind: EndKind::Settled,
        key_id: [7; 16],
        organisation: [0; 16],
        provider: "openai",
        model: "gpt",
        reserved_nano: nano + 1,
        amount_nano: nano,
        input_nano: nano,
        output_nano: 0,
        reason: "ok",
        reserved_ms: ms,
        ended_ms: ms + 1,
        held: &[],
    }
}

fn request(id: RequestId, ms: u64, nano: u64) -> RequestRow<'static> {
    RequestRow {
        request_id: *id.as_bytes(),
        time_ms: ms,
        key_id: [7; 16],
        organisation: [0; 16],
        team: None,
        environment: "production",
        end_user: None,
        requested_model: "gpt",
        provider: Some("openai"),
        model: Some("gpt"),
        status: 200,
        outcome: "ok",
        reason: None,
        policy: None,
        correlation: None,
        usage: [1, 0, 0, 0, 2, 0, 0, 0, 0, 0],
        estimated: false,
        cost_nano: Some(nano),
        total_us: 5,
        tags: Some(r#"[{"name":"project","value":"apollo"},{"name":"project","value":"later"}]"#),
        receipt: None,
    }
}

async fn lines(store: &Store, what: What, period: &Period) -> Vec<BTreeMap<String, Value>> {
    let export = Export { what, format: Format::Jsonl, organisation: None };
    let mut written = export.write(store, period).await.unwrap();
    let mut text = String::new();
    written.file.read_to_string(&mut text).unwrap();
    let lines: Vec<_> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len() as u64, written.rows);
    lines
}

fn sum(lines: &[BTreeMap<String, Value>], column: &str) -> u64 {
    lines.iter().map(|line| line[column].as_u64().unwrap()).sum()
}

#[tokio::test]
async fn a_zone_s_days_are_its_own_and_every_request_is_in_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&StoreOptions::at(folder.path().join("p.db"))).await.unwrap();
    let berlin: Zone = "Europe/Berlin".parse().unwrap();
    let first = berlin.midnight("2026-10-25").unwrap();
    // Every hour from a day before the day of 25 hours until a day after it.
    let (mut entries, mut requests) = (Vec::new(), Vec::new());
    for number in 0..73 {
        let ms = first - 24 * HOUR + number * HOUR;
        let id = RequestId::new(ms, &mut rand::rng());
        entries.push(entry(id, ms, 1_000 + number));
        requests.push(request(id, ms, 1_000 + number));
    }
    let spent: u64 = entries.iter().map(|entry| entry.amount_nano).sum();
    store.backend().write([1; 16], &Batch { entries, requests, ..Batch::default() }).await.unwrap();

    let usage = || What::Usage { by: vec![UsageGroup::Day, UsageGroup::Tag], tag: Some("project".into()) };
    let month = Period::at(Every::Month, &berlin, first);
    let rows = lines(&store, usage(), &month).await;
    let days: Vec<_> =
        rows.iter().map(|row| (row["day"].as_str().unwrap(), row["requests"].as_u64().unwrap())).collect();
    assert_eq!(days, [("2026-10-24", 24), ("2026-10-25", 25), ("2026-10-26", 24)]);
    assert!(rows.iter().all(|row| row["tag_project"] == "apollo"));
    for (what, column) in
        [(usage(), "cost_nano_usd"), (What::Requests, "cost_nano_usd"), (What::Ledger, "amount_nano_usd")]
    {
        assert_eq!(sum(&lines(&store, what.clone(), &month).await, column), spent, "{what:?}");
        // In files of an hour or a day each is in one.
        for every in [Every::Hour, Every::Day] {
            let (mut at, mut all) = (first - 24 * HOUR, 0);
            while at < first + 49 * HOUR {
                let period = Period::at(every, &berlin, at);
                all += sum(&lines(&store, what.clone(), &period).await, column);
                at = period.end_ms;
            }
            assert_eq!(all, spent, "{what:?} {every:?}");
        }
    }
    let record = &lines(&store, What::Requests, &month).await[0];
    assert_eq!(record["tags"], r#"{"project":"apollo"}"#);
    // The oldest trail is before it, and nobody asked.
    let before = Period::at(Every::Day, &berlin, first - 72 * HOUR);
    assert!(lines(&store, usage(), &before).await.is_empty());
    assert!(lines(&store, What::Usage { by: vec![], tag: None }, &before).await.is_empty());
    assert!(lines(&store, What::Audit, &before).await.is_empty());
}

#[tokio::test]
async fn more_than_a_page_is_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&StoreOptions::at(folder.path().join("p.db"))).await.unwrap();
    let day = Period::at(Every::Day, &Zone::UTC, 1_780_000_000_000);
    let ids = (0..2_500)
        .map(|number| (RequestId::new(day.start_ms + number / 7, &mut rand::rng()), day.start_ms + number / 7));
    let ids: Vec<_> = ids.collect();
    let entries = ids.iter().map(|(id, ms)| entry(*id, *ms, 3)).collect();
    let requests = ids.iter().map(|(id, ms)| request(*id, *ms, 3)).collect();
    store.backend().write([1; 16], &Batch { entries, requests, ..Batch::default() }).await.unwrap();
    for what in [What::Requests, What::Ledger] {
        let rows = lines(&store, what, &day).await;
        let names: std::collections::BTreeSet<_> = rows.iter().map(|row| row["request"].as_str().unwrap()).collect();
        assert_eq!((rows.len(), names.len()), (2_500, 2_500));
    }
}
