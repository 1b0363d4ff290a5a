//! Whom a limit is for, and the accounts that are kept of them.
//!
//! Accounts outlive configurations: one is found by its subject alone, whatever its limits are. They are bounded: those in which
//! nothing counts any more are swept, and of those by address, of which anybody can have any number, no more than
//! [`MOST_BY_ADDRESS`] are kept; past that the ones that were asked longest ago go first.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use portcullis_core::{KeyId, Name, OrganisationId, TeamId};
use serde::Deserialize;

use super::account::Account;

/// Some 30 MB where each has a requests limit by the minute and is in constant use.
pub(super) const MOST_BY_ADDRESS: usize = 1 << 16;
const SHARDS: usize = 16;

/// What requests are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    Key,
    Team,
    Organisation,
    Address,
    /// The target: `provider/model`.
    Model,
}

impl By {
    pub const fn as_str(self) -> &'static str {
        match self {
            By::Key => "key",
            By::Team => "team",
            By::Organisation => "organisation",
            By::Address => "address",
            By::Model => "model",
        }
    }
}

/// What one account is of: `None` for what it does not tell apart by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Subject {
    /// The limit's.
    pub name: Name,
    pub key: Option<KeyId>,
    pub team: Option<TeamId>,
    pub organisation: Option<OrganisationId>,
    pub address: Option<IpAddr>,
    pub model: Option<Name>,
}

impl Subject {
    pub fn key(id: KeyId, name: Name) -> Self {
        Subject { name, key: Some(id), team: None, organisation: None, address: None, model: None }
    }
}

/// An address as limits see it: of IPv6 the first 64 bits, since a single subscriber has all of the rest (RFC 6177), and IPv4
/// however it is written.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
    }
}

type Shard = RwLock<HashMap<Subject, Arc<Account>, foldhash::quality::RandomState>>;

/// Every account.
pub(super) struct Accounts {
    hasher: foldhash::quality::RandomState,
    lasting: [Shard; SHARDS],
    by_address: [Shard; SHARDS],
    most_by_address: usize,
    swept: AtomicUsize,
}

impl Accounts {
    pub fn new(most_by_address: usize) -> Self {
        Accounts {
            hasher: foldhash::quality::RandomState::default(),
            lasting: std::array::from_fn(|_| Shard::default()),
            by_address: std::array::from_fn(|_| Shard::default()),
            most_by_address,
            swept: AtomicUsize::new(0),
        }
    }

    fn shard(&self, subject: &Subject) -> &Shard {
        use std::hash::BuildHasher;

        let at = (self.hasher.hash_one(subject) >> 32) as usize % SHARDS;
        if subject.address.is_some() { &self.by_address[at] } else { &self.lasting[at] }
    }

    /// The account of a subject, where there is one.
    pub fn known(&self, subject: &Subject) -> Option<Arc<Account>> {
        self.shard(subject).read().unwrap_or_else(PoisonError::into_inner).get(subject).cloned()
    }

    pub fn of(&self, subject: &Subject, now_ms: u64) -> Arc<Account> {
        let (shard, unbounded) = (self.shard(subject), subject.address.is_some());
        if let Some(account) = shard.read().unwrap_or_else(PoisonError::into_inner).get(subject) {
            return Arc::clone(account);
        }
        let mut accounts = shard.write().unwrap_or_else(PoisonError::into_inner);
        if unbounded && accounts.len() >= self.most_by_address / SHARDS && !accounts.contains_key(subject) {
            make_room(&mut accounts, self.most_by_address / SHARDS, now_ms);
        }
        Arc::clone(accounts.entry(subject.clone()).or_default())
    }

    /// Drops the accounts of one shard in which nothing counts: to be called now and then, so that a whole round takes a minute.
    pub fn sweep(&self, now_ms: u64) {
        let at = self.swept.fetch_add(1, Ordering::Relaxed) % SHARDS;
        for shard in [&self.lasting[at], &self.by_address[at]] {
            shard.write().unwrap_or_else(PoisonError::into_inner).retain(|_, account| is_in_use(account, now_ms));
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        let shards = self.lasting.iter().chain(&self.by_address);
        shards.map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }
}

/// A request holds one for as long as it lasts, and takes it under the shard's lock: nobody else can, while this is asked.
fn is_in_use(account: &Arc<Account>, now_ms: u64) -> bool {
    Arc::strong_count(account) > 1 || account.counts(now_ms)
}

/// Makes room for a good many at once, so that a flood of addresses does not pay for this with each.
fn make_room<S>(accounts: &mut HashMap<Subject, Arc<Account>, S>, most: usize, now_ms: u64) {
    accounts.retain(|_, account| is_in_use(account, now_ms));
    let keep = most - most / 8 - 1;
    if accounts.len() <= keep {
        return;
    }
    let mut times: Vec<u64> =
        accounts.values().filter(|account| Arc::strong_count(account) == 1).map(|account| account.seen()).collect();
    let excess = (accounts.len() - keep).min(times.len());
    if excess == 0 {
        return;
    }
    let (_, &mut newest_to_go, _) = times.select_nth_unstable(excess - 1);
    let mut left = excess;
    accounts.retain(|_, account| {
        let goes = left > 0 && Arc::strong_count(account) == 1 && account.seen() <= newest_to_go;
        left -= usize::from(goes);
        !goes
    });
}

#[cfg(test)]
mod tests {
    use portcullis_core::{Limits, Unit};

    use super::*;

    fn from(address: u32) -> Subject {
        Subject { key: None, address: Some(IpAddr::V4(address.into())), ..key() }
    }

    fn key() -> Subject {
        Subject::key(KeyId::from_bytes([7; 16]), "key".into())
    }

    #[test]
    fn a_subscriber_s_whole_network_is_one_address() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
    }

    #[test]
    fn addresses_are_bounded_and_keys_are_not() {
        let most = 64 * SHARDS;
        let accounts = Accounts::new(most);
        let limits = Limits { requests_per_day: Some(10), ..Limits::NONE };
        let key = key();
        accounts.of(&key, 0).state().add(Unit::Requests, &limits, 0, 1);
        let held = accounts.of(&from(0), 0);
        held.state().add(Unit::Requests, &limits, 0, 1);
        for address in 1..20_000 {
            let now = u64::from(address);
            let account = accounts.of(&from(address), now);
            account.state().add(Unit::Requests, &limits, now, 1);
        }
        assert!(accounts.len() <= most + 1 && accounts.len() > most / 2, "{}", accounts.len());
        // What a request holds is never counted anew, nor is what was asked last, nor a key.
        assert!(Arc::ptr_eq(&accounts.of(&from(0), 20_000), &held));
        assert_eq!(
            accounts.of(&from(19_999), 20_000).state().used(Unit::Requests, portcullis_core::Window::Day, 20_000),
            1
        );
        assert_eq!(accounts.of(&key, 20_000).state().used(Unit::Requests, portcullis_core::Window::Day, 20_000), 1);
    }

    #[test]
    fn what_no_longer_counts_is_swept() {
        let accounts = Accounts::new(MOST_BY_ADDRESS);
        let limits = Limits { requests_per_minute: Some(10), ..Limits::NONE };
        let key = key();
        accounts.of(&key, 0).state().add(Unit::Requests, &limits, 0, 1);
        let round = |now| (0..SHARDS).for_each(|_| accounts.sweep(now));
        round(60_000);
        assert_eq!(accounts.len(), 1);
        let held = accounts.of(&key, 61_000);
        round(61_000);
        assert_eq!(accounts.len(), 1);
        drop(held);
        round(61_000);
        assert_eq!(accounts.len(), 0);
    }
}
