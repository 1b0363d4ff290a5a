//! Rows as bytes to be hashed.

use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::chain::canonical::{Bytes, Entry, Event, Request};
use crate::chain::source::{Links, StoredLink};
use crate::chain::{AUDIT, BEFORE, expiry};
use crate::error::StoreError;

/// Reads a link. Of what cannot be read in it, all that PostgreSQL's types allow is a hash of another length.
pub(super) fn read(of: Links, row: &PgRow, into: &mut StoredLink) -> Result<(), StoreError> {
    (into.seq, into.hash, into.request, into.malformed, into.expired) = (0, None, None, None, None);
    into.body.begin();
    into.chain = match of {
        Links::Unchained => BEFORE,
        Links::Events => AUDIT,
        Links::Entries | Links::Seals => id(row, "writer")?,
    };
    into.seq = row.try_get::<Option<i64>, _>("seq")?.unwrap_or(0);
    let hash: Option<&[u8]> = row.try_get("hash")?;
    match hash.map(TryInto::try_into) {
        Some(Ok(hash)) => into.hash = Some(hash),
        Some(Err(_)) => into.malformed = Some("hash".to_owned()),
        None => {}
    }
    match of {
        Links::Unchained | Links::Entries => entry(row, into),
        Links::Seals => {
            into.body.seal(row.try_get("id")?, row.try_get("last_page")?, row.try_get("content")?);
            Ok(())
        }
        Links::Events => event(row, into),
    }
}

fn entry(row: &PgRow, into: &mut StoredLink) -> Result<(), StoreError> {
    let request_id = id(row, "request_id")?;
    into.request = Some(request_id);
    into.body.entry(&Entry {
        request_id: &request_id,
        attempt: row.try_get("attempt")?,
        step: i64::from(row.try_get::<i32, _>("step")?),
        kind: text(row, "kind")?,
        key_id: &id(row, "key_id")?,
        organisation: &id(row, "organisation_id")?,
        provider: text(row, "provider")?,
        model: text(row, "model")?,
        amounts: [
            row.try_get("reserved_nano")?,
            row.try_get("amount_nano")?,
            row.try_get("input_nano")?,
            row.try_get("output_nano")?,
        ],
        reason: text(row, "reason")?,
        reserved_ms: row.try_get("reserved_ms")?,
        ended_ms: row.try_get("ended_ms")?,
        writer: &id(row, "writer")?,
    });
    Ok(())
}

fn event(row: &PgRow, into: &mut StoredLink) -> Result<(), StoreError> {
    let organisation: Option<Uuid> = row.try_get("organisation_id")?;
    let event = Event {
        time_ms: row.try_get("time_ms")?,
        actor_kind: text(row, "actor_kind")?,
        actor_id: maybe(row, "actor_id")?,
        address: maybe(row, "address")?,
        organisation: organisation.as_ref().map(Uuid::as_bytes),
        action: text(row, "action")?,
        target: text(row, "target")?,
        before: maybe(row, "before")?,
        after: maybe(row, "after")?,
    };
    into.expired = expiry::of(&event);
    into.body.event(&event);
    Ok(())
}

/// The bytes of a request's row; its salt may have another length.
pub(super) fn request(row: &PgRow, bytes: &mut Bytes) -> Result<Result<(), String>, StoreError> {
    const USAGE: [&str; 10] = [
        "input",
        "cache_read",
        "cache_write_short",
        "cache_write_long",
        "output",
        "reasoning",
        "audio_input",
        "audio_output",
        "images",
        "searches",
    ];
    let Some(salt) = salt(row)? else { return Ok(Err("salt".to_owned())) };
    let mut usage = [0; 10];
    for (name, count) in USAGE.iter().zip(&mut usage) {
        *count = row.try_get(*name)?;
    }
    let team: Option<Uuid> = row.try_get("team_id")?;
    let request = Request {
        request_id: &id(row, "request_id")?,
        time_ms: row.try_get("time_ms")?,
        key_id: &id(row, "key_id")?,
        organisation: &id(row, "organisation_id")?,
        team: team.as_ref().map(Uuid::as_bytes),
        environment: text(row, "environment")?,
        end_user: maybe(row, "end_user")?,
        requested_model: text(row, "requested_model")?,
        provider: maybe(row, "provider")?,
        model: maybe(row, "model")?,
        status: i64::from(row.try_get::<i32, _>("status")?),
        outcome: text(row, "outcome")?,
        usage,
        estimated: i64::from(row.try_get::<bool, _>("estimated")?),
        cost_nano: row.try_get("cost_nano")?,
        total_us: row.try_get("total_us")?,
        tags: maybe(row, "tags")?,
        receipt_page: row.try_get("receipt_page")?,
        reason: maybe(row, "reason")?,
        policy: maybe(row, "policy")?,
        correlation: maybe(row, "correlation")?,
    };
    bytes.request(&salt, &request);
    Ok(Ok(()))
}

/// The bytes of a page of receipts; its salt may have another length.
pub(super) fn page(row: &PgRow, bytes: &mut Bytes) -> Result<Result<(), String>, StoreError> {
    let Some(salt) = salt(row)? else { return Ok(Err("salt".to_owned())) };
    let organisation = id(row, "organisation_id")?;
    bytes.receipts(&salt, row.try_get("id")?, &organisation, row.try_get("youngest_ms")?, row.try_get("content")?);
    Ok(Ok(()))
}

fn salt(row: &PgRow) -> Result<Option<[u8; 16]>, StoreError> {
    let salt: Option<&[u8]> = row.try_get("salt")?;
    Ok(salt.and_then(|salt| salt.try_into().ok()))
}

fn id(row: &PgRow, column: &str) -> Result<[u8; 16], StoreError> {
    Ok(row.try_get::<Uuid, _>(column)?.into_bytes())
}

fn text<'r>(row: &'r PgRow, column: &str) -> Result<&'r [u8], StoreError> {
    Ok(row.try_get::<&str, _>(column)?.as_bytes())
}

fn maybe<'r>(row: &'r PgRow, column: &str) -> Result<Option<&'r [u8]>, StoreError> {
    Ok(row.try_get::<Option<&str>, _>(column)?.map(str::as_bytes))
}
