//! The proof: that every chain is whole and says what its rows say, that checkpoints were signed by whom they should and agree, that what was
//! anchored outside is still there, and that requests and receipts are those that were written.
//!
//! It reads the database once, as it is at one moment, in constant memory but for the chains' names, and stops at the first fault.
//!
//! What it cannot know: rows that somebody added, with fitting hashes, after the newest checkpoint ([`Report::unsigned`] says how many links
//! stand there) and in no chain of a process that runs; and that a chain was deleted whole before any checkpoint saw it.

mod chains;
mod checkpoints;
mod records;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use portcullis_core::RequestId;
use uuid::Uuid;

use super::checkpoint::{Anchor, Checkpoint};
use super::key::PublicKey;
use super::source::ChainSource;
use crate::error::StoreError;
use crate::store::Store;

/// The chain of the audit trail.
pub(crate) const AUDIT: [u8; 16] = *b"portcullis.audit";
/// The chain of entries from before there were chains.
pub(crate) const BEFORE: [u8; 16] = [0; 16];

/// What verification may rely on.
#[derive(Clone, Debug, Default)]
pub struct Verification {
    /// Keys that checkpoints may be signed with. A checkpoint's key is good where it is one of these, or was handed over to. Empty: any key
    /// will do, which proves only that the database agrees with itself.
    pub trusted: Vec<PublicKey>,
    /// Checkpoints as they were kept outside.
    pub anchors: Vec<Anchor>,
}

/// What was proven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub chains: u64,
    pub entries: u64,
    pub events: u64,
    pub seals: u64,
    pub requests: Presence,
    /// Pages of receipts.
    pub pages: Presence,
    pub checkpoints: u64,
    pub anchors: u64,
    /// Keys that signed, oldest first.
    pub keys: Vec<PublicKey>,
    /// Links behind the newest checkpoint: nobody has signed these yet.
    pub unsigned: u64,
    pub newest: Option<Anchor>,
    /// What is wrong first.
    pub fault: Option<Fault>,
    pub took: Duration,
}

/// What became of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// There, and as they were written.
    pub proven: u64,
    /// Deleted when they had expired, as the audit trail says.
    pub expired: u64,
    /// From before there were seals: nothing is proven of them.
    pub unsealed: u64,
}

/// The first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub table: &'static str,
    pub chain: Option<[u8; 16]>,
    /// The place in the chain, or a checkpoint's number.
    pub seq: Option<i64>,
    pub request: Option<RequestId>,
    pub what: String,
}

impl Fault {
    pub(super) fn new(table: &'static str, what: impl Into<String>) -> Self {
        Self { table, chain: None, seq: None, request: None, what: what.into() }
    }

    pub(super) fn at(mut self, chain: [u8; 16], seq: i64) -> Self {
        (self.chain, self.seq) = (Some(chain), Some(seq));
        self
    }

    pub(super) fn of(mut self, request: Option<[u8; 16]>) -> Self {
        self.request = request.map(RequestId::from_bytes);
        self
    }

    /// The chain's name as it is shown.
    pub fn chain_name(&self) -> Option<String> {
        self.chain.map(|chain| chain_name(&chain))
    }
}

/// `audit`, `before` (entries from before there were chains), or the writer's epoch.
pub fn chain_name(chain: &[u8; 16]) -> String {
    match *chain {
        AUDIT => "audit".into(),
        BEFORE => "before".into(),
        epoch => Uuid::from_bytes(epoch).simple().to_string(),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.table)?;
        if let Some(chain) = self.chain_name() {
            write!(f, ", chain {chain}")?;
        }
        if let Some(seq) = self.seq {
            write!(f, ", number {seq}")?;
        }
        if let Some(request) = self.request {
            write!(f, ", {request}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Why verification ended early.
pub(super) enum Stop {
    Fault(Fault),
    Error(StoreError),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Error(error)
    }
}

/// What one part learns for the next.
#[derive(Default)]
pub(super) struct Learnt {
    /// Until when an organisation's records are expired, by the audit trail.
    expired: BTreeMap<[u8; 16], u64>,
    /// When the first checkpoint was made.
    first_checkpoint_ms: Option<i64>,
    /// Heads that checkpoints join.
    joined: usize,
}

/// Proves what `source` shows.
pub(crate) fn verify(source: &mut dyn ChainSource, given: &Verification) -> Result<Report, StoreError> {
    let mut report = Report::default();
    let mut learnt = Learnt::default();
    let outcome = (|| {
        checkpoints::verify(source, given, &mut report, &mut learnt)?;
        chains::verify(source, &mut report, &mut learnt)?;
        records::verify(source, &mut report, &learnt)
    })();
    match outcome {
        Ok(()) => {}
        Err(Stop::Fault(fault)) => report.fault = Some(fault),
        Err(Stop::Error(error)) => return Err(error),
    }
    Ok(report)
}

impl Store {
    /// Proves the ledger and the audit trail. A fault is no error: [`Report::fault`] names it.
    pub async fn verify(&self, given: &Verification) -> Result<Report, StoreError> {
        let (backend, given) = (self.backend().clone(), given.clone());
        let runtime = tokio::runtime::Handle::current();
        // It reads all there is.
        #[expect(clippy::disallowed_methods, reason = "on a blocking thread, which serves no request")]
        let verified = tokio::task::spawn_blocking(move || {
            let begun = std::time::Instant::now();
            let mut report = Report::default();
            runtime.block_on(backend.examine(&mut |source| {
                report = verify(source, &given)?;
                Ok(())
            }))?;
            report.took = begun.elapsed();
            Ok(report)
        });
        match verified.await {
            Ok(report) => report,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

/// Which keys checkpoints were signed with: each handed over to by the one before it, or trusted.
pub(super) struct Signers<'a> {
    trusted: BTreeSet<&'a PublicKey>,
    current: Option<PublicKey>,
    /// Whether a trusted one has signed.
    pub trusted_signed: bool,
}

impl<'a> Signers<'a> {
    pub fn new(trusted: &'a [PublicKey]) -> Self {
        Self { trusted: trusted.iter().collect(), current: None, trusted_signed: trusted.is_empty() }
    }

    /// What is wrong with who signed.
    pub fn next(&mut self, checkpoint: &Checkpoint) -> Option<String> {
        let key = checkpoint.public_key;
        let trusted = self.trusted.contains(&key);
        self.trusted_signed |= trusted;
        // The first key is good where a trusted one signs after it: that one's signature is over all before it.
        let good = self.current.is_none_or(|current| current == key) || trusted;
        if !good {
            return Some(format!(
                "it is signed by {key}, which is not trusted and was not handed over to by the key before it"
            ));
        }
        self.current = Some(checkpoint.signer_of_next());
        None
    }
}
