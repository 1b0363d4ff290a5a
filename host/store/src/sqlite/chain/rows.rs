//! Rows as bytes to be hashed. Whatever somebody made of them is read: a column that holds what it never did is named.

use rusqlite::Row;

use crate::chain::canonical::{Bytes, Entry, Event, Request};
use crate::chain::source::{Links, StoredLink};
use crate::chain::{AUDIT, BEFORE, expiry};

/// The number of a column that holds what it cannot.
pub(super) struct Malformed(usize);

impl Malformed {
    pub fn name(self, row: &Row<'_>) -> String {
        row.as_ref().column_name(self.0).unwrap_or("column").to_owned()
    }
}

type Read<T> = Result<T, Malformed>;

/// Reads a link. What cannot be read of it is named in the link.
pub(super) fn read(of: Links, row: &Row<'_>, into: &mut StoredLink) {
    (into.seq, into.hash, into.request, into.malformed, into.expired) = (0, None, None, None, None);
    into.body.begin();
    into.malformed = link(of, row, into).err().map(|column| column.name(row));
}

fn link(of: Links, row: &Row<'_>, into: &mut StoredLink) -> Read<()> {
    // In every kind: chain, place, hash, and then what the link says.
    into.chain = match of {
        Links::Unchained => BEFORE,
        Links::Events => AUDIT,
        // One that names no chain is in none, and stands at the end.
        Links::Entries | Links::Seals => id(row, 0).map_or([0xff; 16], |id| *id),
    };
    into.seq = maybe(row, 1, int)?.unwrap_or(0);
    match of {
        Links::Unchained | Links::Entries => entry(row, into)?,
        Links::Seals => {
            into.body.seal(int(row, 3)?, int(row, 4)?, blob(row, 5)?);
        }
        Links::Events => event(row, into)?,
    }
    into.hash = maybe(row, 2, |row, at| blob(row, at)?.try_into().map_err(|_| Malformed(at)))?;
    Ok(())
}

fn entry(row: &Row<'_>, into: &mut StoredLink) -> Read<()> {
    let request_id = id(row, 3)?;
    into.request = Some(*request_id);
    into.body.entry(&Entry {
        request_id,
        attempt: int(row, 4)?,
        step: int(row, 5)?,
        kind: text(row, 6)?,
        key_id: id(row, 7)?,
        organisation: id(row, 8)?,
        provider: text(row, 9)?,
        model: text(row, 10)?,
        amounts: [int(row, 11)?, int(row, 12)?, int(row, 13)?, int(row, 14)?],
        reason: text(row, 15)?,
        reserved_ms: int(row, 16)?,
        ended_ms: int(row, 17)?,
        writer: id(row, 0)?,
    });
    Ok(())
}

fn event(row: &Row<'_>, into: &mut StoredLink) -> Read<()> {
    let event = Event {
        time_ms: int(row, 3)?,
        actor_kind: text(row, 4)?,
        actor_id: maybe(row, 5, text)?,
        address: maybe(row, 6, text)?,
        organisation: maybe(row, 7, id)?,
        action: text(row, 8)?,
        target: text(row, 9)?,
        before: maybe(row, 10, text)?,
        after: maybe(row, 11, text)?,
    };
    into.expired = expiry::of(&event);
    into.body.event(&event);
    Ok(())
}

/// The bytes of a request's row: salt, and the columns in their order.
pub(super) fn request(row: &Row<'_>, bytes: &mut Bytes) -> Read<()> {
    let mut usage = [0; 10];
    for (at, count) in (13..).zip(&mut usage) {
        *count = int(row, at)?;
    }
    let request = Request {
        request_id: id(row, 1)?,
        time_ms: int(row, 2)?,
        key_id: id(row, 3)?,
        organisation: id(row, 4)?,
        team: maybe(row, 5, id)?,
        environment: text(row, 6)?,
        end_user: maybe(row, 7, text)?,
        requested_model: text(row, 8)?,
        provider: maybe(row, 9, text)?,
        model: maybe(row, 10, text)?,
        status: int(row, 11)?,
        outcome: text(row, 12)?,
        usage,
        estimated: int(row, 23)?,
        cost_nano: maybe(row, 24, int)?,
        total_us: int(row, 25)?,
        tags: maybe(row, 26, text)?,
        receipt_page: maybe(row, 27, int)?,
        reason: maybe(row, 28, text)?,
        policy: maybe(row, 29, text)?,
        correlation: maybe(row, 30, text)?,
    };
    bytes.request(id(row, 0)?, &request);
    Ok(())
}

/// The bytes of a page of receipts: salt, and the columns in their order.
pub(super) fn page(row: &Row<'_>, bytes: &mut Bytes) -> Read<()> {
    bytes.receipts(id(row, 0)?, int(row, 1)?, id(row, 2)?, int(row, 3)?, blob(row, 4)?);
    Ok(())
}

fn int(row: &Row<'_>, at: usize) -> Read<i64> {
    row.get_ref(at).ok().and_then(|value| value.as_i64().ok()).ok_or(Malformed(at))
}

/// Its bytes, which need not be UTF-8 any more.
fn text<'r>(row: &'r Row<'_>, at: usize) -> Read<&'r [u8]> {
    match row.get_ref(at) {
        Ok(rusqlite::types::ValueRef::Text(bytes)) => Ok(bytes),
        _ => Err(Malformed(at)),
    }
}

fn blob<'r>(row: &'r Row<'_>, at: usize) -> Read<&'r [u8]> {
    row.get_ref(at).ok().and_then(|value| value.as_blob().ok()).ok_or(Malformed(at))
}

fn id<'r>(row: &'r Row<'_>, at: usize) -> Read<&'r [u8; 16]> {
    blob(row, at)?.try_into().map_err(|_| Malformed(at))
}

fn maybe<'r, T>(row: &'r Row<'_>, at: usize, read: impl FnOnce(&'r Row<'_>, usize) -> Read<T>) -> Read<Option<T>> {
    match row.get_ref(at) {
        Ok(rusqlite::types::ValueRef::Null) => Ok(None),
        _ => read(row, at).map(Some),
    }
}
