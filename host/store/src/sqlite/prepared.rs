//! A prepared statement whose values are read where they stand.
//!
//! rusqlite copies every text and blob that it binds: a dozen allocations a row. Here SQLite is given the borrowed bytes, and
//! every one is bound anew before the statement runs again.

use std::os::raw::c_int;
use std::ptr::{self, NonNull};

use rusqlite::{Connection, ffi};

pub(super) enum Value<'a> {
    Null,
    Int(i64),
    Text(&'a str),
    Blob(&'a [u8]),
}

/// As `NULL` where there is none.
impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Value::Text(value)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Value<'a> {
    fn from(value: &'a [u8; N]) -> Self {
        Value::Blob(value)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(value: &'a [u8]) -> Self {
        Value::Blob(value)
    }
}

/// A connection and its statements, which are compiled once and end before it.
pub(super) struct Statements<const N: usize> {
    /// Before `connection`: fields are dropped in order.
    statements: [Prepared; N],
    connection: Connection,
}

// SAFETY: SQLite ties nothing to a thread (the library is built thread-safe), a connection may move between threads, and its
// statements move with it and only with it.
unsafe impl<const N: usize> Send for Statements<N> {}

impl<const N: usize> Statements<N> {
    pub fn new(connection: Connection, sql: [String; N]) -> rusqlite::Result<Self> {
        let mut made = Vec::with_capacity(N);
        for sql in sql {
            made.push(Prepared::new(&connection, &sql)?);
        }
        let statements = made.try_into().unwrap_or_else(|_| unreachable!("one is made of each"));
        Ok(Self { statements, connection })
    }

    /// Both, for use together.
    pub fn parts(&mut self) -> (&Connection, &mut [Prepared; N]) {
        (&self.connection, &mut self.statements)
    }
}

/// Whoever holds one sees to it that its connection outlives it.
pub(super) struct Prepared {
    database: *mut ffi::sqlite3,
    statement: NonNull<ffi::sqlite3_stmt>,
    parameters: c_int,
}

impl Prepared {
    fn new(connection: &Connection, sql: &str) -> rusqlite::Result<Self> {
        let length = c_int::try_from(sql.len()).expect("a statement is short");
        let mut statement = ptr::null_mut();
        // SAFETY: the handle lives as long as `connection`; the text is `length` bytes, and SQLite keeps nothing of it.
        let (database, code) = unsafe {
            let database = connection.handle();
            let code = ffi::sqlite3_prepare_v3(
                database,
                sql.as_ptr().cast(),
                length,
                ffi::SQLITE_PREPARE_PERSISTENT,
                &raw mut statement,
                ptr::null_mut(),
            );
            (database, code)
        };
        match NonNull::new(statement) {
            Some(statement) if code == ffi::SQLITE_OK => {
                // SAFETY: it was just made.
                let parameters = unsafe { ffi::sqlite3_bind_parameter_count(statement.as_ptr()) };
                Ok(Self { database, statement, parameters })
            }
            _ => Err(error(database, code)),
        }
    }

    /// Runs it once, for a statement that returns no rows: with the values of `rows`, which are all its parameters in order.
    /// Says how many rows of the database it has changed.
    pub fn run<'v, const N: usize>(&mut self, rows: impl Iterator<Item = [Value<'v>; N]>) -> rusqlite::Result<u64> {
        let statement = self.statement.as_ptr();
        let mut bound = 0;
        // SAFETY: the statement is whole until it is dropped, and nobody else has it. What it was bound to earlier may be
        // gone; it is read by nothing but a step, and there is none until every parameter is bound to values that outlive it.
        unsafe {
            for value in rows.flatten() {
                bound += 1;
                let code = bind(statement, bound, &value);
                if code != ffi::SQLITE_OK {
                    return Err(error(self.database, code));
                }
            }
            assert_eq!(bound, self.parameters, "every parameter is bound anew");
            let outcome = match ffi::sqlite3_step(statement) {
                ffi::SQLITE_DONE => Ok(ffi::sqlite3_changes64(self.database).cast_unsigned()),
                code => Err(error(self.database, code)),
            };
            ffi::sqlite3_reset(statement);
            outcome
        }
    }

    /// As [`Self::run`] for one row.
    pub fn run_one<const N: usize>(&mut self, row: [Value<'_>; N]) -> rusqlite::Result<u64> {
        self.run(std::iter::once(row))
    }
}

/// # Safety
/// The statement is whole, and `value` outlives the binding.
unsafe fn bind(statement: *mut ffi::sqlite3_stmt, at: c_int, value: &Value<'_>) -> c_int {
    // SAFETY: the caller's; no destructor means that the bytes are not copied.
    unsafe {
        match *value {
            Value::Null => ffi::sqlite3_bind_null(statement, at),
            Value::Int(value) => ffi::sqlite3_bind_int64(statement, at, value),
            Value::Text(text) => ffi::sqlite3_bind_text64(
                statement,
                at,
                text.as_ptr().cast(),
                text.len() as u64,
                None,
                ffi::SQLITE_UTF8 as u8,
            ),
            Value::Blob(bytes) => {
                ffi::sqlite3_bind_blob64(statement, at, bytes.as_ptr().cast(), bytes.len() as u64, None)
            }
        }
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and finalised once, here.
        unsafe { ffi::sqlite3_finalize(self.statement.as_ptr()) };
    }
}

fn error(database: *mut ffi::sqlite3, code: c_int) -> rusqlite::Error {
    // SAFETY: the connection is open; its message is a string of its own until its next call.
    let message = unsafe { std::ffi::CStr::from_ptr(ffi::sqlite3_errmsg(database)) };
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(message.to_string_lossy().into_owned()))
}
