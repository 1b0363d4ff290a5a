//! What the tests share.
#![allow(dead_code, unused_imports, reason = "each test binary uses a part")]

mod database;

use std::path::Path;

use portcullis_core::receipt::{Attempt, Caller, CostLine, Outcome, Tag, Timings};
use portcullis_core::{
    Cost, Environment, FailureKind, KeyId, NanoUsd, OrganisationId, Price, Rates, Receipt, RequestId, Usage,
};
use portcullis_store::ReserveRequest;
use portcullis_store::budgets::Hold;
use sqlx::{Connection, Row, SqliteConnection};

pub use database::Database;

pub const NOW: u64 = 1_780_000_000_000; // 2026-05-28

pub fn request_id() -> RequestId {
    RequestId::new(NOW, &mut rand::rng())
}

pub fn nano(amount: u64) -> NanoUsd {
    NanoUsd::new(amount).unwrap()
}

pub fn cost(total: u64) -> Cost {
    Cost { total: nano(total), input: nano(total / 3), output: nano(total - total / 3) }
}

pub fn reserve(request_id: RequestId, attempt: u32, worst: u64) -> ReserveRequest {
    ReserveRequest {
        request_id,
        attempt,
        key_id: KeyId::from_bytes([7; 16]),
        organisation: OrganisationId::DEFAULT,
        provider: "openai".into(),
        model: "gpt-4o-mini".into(),
        worst: nano(worst),
        now_ms: NOW,
    }
}

pub fn unbudgeted() -> Hold {
    Hold::unbudgeted()
}

pub fn price() -> Price {
    Price {
        effective: portcullis_core::price::parse_day("2026-01-01").unwrap(),
        source: "test".into(),
        rates: Rates { input: Some(150_000), output: Some(600_000), ..Rates::default() },
        tiers: vec![],
        units: vec![],
        services: vec![],
    }
}

/// A request that was answered by one attempt.
pub fn receipt(request_id: RequestId, key_id: KeyId, organisation: OrganisationId, usage: Usage) -> Receipt {
    let price = price();
    Receipt {
        request_id,
        time_ms: NOW,
        caller: Caller { key_id, organisation, team: None, user: None, environment: Environment::Development },
        operation: "chat".into(),
        dialect: "openai".into(),
        route: "chat-completions".into(),
        requested_model: "auto".into(),
        stream: true,
        passthrough: false,
        routing: None,
        plugins: vec![],
        findings: vec![],
        attempts: vec![Attempt {
            number: 1,
            provider: "openai".into(),
            model: "gpt-4o-mini".into(),
            answered_model: None,
            upstream_id: None,
            status: Some(200),
            failure: None,
            started_ms: 1,
            duration_us: 2_000,
            reserved: None,
            settled: None,
            ended: None,
        }],
        usage: Some(usage),
        cost: Some(CostLine::new(price.cost(&usage).unwrap(), &price, false)),
        metering: None,
        timings: Timings { total_us: 3_000, overhead_us: 100, first_byte_us: Some(900) },
        notes: vec![],
        outcome: Outcome { status: 200, code: "ok".into(), failure: None, reason: None, finish_reasons: vec![] },
        tags: vec![Tag { name: "job".into(), value: "nightly".into() }],
        correlation: None,
    }
}

/// A request that was refused before any attempt.
pub fn denied(request_id: RequestId, key_id: KeyId) -> Receipt {
    let mut receipt = receipt(request_id, key_id, OrganisationId::DEFAULT, Usage::default());
    receipt.attempts.clear();
    (receipt.usage, receipt.cost) = (None, None);
    receipt.outcome = Outcome {
        status: 403,
        code: "denied".into(),
        failure: Some(FailureKind::Permission),
        reason: Some("policy.model-not-allowed".into()),
        finish_reasons: vec![],
    };
    receipt
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub request_id: RequestId,
    pub attempt: i64,
    pub kind: String,
    pub reserved: i64,
    pub amount: i64,
    pub reason: String,
}

/// Reads the table as it is, past the store.
pub async fn entries(path: &Path) -> Vec<Entry> {
    let mut connection = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    sqlx::query("SELECT * FROM ledger_entries ORDER BY request_id, attempt")
        .fetch_all(&mut connection)
        .await
        .unwrap()
        .iter()
        .map(|row| Entry {
            request_id: RequestId::from_bytes(row.get::<&[u8], _>("request_id").try_into().unwrap()),
            attempt: row.get("attempt"),
            kind: row.get("kind"),
            reserved: row.get("reserved_nano"),
            amount: row.get("amount_nano"),
            reason: row.get("reason"),
        })
        .collect()
}

fn of_postgres(row: &sqlx::postgres::PgRow) -> Entry {
    Entry {
        request_id: RequestId::from_bytes(row.get::<uuid::Uuid, _>("request_id").into_bytes()),
        attempt: row.get("attempt"),
        kind: row.get("kind"),
        reserved: row.get("reserved_nano"),
        amount: row.get("amount_nano"),
        reason: row.get("reason"),
    }
}

pub async fn execute(path: &Path, sql: &'static str) -> Result<(), sqlx::Error> {
    let mut connection = SqliteConnection::connect(path.to_str().unwrap()).await?;
    sqlx::query(sql).execute(&mut connection).await.map(|_| ())
}
