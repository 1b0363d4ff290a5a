//! PostgreSQL: one database for several gateways.
//!
//! Nothing here waits for a server that does not answer: every call has an end ([`StoreError::Silent`]), and a connection on
//! which a call did not come to its own end is closed and not used again. The ledger's groups have a connection of their own.
//!
//! Isolation is PostgreSQL's default, READ COMMITTED: each statement sees what was committed before it. Whatever checks and
//! then writes takes the lock of a row first that all who do the same take (`SELECT … FOR UPDATE`, or the `UPDATE` of a revision).

mod access;
mod alerts;
mod audit;
mod budgets;
mod captures;
mod chain;
mod connections;
mod conversations;
mod counts;
mod feeds;
mod identity;
mod keys;
mod ledger;
mod people;
mod quarantine;
mod requests;
mod row;
mod session;
mod usage;

use std::borrow::Cow;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, SqlSafeStr};

use ledger::Groups;
use session::{Session, within};

use crate::error::StoreError;

/// Every migration, in order. A file once released is never edited: its checksum stands in the databases it made.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (
        1,
        "identity, ledger, receipts",
        include_str!("../../../../migrations/postgres/0001_identity_ledger_receipts.sql"),
    ),
    (2, "access, audit", include_str!("../../../../migrations/postgres/0002_access_audit.sql")),
    (3, "budgets", include_str!("../../../../migrations/postgres/0003_budgets.sql")),
    (4, "chain", include_str!("../../../../migrations/postgres/0004_chain.sql")),
    (6, "connections", include_str!("../../../../migrations/postgres/0006_connections.sql")),
    (7, "records", include_str!("../../../../migrations/postgres/0007_records.sql")),
    (8, "feeds", include_str!("../../../../migrations/postgres/0008_feeds.sql")),
];

/// Connections at most, besides those of the ledger and of the watch.
const CONNECTIONS: u32 = 8;
const IDLE: Duration = Duration::from_secs(60);
/// For a connection, and for all that is asked in one call.
const CONNECT: Duration = Duration::from_secs(5);
const CALL: Duration = Duration::from_secs(5);
/// For what reads or deletes as much as there is, which no request waits for.
const LONG_CALL: Duration = Duration::from_secs(120);
/// For another process that migrates, and for one's own migrations.
const MIGRATE: Duration = Duration::from_secs(600);

pub(crate) struct Postgres {
    options: PgConnectOptions,
    pool: PgPool,
    groups: Groups,
}

impl Postgres {
    /// Opens the database and migrates it forwards.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let options = parse(url)?;
        let mut connection = connect(&options).await?;
        within(MIGRATE, migrate(&mut connection)).await?;
        within(MIGRATE, chain::adopt(&mut connection)).await?;
        let pool = PgPoolOptions::new()
            .min_connections(0)
            .max_connections(CONNECTIONS)
            .acquire_timeout(CONNECT)
            .idle_timeout(IDLE)
            .after_connect(|connection, _| Box::pin(prepare(connection)))
            .connect_lazy_with(options.clone());
        Ok(Self { groups: Groups::new(options.clone()), options, pool })
    }

    /// A connection for one call. Its whole use stands in [`within`] `CALL`.
    async fn session(&self) -> Result<Session, StoreError> {
        Ok(Session::new(self.pool.acquire().await?))
    }
}

/// What may be shown of a URL.
pub(crate) fn shown(url: &str) -> String {
    match parse(url) {
        Ok(options) => {
            let place = options.get_socket().map_or_else(
                || format!("{}:{}", options.get_host(), options.get_port()),
                |socket| socket.display().to_string(),
            );
            format!("postgres://{place}/{}", options.get_database().unwrap_or_default())
        }
        Err(_) => "postgres://…".to_owned(),
    }
}

fn parse(url: &str) -> Result<PgConnectOptions, StoreError> {
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(StoreError::Url("it does not begin with postgres://".into()));
    }
    let options: PgConnectOptions = url.parse().map_err(|error: sqlx::Error| StoreError::Url(error.to_string()))?;
    Ok(options.application_name("portcullis").disable_statement_logging())
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    within(CONNECT, async {
        let mut connection = options.connect().await?;
        prepare(&mut connection).await?;
        Ok(connection)
    })
    .await
}

/// What holds for every connection. A commit that was acknowledged is on the server's disk; what this process gave up, the
/// server gives up too, and with it the locks it holds.
async fn prepare(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    connection
        .execute(AssertSqlSafe(
            "SET statement_timeout = '300s'; SET idle_in_transaction_session_timeout = '30s'; \
             DO $$ BEGIN PERFORM set_config('client_connection_check_interval', '5s', false); \
             EXCEPTION WHEN OTHERS THEN NULL; /* not everywhere */ END $$; \
             SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
        ))
        .await?;
    Ok(())
}

/// What transactions hold until their end, one at a time. Whoever takes several takes them in this order, and rows before any.
#[derive(Clone, Copy)]
enum Lock {
    /// The audit trail's end.
    Audit = 1,
    /// The newest checkpoint.
    Checkpoint = 2,
    /// Of a connection and not of a transaction: records that have expired are deleted by one process at a time.
    Expiry = 3,
}

/// Ours among the advisory locks of a database that others may use too: "pcls".
const LOCKS: i32 = i32::from_be_bytes(*b"pcls");

async fn lock(connection: &mut PgConnection, lock: Lock) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_advisory_xact_lock($1, $2)").bind(LOCKS).bind(lock as i32).execute(connection).await?;
    Ok(())
}

/// Whether the lock is this connection's now, until it closes.
async fn try_lock(connection: &mut PgConnection, lock: Lock) -> Result<bool, sqlx::Error> {
    let taken = sqlx::query_scalar("SELECT pg_try_advisory_lock($1, $2)").bind(LOCKS).bind(lock as i32);
    taken.fetch_one(connection).await
}

fn migrator() -> Migrator {
    let migrations = MIGRATIONS.iter().map(|&(version, name, sql)| {
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.collect())
}

/// Of several processes that start at once one migrates, under an advisory lock, and the others find it done.
async fn migrate(connection: &mut PgConnection) -> Result<(), StoreError> {
    if newer_or_same(connection).await? {
        return Ok(());
    }
    // `run` is generic over what it acquires, in a way that no task can be spawned with.
    match migrator().run_direct(None, &mut *connection, false).await {
        Ok(()) => Ok(()),
        // A newer program has migrated it meanwhile.
        Err(error) => Err(newer_or_same(connection).await.err().unwrap_or(error.into())),
    }
}

/// Whether the schema is the one this program knows.
async fn newer_or_same(connection: &mut PgConnection) -> Result<bool, StoreError> {
    let known = MIGRATIONS.last().map_or(0, |&(version, ..)| version);
    let migrated: bool =
        sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(&mut *connection).await?;
    if !migrated {
        return Ok(false);
    }
    let (found, count): (i64, i64) = sqlx::query_as("SELECT coalesce(max(version), 0), count(*) FROM _sqlx_migrations")
        .fetch_one(connection)
        .await?;
    if found > known {
        return Err(StoreError::NewerSchema { found, known });
    }
    Ok(count as usize == MIGRATIONS.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_file_is_embedded() {
        let mut files: Vec<String> =
            std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations/postgres"))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
                .map(|path| std::fs::read_to_string(path).unwrap())
                .collect();
        let mut embedded: Vec<String> = MIGRATIONS.iter().map(|&(.., sql)| sql.to_owned()).collect();
        files.sort();
        embedded.sort();
        assert_eq!(files, embedded);
        assert!(MIGRATIONS.is_sorted_by_key(|&(version, ..)| version));
    }

    #[test]
    fn a_password_is_not_shown() {
        for url in ["postgres://u:sesame@db.example:6000/p", "postgres://db.example:6000/p?password=sesame&user=u"] {
            assert_eq!(shown(url), "postgres://db.example:6000/p");
        }
        assert_eq!(shown("postgres://u@localhost/p?host=/run/postgresql"), "postgres:///run/postgresql/p");
        for url in ["mysql://u:sesame@db/p", "postgres://u:sesame@[db/p", "postgres://u:sesame@db/p?port=sesame"] {
            let error = parse(url).err().unwrap().to_string();
            assert!(!error.contains("sesame") && !shown(url).contains("sesame"), "{error}");
        }
    }
}
