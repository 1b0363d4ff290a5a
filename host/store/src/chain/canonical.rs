//! The bytes that are hashed and signed. This is the specification: a verifier written from it alone must agree with the program.
//!
//! `H` is SHA-256, `‖` joins bytes. Names are the columns of the tables (`migrations/`), in this order and no other. What a column
//! holds is written by its type in the lists below:
//!
//! | written as | bytes |
//! |---|---|
//! | `int` | the signed 64-bit integer, big-endian |
//! | `id` | its 16 bytes |
//! | `text` | its length in bytes (unsigned, 4 bytes, big-endian), then its UTF-8 |
//! | `blob` | as `text` |
//! | `hash`, `key` | its 32 bytes |
//! | `T?` | `00` for NULL, else `01` and the value as `T` |
//!
//! Every line of bytes begins with a tag in ASCII that ends with a version and a line feed (`\n`, `0a`), so that what was made as one
//! thing is never read as another. A later version has another number and stands beside these.
//!
//! **A chain** has a name of 16 bytes: the epoch of the process that wrote it (a UUIDv7), sixteen zeros for the entries written before
//! there were chains, or the ASCII `portcullis.audit` for the audit trail. It begins with
//!
//! ```text
//! hash of 0 = H("portcullis chain 1\n" ‖ name)
//! ```
//!
//! Its links are numbered from 1 without a gap, and each holds the hash of the one before it. `seq` is an `int`:
//!
//! ```text
//! hash of seq = H(tag ‖ hash of (seq - 1) ‖ seq ‖ body)
//! ```
//!
//! **An entry** (`ledger_entries`), tag `portcullis entry 1\n`, body:
//!
//! ```text
//! request_id: id ‖ attempt: int ‖ step: int ‖ kind: text ‖ key_id: id ‖ organisation_id: id ‖ provider: text ‖ model: text ‖
//! reserved_nano: int ‖ amount_nano: int ‖ input_nano: int ‖ output_nano: int ‖ reason: text ‖ reserved_ms: int ‖ ended_ms: int ‖
//! writer: id
//! ```
//!
//! The chain's name is `writer`. Entries older than the chains (`seq` is NULL) are the links of the chain of zeros, ordered by
//! request_id, attempt and step; they hold no hash of their own.
//!
//! **A seal** (`record_seals`) stands for the requests and receipts that were written with one group, tag `portcullis seal 1\n`, body
//! `id: int ‖ last_page: int ‖ content: blob`. The content is, for each organisation in ascending order:
//!
//! ```text
//! organisation_id: id
//! ‖ n (4 bytes, big-endian) ‖ n times, ascending: request_id: id ‖ first 16 bytes of H("portcullis request …)
//! ‖ m (4 bytes, big-endian) ‖ m times, ascending: page's id: int ‖ first 16 bytes of H("portcullis receipts 1\n" ‖ …)
//! ```
//!
//! Sixteen bytes suffice there: whoever would put another record in a digest's place has one digest to meet, made with a salt they did not
//! choose. They stay for ever, for every request.
//!
//! A request (`requests`) is hashed with the salt that its row holds (16 random bytes) and that goes with it:
//!
//! ```text
//! H("portcullis request 1\n" ‖ salt: id ‖ request_id: id ‖ time_ms: int ‖ key_id: id ‖ organisation_id: id ‖ team_id: id? ‖
//!   environment: text ‖ end_user: text? ‖ requested_model: text ‖ provider: text? ‖ model: text? ‖ status: int ‖ outcome: text ‖
//!   input: int ‖ cache_read: int ‖ cache_write_short: int ‖ cache_write_long: int ‖ output: int ‖ reasoning: int ‖
//!   audio_input: int ‖ audio_output: int ‖ images: int ‖ searches: int ‖ estimated: int ‖ cost_nano: int? ‖ total_us: int ‖
//!   tags: text? ‖ receipt_page: int?)
//! ```
//!
//! or, where any of `reason`, `policy` and `correlation` is not NULL, with another tag and these behind:
//!
//! ```text
//! H("portcullis request 2\n" ‖ … as above … ‖ receipt_page: int? ‖ reason: text? ‖ policy: text? ‖ correlation: text?)
//! ```
//!
//! and a page of receipts (`receipt_pages`) likewise:
//!
//! ```text
//! H("portcullis receipts 1\n" ‖ salt: id ‖ id: int ‖ organisation_id: id ‖ youngest_ms: int ‖ content: blob)
//! ```
//!
//! **An audit event** (`audit_events`), tag `portcullis event 1\n`, body:
//!
//! ```text
//! time_ms: int ‖ actor_kind: text ‖ actor_id: text? ‖ address: text? ‖ organisation_id: id? ‖ action: text ‖ target: text ‖
//! before: text? ‖ after: text?
//! ```
//!
//! **A checkpoint** (`checkpoints`) joins the heads of those chains that went on since the one before it (`checkpoint_heads`), in
//! ascending order of their names. Numbers go from 1 without a gap; `previous` is the hash of the checkpoint before, 32 zeros for the
//! first. `next_key` hands over to another key, with which everything after it is signed; `closed` is 1 where the chain has ended.
//!
//! ```text
//! hash = H("portcullis checkpoint 1\n" ‖ number: int ‖ time_ms: int ‖ previous: hash ‖ public_key: key ‖ next_key: key? ‖
//!          n (4 bytes, big-endian) ‖ n times: chain: id ‖ seq: int ‖ hash: hash ‖ closed (1 byte))
//! signature = Ed25519 (RFC 8032) by public_key over "portcullis signature 1\n" ‖ hash
//! ```

use ring::digest::{Context, SHA256, digest};

pub type Hash = [u8; 32];
/// The first half of a hash.
pub(crate) type Digest = [u8; 16];

const CHAIN: &[u8] = b"portcullis chain 1\n";
pub(crate) const ENTRY: &[u8] = b"portcullis entry 1\n";
pub(crate) const SEAL: &[u8] = b"portcullis seal 1\n";
pub(crate) const EVENT: &[u8] = b"portcullis event 1\n";
const REQUEST: &[u8] = b"portcullis request 1\n";
const REQUEST_2: &[u8] = b"portcullis request 2\n";
const RECEIPTS: &[u8] = b"portcullis receipts 1\n";
const CHECKPOINT: &[u8] = b"portcullis checkpoint 1\n";
const SIGNATURE: &[u8] = b"portcullis signature 1\n";

pub(crate) fn hash(bytes: &[u8]) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// The hash that the first link of a chain goes on from.
pub(crate) fn start(name: &[u8; 16]) -> Hash {
    let mut bytes = Bytes::default();
    bytes.raw(CHAIN).raw(name);
    hash(&bytes.0)
}

/// The hash of a link whose body is at hand.
pub(crate) fn link(tag: &[u8], previous: &Hash, seq: i64, body: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in [tag, previous, &seq.to_be_bytes(), body] {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// Puts bytes together; its room is used again.
#[derive(Debug, Default)]
pub(crate) struct Bytes(Vec<u8>);

impl Bytes {
    /// Begins anew, as a link of a chain.
    pub fn link(&mut self, tag: &[u8], previous: &Hash, seq: i64) -> &mut Self {
        self.0.clear();
        self.raw(tag).raw(previous).int(seq)
    }

    pub fn begin(&mut self) -> &mut Self {
        self.0.clear();
        self
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    pub fn hash(&self) -> Hash {
        hash(&self.0)
    }

    pub fn digest(&self) -> Digest {
        let mut short = [0; 16];
        short.copy_from_slice(&self.hash()[..16]);
        short
    }

    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    #[inline]
    pub fn int(&mut self, value: i64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    #[inline]
    pub fn count(&mut self, value: usize) -> &mut Self {
        self.raw(&u32::try_from(value).expect("what is hashed is shorter than 4 GB").to_be_bytes())
    }

    #[inline]
    pub fn text(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len()).raw(bytes)
    }

    pub fn maybe<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T) -> &mut Self) -> &mut Self {
        match value {
            None => self.raw(&[0]),
            Some(value) => put(self.raw(&[1]), value),
        }
    }

    pub fn entry(&mut self, entry: &Entry<'_>) -> &mut Self {
        self.raw(entry.request_id)
            .int(entry.attempt)
            .int(entry.step)
            .text(entry.kind)
            .raw(entry.key_id)
            .raw(entry.organisation)
            .text(entry.provider)
            .text(entry.model);
        for amount in entry.amounts {
            self.int(amount);
        }
        self.text(entry.reason).int(entry.reserved_ms).int(entry.ended_ms).raw(entry.writer)
    }

    pub fn seal(&mut self, id: i64, last_page: i64, content: &[u8]) -> &mut Self {
        self.int(id).int(last_page).text(content)
    }

    pub fn request(&mut self, salt: &[u8; 16], request: &Request<'_>) -> &mut Self {
        let text = |bytes: &mut Self, value: Option<&[u8]>| {
            bytes.maybe(value, |bytes, value| bytes.text(value));
        };
        let more = [request.reason, request.policy, request.correlation];
        let has_more = more.iter().any(Option::is_some);
        self.begin()
            .raw(if has_more { REQUEST_2 } else { REQUEST })
            .raw(salt)
            .raw(request.request_id)
            .int(request.time_ms)
            .raw(request.key_id)
            .raw(request.organisation)
            .maybe(request.team, |bytes, team| bytes.raw(team))
            .text(request.environment);
        text(self, request.end_user);
        self.text(request.requested_model);
        text(self, request.provider);
        text(self, request.model);
        self.int(request.status).text(request.outcome);
        for count in request.usage {
            self.int(count);
        }
        self.int(request.estimated).maybe(request.cost_nano, Self::int).int(request.total_us);
        text(self, request.tags);
        self.maybe(request.receipt_page, Self::int);
        if has_more {
            more.into_iter().for_each(|value| text(self, value));
        }
        self
    }

    pub fn receipts(
        &mut self,
        salt: &[u8; 16],
        id: i64,
        organisation: &[u8; 16],
        youngest_ms: i64,
        content: &[u8],
    ) -> &mut Self {
        self.begin().raw(RECEIPTS).raw(salt).int(id).raw(organisation).int(youngest_ms).text(content)
    }

    pub fn event(&mut self, event: &Event<'_>) -> &mut Self {
        let text = |bytes: &mut Self, value: Option<&[u8]>| {
            bytes.maybe(value, |bytes, value| bytes.text(value));
        };
        self.int(event.time_ms).text(event.actor_kind);
        text(self, event.actor_id);
        text(self, event.address);
        self.maybe(event.organisation, |bytes, organisation| bytes.raw(organisation))
            .text(event.action)
            .text(event.target);
        text(self, event.before);
        text(self, event.after);
        self
    }

    pub fn checkpoint(&mut self, checkpoint: &Checkpoint<'_>) -> &mut Self {
        self.begin()
            .raw(CHECKPOINT)
            .int(checkpoint.number)
            .int(checkpoint.time_ms)
            .raw(checkpoint.previous)
            .raw(checkpoint.public_key)
            .maybe(checkpoint.next_key, |bytes, key| bytes.raw(key))
            .count(checkpoint.heads.len());
        for head in checkpoint.heads {
            self.raw(&head.chain).int(head.seq).raw(&head.hash).raw(&[u8::from(head.closed)]);
        }
        self
    }
}

/// What is signed for a checkpoint of this hash.
pub(crate) fn signed(hash: &Hash) -> Vec<u8> {
    [SIGNATURE, hash].concat()
}

/// An entry as its columns hold it.
pub(crate) struct Entry<'a> {
    pub request_id: &'a [u8; 16],
    pub attempt: i64,
    pub step: i64,
    pub kind: &'a [u8],
    pub key_id: &'a [u8; 16],
    pub organisation: &'a [u8; 16],
    pub provider: &'a [u8],
    pub model: &'a [u8],
    /// Reserved, amount, input, output.
    pub amounts: [i64; 4],
    pub reason: &'a [u8],
    pub reserved_ms: i64,
    pub ended_ms: i64,
    pub writer: &'a [u8; 16],
}

/// A request as its columns hold it.
pub(crate) struct Request<'a> {
    pub request_id: &'a [u8; 16],
    pub time_ms: i64,
    pub key_id: &'a [u8; 16],
    pub organisation: &'a [u8; 16],
    pub team: Option<&'a [u8; 16]>,
    pub environment: &'a [u8],
    pub end_user: Option<&'a [u8]>,
    pub requested_model: &'a [u8],
    pub provider: Option<&'a [u8]>,
    pub model: Option<&'a [u8]>,
    pub status: i64,
    pub outcome: &'a [u8],
    /// In the order of the columns.
    pub usage: [i64; 10],
    pub estimated: i64,
    pub cost_nano: Option<i64>,
    pub total_us: i64,
    pub tags: Option<&'a [u8]>,
    pub receipt_page: Option<i64>,
    pub reason: Option<&'a [u8]>,
    pub policy: Option<&'a [u8]>,
    pub correlation: Option<&'a [u8]>,
}

/// An audit event as its columns hold it.
pub(crate) struct Event<'a> {
    pub time_ms: i64,
    pub actor_kind: &'a [u8],
    pub actor_id: Option<&'a [u8]>,
    pub address: Option<&'a [u8]>,
    pub organisation: Option<&'a [u8; 16]>,
    pub action: &'a [u8],
    pub target: &'a [u8],
    pub before: Option<&'a [u8]>,
    pub after: Option<&'a [u8]>,
}

pub(crate) struct Checkpoint<'a> {
    pub number: i64,
    pub time_ms: i64,
    pub previous: &'a Hash,
    pub public_key: &'a Hash,
    pub next_key: Option<&'a Hash>,
    pub heads: &'a [Pinned],
}

/// How far a checkpoint found a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinned {
    pub chain: [u8; 16],
    pub seq: i64,
    pub hash: Hash,
    /// Nothing follows.
    pub closed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        hex::encode(bytes)
    }

    /// Fixed for ever: a database that was written must verify by any later version.
    #[test]
    fn the_bytes_of_version_1_are_these() {
        let entry = Entry {
            request_id: &[1; 16],
            attempt: 2,
            step: 0,
            kind: b"settled",
            key_id: &[3; 16],
            organisation: &[4; 16],
            provider: b"openai",
            model: "gpt-\u{e9}".as_bytes(),
            amounts: [5_000_000, 120, -1, i64::MAX],
            reason: b"",
            reserved_ms: 1_780_000_000_000,
            ended_ms: 1_780_000_000_001,
            writer: &[6; 16],
        };
        assert_eq!(hex(&start(&[6; 16])), "b46ac4d3c5184fa268483bec65c49de5017b9950db285aac80ba7c2fab7cff0f");
        let mut bytes = Bytes::default();
        bytes.link(ENTRY, &start(&[6; 16]), 1).entry(&entry);
        let expected = concat!(
            "706f727463756c6c697320656e74727920310a",
            "b46ac4d3c5184fa268483bec65c49de5017b9950db285aac80ba7c2fab7cff0f",
            "0000000000000001",
            "01010101010101010101010101010101",
            "0000000000000002",
            "0000000000000000",
            "00000007736574746c6564",
            "03030303030303030303030303030303",
            "04040404040404040404040404040404",
            "000000066f70656e6169",
            "000000066770742dc3a9",
            "00000000004c4b40",
            "0000000000000078",
            "ffffffffffffffff",
            "7fffffffffffffff",
            "00000000",
            "0000019e70448800",
            "0000019e70448801",
            "06060606060606060606060606060606",
        );
        assert_eq!(hex(bytes.as_slice()), expected);
        assert_eq!(hex(&bytes.hash()), "2bcf69782f721b79c764f1109f151dcbd5e727d32a5c11b5a6ad320f85cf8edf");
        assert_eq!(bytes.hash(), link(ENTRY, &start(&[6; 16]), 1, &bytes.as_slice()[ENTRY.len() + 40..]));

        let event = Event {
            time_ms: 1,
            actor_kind: b"cli",
            actor_id: Some(b"ada"),
            address: None,
            organisation: Some(&[4; 16]),
            action: b"key.revoke",
            target: b"key_1",
            before: None,
            after: Some(b"{}"),
        };
        bytes.link(EVENT, &[0; 32], 2).event(&event);
        let body = concat!(
            "0000000000000001",
            "00000003636c69",
            "0100000003616461",
            "00",
            "0104040404040404040404040404040404",
            "0000000a6b65792e7265766f6b65",
            "000000056b65795f31",
            "00",
            "01000000027b7d",
        );
        assert!(hex(bytes.as_slice()).ends_with(body));
        assert_eq!(hex(&bytes.hash()), "afaa5e2f213da37f48d6020f307b569b284ebcc6afa506c76a342926cb5d4acd");

        let heads = [Pinned { chain: [6; 16], seq: 7, hash: [8; 32], closed: true }];
        let checkpoint = Checkpoint {
            number: 1,
            time_ms: 2,
            previous: &[0; 32],
            public_key: &[9; 32],
            next_key: Some(&[10; 32]),
            heads: &heads,
        };
        bytes.checkpoint(&checkpoint);
        let expected = [
            "706f727463756c6c697320636865636b706f696e7420310a",
            "0000000000000001",
            "0000000000000002",
            &"00".repeat(32),
            &"09".repeat(32),
            "01",
            &"0a".repeat(32),
            "00000001",
            &"06".repeat(16),
            "0000000000000007",
            &"08".repeat(32),
            "01",
        ];
        assert_eq!(hex(bytes.as_slice()), expected.concat());
        assert_eq!(
            hex(&signed(&[8; 32])),
            format!("706f727463756c6c6973207369676e617475726520310a{}", "08".repeat(32))
        );
    }

    #[test]
    fn no_tag_begins_another() {
        let tags = [CHAIN, ENTRY, SEAL, EVENT, REQUEST, RECEIPTS, CHECKPOINT, SIGNATURE];
        for (at, tag) in tags.iter().enumerate() {
            assert!(tag.ends_with(b" 1\n") && tag.is_ascii());
            assert!(tags.iter().enumerate().all(|(other, longer)| other == at || !longer.starts_with(tag)));
        }
    }
}
