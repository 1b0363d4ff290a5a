//! The limits of a caller for people: how each stands, and whose word it is. No request comes by here.

use portcullis_core::{Limits, Name, Unit, Window};
use portcullis_store::EffectivePolicy;

use super::{Book, Caller, Line, UnknownTier};
use crate::limits::{By, Limiter};

/// Whose word a limit is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Key,
    Tier(String),
    /// What the key or its tier says is more than this tier's.
    MaxTier(String),
    Configuration,
}

/// One limit, and how it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Explained {
    pub name: Name,
    pub by: Vec<By>,
    pub unit: Unit,
    /// `None` for requests at once.
    pub window: Option<Window>,
    pub limit: u64,
    pub origin: Origin,
    /// What counts in this process; `None` where that depends on the address.
    pub used: Option<u64>,
    /// Milliseconds until nothing counts any more.
    pub resets: Option<u64>,
}

fn amount(limits: &Limits, unit: Unit, window: Option<Window>) -> Option<u64> {
    match window {
        Some(window) => limits.rate(unit, window),
        None if unit == Unit::Requests => limits.concurrent_requests,
        None => None,
    }
}

impl Book {
    /// Whose word a limit of the caller's key is.
    fn origin(&self, caller: &Caller<'_>, unit: Unit, window: Option<Window>, limit: u64) -> Origin {
        let of_tier = |tier: &str| self.tiers.get(tier).and_then(|limits| amount(limits, unit, window));
        let own = caller.own.and_then(|own| amount(own, unit, window));
        let tier = caller.tier.and_then(|tier| Some((tier, of_tier(tier)?)));
        let general = self.of_keys.iter().find(|rule| rule.covers(caller, ""));
        let said = own.or(tier.map(|(_, limit)| limit)).or(general.and_then(|rule| amount(&rule.limits, unit, window)));
        if said != Some(limit) {
            let mut caps = caller.policy.into_iter().flat_map(EffectivePolicy::max_tiers);
            if let Some((cap, _)) = caps.find(|(cap, _)| of_tier(cap) == Some(limit)) {
                return Origin::MaxTier(cap.to_owned());
            }
        }
        match (own, tier) {
            (Some(_), _) => Origin::Key,
            (None, Some((tier, _))) => Origin::Tier(tier.to_owned()),
            (None, None) => Origin::Configuration,
        }
    }
}

impl Limiter {
    /// All limits that hold for whatever the caller asks for.
    ///
    /// # Errors
    /// As of [`Book::of_caller`].
    pub fn explain(&self, book: &Book, caller: &Caller<'_>, now_ms: u64) -> Result<Vec<Explained>, UnknownTier> {
        let lines = book.of_caller(caller)?;
        Ok(lines.iter().flat_map(|line| self.explain_line(book, caller, line, now_ms)).collect())
    }

    fn explain_line(&self, book: &Book, caller: &Caller<'_>, line: &Line, now_ms: u64) -> Vec<Explained> {
        let subject = &line.subject;
        let by = [
            (By::Key, subject.key.is_some()),
            (By::Team, subject.team.is_some()),
            (By::Organisation, subject.organisation.is_some()),
            (By::Address, subject.address.is_some()),
        ];
        let by: Vec<By> = by.into_iter().filter_map(|(by, counts)| counts.then_some(by)).collect();
        let known = !by.contains(&By::Address);
        let account = self.accounts.known(subject);
        let mut explained = Vec::new();
        for unit in Unit::ALL {
            for window in Window::ALL.map(Some).into_iter().chain([None]) {
                let Some(limit) = amount(&line.limits, unit, window) else { continue };
                let stands = |account: &crate::limits::account::Account| {
                    let mut state = account.state();
                    match window {
                        Some(window) => (state.used(unit, window, now_ms), state.resets(unit, window, now_ms)),
                        None => (state.in_flight, 0),
                    }
                };
                let (used, resets) = account.as_deref().map_or((0, 0), stands);
                explained.push(Explained {
                    name: line.name.clone(),
                    by: by.clone(),
                    unit,
                    window,
                    limit,
                    origin: match line.name == book.key {
                        true => book.origin(caller, unit, window, limit),
                        false => Origin::Configuration,
                    },
                    used: known.then_some(used),
                    resets: window.filter(|_| known).map(|_| resets),
                });
            }
        }
        explained
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use portcullis_core::{Environment, KeyId, OrganisationId};
    use portcullis_store::AccessPolicy;

    use super::*;
    use crate::config::Config;

    #[test]
    fn each_limit_has_whose_word_it_is_and_how_it_stands() {
        let text = "[tiers.small]\nrequests_per_minute = 10\ntokens_per_day = 500\nconcurrent_requests = 2\n[tiers.big]\n\
                    requests_per_minute = 100\nrequests_per_hour = 1000\n[[limit]]\nby = \"key\"\ntokens_per_hour = 7\n\
                    [[limit]]\nby = \"address\"\nrequests_per_day = 9\n[[limit]]\nby = []\nname = \"all\"\nrequests_per_day = 5\n";
        let config = Config::parse(text, "test").unwrap();
        let book = Book::new(&config.tiers, &config.limit);
        let own = Limits { requests_per_hour: Some(20), ..Limits::NONE };
        let organisation = AccessPolicy { max_tier: Some("small".into()), ..AccessPolicy::default() };
        let key = AccessPolicy { tier: Some("big".into()), limits: Some(own), ..AccessPolicy::default() };
        let policy = EffectivePolicy::of(&organisation, None, &key, 0, None);
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let caller = Caller {
            key: KeyId::from_bytes([1; 16]),
            team: None,
            organisation: OrganisationId::DEFAULT,
            environment: Environment::Production,
            tier: policy.tier().map(|(tier, _)| tier),
            policy: Some(&policy),
            own: policy.limits(),
            address,
        };
        let limiter = Limiter::default();
        let admitted = limiter.admit(&book, &caller, 1_000_000).unwrap();
        let stands = limiter.explain(&book, &caller, 1_000_000).unwrap();
        let shown: Vec<_> = stands
            .iter()
            .map(|one| (&*one.name, one.unit, one.window, one.limit, one.origin.clone(), one.used))
            .collect();
        let small = || Origin::MaxTier("small".into());
        use Unit::{Requests, Tokens};
        assert_eq!(
            shown,
            [
                ("key", Requests, Some(Window::Minute), 10, small(), Some(1)),
                ("key", Requests, Some(Window::Hour), 20, Origin::Key, Some(1)),
                ("key", Requests, None, 2, small(), Some(1)),
                ("key", Tokens, Some(Window::Hour), 7, Origin::Configuration, Some(0)),
                ("key", Tokens, Some(Window::Day), 500, small(), Some(0)),
                ("address", Requests, Some(Window::Day), 9, Origin::Configuration, None),
                ("all", Requests, Some(Window::Day), 5, Origin::Configuration, Some(1)),
            ]
        );
        assert_eq!(stands[5].by, [By::Address]);
        drop(admitted);
        let after = limiter.explain(&book, &caller, 1_000_000).unwrap();
        assert_eq!((after[0].used, after[2].used), (Some(1), Some(0)));
        let unknown = Caller { tier: Some("none"), ..caller };
        assert_eq!(limiter.explain(&book, &unknown, 0), Err(UnknownTier("none".into())));
    }
}
