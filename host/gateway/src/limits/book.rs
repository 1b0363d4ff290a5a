//! Which limits hold for a request, as a configuration has them: compiled once for a snapshot.

mod explain;

use std::collections::BTreeMap;
use std::net::IpAddr;

use portcullis_core::{Environment, KeyId, Limits, Name, OrganisationId, TeamId};
use portcullis_store::{ActiveKey, EffectivePolicy};

pub(crate) use explain::{Explained, Origin};

use super::subject::{By, Subject, network};
use crate::config::{LimitConfig, ScopeConfig, TiersConfig};

/// Who asks, as far as limits look at it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub key: KeyId,
    pub team: Option<TeamId>,
    pub organisation: OrganisationId,
    pub environment: Environment,
    pub tier: Option<&'a str>,
    /// What names the tiers that no limit of the key's is above.
    pub policy: Option<&'a EffectivePolicy>,
    /// The key's own, which go over its tier's.
    pub own: Option<&'a Limits>,
    pub address: IpAddr,
}

impl<'a> Caller<'a> {
    pub fn of(key: &'a ActiveKey, address: IpAddr) -> Self {
        Caller {
            key: key.id,
            team: key.team,
            organisation: key.organisation,
            environment: key.environment,
            tier: key.policy.tier().map(|(tier, _)| tier),
            policy: key.policy.max_tiers().next().is_some().then_some(&key.policy),
            own: key.policy.limits(),
            address,
        }
    }
}

/// One limit that holds for a request.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub name: Name,
    pub subject: Subject,
    pub limits: Limits,
}

pub(crate) struct Book {
    tiers: BTreeMap<String, Limits>,
    key: Name,
    /// Of keys whose tier and own limits do not say.
    of_keys: Vec<Rule>,
    /// Known once the caller is.
    of_callers: Vec<Group>,
    /// Known once the target is.
    of_targets: Vec<Group>,
}

/// What counts together: the first rule that holds.
struct Group {
    name: Name,
    by: Vec<By>,
    rules: Vec<Rule>,
}

struct Rule {
    scope: ScopeConfig,
    limits: Limits,
}

/// A key's tier is none of the configuration's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the tier `{0}` is not configured")]
pub(crate) struct UnknownTier(pub String);

impl Book {
    pub fn new(tiers: &TiersConfig, limits: &[LimitConfig]) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        for limit in limits {
            let rule = Rule { scope: limit.scope.clone(), limits: limit.limits() };
            let name = limit.name();
            match groups.iter_mut().find(|group| *group.name == *name) {
                Some(group) => group.rules.push(rule),
                None => groups.push(Group { name: name.into(), by: limit.by.clone(), rules: vec![rule] }),
            }
        }
        let key = Name::from("key");
        let (of_targets, mut of_callers): (Vec<Group>, Vec<Group>) = groups.into_iter().partition(|group| {
            group.by.contains(&By::Model) || group.rules.iter().any(|rule| !rule.scope.models.is_empty())
        });
        let at = of_callers.iter().position(|group| *group.name == *key);
        let of_keys = at.map_or_else(Vec::new, |at| of_callers.remove(at).rules);
        Book { tiers: tiers.0.clone(), key, of_keys, of_callers, of_targets }
    }

    /// Whether nothing limits a caller who has no limits of its own.
    fn is_silent(&self) -> bool {
        self.of_keys.is_empty() && self.of_callers.is_empty()
    }

    /// The limits that hold for whatever this caller asks for.
    ///
    /// # Errors
    /// Where the key is of a tier that there is not: what it may do is then not known.
    pub fn of_caller(&self, caller: &Caller<'_>) -> Result<Vec<Line>, UnknownTier> {
        let Caller { own, tier, policy, .. } = *caller;
        if self.is_silent() && own.is_none() && tier.is_none() && policy.is_none() {
            return Ok(Vec::new());
        }
        let mut lines = Vec::with_capacity(1 + self.of_callers.len());
        let general = self.of_keys.iter().find(|rule| rule.covers(caller, "")).map_or(Limits::NONE, |rule| rule.limits);
        let named = |tier: &str| self.tiers.get(tier).copied().ok_or_else(|| UnknownTier(tier.to_owned()));
        let of_tier = tier.map_or(Ok(Limits::NONE), named)?;
        let mut limits = own.unwrap_or(&Limits::NONE).over(&of_tier).over(&general);
        for (tier, _) in policy.into_iter().flat_map(EffectivePolicy::max_tiers) {
            limits = limits.within(&named(tier)?);
        }
        if !limits.is_empty() {
            lines.push(Line { name: self.key.clone(), subject: Subject::key(caller.key, self.key.clone()), limits });
        }
        lines.extend(self.of_callers.iter().filter_map(|group| group.line(caller, None)));
        Ok(lines)
    }

    /// Whether a target can have limits of its own.
    pub fn limits_targets(&self) -> bool {
        !self.of_targets.is_empty()
    }

    /// The limits that hold besides for what is asked of this model, `provider/model`.
    pub fn of_target(&self, caller: &Caller<'_>, model: &Name) -> Vec<Line> {
        self.of_targets.iter().filter_map(|group| group.line(caller, Some(model))).collect()
    }
}

impl Group {
    fn line(&self, caller: &Caller<'_>, model: Option<&Name>) -> Option<Line> {
        let rule = self.rules.iter().find(|rule| rule.covers(caller, model.map_or("", |model| model)))?;
        if rule.limits.is_empty() {
            return None;
        }
        let by = |by| self.by.contains(&by);
        // Keys that belong to no team are limited by nothing that counts by team.
        if by(By::Team) && caller.team.is_none() {
            return None;
        }
        let subject = Subject {
            name: self.name.clone(),
            key: by(By::Key).then_some(caller.key),
            team: caller.team.filter(|_| by(By::Team)),
            organisation: by(By::Organisation).then_some(caller.organisation),
            address: by(By::Address).then(|| network(caller.address)),
            model: model.filter(|_| by(By::Model)).cloned(),
        };
        Some(Line { name: self.name.clone(), subject, limits: rule.limits })
    }
}

impl Rule {
    fn covers(&self, caller: &Caller<'_>, model: &str) -> bool {
        let scope = &self.scope;
        // Most have no scope, and names cost allocations.
        if scope.is_everybody() {
            return scope.covers("", None, "", "", model);
        }
        let team = caller.team.as_ref().map(ToString::to_string);
        let organisation = caller.organisation.to_string();
        scope.covers(&organisation, team.as_deref(), caller.environment.as_str(), &caller.key.to_string(), model)
    }
}
