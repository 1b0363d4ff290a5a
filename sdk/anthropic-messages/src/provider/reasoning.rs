//! How much to think, and what thinking forbids.
//!
//! The API has two ways: a budget of tokens (`thinking: enabled`, Claude up to 4.6) and an effort
//! (`thinking: adaptive` with `output_config.effort`, from Claude 4.6 on). Neither converts exactly into the other; the
//! [table](BUDGETS) is used both ways and the change is noted.
//!
//! Invariant: a budget is at least 1,024 tokens and less than `max_tokens`, and a tool is never forced while thinking; the API
//! refuses both (<https://platform.claude.com/docs/en/build-with-claude/extended-thinking>).

use portcullis_plugin::ir::{ReasoningSettings, Request, ToolChoice};

use crate::FORMAT;
use crate::catalogue::{Off, Traits};
use portcullis_plugin::notes::Notes;

/// The smallest budget the API takes.
const LEAST: u32 = 1024;
/// What each effort may think, in tokens.
const BUDGETS: &[(&str, u32)] =
    &[("minimal", 1024), ("low", 2048), ("medium", 8192), ("high", 16_384), ("xhigh", 24_576), ("max", 32_000)];

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Thinking {
    /// Nothing is said; the model does as it does.
    Unsaid,
    Disabled,
    BetweenTools,
    Adaptive,
    Budget(u32),
}

#[derive(Debug, PartialEq)]
pub struct Plan {
    pub thinking: Thinking,
    pub effort: Option<String>,
    /// `summarized` or `omitted`.
    pub display: Option<String>,
    /// The forced choice of a tool must become `auto`.
    pub unforced: bool,
}

impl Plan {
    /// Whether the request asks the model to think.
    pub fn thinks(&self) -> bool {
        matches!(self.thinking, Thinking::Adaptive | Thinking::Budget(_))
    }
}

/// Decides on thinking for a request. `max_tokens` is the cap that will be sent, 0 where there is none yet.
pub fn plan(request: &Request, traits: &Traits, max_tokens: u32, notes: &mut Notes) -> Plan {
    let native = request.format == FORMAT;
    let mut plan = Plan { thinking: Thinking::Unsaid, effort: None, display: None, unforced: false };
    if let Some(settings) = &request.reasoning {
        settle(&mut plan, settings, native, traits, max_tokens, notes);
    }
    let forced = matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Function(_)));
    if forced && !traits.forced_tools {
        plan.unforced = true;
        notes.approximated("tool_choice");
    } else if forced && !native {
        // A client of this protocol contradicts itself and is told so by the API. Others may ask for both: the call is a
        // demand, thinking a wish.
        if plan.thinks() {
            notes.dropped("reasoning");
            plan.display = None;
        }
        if plan.thinks() || traits.unasked {
            plan.thinking = match traits.off {
                Off::Silence | Off::Never => Thinking::Unsaid,
                Off::Disabled => Thinking::Disabled,
                Off::BetweenTools => Thinking::BetweenTools,
            };
        }
        bound_effort(&mut plan, notes);
    }
    plan
}

fn settle(
    plan: &mut Plan,
    settings: &ReasoningSettings,
    native: bool,
    traits: &Traits,
    max_tokens: u32,
    notes: &mut Notes,
) {
    let effort = settings.effort.as_deref();
    if settings.enabled == Some(false) || effort == Some("none") {
        plan.effort = effort.filter(|&effort| effort != "none").and_then(|effort| fit_effort(effort, traits, notes));
        match traits.off {
            Off::Silence => {}
            Off::Disabled => plan.thinking = Thinking::Disabled,
            Off::BetweenTools => plan.thinking = Thinking::BetweenTools,
            Off::Never => {
                plan.effort = traits.efforts.first().map(|&least| least.to_owned());
                notes.approximated("reasoning");
            }
        }
        bound_effort(plan, notes);
        return;
    }
    // To a client of this protocol effort is not thinking: it says how much of everything.
    let asked = settings.enabled == Some(true) || settings.budget.is_some() || (effort.is_some() && !native);
    if asked {
        plan.display = settings.summary.as_deref().map(|summary| match summary {
            "omitted" => "omitted".to_owned(),
            _ => "summarized".to_owned(),
        });
        plan.thinking = match settings.budget {
            Some(budget) if traits.budget => fit_budget(budget, max_tokens, notes),
            budget if traits.adaptive => {
                if budget.is_some() {
                    notes.approximated("thinking.budget_tokens");
                }
                Thinking::Adaptive
            }
            Some(_) | None if traits.budget => derived_budget(effort.unwrap_or("medium"), max_tokens, notes),
            _ => {
                notes.dropped("reasoning");
                Thinking::Unsaid
            }
        };
        if !plan.thinks() {
            plan.display = None;
        }
    }
    plan.effort = match (effort, settings.budget) {
        // The budget says it, or its note.
        (Some(_), _) if traits.efforts.is_empty() && asked => None,
        (Some(effort), _) => fit_effort(effort, traits, notes),
        (None, Some(budget)) if plan.thinking == Thinking::Adaptive => {
            let word = BUDGETS.iter().rev().find(|(_, least)| *least <= budget).map_or("low", |(word, _)| word);
            fit_effort(word, traits, notes)
        }
        (None, _) => None,
    };
}

/// The model's own word for an effort: the highest it has that is not above what was asked, or its lowest.
fn fit_effort(effort: &str, traits: &Traits, notes: &mut Notes) -> Option<String> {
    if traits.efforts.contains(&effort) {
        return Some(effort.to_owned());
    }
    let rank = |word: &str| BUDGETS.iter().position(|(known, _)| *known == word);
    let Some(least) = traits.efforts.first() else {
        notes.dropped("reasoning.effort");
        return None;
    };
    let Some(asked) = rank(effort) else {
        // A word of a provider we do not know says nothing here.
        notes.dropped("reasoning.effort");
        return None;
    };
    notes.approximated("reasoning.effort");
    let nearest = traits.efforts.iter().rev().find(|&&word| rank(word) <= Some(asked)).unwrap_or(least);
    Some((*nearest).to_owned())
}

/// Claude 5 can stop thinking only up to high effort.
fn bound_effort(plan: &mut Plan, notes: &mut Notes) {
    if plan.thinking == Thinking::Disabled
        && plan.effort.as_deref().is_some_and(|effort| matches!(effort, "xhigh" | "max"))
    {
        plan.effort = Some("high".to_owned());
        notes.approximated("reasoning.effort");
    }
}

/// The client's own budget, below the cap.
fn fit_budget(budget: u32, max_tokens: u32, notes: &mut Notes) -> Thinking {
    if max_tokens == 0 || budget < max_tokens && budget >= LEAST {
        return Thinking::Budget(budget);
    }
    if max_tokens <= LEAST {
        notes.dropped("reasoning");
        return Thinking::Unsaid;
    }
    notes.clamped("thinking.budget_tokens");
    Thinking::Budget(budget.clamp(LEAST, max_tokens - 1))
}

/// A budget for an effort, which leaves a quarter of the cap for the answer.
fn derived_budget(effort: &str, max_tokens: u32, notes: &mut Notes) -> Thinking {
    let budget = BUDGETS.iter().find(|(word, _)| *word == effort).map_or(8192, |(_, budget)| *budget);
    if max_tokens == 0 {
        return Thinking::Budget(budget);
    }
    let most = max_tokens / 4 * 3;
    if most < LEAST {
        notes.dropped("reasoning");
        return Thinking::Unsaid;
    }
    Thinking::Budget(budget.min(most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::traits;

    fn planned(model: &str, format: &str, settings: ReasoningSettings, max_tokens: u32) -> (Plan, Vec<String>) {
        let mut request = Request::new(format, model);
        request.reasoning = Some(settings);
        let mut notes = Notes::default();
        let plan = plan(&request, &traits(model), max_tokens, &mut notes);
        (plan, notes.into_vec().into_iter().map(|note| format!("{} {}", note.code, note.subject)).collect())
    }

    fn effort(word: &str) -> ReasoningSettings {
        ReasoningSettings { effort: Some(word.to_owned()), budget: None, enabled: None, summary: None }
    }

    fn budget(tokens: u32) -> ReasoningSettings {
        ReasoningSettings { effort: None, budget: Some(tokens), enabled: Some(true), summary: None }
    }

    #[test]
    fn efforts_by_model() {
        for (model, asked, thinking, said) in [
            ("claude-haiku-4-5", "high", Thinking::Budget(16_384), None),
            ("claude-haiku-4-5", "none", Thinking::Unsaid, None),
            ("claude-opus-4-5", "max", Thinking::Budget(32_000), Some("high")),
            ("claude-sonnet-4-6", "xhigh", Thinking::Adaptive, Some("high")),
            ("claude-opus-5", "minimal", Thinking::Adaptive, Some("low")),
            ("claude-opus-5", "none", Thinking::Disabled, None),
            ("claude-sonnet-5-5", "none", Thinking::BetweenTools, None),
            ("claude-opus-5-5", "none", Thinking::Unsaid, Some("low")),
            ("claude-of-tomorrow", "max", Thinking::Adaptive, Some("max")),
        ] {
            let (plan, _) = planned(model, "openai-chat", effort(asked), 64_000);
            assert_eq!((plan.thinking, plan.effort.as_deref()), (thinking, said), "{model} {asked}");
        }
    }

    #[test]
    fn a_budget_is_an_effort_where_there_are_no_budgets() {
        let (plan, notes) = planned("claude-opus-5-5", FORMAT, budget(10_000), 64_000);
        assert_eq!((plan.thinking, plan.effort.as_deref()), (Thinking::Adaptive, Some("medium")));
        assert_eq!(notes, ["approximated thinking.budget_tokens"]);
    }

    #[test]
    fn budgets_stay_below_the_cap() {
        let haiku = "claude-haiku-4-5";
        assert_eq!(planned(haiku, FORMAT, budget(2000), 4096).0.thinking, Thinking::Budget(2000));
        let (plan, notes) = planned(haiku, FORMAT, budget(9000), 4096);
        assert_eq!(
            (plan.thinking, &*notes),
            (Thinking::Budget(4095), &["clamped thinking.budget_tokens".to_owned()][..])
        );
        assert_eq!(planned(haiku, "openai-chat", effort("high"), 4000).0.thinking, Thinking::Budget(3000));
        let (plan, notes) = planned(haiku, "openai-chat", effort("high"), 1000);
        assert_eq!((plan.thinking, &*notes), (Thinking::Unsaid, &["dropped reasoning".to_owned()][..]));
    }

    #[test]
    fn no_tool_is_forced_while_thinking() {
        for (model, thinking, unforced) in [
            ("claude-haiku-4-5", Thinking::Unsaid, false),
            ("claude-sonnet-4-6", Thinking::Unsaid, false),
            ("claude-opus-5", Thinking::Disabled, false),
            ("claude-opus-5-5", Thinking::Adaptive, true),
        ] {
            let mut request = Request::new("openai-chat", model);
            request.reasoning = Some(effort("high"));
            request.tool_choice = Some(ToolChoice::Required);
            let plan = plan(&request, &traits(model), 64_000, &mut Notes::default());
            assert_eq!((plan.thinking, plan.unforced), (thinking, unforced), "{model}");
        }
    }

    #[test]
    fn a_model_that_thinks_unasked_is_told_not_to_when_a_tool_is_forced() {
        let mut request = Request::new("openai-chat", "claude-opus-5");
        request.tool_choice = Some(ToolChoice::Function("f".to_owned()));
        let plan = plan(&request, &traits("claude-opus-5"), 1000, &mut Notes::default());
        assert_eq!(plan.thinking, Thinking::Disabled);
    }
}
