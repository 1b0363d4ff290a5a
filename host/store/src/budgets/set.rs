//! Which budgets count a request: one look in a table for each kind of thing that budgets are for.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use portcullis_core::receipt::Tag;
use portcullis_core::{KeyId, OrganisationId, TeamId};

use super::budget::{Budget, Scope};

/// What a request is subject to.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub organisation: OrganisationId,
    pub team: Option<TeamId>,
    pub key: KeyId,
    pub user: Option<&'a str>,
    /// The connection's name and the provider's own model id.
    pub provider: &'a str,
    pub model: &'a str,
    pub tags: &'a [Tag],
}

/// All budgets there are, by what they are for.
#[derive(Debug, Default)]
pub(crate) struct BudgetSet {
    organisations: HashMap<OrganisationId, OfOrganisation>,
    teams: HashMap<TeamId, Vec<Arc<Budget>>>,
    keys: HashMap<KeyId, Vec<Arc<Budget>>>,
}

#[derive(Debug, Default)]
struct OfOrganisation {
    all: Vec<Arc<Budget>>,
    users: HashMap<String, Vec<Arc<Budget>>>,
    providers: HashMap<String, Vec<Arc<Budget>>>,
    /// By the model's id; some only where the provider is this one.
    models: HashMap<String, Vec<Narrowed>>,
    /// By the tag's name; some only where the value is this one.
    tags: HashMap<String, Vec<Narrowed>>,
}

/// A budget, and what else must be so.
type Narrowed = (Option<String>, Arc<Budget>);

impl BudgetSet {
    pub fn new(budgets: impl IntoIterator<Item = Budget>) -> Self {
        let mut set = Self { organisations: HashMap::new(), teams: HashMap::new(), keys: HashMap::new() };
        for budget in budgets {
            set.add(Arc::new(budget));
        }
        set
    }

    fn add(&mut self, budget: Arc<Budget>) {
        let of = self.organisations.entry(budget.organisation).or_default();
        match &budget.scope {
            Scope::Organisation => of.all.push(budget),
            Scope::Team(id) => self.teams.entry(*id).or_default().push(budget),
            Scope::Key(id) => self.keys.entry(*id).or_default().push(budget),
            Scope::User(name) => of.users.entry(name.clone()).or_default().push(budget),
            Scope::Provider(name) => of.providers.entry(name.clone()).or_default().push(budget),
            Scope::Model(value) => {
                // A model's id may itself hold a slash: the value is looked for whole, and as one provider's.
                if let Some((provider, model)) = value.split_once('/') {
                    let named = (Some(provider.to_owned()), Arc::clone(&budget));
                    of.models.entry(model.to_owned()).or_default().push(named);
                }
                of.models.entry(value.clone()).or_default().push((None, budget));
            }
            Scope::Tag(value) => {
                let (name, value) = match value.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (value.as_str(), None),
                };
                of.tags.entry(name.to_owned()).or_default().push((value, Arc::clone(&budget)));
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.organisations.is_empty()
    }

    /// Each budget that counts the request, once.
    pub fn of(&self, subject: &Subject<'_>) -> Vec<Arc<Budget>> {
        let Some(of) = self.organisations.get(&subject.organisation) else { return Vec::new() };
        let mut found: Vec<Arc<Budget>> = Vec::new();
        found.extend_from_slice(&of.all);
        if !self.keys.is_empty() {
            found.extend(within(self.keys.get(&subject.key), subject));
        }
        if let Some(team) = subject.team.filter(|_| !self.teams.is_empty()) {
            found.extend(within(self.teams.get(&team), subject));
        }
        if let Some(user) = subject.user.filter(|_| !of.users.is_empty()) {
            found.extend(of.users.get(user).into_iter().flatten().cloned());
        }
        if !of.providers.is_empty() {
            found.extend(of.providers.get(subject.provider).into_iter().flatten().cloned());
        }
        if !of.models.is_empty() {
            found.extend(narrowed(of.models.get(subject.model), subject.provider));
        }
        if !of.tags.is_empty() {
            for (at, tag) in subject.tags.iter().enumerate() {
                for budget in narrowed(of.tags.get(&tag.name), &tag.value) {
                    // A tag that stands there twice counts once.
                    if at == 0 || !found.iter().any(|known| known.id == budget.id) {
                        found.push(budget);
                    }
                }
            }
        }
        found
    }
}

fn within(budgets: Option<&Vec<Arc<Budget>>>, subject: &Subject<'_>) -> impl Iterator<Item = Arc<Budget>> {
    let organisation = subject.organisation;
    budgets.into_iter().flatten().filter(move |budget| budget.organisation == organisation).cloned()
}

fn narrowed(budgets: Option<&Vec<Narrowed>>, to: &str) -> impl Iterator<Item = Arc<Budget>> {
    let named = budgets.into_iter().flatten();
    named.filter(move |(only, _)| only.as_deref().is_none_or(|only| only == to)).map(|(_, budget)| Arc::clone(budget))
}

#[cfg(test)]
mod tests {
    use portcullis_core::{BudgetId, NanoUsd};
    use proptest::prelude::*;

    use super::super::budget::Mode;
    use super::super::period::Period;
    use super::*;

    const ORGANISATION: OrganisationId = OrganisationId::DEFAULT;
    const OTHER: OrganisationId = OrganisationId::from_bytes([9; 16]);

    fn budget(number: u8, organisation: OrganisationId, scope: Scope) -> Budget {
        Budget {
            id: BudgetId::from_bytes([number; 16]),
            organisation,
            name: number.to_string(),
            scope,
            period: Period::Total,
            limit: NanoUsd::ZERO,
            mode: Mode::Hard,
            thresholds: vec![],
            created_ms: 0,
            revision: 0,
        }
    }

    /// The rule in one sentence each, with no table.
    fn counts(budget: &Budget, subject: &Subject<'_>) -> bool {
        budget.organisation == subject.organisation
            && match &budget.scope {
                Scope::Organisation => true,
                Scope::Team(team) => subject.team == Some(*team),
                Scope::Key(key) => subject.key == *key,
                Scope::User(user) => subject.user == Some(user),
                Scope::Provider(name) => subject.provider == name,
                Scope::Model(name) => {
                    name == subject.model || *name == format!("{}/{}", subject.provider, subject.model)
                }
                Scope::Tag(text) => {
                    subject.tags.iter().any(|tag| *text == tag.name || *text == format!("{}={}", tag.name, tag.value))
                }
            }
    }

    fn any_scope() -> impl Strategy<Value = Scope> {
        let word = || prop::sample::select(vec!["a", "b", "a/b", "b/a", "a/b/a"]).prop_map(str::to_owned);
        prop_oneof![
            Just(Scope::Organisation),
            (0..3_u8).prop_map(|byte| Scope::Team(TeamId::from_bytes([byte; 16]))),
            (0..3_u8).prop_map(|byte| Scope::Key(KeyId::from_bytes([byte; 16]))),
            word().prop_map(Scope::User),
            word().prop_map(Scope::Provider),
            word().prop_map(Scope::Model),
            prop::sample::select(vec!["a", "b", "a=b", "a=c", "b=b"]).prop_map(|tag| Scope::Tag(tag.into())),
        ]
    }

    proptest! {
        #[test]
        fn the_tables_find_what_the_rule_says(
            scopes in prop::collection::vec((any::<bool>(), any_scope()), 0..12),
            (team, key) in (prop::option::of(0..3_u8), 0..3_u8),
            user in prop::option::of(prop::sample::select(vec!["a", "b"])),
            (provider, model) in (prop::sample::select(vec!["a", "b"]), prop::sample::select(vec!["a", "b", "a/b", "b/a"])),
            tags in prop::collection::vec(prop::sample::select(vec![("a", "b"), ("a", "c"), ("b", "b"), ("c", "c")]), 0..4),
        ) {
            let budgets: Vec<Budget> = scopes
                .into_iter()
                .zip(0..)
                .map(|((mine, scope), number)| budget(number, if mine { ORGANISATION } else { OTHER }, scope))
                .collect();
            let tags: Vec<Tag> =
                tags.into_iter().map(|(name, value)| Tag { name: name.into(), value: value.into() }).collect();
            let subject = Subject {
                organisation: ORGANISATION,
                team: team.map(|byte| TeamId::from_bytes([byte; 16])),
                key: KeyId::from_bytes([key; 16]),
                user,
                provider,
                model,
                tags: &tags,
            };
            let mut expected: Vec<BudgetId> =
                budgets.iter().filter(|budget| counts(budget, &subject)).map(|budget| budget.id).collect();
            let mut found: Vec<BudgetId> =
                BudgetSet::new(budgets).of(&subject).iter().map(|budget| budget.id).collect();
            expected.sort();
            found.sort();
            prop_assert_eq!(found, expected);
        }
    }
}
