//! The list of rules and the walk over it.
//!
//! The list has one meaning: it is walked once with everything known, the first `allow` or `deny` that applies ends the walk, and
//! what constrains on the way adds up. Before routing the target is not known, so that walk decides early only what no
//! target can change; before each attempt the whole list is walked. Hence the invariant: a request refused before routing
//! would have been refused at every target, and what is narrowed before routing excludes no target that the list lets through.

use portcullis_plugin::prelude::{Attempt, Denial, PolicyVerdict, Subject};

use crate::conditions::{Conditions, Target};
use crate::constraints::{Constrain, Narrowing};
use crate::time::Offset;

#[derive(Debug, Clone)]
pub struct Rule {
    pub when: Conditions,
    /// Where these all hold, the rule does not apply.
    pub unless: Option<Conditions>,
    pub then: Then,
}

#[derive(Debug, Clone)]
pub enum Then {
    Allow,
    Deny(Denial),
    Constrain(Constrain),
}

#[derive(Debug)]
pub struct Rules {
    pub rules: Vec<Rule>,
    /// What holds when no rule ends the walk; `None` allows.
    pub default: Option<Denial>,
    pub offset: Offset,
}

/// Whether a rule applies, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Applies {
    Yes,
    No,
    /// The target decides.
    Open,
}

impl Rule {
    fn before_routing(&self, subject: &Subject, now: u64, offset: Offset) -> Applies {
        if !self.when.match_request(subject, now, offset) {
            return Applies::No;
        }
        let mut open = self.when.look_at_target();
        if let Some(unless) = self.unless.as_ref().filter(|unless| unless.match_request(subject, now, offset)) {
            if !unless.look_at_target() {
                return Applies::No;
            }
            open = true;
        }
        if open { Applies::Open } else { Applies::Yes }
    }

    fn at(&self, subject: &Subject, target: &Target, now: u64, offset: Offset) -> bool {
        let holds =
            |conditions: &Conditions| conditions.match_request(subject, now, offset) && conditions.match_target(target);
        holds(&self.when) && !self.unless.as_ref().is_some_and(holds)
    }
}

impl Rules {
    pub fn before_routing(&self, subject: &Subject, now: u64) -> PolicyVerdict {
        let mut narrowing = Narrowing::default();
        // Whether an `allow` that the target decides may end the walk before what follows.
        let mut may_have_ended = false;
        for rule in &self.rules {
            match (rule.before_routing(subject, now, self.offset), &rule.then) {
                (Applies::No, _) | (Applies::Open, Then::Deny(_)) => {}
                (Applies::Open, Then::Allow) => may_have_ended = true,
                (Applies::Yes, Then::Constrain(constrain)) if !may_have_ended => {
                    narrowing.add(Narrowing::before_routing(constrain, subject));
                }
                (_, Then::Constrain(constrain)) => narrowing.add(Narrowing::guards_only(constrain)),
                (Applies::Yes, Then::Deny(denial)) if !may_have_ended => return PolicyVerdict::Deny(denial.clone()),
                (Applies::Yes, Then::Allow | Then::Deny(_)) => return verdict(narrowing),
            }
        }
        match &self.default {
            Some(denial) if !may_have_ended => PolicyVerdict::Deny(denial.clone()),
            _ => verdict(narrowing),
        }
    }

    pub fn at_target(&self, subject: &Subject, attempt: &Attempt, now: u64) -> PolicyVerdict {
        let target = Target::of(attempt);
        let mut narrowing = Narrowing::default();
        for rule in self.rules.iter().filter(|rule| rule.at(subject, &target, now, self.offset)) {
            match &rule.then {
                Then::Allow => return verdict(narrowing),
                Then::Deny(denial) => return PolicyVerdict::Deny(denial.clone()),
                Then::Constrain(constrain) => narrowing.add(Narrowing::of_attempt(constrain, subject, &target)),
            }
        }
        match &self.default {
            Some(denial) => PolicyVerdict::Deny(denial.clone()),
            None => verdict(narrowing),
        }
    }
}

fn verdict(narrowing: Narrowing) -> PolicyVerdict {
    narrowing.into_constraints().map_or(PolicyVerdict::Allow, PolicyVerdict::Constrain)
}
