//! A budget: what it is for, how much, for how long, and what happens when it is used up.

use std::fmt;

use portcullis_core::{BudgetId, KeyId, NanoUsd, OrganisationId, TeamId};
use serde::{Deserialize, Serialize};

use super::period::Period;

/// Percentages at which an alert is raised where nobody says otherwise.
pub const THRESHOLDS: [u16; 3] = [50, 80, 100];
/// Thresholds of one budget at most, and the highest, in per cent.
const MOST_THRESHOLDS: usize = 16;
const HIGHEST_THRESHOLD: u16 = 1_000;

/// Whose requests a budget counts, within its organisation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    Organisation,
    Team(TeamId),
    Key(KeyId),
    /// The end user that a request names.
    User(String),
    /// `model` or `provider/model`, the model by the provider's own id.
    Model(String),
    /// A connection's name.
    Provider(String),
    /// `name=value`, or `name` for whatever value.
    Tag(String),
}

impl Scope {
    pub const KINDS: [&str; 7] = ["organisation", "team", "key", "user", "model", "provider", "tag"];

    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Organisation => "organisation",
            Self::Team(_) => "team",
            Self::Key(_) => "key",
            Self::User(_) => "user",
            Self::Model(_) => "model",
            Self::Provider(_) => "provider",
            Self::Tag(_) => "tag",
        }
    }

    pub fn value(&self) -> Option<String> {
        match self {
            Self::Organisation => None,
            Self::Team(id) => Some(id.to_string()),
            Self::Key(id) => Some(id.to_string()),
            Self::User(name) | Self::Model(name) | Self::Provider(name) | Self::Tag(name) => Some(name.clone()),
        }
    }

    /// From the parts that are stored and shown.
    pub fn from_parts(kind: &str, value: Option<&str>) -> Result<Self, InvalidBudget> {
        let value = match (kind, value) {
            ("organisation", None) => return Ok(Self::Organisation),
            ("organisation", Some(_)) => {
                return Err(InvalidBudget::Scope("a budget of the organisation names nothing"));
            }
            (_, None | Some("")) => return Err(InvalidBudget::Scope("the scope names nothing")),
            (_, Some(value)) => value,
        };
        let text = || value.to_owned();
        match kind {
            "team" => value.parse().map(Self::Team).map_err(|_| InvalidBudget::Scope("a team is named by its id")),
            "key" => value.parse().map(Self::Key).map_err(|_| InvalidBudget::Scope("a key is named by its id")),
            "user" => Ok(Self::User(text())),
            "model" => Ok(Self::Model(text())),
            "provider" => Ok(Self::Provider(text())),
            "tag" if value.starts_with('=') => Err(InvalidBudget::Scope("the tag has no name")),
            "tag" => Ok(Self::Tag(text())),
            _ => Err(InvalidBudget::Scope(
                "no scope has this name: one of organisation, team, key, user, model, provider, tag",
            )),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        self.value().map_or(Ok(()), |value| write!(f, " {value}"))
    }
}

/// What happens when a budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// What does not fit is refused.
    Hard,
    /// Nothing is refused, alerts are raised.
    Soft,
}

impl Mode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hard => "hard",
            Self::Soft => "soft",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        [Self::Hard, Self::Soft].into_iter().find(|mode| mode.as_str() == name)
    }
}

/// What a budget says, apart from what it is called by.
#[derive(Clone, Debug, PartialEq)]
pub struct NewBudget {
    pub organisation: OrganisationId,
    /// For people, and for refusals.
    pub name: String,
    pub scope: Scope,
    pub period: Period,
    pub limit: NanoUsd,
    pub mode: Mode,
    /// Per cent of the limit at which an alert is raised, once a window each.
    pub thresholds: Vec<u16>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    pub id: BudgetId,
    pub organisation: OrganisationId,
    pub name: String,
    pub scope: Scope,
    pub period: Period,
    pub limit: NanoUsd,
    pub mode: Mode,
    pub thresholds: Vec<u16>,
    pub created_ms: u64,
    /// Grows with every change of any budget.
    pub revision: i64,
}

/// What of a budget is to change. Scope and period stay: another scope or period is another budget.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetChange {
    pub name: Option<String>,
    pub limit: Option<NanoUsd>,
    pub mode: Option<Mode>,
    pub thresholds: Option<Vec<u16>>,
}

/// Why there can be no such budget.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBudget {
    #[error("{0}")]
    Scope(&'static str),
    #[error("a budget has a name of at most 200 characters")]
    Name,
    #[error("thresholds are per cent of the limit, 1 to {HIGHEST_THRESHOLD}, and {MOST_THRESHOLDS} at most")]
    Thresholds,
    #[error("only prepaid credit, a budget in total, is topped up")]
    NotCredit,
    #[error("the limit would be more than the ledger counts")]
    TooMuch,
}

/// Thresholds in order, each once.
fn in_order(mut thresholds: Vec<u16>) -> Result<Vec<u16>, InvalidBudget> {
    thresholds.sort_unstable();
    thresholds.dedup();
    let valid = |per_cent: &u16| (1..=HIGHEST_THRESHOLD).contains(per_cent);
    if thresholds.len() > MOST_THRESHOLDS || !thresholds.iter().all(valid) {
        return Err(InvalidBudget::Thresholds);
    }
    Ok(thresholds)
}

fn named(name: &str) -> Result<(), InvalidBudget> {
    if name.trim().is_empty() || name.chars().count() > 200 { Err(InvalidBudget::Name) } else { Ok(()) }
}

impl NewBudget {
    pub(super) fn checked(mut self, id: BudgetId, now_ms: u64) -> Result<Budget, InvalidBudget> {
        named(&self.name)?;
        self.thresholds = in_order(self.thresholds)?;
        let Self { organisation, name, scope, period, limit, mode, thresholds } = self;
        Ok(Budget { id, organisation, name, scope, period, limit, mode, thresholds, created_ms: now_ms, revision: 0 })
    }
}

impl Budget {
    /// As it is after a change.
    pub(crate) fn changed(&self, change: &BudgetChange) -> Result<Self, InvalidBudget> {
        let mut changed = self.clone();
        if let Some(name) = &change.name {
            named(name)?;
            changed.name.clone_from(name);
        }
        if let Some(thresholds) = &change.thresholds {
            changed.thresholds = in_order(thresholds.clone())?;
        }
        changed.limit = change.limit.unwrap_or(self.limit);
        changed.mode = change.mode.unwrap_or(self.mode);
        Ok(changed)
    }

    /// As it is with so much more credit.
    pub(crate) fn topped_up(&self, amount: NanoUsd) -> Result<Self, InvalidBudget> {
        if self.period != Period::Total {
            return Err(InvalidBudget::NotCredit);
        }
        let limit = self.limit.checked_add(amount).map_err(|_| InvalidBudget::TooMuch)?;
        Ok(Self { limit, ..self.clone() })
    }

    pub fn is_hard(&self) -> bool {
        self.mode == Mode::Hard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(limit: u64, thresholds: Vec<u16>) -> Budget {
        NewBudget {
            organisation: OrganisationId::DEFAULT,
            name: "test".into(),
            scope: Scope::Organisation,
            period: Period::Total,
            limit: NanoUsd::new(limit).unwrap(),
            mode: Mode::Hard,
            thresholds,
        }
        .checked(BudgetId::from_bytes([1; 16]), 0)
        .unwrap()
    }

    #[test]
    fn scopes_read_back() {
        let key = KeyId::from_bytes([3; 16]).to_string();
        for (kind, value) in [
            ("organisation", None),
            ("key", Some(key.as_str())),
            ("user", Some("ada")),
            ("model", Some("openai/gpt")),
            ("provider", Some("openai")),
            ("tag", Some("job=nightly")),
        ] {
            let scope = Scope::from_parts(kind, value).unwrap();
            assert_eq!((scope.kind(), scope.value().as_deref()), (kind, value));
        }
        for (kind, value) in [
            ("organisation", Some("x")),
            ("team", Some("platform")),
            ("key", None),
            ("user", Some("")),
            ("tag", Some("=x")),
            ("continent", Some("x")),
        ] {
            assert!(Scope::from_parts(kind, value).is_err(), "{kind} {value:?}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let with = |thresholds| budget(1, vec![]).changed(&BudgetChange { thresholds, ..BudgetChange::default() });
        assert_eq!(with(Some(vec![80, 50, 80])).unwrap().thresholds, [50, 80]);
        assert_eq!(with(Some(vec![0])), Err(InvalidBudget::Thresholds));
        assert_eq!(with(Some((1..=17).collect())), Err(InvalidBudget::Thresholds));
        let unnamed = BudgetChange { name: Some("  ".into()), ..BudgetChange::default() };
        assert_eq!(budget(1, vec![]).changed(&unnamed), Err(InvalidBudget::Name));
        assert_eq!(budget(1, vec![]).topped_up(NanoUsd::MAX), Err(InvalidBudget::TooMuch));
        let daily = Budget { period: Period::from_parts("day", false, None).unwrap(), ..budget(1, vec![]) };
        assert_eq!(daily.topped_up(NanoUsd::ZERO), Err(InvalidBudget::NotCredit));
    }
}
