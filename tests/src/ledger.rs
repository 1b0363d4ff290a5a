//! The database, read beside the gateway that writes it.

use std::path::Path;

use sqlx::Row;
use sqlx::postgres::{PgPool, PgPoolOptions};
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
    database: Database,
}

enum Database {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// All rows of one of two queries, each by the same expression.
macro_rules! rows {
    ($ledger:expr, $sqlite:literal, $postgres:literal, $row:ident => $made:expr) => {
        match &$ledger.database {
            Database::Sqlite(pool) => {
                let rows = sqlx::query($sqlite).fetch_all(pool).await.expect("the database");
                rows.iter().map(|$row| $made).collect()
            }
            Database::Postgres(pool) => {
                let rows = sqlx::query($postgres).fetch_all(pool).await.expect("the database");
                rows.iter().map(|$row| $made).collect()
            }
        }
    };
}

impl Ledger {
    pub async fn open(path: &Path) -> Self {
        let options = SqliteConnectOptions::new().filename(path).read_only(true);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.expect("the database");
        Ledger { database: Database::Sqlite(pool) }
    }

    pub async fn on_postgres(url: &str) -> Self {
        let pool = PgPoolOptions::new().max_connections(1).connect(url).await.expect("the database");
        Ledger { database: Database::Postgres(pool) }
    }

    /// All ends, in no order.
    pub async fn entries(&self) -> Vec<Entry> {
        rows!(
            self,
            "SELECT lower(hex(request_id)) AS request, attempt, kind, reserved_nano, amount_nano, reason FROM ledger_entries",
            "SELECT encode(uuid_send(request_id), 'hex') AS request, attempt, kind, reserved_nano, amount_nano, reason FROM \
             ledger_entries",
            row => Entry {
                request: format!("req_{}", row.get::<String, _>("request")),
                attempt: row.get("attempt"),
                kind: row.get("kind"),
                reserved: row.get("reserved_nano"),
                amount: row.get("amount_nano"),
                reason: row.get("reason"),
            }
        )
    }

    /// The ends of one request's reservations.
    pub async fn entries_of(&self, request: &str) -> Vec<Entry> {
        let mut entries = self.entries().await;
        entries.retain(|entry| entry.request == request);
        entries
    }

    /// The requests that have a usage row.
    pub async fn requests(&self) -> Vec<String> {
        rows!(
            self,
            "SELECT lower(hex(request_id)) AS request FROM requests",
            "SELECT encode(uuid_send(request_id), 'hex') AS request FROM requests",
            row => format!("req_{}", row.get::<String, _>("request"))
        )
    }
}
