//! Somebody writes the database past its triggers. Each deed is found, and named as exactly as it can be.

use super::*;

use portcullis_store::chain::Fault;
use proptest::prelude::*;
use rusqlite::Connection;
use rusqlite::types::Value;

/// Takes away what guards the database against its own program.
pub fn unlock(connection: &Connection) {
    connection.execute_batch("PRAGMA foreign_keys = off; PRAGMA ignore_check_constraints = on;").unwrap();
    let mut statement = connection.prepare("SELECT name FROM sqlite_master WHERE type = 'trigger'").unwrap();
    let triggers: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    for trigger in triggers {
        connection.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
    }
}

/// What is found after a deed, in a copy of the database.
async fn after(written: &Written, anchors: bool, deed: impl FnOnce(&Connection)) -> Option<Fault> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.db");
    let source = Connection::open(&written.path).unwrap();
    source.execute("VACUUM INTO ?", [path.to_str().unwrap()]).unwrap();
    let connection = Connection::open(&path).unwrap();
    unlock(&connection);
    deed(&connection);
    drop(connection);
    let anchors = if anchors { written.anchors.clone() } else { vec![] };
    let given = Verification { trusted: vec![written.key.public()], anchors };
    open(&path).await.verify(&given).await.unwrap().fault
}

async fn found(written: &Written, deed: impl FnOnce(&Connection)) -> Fault {
    after(written, false, deed).await.expect("it is found")
}

async fn found_sql(written: &Written, sql: &str) -> Fault {
    let fault = found(written, |connection| {
        assert!(connection.execute(sql, []).unwrap() > 0, "{sql}");
    });
    fault.await
}

/// Chains of entries, oldest first.
fn writers(written: &Written) -> Vec<[u8; 16]> {
    let connection = Connection::open(&written.path).unwrap();
    let mut statement = connection.prepare("SELECT DISTINCT writer FROM ledger_entries ORDER BY writer").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn every_changed_column_of_an_entry_is_named_with_its_request() {
    let written = written().await;
    let chain = writers(&written)[0];
    for (column, to) in [
        ("attempt", "7"),
        ("step", "1"),
        ("kind", "'quarantined'"),
        ("key_id", "zeroblob(16)"),
        ("organisation_id", "x'01010101010101010101010101010101'"),
        ("provider", "provider || 'x'"),
        ("model", "''"),
        ("reserved_nano", "reserved_nano + 1"),
        ("amount_nano", "0 - amount_nano - 1"),
        ("input_nano", "input_nano + 1"),
        ("output_nano", "output_nano + 1"),
        ("reason", "'no'"),
        ("reserved_ms", "reserved_ms + 1"),
        ("ended_ms", "0"),
        ("hash", "zeroblob(32)"),
    ] {
        let sql = format!("UPDATE ledger_entries SET {column} = {to} WHERE writer = x'{}' AND seq = 5", hex(&chain));
        let fault = found_sql(&written, &sql).await;
        assert_eq!(
            (fault.table, fault.chain, fault.seq),
            ("ledger_entries", Some(chain), Some(5)),
            "{column}: {fault}"
        );
        assert!(fault.request.is_some_and(|request| written.requests.contains(&request)), "{column}: {fault}");
        assert!(fault.what.contains("changed"), "{fault}");
    }
    // The request's own id: then another's is named, and the place is the same.
    let sql =
        format!("UPDATE ledger_entries SET request_id = zeroblob(16) WHERE writer = x'{}' AND seq = 5", hex(&chain));
    let fault = found_sql(&written, &sql).await;
    assert_eq!((fault.chain, fault.seq), (Some(chain), Some(5)), "{fault}");
    let sql = format!("UPDATE ledger_entries SET hash = NULL WHERE writer = x'{}' AND seq = 5", hex(&chain));
    let fault = found_sql(&written, &sql).await;
    assert_eq!((fault.seq, fault.what.as_str()), (Some(5), "it has no hash"));
    let sql = format!("UPDATE ledger_entries SET seq = NULL WHERE writer = x'{}' AND seq = 5", hex(&chain));
    let fault = found_sql(&written, &sql).await;
    assert!(fault.request.is_some() && fault.chain_name().as_deref() == Some("before"), "{fault}");
}

#[tokio::test]
async fn a_deleted_entry_is_missing_at_its_place() {
    let written = written().await;
    let chains = writers(&written);
    let last = |chain: &[u8; 16]| -> i64 {
        let connection = Connection::open(&written.path).unwrap();
        let sql = "SELECT max(seq) FROM ledger_entries WHERE writer = ?";
        connection.query_row(sql, [chain], |row| row.get(0)).unwrap()
    };
    for chain in &chains {
        for seq in [1, 4, last(chain)] {
            let sql = format!("DELETE FROM ledger_entries WHERE writer = x'{}' AND seq = {seq}", hex(chain));
            let fault = found_sql(&written, &sql).await;
            assert_eq!((fault.chain, fault.seq), (Some(*chain), Some(seq)), "{fault}");
            assert!(fault.what.contains("missing") || fault.what.contains("cut off"), "{fault}");
        }
    }
    // Several: the first is named, and how many.
    let sql = format!("DELETE FROM ledger_entries WHERE writer = x'{}' AND seq IN (2, 3, 4)", hex(&chains[0]));
    let fault = found_sql(&written, &sql).await;
    assert_eq!((fault.seq, fault.what.as_str()), (Some(2), "it is missing, and so is every one up to 4"));
}

#[tokio::test]
async fn an_inserted_entry_is_named() {
    let written = written().await;
    let chain = hex(&writers(&written)[1]);
    let insert = |writer: &str, seq: &str, hash: &str| {
        format!(
            "INSERT INTO ledger_entries SELECT x'{}', attempt, step, kind, key_id, organisation_id, provider, model, reserved_nano, \
             amount_nano, input_nano, output_nano, reason, reserved_ms, ended_ms, {writer}, {seq}, {hash} FROM ledger_entries \
             WHERE writer = x'{chain}' AND seq = 3",
            "77".repeat(16)
        )
    };
    // At a place that is taken; at the end of a closed chain; in a chain that nobody knows; in none.
    let fault = found_sql(&written, &insert("writer", "3", "hash")).await;
    assert_eq!(fault.seq, Some(3), "{fault}");
    let end = "(SELECT seq + 1 FROM chains WHERE chain = writer)";
    let fault = found_sql(&written, &insert("writer", end, "hash")).await;
    assert!(fault.what.contains("after the chain had ended"), "{fault}");
    assert_eq!(fault.request, Some(RequestId::from_bytes([0x77; 16])));
    let fault = found_sql(&written, &insert("x'02020202020202020202020202020202'", "1", "hash")).await;
    assert_eq!((fault.chain, fault.seq), (Some([2; 16]), Some(1)), "{fault}");
    let fault = found_sql(&written, &insert("writer", "NULL", "NULL")).await;
    assert!(fault.what.contains("nothing is known"), "{fault}");
}

#[tokio::test]
async fn exchanged_entries_are_named() {
    let written = written().await;
    let chain = writers(&written)[0];
    let at = hex(&chain);
    let swap = format!(
        "UPDATE ledger_entries SET seq = CASE seq WHEN 3 THEN 5 ELSE 3 END WHERE writer = x'{at}' AND seq IN (3, 5)"
    );
    let fault = found_sql(&written, &swap).await;
    assert_eq!((fault.chain, fault.seq), (Some(chain), Some(3)), "{fault}");
    // With their hashes left at their places.
    let fault = found(&written, |connection| {
        let hash = |seq: i64| -> Vec<u8> {
            let sql = "SELECT hash FROM ledger_entries WHERE writer = ? AND seq = ?";
            connection.query_row(sql, rusqlite::params![chain, seq], |row| row.get(0)).unwrap()
        };
        let (third, fifth) = (hash(3), hash(5));
        connection.execute_batch(&swap).unwrap();
        for (hash, seq) in [(third, 3), (fifth, 5)] {
            let sql = "UPDATE ledger_entries SET hash = ? WHERE writer = ? AND seq = ?";
            connection.execute(sql, rusqlite::params![hash, chain, seq]).unwrap();
        }
    });
    let fault = fault.await;
    assert_eq!((fault.chain, fault.seq), (Some(chain), Some(3)), "{fault}");
}

/// Cuts a chain off behind a place, and mends the table of chains.
fn cut(connection: &Connection, chain: &[u8; 16], keep: i64) {
    for table in ["ledger_entries", "record_seals"] {
        let sql = format!("DELETE FROM {table} WHERE writer = ? AND seq > ?");
        connection.execute(&sql, rusqlite::params![chain, keep]).unwrap();
    }
    let hash: Option<Vec<u8>> = connection
        .query_row(
            "SELECT hash FROM ledger_entries WHERE writer = ?1 AND seq = ?2 UNION ALL SELECT hash FROM record_seals WHERE \
             writer = ?1 AND seq = ?2",
            rusqlite::params![chain, keep],
            |row| row.get(0),
        )
        .ok();
    match hash {
        Some(hash) => connection
            .execute("UPDATE chains SET seq = ?, hash = ? WHERE chain = ?", rusqlite::params![keep, hash, chain])
            .unwrap(),
        None => connection.execute("DELETE FROM chains WHERE chain = ?", [chain]).unwrap(),
    };
}

#[tokio::test]
async fn a_chain_that_is_cut_off_or_gone_is_named() {
    let written = written().await;
    for chain in &writers(&written)[..2] {
        for keep in [0, 5] {
            let fault = found(&written, |connection| cut(connection, chain, keep)).await;
            assert_eq!((fault.chain, fault.seq), (Some(*chain), Some(keep + 1)), "{fault}");
            assert!(fault.what.contains("cut off"), "{fault}");
        }
    }
    // With the checkpoints that knew better, and their heads: an anchor still does.
    let cut_all = |connection: &Connection| {
        connection
            .execute_batch(
                "DELETE FROM checkpoint_heads WHERE checkpoint > 1; DELETE FROM checkpoints WHERE number > 1",
            )
            .unwrap();
        cut(connection, &writers(&written)[1], 0);
        cut(connection, &writers(&written)[2], 0);
        connection.execute_batch("DELETE FROM requests WHERE NOT EXISTS (SELECT 1 FROM ledger_entries e WHERE e.request_id = requests.request_id)").unwrap();
        connection
            .execute_batch("DELETE FROM receipt_pages WHERE id > (SELECT max(last_page) FROM record_seals)")
            .unwrap();
    };
    assert_eq!(after(&written, false, cut_all).await, None, "what is left is a whole database of that day");
    let fault = after(&written, true, cut_all).await.unwrap();
    assert_eq!((fault.table, fault.seq), ("checkpoints", Some(2)), "{fault}");
}

#[tokio::test]
async fn a_history_that_is_written_anew_is_found_without_the_key() {
    let written = written().await;
    let (chain, other) = (writers(&written)[0], key(66));
    // Everything fits: the entry, the hashes behind it, the table of chains.
    let rewrite = |connection: &Connection| {
        connection.execute("UPDATE ledger_entries SET amount_nano = 1 WHERE writer = ? AND seq = 5", [chain]).unwrap();
        rechain(connection, &chain);
    };
    let fault = found(&written, rewrite).await;
    assert_eq!((fault.chain, fault.seq), (Some(chain), Some(1)), "{fault}");
    assert!(fault.what.contains("written anew: checkpoint 1"), "{fault}");

    // And the checkpoints too, with another key: in a database made from the old one's rows.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.db");
    Connection::open(&written.path).unwrap().execute("VACUUM INTO ?", [path.to_str().unwrap()]).unwrap();
    let connection = Connection::open(&path).unwrap();
    unlock(&connection);
    rewrite(&connection);
    connection.execute_batch("DELETE FROM checkpoint_heads; DELETE FROM checkpoints").unwrap();
    drop(connection);
    let store = open(&path).await;
    checkpoint(&store, &other).await;
    assert_eq!(verify(&store, &other).await.fault, None, "it agrees with itself");
    let fault = verify(&store, &written.key).await.fault.unwrap();
    assert_eq!(fault.to_string(), "checkpoints: none is signed by a trusted key");
    // Its own key cannot be slipped in behind good checkpoints either.
    let fault = found(&written, |connection| {
        connection.execute("UPDATE checkpoints SET public_key = ? WHERE number = 3", [other.public().0]).unwrap();
    });
    assert_eq!(fault.await.seq, Some(3));
}

/// Computes the hashes of a chain's entries anew: with the program's own arithmetic, which is no secret.
fn rechain(connection: &Connection, chain: &[u8; 16]) {
    use sha2::{Digest, Sha256};
    let mut links: Vec<(i64, &str, Vec<u8>)> = vec![];
    let mut statement = connection
        .prepare(
            "SELECT seq, request_id, attempt, step, kind, key_id, organisation_id, provider, model, reserved_nano, amount_nano, \
             input_nano, output_nano, reason, reserved_ms, ended_ms, writer FROM ledger_entries WHERE writer = ?",
        )
        .unwrap();
    let mut rows = statement.query([chain]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        links.push((row.get(0).unwrap(), "portcullis entry 1\n", body(row, 1..17)));
    }
    let mut statement =
        connection.prepare("SELECT seq, id, last_page, content FROM record_seals WHERE writer = ?").unwrap();
    let mut rows = statement.query([chain]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        links.push((row.get(0).unwrap(), "portcullis seal 1\n", body(row, 1..4)));
    }
    links.sort();
    let mut last = Sha256::digest([b"portcullis chain 1\n", &chain[..]].concat()).to_vec();
    for (seq, tag, body) in &links {
        last = Sha256::digest([tag.as_bytes(), &last, &seq.to_be_bytes(), body].concat()).to_vec();
        for table in ["ledger_entries", "record_seals"] {
            let sql = format!("UPDATE {table} SET hash = ? WHERE writer = ? AND seq = ?");
            connection.execute(&sql, rusqlite::params![last, chain, seq]).unwrap();
        }
    }
    connection.execute("UPDATE chains SET hash = ? WHERE chain = ?", rusqlite::params![last, chain]).unwrap();
}

/// Ids are blobs of 16 bytes here, and other blobs are longer.
fn body(row: &rusqlite::Row<'_>, columns: std::ops::Range<usize>) -> Vec<u8> {
    let mut out = vec![];
    for at in columns {
        match row.get(at).unwrap() {
            Value::Integer(int) => out.extend(int.to_be_bytes()),
            Value::Blob(id) if id.len() == 16 => out.extend(id),
            Value::Text(text) => {
                out.extend((text.len() as u32).to_be_bytes());
                out.extend(text.into_bytes());
            }
            Value::Blob(bytes) => {
                out.extend((bytes.len() as u32).to_be_bytes());
                out.extend(bytes);
            }
            other => panic!("{other:?}"),
        }
    }
    out
}

#[tokio::test]
async fn requests_and_receipts_are_named() {
    let written = written().await;
    let request = written.requests[4];
    let of = format!("WHERE request_id = x'{}'", hex(request.as_bytes()));
    for change in [
        "cost_nano = 1",
        "end_user = 'eve'",
        "team_id = zeroblob(16)",
        "tags = NULL",
        "status = 500",
        "reason = 'no'",
        "policy = 'constrain'",
        "correlation = NULL",
        "correlation = NULL, policy = correlation",
        "salt = zeroblob(16)",
    ] {
        let fault = found_sql(&written, &format!("UPDATE requests SET {change} {of}")).await;
        assert_eq!((fault.table, fault.request), ("requests", Some(request)), "{change}: {fault}");
    }
    let fault = found_sql(&written, &format!("DELETE FROM requests {of}")).await;
    assert_eq!((fault.request, fault.what.as_str()), (Some(request), "it was deleted before it had expired"));
    let copy = |id: &str, salt: &str| {
        format!(
            "INSERT INTO requests (request_id, time_ms, key_id, organisation_id, environment, requested_model, status, outcome, \
             total_us, salt) SELECT x'{id}', {NOW} + 99, key_id, organisation_id, environment, requested_model, status, outcome, \
             total_us, {salt} FROM requests {of}"
        )
    };
    let fault = found_sql(&written, &copy(&"11".repeat(16), "salt")).await;
    assert_eq!(fault.request, Some(RequestId::from_bytes([0x11; 16])), "{fault}");
    assert!(fault.what.contains("put there"), "{fault}");
    let fault = found_sql(&written, &copy(&"11".repeat(16), "NULL")).await;
    assert!(fault.what.contains("no salt"), "{fault}");
    let page = "WHERE id = (SELECT min(id) FROM receipt_pages)";
    for sql in [
        format!("UPDATE receipt_pages SET content = x'00' {page}"),
        format!("UPDATE receipt_pages SET youngest_ms = 0 {page}"),
        format!("DELETE FROM receipt_pages {page}"),
        "INSERT INTO receipt_pages SELECT id + 1000, organisation_id, youngest_ms, content, salt FROM receipt_pages LIMIT 1".into(),
    ] {
        let fault = found_sql(&written, &sql).await;
        assert_eq!(fault.table, "receipt_pages", "{sql}: {fault}");
        assert!(fault.what.contains("page "), "{fault}");
    }
}

#[tokio::test]
async fn audit_events_are_named() {
    let written = written().await;
    for (sql, seq) in [
        ("UPDATE audit_events SET actor_id = 'eve' WHERE seq = 2", 2),
        ("UPDATE audit_events SET after = NULL WHERE seq = 3", 3),
        ("UPDATE audit_events SET hash = NULL WHERE seq = 3", 3),
        ("DELETE FROM audit_events WHERE seq = 1", 1),
        ("DELETE FROM audit_events WHERE seq = 3", 3),
        ("DELETE FROM audit_events WHERE seq = 4", 4),
        ("DELETE FROM audit_events", 1),
        ("UPDATE audit_events SET seq = 9 WHERE seq = 4", 4),
    ] {
        let fault = found_sql(&written, sql).await;
        assert_eq!(
            (fault.table, fault.chain_name().as_deref(), fault.seq),
            ("audit_events", Some("audit"), Some(seq)),
            "{sql}: {fault}"
        );
    }
}

#[tokio::test]
async fn checkpoints_are_named() {
    let written = written().await;
    for (sql, number) in [
        ("UPDATE checkpoints SET time_ms = time_ms + 1 WHERE number = 2", 2),
        ("UPDATE checkpoints SET signature = zeroblob(64) WHERE number = 1", 1),
        ("UPDATE checkpoints SET next_key = zeroblob(32) WHERE number = 3", 3),
        ("DELETE FROM checkpoints WHERE number = 1", 1),
        ("DELETE FROM checkpoints WHERE number = 2", 2),
        ("UPDATE checkpoint_heads SET closed = 0 WHERE closed = 1", 3),
        ("UPDATE checkpoint_heads SET seq = seq - 1 WHERE checkpoint = 2", 2),
        ("DELETE FROM checkpoint_heads WHERE checkpoint = 2", 2),
    ] {
        let fault = found_sql(&written, sql).await;
        assert_eq!((fault.table, fault.seq), ("checkpoints", Some(number)), "{sql}: {fault}");
    }
    let stray = "INSERT INTO checkpoint_heads SELECT chain, seq, 99, hash, closed FROM checkpoint_heads LIMIT 1";
    assert_eq!(found_sql(&written, stray).await.table, "checkpoint_heads");
    let fault = found_sql(&written, "DELETE FROM chains WHERE chain = CAST('portcullis.audit' AS BLOB)").await;
    assert_eq!((fault.table, fault.chain_name().as_deref()), ("chains", Some("audit")));
}

/// Every stored value, by table, column and row.
fn values(connection: &Connection) -> Vec<(&'static str, String, i64)> {
    let mut values = vec![];
    for table in [
        "ledger_entries",
        "audit_events",
        "record_seals",
        "chains",
        "checkpoints",
        "checkpoint_heads",
        "requests",
        "receipt_pages",
    ] {
        let mut statement = connection.prepare(&format!("SELECT name FROM pragma_table_info('{table}')")).unwrap();
        let columns: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let rows: i64 = connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        for row in 0..rows {
            values.extend(columns.iter().map(|column| (table, column.clone(), row)));
        }
    }
    values
}

/// A value as SQL has it, whatever its bytes are.
fn literal(kind: &str, bytes: &[u8]) -> String {
    match kind {
        "integer" => i64::from_be_bytes(bytes.try_into().unwrap()).to_string(),
        "text" => format!("CAST(x'{}' AS TEXT)", hex(bytes)),
        "blob" => format!("x'{}'", hex(bytes)),
        _ => "NULL".into(),
    }
}

/// Types and bytes of a row's columns.
fn row(connection: &Connection, table: &str, number: i64) -> (Vec<String>, Vec<(&'static str, Vec<u8>)>) {
    let mut statement = connection.prepare(&format!("SELECT * FROM {table} LIMIT 1 OFFSET {number}")).unwrap();
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let mut rows = statement.query([]).unwrap();
    let row = rows.next().unwrap().unwrap();
    let values = (0..columns.len()).map(|at| match row.get(at).unwrap() {
        Value::Integer(int) => ("integer", int.to_be_bytes().to_vec()),
        Value::Text(text) => ("text", text.into_bytes()),
        Value::Blob(bytes) => ("blob", bytes),
        Value::Null | Value::Real(_) => ("null", vec![]),
    });
    (columns.clone(), values.collect())
}

#[test]
fn any_bit_that_is_changed_is_found() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let written = runtime.block_on(written());
    let store = runtime.block_on(open(&written.path));
    let connection = Connection::open(&written.path).unwrap();
    unlock(&connection);
    connection.execute_batch("PRAGMA synchronous = off").unwrap();
    let all = values(&connection);
    let entries = all.iter().filter(|(table, ..)| *table == "ledger_entries").count();
    // Half of them in entries.
    let place = prop_oneof![0..entries, entries..all.len()];
    let taken = std::cell::Cell::new(0);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(600));
    let outcome = runner.run(&(place, any::<usize>()), |(at, bit)| {
        let (table, column, number) = &all[at];
        let (columns, old) = row(&connection, table, *number);
        let place = columns.iter().position(|name| name == column).unwrap();
        if old[place].1.is_empty() {
            return Ok(());
        }
        let mut new = old.clone();
        let bytes = &mut new[place].1;
        let length = bytes.len();
        bytes[bit / 8 % length] ^= 1 << (bit % 8);
        let put = |from: &[(&str, Vec<u8>)], to: &[(&str, Vec<u8>)]| {
            let same: Vec<_> = columns
                .iter()
                .zip(from)
                .map(|(name, (kind, bytes))| format!("{name} IS {}", literal(kind, bytes)))
                .collect();
            let value = literal(to[place].0, &to[place].1);
            connection.execute(&format!("UPDATE {table} SET {column} = {value} WHERE {}", same.join(" AND ")), [])
        };
        // Where another row has these bits as its key, the database does not take them.
        if put(&old, &new).is_ok_and(|changed| changed == 1) {
            taken.set(taken.get() + 1);
            let given = Verification { trusted: vec![written.key.public()], anchors: vec![] };
            let verified = runtime.block_on(store.verify(&given));
            assert_eq!(put(&new, &old).unwrap(), 1);
            prop_assert!(verified.is_err() || verified.unwrap().fault.is_some(), "{:?}, bit {bit}", all[at]);
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(taken.get() > 400, "{}", taken.get());
    assert_eq!(runtime.block_on(verify(&store, &written.key)).fault, None, "what was put back is as it was");
}
