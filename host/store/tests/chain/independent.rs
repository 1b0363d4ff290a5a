//! A verifier written from the specification in `src/chain/canonical.rs`, which shares no code with the program.

use std::collections::BTreeMap;

use ring::signature::{ED25519, UnparsedPublicKey};
use rusqlite::Connection;
use rusqlite::types::Value;
use sha2::{Digest, Sha256};

use super::*;

/// Tag, body and hash of each link.
type Chain = BTreeMap<i64, (&'static str, Vec<u8>, Vec<u8>)>;

fn sha(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

/// The columns of a row by the types of the specification: i, d (id), t, b, and with `?`.
fn body(types: &str, row: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut types = types.split(' ');
    for value in row {
        let mut kind = types.next().unwrap();
        if let Some(inner) = kind.strip_suffix('?') {
            kind = inner;
            out.push(u8::from(*value != Value::Null));
        }
        match (kind, value) {
            (_, Value::Null) => {}
            ("i", Value::Integer(int)) => out.extend(int.to_be_bytes()),
            ("d", Value::Blob(id)) => out.extend(id),
            ("t", Value::Text(text)) => {
                out.extend((text.len() as u32).to_be_bytes());
                out.extend(text.as_bytes());
            }
            ("b", Value::Blob(bytes)) => {
                out.extend((bytes.len() as u32).to_be_bytes());
                out.extend(bytes);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(types.next(), None);
    out
}

fn rows(connection: &Connection, sql: &str) -> Vec<Vec<Value>> {
    let mut statement = connection.prepare(sql).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| (0..columns).map(|at| row.get(at)).collect()).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn blob(value: &Value) -> Vec<u8> {
    let Value::Blob(bytes) = value else { panic!("{value:?}") };
    bytes.clone()
}

fn int(value: &Value) -> i64 {
    let Value::Integer(int) = value else { panic!("{value:?}") };
    *int
}

#[tokio::test]
async fn the_specification_suffices() {
    let Written { _directory, path, key, .. } = written().await;
    let connection = Connection::open(&path).unwrap();
    // Links of every chain: tag, body, hash.
    let mut chains: BTreeMap<Vec<u8>, Chain> = BTreeMap::new();
    let mut add = |chain: Vec<u8>, seq: &Value, tag, body, hash: &Value| {
        assert!(chains.entry(chain).or_default().insert(int(seq), (tag, body, blob(hash))).is_none());
    };
    for row in rows(
        &connection,
        "SELECT writer, seq, hash, request_id, attempt, step, kind, key_id, organisation_id, provider, model, reserved_nano, \
         amount_nano, input_nano, output_nano, reason, reserved_ms, ended_ms, writer FROM ledger_entries",
    ) {
        let body = body("d i i t d d t t i i i i t i i d", &row[3..]);
        add(blob(&row[0]), &row[1], "portcullis entry 1\n", body, &row[2]);
    }
    let mut sealed = BTreeMap::new();
    for row in rows(&connection, "SELECT writer, seq, hash, id, last_page, content FROM record_seals") {
        add(blob(&row[0]), &row[1], "portcullis seal 1\n", body("i i b", &row[3..]), &row[2]);
        let content = blob(&row[5]);
        let mut rest = &content[..];
        let mut take = |length: usize| {
            let (taken, behind) = rest.split_at(length);
            rest = behind;
            taken.to_vec()
        };
        let mut left = content.len();
        while left > 0 {
            take(16);
            left -= 16;
            for (kind, id) in [("request", 16), ("receipts", 8)] {
                let count = u32::from_be_bytes(take(4).try_into().unwrap()) as usize;
                left -= 4 + count * (id + 16);
                for _ in 0..count {
                    assert!(sealed.insert((kind, take(id)), take(16)).is_none());
                }
            }
        }
    }
    for row in rows(
        &connection,
        "SELECT seq, hash, time_ms, actor_kind, actor_id, address, organisation_id, action, target, before, after \
         FROM audit_events",
    ) {
        let body = body("i t t? t? d? t t t? t?", &row[2..]);
        add(b"portcullis.audit".to_vec(), &row[0], "portcullis event 1\n", body, &row[1]);
    }
    let mut hashes = BTreeMap::new();
    for (chain, links) in &chains {
        let mut last = sha(&[b"portcullis chain 1\n", &chain[..]].concat());
        for (due, (seq, (tag, body, hash))) in (1..).zip(links) {
            assert_eq!(*seq, due);
            last = sha(&[tag.as_bytes(), &last, &seq.to_be_bytes(), body].concat());
            assert_eq!(last, *hash, "{tag} {seq}");
            hashes.insert((chain.clone(), *seq), last.clone());
        }
    }
    // Requests and receipts.
    let requests = rows(
        &connection,
        "SELECT salt, request_id, time_ms, key_id, organisation_id, team_id, environment, end_user, requested_model, provider, \
         model, status, outcome, input, cache_read, cache_write_short, cache_write_long, output, reasoning, audio_input, \
         audio_output, images, searches, estimated, cost_nano, total_us, tags, receipt_page, \
         reason, policy, correlation FROM requests",
    );
    assert_eq!(requests.len(), 23);
    let mut more = 0;
    for row in &requests {
        let mut parts = body("d d i d d d? t t? t t? t? i t i i i i i i i i i i i i? i t? i?", &row[..28]);
        let mut tag = "portcullis request 1\n";
        if row[28..].iter().any(|value| *value != Value::Null) {
            tag = "portcullis request 2\n";
            parts.extend(body("t? t? t?", &row[28..]));
            more += 1;
        }
        let hash = sha(&[tag.as_bytes(), &parts[..]].concat());
        assert_eq!(sealed.remove(&("request", blob(&row[1]))).unwrap(), hash[..16]);
    }
    assert!(more > 0 && more < requests.len());
    for row in rows(&connection, "SELECT salt, id, organisation_id, youngest_ms, content FROM receipt_pages") {
        let hash = sha(&[b"portcullis receipts 1\n", &body("d i d i b", &row)[..]].concat());
        assert_eq!(sealed.remove(&("receipts", int(&row[1]).to_be_bytes().to_vec())).unwrap(), hash[..16]);
    }
    assert!(sealed.is_empty());
    // Checkpoints.
    let mut previous = vec![0; 32];
    let checkpoints = rows(
        &connection,
        "SELECT number, time_ms, previous, public_key, next_key, hash, signature FROM checkpoints ORDER BY number",
    );
    assert_eq!(checkpoints.len(), 3);
    for row in checkpoints {
        assert_eq!(blob(&row[2]), previous);
        assert_eq!(blob(&row[3]), key.public().0);
        let heads = rows(
            &connection,
            &format!(
                "SELECT chain, seq, hash, closed FROM checkpoint_heads WHERE checkpoint = {} ORDER BY chain",
                int(&row[0])
            ),
        );
        let mut bytes = [b"portcullis checkpoint 1\n", &body("i i d d d?", &row[..5])[..]].concat();
        bytes.extend((heads.len() as u32).to_be_bytes());
        for head in heads {
            assert_eq!(hashes[&(blob(&head[0]), int(&head[1]))], blob(&head[2]));
            bytes.extend(body("d i d", &head[..3]));
            bytes.push(int(&head[3]) as u8);
        }
        previous = sha(&bytes);
        assert_eq!(blob(&row[5]), previous);
        let message = [b"portcullis signature 1\n", &previous[..]].concat();
        UnparsedPublicKey::new(&ED25519, blob(&row[3])).verify(&message, &blob(&row[6])).unwrap();
    }
}
