//! What can go wrong with the store. Use [`StoreError`] for anything the database does; the ledger's own refusals are in
//! [`crate::ledger::LedgerError`].

use std::path::PathBuf;
use std::time::Duration;

use portcullis_core::{Permission, Role};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot use {path}: {source}")]
    Path { path: PathBuf, source: std::io::Error },
    /// An older program must not write to a newer program's tables.
    #[error("the database has schema {found}, this program knows up to {known}: run the newer portcullis")]
    NewerSchema { found: i64, known: i64 },
    #[error("migration failed: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// It may be there and frozen, or the network to it gone. What was asked may still come to pass.
    #[error("the database did not answer within {} s", .0.as_secs_f32())]
    Silent(Duration),
    /// The database's URL, of which nothing is repeated: it may hold a password.
    #[error("not the URL of a PostgreSQL database: {0}")]
    Url(String),
    #[error("database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A row holds what no version of this program writes.
    #[error("the database holds an invalid {what}")]
    Corrupt { what: &'static str },
    /// The master key is not to be had.
    #[error("the master key {0}")]
    Key(&'static str),
    /// The key that checkpoints are signed with.
    #[error("the audit key {0}")]
    AuditKey(String),
    /// It was sealed with another key, or is not what was sealed.
    #[error("what was kept cannot be opened: its key is another, or it was changed")]
    Sealed,
    #[error("the conversation is longer than {limit} bytes")]
    TooLong { limit: usize },
    /// Changes of keys could not be read for too long: what memory holds may have been revoked.
    #[error("changes of keys could not be read: nobody can be let in for now")]
    Lapsed,
    #[error("no organisation, team or member with this id")]
    NoSuchOwner,
    /// Whoever asked may not do this.
    #[error("not permitted: it takes {permission}")]
    Forbidden { permission: Permission },
    /// Nobody gives, or takes, more than they have.
    #[error("not permitted: only who has the role {role} there may give or take it")]
    NotGiven { role: Role },
    #[error("{found} {what}s are called so: name one by its id")]
    Ambiguous { what: &'static str, found: usize },
    #[error("no {what} with this id or name")]
    NotFound { what: &'static str },
    /// A name that must be unique is another's.
    #[error("there is a {what} of this name already")]
    Taken { what: &'static str },
    /// What shall be deleted is referred to.
    #[error("the {what} cannot be deleted: {by} still refer to it")]
    InUse { what: &'static str, by: &'static str },
    /// It changed while it was being changed, several times in a row.
    #[error("the {what} is being changed by somebody else")]
    Contended { what: &'static str },
    /// A change was asked for of something that is no longer as whoever asked had read it.
    #[error("the {what} has changed since it was read")]
    Changed { what: &'static str },
    /// What was asked for contradicts itself or what is there.
    #[error("{0}")]
    Invalid(String),
}

impl StoreError {
    /// What a write of something with a name and an owner was refused for.
    pub(crate) fn of_write(error: sqlx::Error, what: &'static str) -> Self {
        use sqlx::error::ErrorKind;
        match error.as_database_error().map(|error| error.kind()) {
            Some(ErrorKind::UniqueViolation) => Self::Taken { what },
            Some(ErrorKind::ForeignKeyViolation) => Self::NoSuchOwner,
            _ => Self::Database(error),
        }
    }

    /// What a deletion was refused for.
    pub(crate) fn of_delete(error: sqlx::Error, what: &'static str, by: &'static str) -> Self {
        match error.as_database_error() {
            Some(refused) if refused.is_foreign_key_violation() => Self::InUse { what, by },
            _ => Self::Database(error),
        }
    }
}
