//! A fresh database of either kind, with a directory for what stands beside it.

use std::path::{Path, PathBuf};

use portcullis_store::{Store, StoreOptions};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;

use super::Entry;

pub struct Database {
    directory: TempDir,
    url: Option<String>,
}

impl Database {
    pub fn sqlite() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), url: None }
    }

    /// `None`, said in one line, where there is no PostgreSQL.
    pub fn postgres() -> Option<Self> {
        Some(Self::at(portcullis_test_postgres::database()?))
    }

    /// A database on PostgreSQL by its URL.
    pub fn at(url: String) -> Self {
        Self { directory: tempfile::tempdir().unwrap(), url: Some(url) }
    }

    /// One of each kind that there is.
    pub fn each() -> impl Iterator<Item = Self> {
        [Some(Self::sqlite()), Self::postgres()].into_iter().flatten()
    }

    pub fn options(&self) -> StoreOptions {
        StoreOptions { url: self.url.clone(), ..StoreOptions::at(self.path()) }
    }

    /// As another machine would have it: the same database, and files of its own.
    pub fn elsewhere(&self, name: &str) -> StoreOptions {
        StoreOptions { url: self.url.clone(), ..StoreOptions::at(self.directory.path().join(name).join("p.db")) }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("p.db")
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    pub async fn open(&self) -> Store {
        Store::open(&self.options()).await.unwrap()
    }

    /// Runs SQL past the store.
    pub async fn execute(&self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.url {
            None => sqlx::raw_sql(sql).execute(&mut self.connect_sqlite().await).await.map(drop),
            Some(url) => sqlx::raw_sql(sql).execute(&mut PgConnection::connect(url).await?).await.map(drop),
        }
    }

    /// A number, past the store.
    pub async fn number(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.url {
            None => sqlx::query_scalar(sql).fetch_one(&mut self.connect_sqlite().await).await.unwrap(),
            Some(url) => {
                sqlx::query_scalar(sql).fetch_one(&mut PgConnection::connect(url).await.unwrap()).await.unwrap()
            }
        }
    }

    /// The ledger's table as it is.
    pub async fn entries(&self) -> Vec<Entry> {
        const SQL: &str = "SELECT * FROM ledger_entries ORDER BY request_id, attempt";
        match &self.url {
            None => super::entries(&self.path()).await,
            Some(url) => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                let rows = sqlx::query(SQL).fetch_all(&mut connection).await.unwrap();
                rows.iter().map(super::of_postgres).collect()
            }
        }
    }

    async fn connect_sqlite(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.path()).create_if_missing(true);
        SqliteConnection::connect_with(&options).await.unwrap()
    }
}
