//! Thinking: on or off, and how many tokens it may take (<https://docs.cohere.com/docs/reasoning>). Models that think do so
//! unless told not to.

use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::*;

use portcullis_plugin::notes::Notes;

/// Budgets for words of effort; the last ones leave the model all it wants.
const EFFORTS: &[(&str, Option<u32>)] = &[
    ("minimal", Some(1024)),
    ("low", Some(2048)),
    ("medium", Some(8192)),
    ("high", Some(16_384)),
    ("xhigh", None),
    ("max", None),
];

/// What an answer should keep of its tokens: "leave at least 1000 tokens for the response".
const ANSWER: u32 = 1000;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Plan {
    /// Nothing is said.
    Model,
    Off,
    On {
        budget: Option<u32>,
    },
}

pub fn plan(request: &Request, able: bool, cap: Option<u32>, notes: &mut Notes) -> Plan {
    let Some(wish) = &request.reasoning else { return Plan::Model };
    if wish.summary.as_deref().is_some_and(|word| word != "auto") {
        notes.dropped("reasoning.summary");
    }
    if wish.enabled == Some(false) || wish.effort.as_deref() == Some("none") || wish.budget == Some(0) {
        return if able { Plan::Off } else { Plan::Model };
    }
    if wish.enabled.is_none() && wish.effort.is_none() && wish.budget.is_none() {
        return Plan::Model;
    }
    if !able {
        notes.dropped("reasoning");
        return Plan::Model;
    }
    let derived = wish.effort.as_deref().and_then(|word| {
        notes.approximated("reasoning.effort");
        EFFORTS.iter().find(|(name, _)| *name == word).and_then(|(_, budget)| *budget)
    });
    let most = cap.map(|cap| cap.saturating_sub(ANSWER).max(1));
    let budget = wish.budget.or(derived).map(|budget| match most {
        Some(most) if budget > most => {
            notes.clamped("reasoning.budget");
            most
        }
        _ => budget,
    });
    Plan::On { budget }
}

pub fn write(writer: &mut Writer, plan: Plan) {
    let kind = match plan {
        Plan::Model => return,
        Plan::Off => "disabled",
        Plan::On { .. } => "enabled",
    };
    writer.key("thinking");
    writer.begin_object();
    writer.member_string("type", kind);
    if let Plan::On { budget: Some(budget) } = plan {
        writer.member_number("token_budget", budget);
    }
    writer.end_object();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(
        effort: Option<&str>,
        budget: Option<u32>,
        enabled: Option<bool>,
        able: bool,
        cap: Option<u32>,
    ) -> (Plan, Vec<String>) {
        let mut request = Request::new("openai-chat", "m");
        request.reasoning =
            Some(ReasoningSettings { effort: effort.map(str::to_owned), budget, enabled, summary: None });
        let mut notes = Notes::default();
        let plan = plan(&request, able, cap, &mut notes);
        (plan, notes.into_vec().into_iter().map(|note| format!("{} {}", note.code, note.subject)).collect())
    }

    #[test]
    fn wishes_become_plans() {
        let on = |budget| Plan::On { budget };
        for (effort, budget, enabled, able, cap, expected, notes) in [
            (None, None, None, true, None, Plan::Model, &[][..]),
            (Some("none"), None, None, true, None, Plan::Off, &[]),
            (Some("none"), None, None, false, None, Plan::Model, &[]),
            (None, None, Some(false), true, None, Plan::Off, &[]),
            (None, None, Some(true), true, None, on(None), &[]),
            (None, None, Some(true), false, None, Plan::Model, &["dropped reasoning"]),
            (None, Some(500), Some(true), true, Some(4000), on(Some(500)), &[]),
            (None, Some(5000), Some(true), true, Some(4000), on(Some(3000)), &["clamped reasoning.budget"]),
            (None, Some(5000), None, true, Some(900), on(Some(1)), &["clamped reasoning.budget"]),
            (Some("low"), None, None, true, None, on(Some(2048)), &["approximated reasoning.effort"]),
            (Some("max"), None, None, true, None, on(None), &["approximated reasoning.effort"]),
        ] {
            let (plan, said) = planned(effort, budget, enabled, able, cap);
            assert_eq!(plan, expected, "{effort:?} {budget:?} {enabled:?}");
            assert_eq!(said, notes, "{effort:?} {budget:?} {enabled:?}");
        }
    }
}
