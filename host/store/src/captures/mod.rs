//! What was asked and answered, where an organisation wants it kept.
//!
//! Invariant 9 of the design: only where an organisation opted in ([`crate::Organisation::capture_days`], which whoever serves asks), after
//! the guards, sealed with a key that is not in the database, for a time and no longer than the request's record. Whoever reads one
//! stands in the audit trail, before they have read it.

mod seal;
mod waiting;

use std::sync::Arc;

use portcullis_core::{Clock, OrganisationId, Permission, RequestId, Scope};
use serde::{Deserialize, Serialize};

pub use seal::CaptureKeys;
use waiting::Waiting;

use crate::actor::Actor;
use crate::audit::NewEvent;
use crate::backend::Backend;
use crate::error::StoreError;
use crate::requests::RequestRecord;
use crate::rows::bytes::plain;
use crate::store::Store;

/// Rows that one transaction deletes.
const BATCH: u32 = 200;

/// One side of a request, as far as it was kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapturedPart {
    pub bytes: Vec<u8>,
    /// Bytes that it had. Where it is more than there are, it was cut.
    pub length: u64,
}

impl CapturedPart {
    /// Adds bytes, as far as there is room for `most` in all.
    pub fn add(&mut self, bytes: &[u8], most: usize) {
        let room = most.saturating_sub(self.bytes.len());
        // What comes after a cut is no continuation of what stands before it.
        if !self.is_cut() {
            self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        self.length += bytes.len() as u64;
    }

    pub fn is_cut(&self) -> bool {
        self.length > self.bytes.len() as u64
    }

    /// As text, less a character that the cut went through; the bytes where it is none.
    pub fn into_text(self) -> Result<String, Vec<u8>> {
        let cut = self.is_cut();
        String::from_utf8(self.bytes).or_else(|error| {
            let whole = error.utf8_error();
            let mut bytes = error.into_bytes();
            if !cut || whole.error_len().is_some() {
                return Err(bytes);
            }
            bytes.truncate(whole.valid_up_to());
            String::from_utf8(bytes).map_err(std::string::FromUtf8Error::into_bytes)
        })
    }
}

/// What was kept of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapturedContent {
    /// The client's body, after the guards.
    pub request: CapturedPart,
    /// What the client was sent, after the guards; `None` where nothing was, or nothing that is text.
    pub answer: Option<CapturedPart>,
}

/// As it is sealed.
#[derive(Serialize, Deserialize)]
struct Plain<'a> {
    #[serde(borrow)]
    request: PlainPart<'a>,
    #[serde(borrow)]
    answer: Option<PlainPart<'a>>,
}

#[derive(Serialize, Deserialize)]
struct PlainPart<'a> {
    length: u64,
    #[serde(with = "plain")]
    bytes: &'a [u8],
}

impl CapturedContent {
    fn encode(&self) -> Vec<u8> {
        fn part(part: &CapturedPart) -> PlainPart<'_> {
            PlainPart { length: part.length, bytes: &part.bytes }
        }
        let plain = Plain { request: part(&self.request), answer: self.answer.as_ref().map(part) };
        postcard::to_stdvec(&plain).expect("bytes are plain data")
    }

    fn decode(plain: &[u8]) -> Result<Self, StoreError> {
        let Plain { request, answer } =
            postcard::from_bytes(plain).map_err(|_| StoreError::Corrupt { what: "captured content" })?;
        let part = |part: PlainPart<'_>| CapturedPart { bytes: part.bytes.to_vec(), length: part.length };
        Ok(Self { request: part(request), answer: answer.map(part) })
    }

    fn size(&self) -> usize {
        self.request.bytes.len() + self.answer.as_ref().map_or(0, |answer| answer.bytes.len())
    }
}

/// What is to be kept of a request.
#[derive(Clone, Debug)]
pub struct NewCapture {
    pub id: RequestId,
    pub organisation: OrganisationId,
    /// Milliseconds since the Unix epoch.
    pub expires_ms: u64,
    pub content: CapturedContent,
}

/// The same as a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureRow {
    pub id: RequestId,
    pub organisation: OrganisationId,
    pub expires_ms: u64,
    /// The name of the master key.
    pub master: String,
    /// Sealed.
    pub content: Vec<u8>,
}

/// What was captured. Cheap to clone.
#[derive(Clone)]
pub struct Captures {
    inner: Arc<Inner>,
}

struct Inner {
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    keys: CaptureKeys,
    waiting: Waiting,
}

impl Store {
    /// What this store has captured, sealed by keys that come of `keys`.
    pub fn captures(&self, keys: CaptureKeys) -> Captures {
        let inner =
            Inner { backend: self.backend().clone(), clock: self.shared_clock(), keys, waiting: Waiting::default() };
        Captures { inner: Arc::new(inner) }
    }
}

impl Captures {
    /// Has it written by and by ([`Captures::run`]); false where too much waits, and it is lost.
    pub fn keep(&self, new: NewCapture) -> bool {
        self.inner.waiting.add(new)
    }

    /// What was kept of a request; `None` where nothing was, or it has expired. The audit trail says first who read it.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] without [`Permission::CapturesRead`]; [`StoreError::Sealed`] where no key of these opens it.
    pub async fn read(&self, actor: &Actor, request: &RequestRecord) -> Result<Option<CapturedContent>, StoreError> {
        let Inner { backend, clock, keys, .. } = &*self.inner;
        actor.require(Permission::CapturesRead, &Scope::of(request.organisation, request.team))?;
        let now_ms = clock.now_ms();
        let Some(mut row) = backend.capture(request.organisation, request.id, now_ms).await? else { return Ok(None) };
        let event = NewEvent::new(actor, now_ms, Some(request.organisation), "request.content.read", request.id);
        backend.append_events(std::slice::from_ref(&event)).await?;
        let sealed = std::mem::take(&mut row.content);
        CapturedContent::decode(&keys.open(&row, sealed)?).map(Some)
    }

    /// Deletes what was kept of a request; false where there is nothing. The record stays.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] without [`Permission::RecordsWrite`].
    pub async fn delete(&self, actor: &Actor, request: &RequestRecord) -> Result<bool, StoreError> {
        let Inner { backend, clock, .. } = &*self.inner;
        actor.require(Permission::RecordsWrite, &Scope::of(request.organisation, request.team))?;
        let event =
            NewEvent::new(actor, clock.now_ms(), Some(request.organisation), "request.content.delete", request.id);
        backend.delete_capture(request.organisation, request.id, &event).await
    }

    /// Deletes what has expired, and says how much that was.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        let mut expired = 0;
        loop {
            let some = self.inner.backend.expire_captures(self.inner.clock.now_ms(), BATCH).await?;
            expired += some;
            if some < u64::from(BATCH) {
                return Ok(expired);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_cut_once_and_says_so() {
        let mut part = CapturedPart::default();
        part.add(b"what ", 8);
        assert!(!part.is_cut());
        part.add(b"was said", 8);
        part.add(b"!", 8);
        assert_eq!((part.bytes.as_slice(), part.length, part.is_cut()), (&b"what was"[..], 14, true));
        let mut exact = CapturedPart::default();
        exact.add(b"12345678", 8);
        assert!(!exact.is_cut());
    }

    #[test]
    fn a_cut_through_a_character_leaves_text() {
        let part = |bytes: &[u8], length| CapturedPart { bytes: bytes.to_vec(), length }.into_text();
        assert_eq!(part("né".as_bytes(), 3), Ok("né".to_owned()));
        assert_eq!(part(&"né".as_bytes()[..2], 9), Ok("n".to_owned()));
        assert!(part(&"né".as_bytes()[..2], 2).is_err(), "it was so");
        assert!(part(&[b'n', 0xff, b'x'], 9).is_err());
    }

    #[test]
    fn content_comes_back_as_it_was() {
        let request = CapturedPart { bytes: vec![0, 255, 10], length: 90 };
        for answer in [None, Some(CapturedPart { bytes: b"data: x\n\n".to_vec(), length: 9 })] {
            let content = CapturedContent { request: request.clone(), answer };
            let plain = content.encode();
            assert_eq!(CapturedContent::decode(&plain).unwrap(), content);
            for cut in 0..plain.len() {
                assert!(CapturedContent::decode(&plain[..cut]).is_err(), "{cut}");
            }
        }
    }
}
