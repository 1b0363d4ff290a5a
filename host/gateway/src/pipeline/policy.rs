//! Policies: before routing with the request, before each attempt with its target, after the answer.

use std::sync::Arc;

use portcullis_runtime::contract::policy::{Attempt, Constraints, Subject, Verdict};
use portcullis_runtime::contract::{chat, types};
use portcullis_runtime::{FailureMode, Plugin};

use super::{Exchange, Stop};

impl Exchange {
    /// Asks every policy in scope about the request; adds up what they constrain.
    pub(super) fn apply_policies(&mut self, content: Option<&chat::Request>) -> Result<(), Stop> {
        let policies = self.policies_at(|stages| stages.request);
        if policies.is_empty() {
            return self.check_tools();
        }
        let subject = self.subject();
        for plugin in policies {
            let given = if plugin.access().content_read { content } else { None };
            let answer =
                self.call(&plugin, "policy", |session, context| session.evaluate_request(context, &subject, given));
            let Some(verdict) = self.verdict(&plugin, answer)? else { continue };
            match verdict {
                Verdict::Allow => {}
                Verdict::Deny(denial) => return Err(denied(denial)),
                Verdict::Constrain(constraints) => {
                    refuse_unknown(&constraints)?;
                    add(&mut self.constraints, constraints);
                }
            }
        }
        self.check_tools()
    }

    /// Whether any policy wants to read the conversation.
    pub(super) fn policies_read_content(&self) -> bool {
        let mut asked = self.snapshot.policies.iter().filter(|stage| stage.plugin.manifest().stages.request);
        asked.any(|stage| stage.plugin.access().content_read && self.in_scope(stage))
    }

    /// Asks every policy about a target. `Ok(false)` skips it. What they constrain holds for this attempt alone; tags stay.
    pub(super) fn permits_target(&mut self, attempt: &Attempt) -> Result<bool, Stop> {
        self.attempt_output_limit = self.constraints.max_output_tokens;
        let policies = self.policies_at(|stages| stages.target);
        if policies.is_empty() {
            return Ok(true);
        }
        let subject = self.subject();
        for plugin in policies {
            let answer =
                self.call(&plugin, "policy", |session, context| session.evaluate_target(context, &subject, attempt));
            let Some(verdict) = self.verdict(&plugin, answer)? else { continue };
            match verdict {
                Verdict::Allow => {}
                Verdict::Deny(denial) => return Err(denied(denial)),
                Verdict::Constrain(constraints) => {
                    refuse_unknown(&constraints)?;
                    if !permits(&constraints, &attempt.provider, &attempt.model, attempt.region.as_deref()) {
                        return Ok(false);
                    }
                    self.attempt_output_limit = smaller(self.attempt_output_limit, constraints.max_output_tokens);
                    add_tags(&mut self.constraints.tags, constraints.tags);
                }
            }
        }
        Ok(true)
    }

    /// Lets policies review an answer: a whole one before it is sent (`Err` withholds it), a stream after the fact.
    pub(super) fn review_answer(
        &mut self,
        attempt: &Attempt,
        usage: Option<chat::Usage>,
        content: Option<&chat::Response>,
    ) -> Result<(), Stop> {
        let policies = self.policies_at(|stages| stages.response);
        if policies.is_empty() {
            return Ok(());
        }
        let subject = self.subject();
        for plugin in policies {
            let given = if plugin.access().content_read { content } else { None };
            let answer = self.call(&plugin, "policy", |session, context| {
                session.evaluate_response(context, &subject, attempt, usage.as_ref(), given)
            });
            match self.verdict(&plugin, answer)? {
                Some(Verdict::Deny(denial)) => return Err(denied(denial)),
                Some(Verdict::Constrain(constraints)) => {
                    refuse_unknown(&constraints)?;
                    add(&mut self.constraints, constraints);
                }
                Some(Verdict::Allow) | None => {}
            }
        }
        Ok(())
    }

    /// The verdict of a policy that answered; a failing one stops the request unless the operator said otherwise.
    fn verdict(
        &mut self,
        plugin: &Arc<Plugin>,
        answer: Result<Result<Verdict, types::Failure>, portcullis_runtime::CallError>,
    ) -> Result<Option<Verdict>, Stop> {
        let stop = match answer {
            Ok(Ok(verdict)) => {
                self.record.verdict(plugin, "policy", code_of(&verdict));
                return Ok(Some(verdict));
            }
            Ok(Err(failure)) => {
                tracing::warn!(
                    request_id = %self.context.request_id,
                    plugin = %plugin.name(),
                    kind = ?failure.kind,
                    "a policy could not decide"
                );
                Stop::of(types::FailureKind::Internal, "policy_failed", "The gateway could not process the request.")
            }
            Err(error) => Stop::plugin(plugin, "policy", &self.context.request_id, &error),
        };
        match plugin.settings().failure {
            FailureMode::Closed => Err(stop),
            FailureMode::Open => Ok(None),
        }
    }

    fn policies_at(
        &self,
        stage_of: impl Fn(&portcullis_runtime::contract::manifest::Stages) -> bool,
    ) -> Vec<Arc<Plugin>> {
        let policies = self.snapshot.policies.iter();
        policies
            .filter(|stage| stage_of(&stage.plugin.manifest().stages) && self.in_scope(stage))
            .map(|stage| Arc::clone(&stage.plugin))
            .collect()
    }

    /// What policies see of the request; made for the first of them.
    fn subject(&mut self) -> Arc<Subject> {
        if let Some(subject) = &self.subject {
            return Arc::clone(subject);
        }
        let subject = Arc::new(self.new_subject());
        self.subject = Some(Arc::clone(&subject));
        subject
    }

    fn new_subject(&self) -> Subject {
        Subject {
            caller: types::Caller::clone(&self.caller),
            operation: self.route.operation.to_string(),
            format: self.route.format.to_string(),
            model: self.facts.model.clone(),
            stream: self.facts.stream,
            body_bytes: self.facts.body_bytes,
            input_tokens: self.facts.input_tokens,
            max_output_tokens: self.facts.max_output_tokens,
            tool_names: self.facts.tool_names.clone(),
            needs: self.facts.needs.clone(),
        }
    }

    /// A request that offers a function outside the permitted ones is refused rather than cut: the client must know.
    fn check_tools(&self) -> Result<(), Stop> {
        let Some(permitted) = &self.constraints.tools else { return Ok(()) };
        match self.facts.tool_names.iter().find(|name| !permitted.contains(name)) {
            None => Ok(()),
            Some(name) => Err(Stop {
                outcome: "denied",
                ..Stop::of(
                    types::FailureKind::Permission,
                    "policy.tool",
                    format!("The tool `{name}` is not permitted."),
                )
            }),
        }
    }
}

/// No constraint is passed over: this host knows none beyond the contract's own.
fn refuse_unknown(constraints: &Constraints) -> Result<(), Stop> {
    let Some(unknown) = constraints.extra.first() else { return Ok(()) };
    tracing::error!(constraint = %unknown.name, "a policy demands what this gateway cannot enforce");
    let message = "A policy demands what this gateway cannot enforce.".to_owned();
    Err(Stop { outcome: "denied", ..Stop::of(types::FailureKind::Permission, "unknown_constraint", message) })
}

/// Whether constraints leave a target open.
pub(super) fn permits(constraints: &Constraints, provider: &str, model: &str, region: Option<&str>) -> bool {
    let named = |list: &Option<Vec<String>>, matches: &dyn Fn(&str) -> bool| {
        list.as_ref().is_none_or(|list| list.iter().any(|item| matches(item)))
    };
    named(&constraints.providers, &|item| item == provider)
        && named(&constraints.models, &|item| {
            item == model || item.split_once('/').is_some_and(|(p, m)| p == provider && m == model)
        })
        && named(&constraints.regions, &|item| region == Some(item))
}

fn denied(denial: portcullis_runtime::contract::policy::Denial) -> Stop {
    let failure = types::Failure {
        kind: types::FailureKind::Permission,
        message: denial.message,
        code: Some(denial.code),
        param: None,
        retry_after: None,
    };
    Stop {
        failure: Box::new(failure),
        status: (400..500).contains(&denial.status).then_some(denial.status),
        outcome: "denied",
        reason: None,
    }
}

fn code_of(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Allow => "allow".to_owned(),
        Verdict::Deny(denial) => denial.code.clone(),
        Verdict::Constrain(_) => "constrain".to_owned(),
    }
}

/// The smallest number, the intersection of lists, the union of demands.
fn add(sum: &mut Constraints, more: Constraints) {
    fn intersect(sum: &mut Option<Vec<String>>, more: Option<Vec<String>>) {
        *sum = match (sum.take(), more) {
            (Some(mut one), Some(two)) => {
                one.retain(|item| two.contains(item));
                Some(one)
            }
            (one, two) => one.or(two),
        };
    }
    sum.models = match (sum.models.take(), more.models) {
        (Some(one), Some(two)) => Some(common_models(&one, &two)),
        (one, two) => one.or(two),
    };
    intersect(&mut sum.providers, more.providers);
    intersect(&mut sum.regions, more.regions);
    intersect(&mut sum.tools, more.tools);
    sum.max_output_tokens = smaller(sum.max_output_tokens, more.max_output_tokens);
    sum.guards.extend(more.guards);
    add_tags(&mut sum.tags, more.tags);
}

fn smaller(one: Option<u32>, two: Option<u32>) -> Option<u32> {
    match (one, two) {
        (Some(one), Some(two)) => Some(one.min(two)),
        (one, two) => one.or(two),
    }
}

/// A policy may repeat at each target what it said of the request.
fn add_tags(tags: &mut Vec<types::Pair>, more: Vec<types::Pair>) {
    for tag in more {
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
}

/// What two lists of models have in common: `model` includes `provider/model`, and the narrower name stays.
fn common_models(one: &[String], two: &[String]) -> Vec<String> {
    let includes =
        |wide: &str, narrow: &str| wide == narrow || narrow.split_once('/').is_some_and(|(_, model)| model == wide);
    let mut common: Vec<String> = Vec::new();
    for a in one {
        for b in two {
            let narrower = if includes(a, b) {
                b
            } else if includes(b, a) {
                a
            } else {
                continue;
            };
            if !common.contains(narrower) {
                common.push(narrower.clone());
            }
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Constraints {
        Constraints {
            models: None,
            providers: None,
            regions: None,
            tools: None,
            max_output_tokens: None,
            guards: Vec::new(),
            tags: Vec::new(),
            extra: Vec::new(),
        }
    }

    #[test]
    fn constraints_only_narrow() {
        let mut sum = none();
        let of = |models: &[&str], max| Constraints {
            models: Some(models.iter().map(|&model| model.to_owned()).collect()),
            max_output_tokens: max,
            ..none()
        };
        add(&mut sum, of(&["a", "openai/b"], Some(10)));
        add(&mut sum, of(&["b", "c"], Some(20)));
        assert_eq!((sum.models.as_deref(), sum.max_output_tokens), (Some(&["openai/b".to_owned()][..]), Some(10)));
        assert!(permits(&sum, "openai", "b", None));
        assert!(!permits(&sum, "azure", "b", None));
        assert!(!permits(&sum, "openai", "a", None));
    }
}
