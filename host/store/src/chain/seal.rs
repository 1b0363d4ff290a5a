//! What a group of rows adds to its writer's chain: a link for each entry, and one for all requests and receipts together.

use std::borrow::Cow;
use std::collections::HashMap;

use rand::Rng;

use super::canonical::{self, Bytes, Digest, ENTRY, EVENT, Hash, SEAL};
use super::source::{Links, StoredLink};
use crate::rows::{EntryRow, RequestRow};

/// How far a chain goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Of its last link; 0 where there is none.
    pub seq: i64,
    pub hash: Hash,
}

impl Head {
    /// Of a chain without links.
    pub fn start(chain: &[u8; 16]) -> Self {
        Self { seq: 0, hash: canonical::start(chain) }
    }
}

/// What a database makes of texts: what is hashed is what it holds.
pub(crate) trait Texts {
    fn text(value: &str) -> Cow<'_, str>;

    fn json(value: &str) -> Cow<'_, str> {
        Self::text(value)
    }
}

/// Every text is kept as it is.
pub(crate) struct AsIs;

impl Texts for AsIs {
    #[inline]
    fn text(value: &str) -> Cow<'_, str> {
        Cow::Borrowed(value)
    }
}

/// How far this process took its chains itself. It knows that better than the database: where somebody changed that, a chain goes on from
/// what was, and verification finds the place.
#[derive(Debug, Default)]
pub(crate) struct Known(HashMap<[u8; 16], Head>);

impl Known {
    pub fn head(&self, writer: &[u8; 16], stored: Option<Head>) -> Head {
        let Some(&known) = self.0.get(writer) else { return stored.unwrap_or_else(|| Head::start(writer)) };
        if stored != Some(known) {
            tracing::error!(
                "the ledger's chain was changed in the database by somebody else: run `portcullis audit verify`"
            );
        }
        known
    }

    /// Before a commit: whether one that fails was one is not known, and what the database says then holds.
    pub fn doubt(&mut self, writer: &[u8; 16]) {
        self.0.remove(writer);
    }

    pub fn committed(&mut self, writer: [u8; 16], head: Head) {
        self.0.insert(writer, head);
    }
}

/// Adds links to one chain. Its room is used again.
#[derive(Debug)]
pub(crate) struct Linker {
    pub head: Head,
    bytes: Bytes,
}

impl Linker {
    pub fn at(head: Head) -> Self {
        Self { head, bytes: Bytes::default() }
    }

    pub fn entry<T: Texts>(&mut self, writer: &[u8; 16], row: &EntryRow<'_>) -> Head {
        self.step::<T>(writer, row, 0)
    }

    /// An entry that decides about an earlier one.
    pub fn step<T: Texts>(&mut self, writer: &[u8; 16], row: &EntryRow<'_>, step: i64) -> Head {
        let (provider, model, reason) = (T::text(row.provider), T::text(row.model), T::text(row.reason));
        let entry = canonical::Entry {
            request_id: &row.request_id,
            attempt: i64::from(row.attempt),
            step,
            kind: row.kind.as_str().as_bytes(),
            key_id: &row.key_id,
            organisation: &row.organisation,
            provider: provider.as_bytes(),
            model: model.as_bytes(),
            amounts: [row.reserved_nano, row.amount_nano, row.input_nano, row.output_nano].map(stored),
            reason: reason.as_bytes(),
            reserved_ms: stored(row.reserved_ms),
            ended_ms: stored(row.ended_ms),
            writer,
        };
        self.link(ENTRY, |bytes| bytes.entry(&entry))
    }

    pub fn seal(&mut self, id: i64, last_page: i64, content: &[u8]) -> Head {
        self.link(SEAL, |bytes| bytes.seal(id, last_page, content))
    }

    pub fn event(&mut self, event: &canonical::Event<'_>) -> Head {
        self.link(EVENT, |bytes| bytes.event(event))
    }

    /// A link that stands in the database without a place in a chain.
    pub fn stored(&mut self, of: Links, stored: &StoredLink) {
        self.link(of.tag(), |bytes| bytes.raw(stored.body.as_slice()));
    }

    fn link(&mut self, tag: &[u8], body: impl FnOnce(&mut Bytes) -> &mut Bytes) -> Head {
        let seq = self.head.seq + 1;
        let hash = body(self.bytes.link(tag, &self.head.hash, seq)).hash();
        self.head = Head { seq, hash };
        self.head
    }
}

/// What a count or time is in its column.
fn stored(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Collects the digests of one group's requests and pages of receipts.
#[derive(Debug, Default)]
pub(crate) struct Records {
    requests: Vec<([u8; 16], [u8; 16], Digest)>,
    pages: Vec<([u8; 16], i64, Digest)>,
    bytes: Bytes,
    content: Bytes,
}

impl Records {
    pub fn begin(&mut self) {
        self.requests.clear();
        self.pages.clear();
    }

    /// The salt to be kept in the row.
    pub fn request<T: Texts>(&mut self, row: &RequestRow<'_>, page: Option<i64>, rng: &mut impl Rng) -> [u8; 16] {
        let mut salt = [0; 16];
        rng.fill_bytes(&mut salt);
        let (end_user, tags) = (row.end_user.map(T::text), row.tags.map(T::json));
        let (requested_model, outcome) = (T::text(row.requested_model), T::text(row.outcome));
        let (provider, model) = (row.provider.map(T::text), row.model.map(T::text));
        let [reason, policy, correlation] = [row.reason, row.policy, row.correlation].map(|text| text.map(T::text));
        let request = canonical::Request {
            request_id: &row.request_id,
            time_ms: stored(row.time_ms),
            key_id: &row.key_id,
            organisation: &row.organisation,
            team: row.team.as_ref(),
            environment: row.environment.as_bytes(),
            end_user: end_user.as_deref().map(str::as_bytes),
            requested_model: requested_model.as_bytes(),
            provider: provider.as_deref().map(str::as_bytes),
            model: model.as_deref().map(str::as_bytes),
            status: i64::from(row.status),
            outcome: outcome.as_bytes(),
            usage: row.usage.map(stored),
            estimated: i64::from(row.estimated),
            cost_nano: row.cost_nano.map(stored),
            total_us: stored(row.total_us),
            tags: tags.as_deref().map(str::as_bytes),
            receipt_page: page,
            reason: reason.as_deref().map(str::as_bytes),
            policy: policy.as_deref().map(str::as_bytes),
            correlation: correlation.as_deref().map(str::as_bytes),
        };
        let digest = self.bytes.request(&salt, &request).digest();
        self.requests.push((row.organisation, row.request_id, digest));
        salt
    }

    /// The salt to be kept with the page.
    pub fn page(
        &mut self,
        id: i64,
        organisation: &[u8; 16],
        youngest_ms: i64,
        content: &[u8],
        rng: &mut impl Rng,
    ) -> [u8; 16] {
        let mut salt = [0; 16];
        rng.fill_bytes(&mut salt);
        let digest = self.bytes.receipts(&salt, id, organisation, youngest_ms, content).digest();
        self.pages.push((*organisation, id, digest));
        salt
    }

    /// The content of the group's seal.
    pub fn content(&mut self) -> &[u8] {
        self.requests.sort_unstable_by_key(|(organisation, id, _)| (*organisation, *id));
        self.pages.sort_unstable_by_key(|(organisation, id, _)| (*organisation, *id));
        let content = self.content.begin();
        let (mut requests, mut pages) = (&self.requests[..], &self.pages[..]);
        while let Some(organisation) =
            [requests.first().map(|one| one.0), pages.first().map(|one| one.0)].into_iter().flatten().min()
        {
            let (own, others) = requests.split_at(requests.partition_point(|one| one.0 == organisation));
            content.raw(&organisation).count(own.len());
            for (_, id, digest) in own {
                content.raw(id).raw(digest);
            }
            requests = others;
            let (own, others) = pages.split_at(pages.partition_point(|one| one.0 == organisation));
            content.count(own.len());
            for (_, id, digest) in own {
                content.int(*id).raw(digest);
            }
            pages = others;
        }
        content.as_slice()
    }
}
