//! What stands in a journal. Encoded with postcard; the meaning of every field is fixed by [`FORMAT`].

use serde::{Deserialize, Serialize};

use crate::rows::{EndKind, EntryRow, RequestRow, bytes, id};

/// Written in every segment's head. A change of any record below is a new number.
pub(crate) const FORMAT: u32 = 5;

/// Which reservation: a request's attempt.
pub(crate) type ReservationKey = ([u8; 16], u32);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReserveRecord<'a> {
    #[serde(with = "id")]
    pub request_id: [u8; 16],
    pub attempt: u32,
    #[serde(with = "id")]
    pub key_id: [u8; 16],
    #[serde(with = "id")]
    pub organisation: [u8; 16],
    pub provider: &'a str,
    pub model: &'a str,
    pub worst_nano: u64,
    pub reserved_ms: u64,
    /// As in [`EntryRow::held`].
    #[serde(with = "bytes::plain")]
    pub held: &'a [u8],
}

impl<'a> ReserveRecord<'a> {
    pub fn key(&self) -> ReservationKey {
        (self.request_id, self.attempt)
    }

    /// The entry of a reservation whose end nobody knows: all of it counts as spent.
    pub fn quarantined(&self, reason: &'a str, ended_ms: u64) -> EntryRow<'a> {
        EntryRow {
            request_id: self.request_id,
            attempt: self.attempt,
            kind: EndKind::Quarantined,
            key_id: self.key_id,
            organisation: self.organisation,
            provider: self.provider,
            model: self.model,
            reserved_nano: self.worst_nano,
            amount_nano: self.worst_nano,
            input_nano: 0,
            output_nano: 0,
            reason,
            reserved_ms: self.reserved_ms,
            ended_ms,
            held: self.held,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Record<'a> {
    /// Before an attempt is dispatched.
    #[serde(borrow)]
    Reserve(ReserveRecord<'a>),
    /// A reservation that is still open, repeated so that the segment it stood in can go. Where its end stands anywhere, the
    /// end counts.
    Carry(ReserveRecord<'a>),
    End(EntryRow<'a>),
    Request(RequestRow<'a>),
}

pub(crate) fn decode(payload: &[u8]) -> Result<Record<'_>, postcard::Error> {
    postcard::from_bytes(payload)
}
