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

    /// Writes requests and their ends a second time, as if they had been so much earlier. SQLite's only; entries get no place in a
    /// chain.
    pub async fn copied_to_the_past(path: &Path, ms: i64) {
        let options = SqliteConnectOptions::new().filename(path);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.expect("the database");
        let earlier = |id: Vec<u8>| {
            let born = i64::from_be_bytes([&[0, 0][..], &id[..6]].concat().try_into().expect("8 bytes"));
            [&(born - ms).to_be_bytes()[2..], &id[6..]].concat()
        };
        for (table, times) in [("requests", &["time_ms"][..]), ("ledger_entries", &["reserved_ms", "ended_ms"][..])] {
            let columns = sqlx::query("SELECT name FROM pragma_table_info(?)").bind(table).fetch_all(&pool).await;
            let names: Vec<String> = columns.expect("its columns").iter().map(|row| row.get("name")).collect();
            let values = names.iter().map(|name| match name.as_str() {
                "request_id" => "?1".to_owned(),
                "seq" | "hash" => "NULL".to_owned(),
                name if times.contains(&name) => format!("{name} - {ms}"),
                name => name.to_owned(),
            });
            let sql = format!(
                "INSERT INTO {table} ({}) SELECT {} FROM {table} WHERE request_id = ?2",
                names.join(", "),
                values.collect::<Vec<_>>().join(", ")
            );
            let ids = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT DISTINCT request_id FROM {table}")));
            for row in ids.fetch_all(&pool).await.expect("its rows") {
                let id: Vec<u8> = row.get("request_id");
                let insert = sqlx::query(sqlx::AssertSqlSafe(sql.clone())).bind(earlier(id.clone())).bind(id);
                insert.execute(&pool).await.expect("a copy");
            }
        }
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
