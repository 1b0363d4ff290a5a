//! SQLite: the embedded default. WAL; one connection writes the ledger's groups, a few read.

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
mod prepared;
mod quarantine;
mod requests;
mod row;
mod usage;

use std::borrow::Cow;
use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Once;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqlSafeStr, SqliteConnection};
use tokio::sync::Mutex;

use ledger::Groups;

use crate::error::StoreError;
use crate::store::StoreOptions;
use crate::{codec, pages};

/// Every migration, in order. A file once released is never edited: its checksum stands in the databases it made.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "identity, ledger, receipts", include_str!("../../../../migrations/sqlite/0001_identity_ledger_receipts.sql")),
    (2, "access, audit", include_str!("../../../../migrations/sqlite/0002_access_audit.sql")),
    (3, "budgets", include_str!("../../../../migrations/sqlite/0003_budgets.sql")),
    (4, "chain", include_str!("../../../../migrations/sqlite/0004_chain.sql")),
    (6, "connections", include_str!("../../../../migrations/sqlite/0006_connections.sql")),
    (7, "records", include_str!("../../../../migrations/sqlite/0007_records.sql")),
    (8, "feeds", include_str!("../../../../migrations/sqlite/0008_feeds.sql")),
];

const PAGE: u32 = 16_384;
const READERS: u32 = 4;
const BUSY: Duration = Duration::from_secs(5);

pub(crate) struct Sqlite {
    options: SqliteConnectOptions,
    readers: SqlitePool,
    writer: Mutex<SqliteConnection>,
    groups: Groups,
}

impl Sqlite {
    pub async fn open(options: &StoreOptions) -> Result<Self, StoreError> {
        UNCOUNTED.call_once(count_no_memory);
        make_private(&options.path).map_err(|source| StoreError::Path { path: options.path.clone(), source })?;
        let connect = SqliteConnectOptions::new()
            .filename(&options.path)
            // Groups are hundreds of kilobytes appended to three tables, and what is done once a page is done less often.
            .page_size(PAGE)
            .journal_mode(SqliteJournalMode::Wal)
            // Keys are few, and one that was revoked stays so after a power loss; the ledger's groups are as the options say.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY)
            .foreign_keys(true)
            .disable_statement_logging();
        let mut writer = connect.connect().await?;
        migrate(&mut writer).await?;
        chain::adopt(&options.path)?;
        let readers =
            SqlitePoolOptions::new().min_connections(0).max_connections(READERS).connect_lazy_with(connect.clone());
        let groups = Groups::open(&options.path, options.synchronous)?;
        Ok(Self { options: connect, readers, writer: Mutex::new(writer), groups })
    }
}

static UNCOUNTED: Once = Once::new();

/// SQLite counts the bytes it has allocated under one lock, which nobody asks for: 0.5 µs of a request's settling.
fn count_no_memory() {
    // SAFETY: plain values. It must not run beside SQLite's own start, which is this crate's and comes after; once SQLite has
    // started it is refused and changes nothing.
    unsafe { rusqlite::ffi::sqlite3_config(rusqlite::ffi::SQLITE_CONFIG_MEMSTATUS, 0) };
}

/// The file with mode 0600, its directory, where it has to be made, with 0700. SQLite gives its other files the database's mode.
fn make_private(path: &Path) -> std::io::Result<()> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    Ok(())
}

fn migrator() -> Migrator {
    let migrations = MIGRATIONS.iter().map(|&(version, name, sql)| {
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.collect())
}

async fn migrate(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    // The write lock from here on: of several processes that start at once one migrates, and the others find it done. All of
    // it is one transaction, within which each migration is a savepoint.
    let mut transaction = begin(connection).await?;
    let known = MIGRATIONS.last().map_or(0, |&(version, ..)| version);
    let migrated: Option<String> =
        sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'")
            .fetch_optional(&mut *transaction)
            .await?;
    if migrated.is_some() {
        let (found, count): (i64, i64) =
            sqlx::query_as("SELECT coalesce(max(version), 0), count(*) FROM _sqlx_migrations")
                .fetch_one(&mut *transaction)
                .await?;
        if found > known {
            return Err(StoreError::NewerSchema { found, known });
        }
        if count as usize == MIGRATIONS.len() {
            return Ok(());
        }
    }
    // `run` is generic over what it acquires, in a way that no task can be spawned with.
    migrator().run_direct(None, &mut *transaction, false).await?;
    transaction.commit().await?;
    Ok(())
}

/// An immediate transaction: it waits for the write lock at its start and not in its middle, where SQLite would not wait.
async fn begin(connection: &mut SqliteConnection) -> Result<sqlx::Transaction<'_, sqlx::Sqlite>, StoreError> {
    Ok(connection.begin_with("BEGIN IMMEDIATE").await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_file_is_embedded() {
        let mut files: Vec<String> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations/sqlite"))
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
}
