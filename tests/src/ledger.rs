//! The database, read beside the gateway that writes it.

use std::path::Path;

use sqlx::Row;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};

/// One end of one reservation.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// As clients see it: `req_…`.
    pub request: String,
    pub attempt: i64,
    /// `settled`, `refunded` or `quarantined`.
    pub kind: String,
    pub reserved: i64,
    pub amount: i64,
    pub reason: String,
}

pub struct Ledger {
    pool: SqlitePool,
}

impl Ledger {
    pub async fn open(path: &Path) -> Self {
        let options = SqliteConnectOptions::new().filename(path).read_only(true);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.expect("the database");
        Ledger { pool }
    }

    /// All ends, in no order.
    pub async fn entries(&self) -> Vec<Entry> {
        let rows = sqlx::query(
            "SELECT lower(hex(request_id)) AS request, attempt, kind, reserved_nano, amount_nano, reason FROM ledger_entries",
        )
        .fetch_all(&self.pool)
        .await
        .expect("the entries");
        rows.iter()
            .map(|row| Entry {
                request: format!("req_{}", row.get::<String, _>("request")),
                attempt: row.get("attempt"),
                kind: row.get("kind"),
                reserved: row.get("reserved_nano"),
                amount: row.get("amount_nano"),
                reason: row.get("reason"),
            })
            .collect()
    }

    /// The ends of one request's reservations.
    pub async fn entries_of(&self, request: &str) -> Vec<Entry> {
        let mut entries = self.entries().await;
        entries.retain(|entry| entry.request == request);
        entries
    }

    /// The requests that have a usage row.
    pub async fn requests(&self) -> Vec<String> {
        let rows = sqlx::query("SELECT lower(hex(request_id)) AS request FROM requests");
        let rows = rows.fetch_all(&self.pool).await.expect("the requests");
        rows.iter().map(|row| format!("req_{}", row.get::<String, _>("request"))).collect()
    }
}
